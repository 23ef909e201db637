"""Opens data by its format, and reads a whole file into Annotations."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl

from realm_core.annotations import Annotations, Task
from realm_core.formats.compression import plain_bytes
from realm_core.formats.delimited import DelimitedFile
from realm_core.formats.faults import BadData, Faults, OnError
from realm_core.formats.json_lines import JsonLinesFile
from realm_core.formats.parquet import open_parquet
from realm_core.formats.reader import AnnotationFile, AnnotationReader
from realm_core.formats.reading_options import DEFAULT_LIMITS, DeclaredAnswers, Limits, ReadingOptions
from realm_core.formats.table import AnnotationTable

StreamFormat = Literal["csv", "tsv", "jsonl"]
_CHUNK_BYTES = 1024**2
_SUFFIXES: dict[str, StreamFormat] = {".csv": "csv", ".tsv": "tsv", ".jsonl": "jsonl", ".ndjson": "jsonl"}


def open_stream(chunks: Iterable[bytes], kind: StreamFormat, options: ReadingOptions, faults: Faults) -> AnnotationFile:
    """A file that is read as it arrives, plain or gzip. Raises BadData."""
    plain = plain_bytes(chunks, options.limits)
    if kind == "jsonl":
        return JsonLinesFile(plain, options, faults)
    return DelimitedFile(plain, "," if kind == "csv" else "\t", options, faults)


def open_path(path: Path, options: ReadingOptions, faults: Faults) -> AnnotationFile:
    """A file on disk, by the suffix of its name. Raises BadData."""
    suffix = Path(path.name.removesuffix(".gz")).suffix.lower()
    if suffix == ".parquet":
        return open_parquet(path, options, faults)
    if suffix not in _SUFFIXES:
        known = ", ".join([*_SUFFIXES, ".parquet"])
        raise BadData("unknown_format", f"{path.name}: the name must end in one of {known} (and .gz).")
    return open_stream(_chunks(path), _SUFFIXES[suffix], options, faults)


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            yield chunk


def read_annotations(
    path: Path,
    *,
    mapping: Mapping[str, str] | None = None,
    labels: Any = None,
    ignore_labels: Sequence[str] = (),
    on_error: OnError = "abort",
    limits: Limits = DEFAULT_LIMITS,
) -> Annotations:
    """The annotations of a file, as an upload of it would be. Raises BadData, which names the rows at fault."""
    options = ReadingOptions(mapping or {}, tuple(ignore_labels), DeclaredAnswers.parse(labels), on_error, limits)
    faults = Faults(on_error)
    reader = AnnotationReader(open_path(path, options, faults), options, faults)
    blocks = list(reader.blocks())
    table = reader.finish()  # refuses a file without rows
    return _annotations(table, pl.concat(blocks, how="diagonal"))


def _annotations(table: AnnotationTable, items: pl.DataFrame) -> Annotations:
    """The table with the texts of its items beside it."""
    texts = items.with_columns(
        pl.lit(None, pl.String).alias(name) for name in ("item_id", "prompt", "options") if name not in items.columns
    )
    item_ids = texts.select(pl.coalesce("item_id", pl.format("item_{}", "item"))).to_series()
    options = [None if given is None else tuple(json.loads(given)) for given in texts["options"]]
    return Annotations(
        tasks=tuple(Task(task.name, tuple(task.answers), tuple(task.answers.values())) for task in table.tasks),
        annotators=table.annotators,
        item_ids=tuple(item_ids),
        item_task=table.item_task.astype(np.int32),
        item=table.item,
        annotator=table.annotator,
        label=table.label.astype(np.int32),
        prompts=tuple(texts["prompt"]) if "prompt" in items.columns else None,
        options=tuple(options) if any(options) else None,
        created_at=table.created_at,
        gold=None if table.gold is None else table.gold.astype(np.int32),
    )
