"""CSV, TSV, JSONL, Parquet and JSON, plain or gzip, into Annotations.

One engine serves files and uploads: `open_file` finds the columns and yields blocks of text (delimited, json_lines,
parquet), `reader` turns them into integer arrays while their texts pass through, `table` is the result.
"""

from realm_core.formats.faults import BadData, Fault, OnError, TooLarge
from realm_core.formats.files import read_annotations
from realm_core.formats.reading_options import DeclaredAnswers, Limits, ReadingOptions

__all__ = [
    "BadData",
    "DeclaredAnswers",
    "Fault",
    "Limits",
    "OnError",
    "ReadingOptions",
    "TooLarge",
    "read_annotations",
]
