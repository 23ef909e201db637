"""The beginning of a file, as a table with guesses, before it is uploaded: nothing of it is kept."""

from __future__ import annotations

import csv
import io
import json
import zlib
from collections.abc import Callable
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from app.datasets.guessing import guess_columns
from app.datasets.receiving import MEDIA_TYPES
from app.errors import Unprocessable, UnsupportedMediaType
from realm_core.formats import ReadingOptions
from realm_core.formats.columns import COLUMNS
from realm_core.formats.faults import BadData
from realm_core.formats.recognition import plan_table, recognise_record

ROWS_GUESSED_FROM = 500
ROWS_SHOWN = 8
LONGEST_CELL = 300
_GZIP = b"\x1f\x8b"
_MAX_PLAIN_BYTES = 4 * 1024**2
_SEPARATORS = {"text/csv": ",", "text/tab-separated-values": "\t"}
_LINES = ("application/x-ndjson", "application/jsonl")


class PreviewQuery(BaseModel):
    model_config = ConfigDict(extra="forbid")
    complete: bool = Field(True, description="false: the body is only the beginning of the file.")


class ColumnGuess(BaseModel):
    """One of our columns, the file's column that it probably is, and why."""

    ours: str
    theirs: str
    why: str


class FilePreview(BaseModel):
    """What a file seems to hold."""

    object: Literal["dataset.preview"] = "dataset.preview"
    columns: list[str]
    rows: list[list[str]] = Field(description="The first rows, long cells cut.")
    recognised: str | None = Field(description="Which tool's export it is taken for, and how it is read.")
    guesses: list[ColumnGuess] = Field(description="Empty where the export of a tool is recognised.")
    missing: list[str] = Field(description="What is needed and was not found.")


def preview(body: bytes, media_type: str, *, complete: bool) -> FilePreview:
    """The preview of a file's beginning. Raises Unprocessable, UnsupportedMediaType."""
    plain, complete = _unpacked(body, complete=complete)
    if media_type in _SEPARATORS:
        columns, rows = _table(plain, _SEPARATORS[media_type], complete=complete)
        return _described(columns, rows, _note(lambda: plan_table(columns, ReadingOptions()).note))
    if media_type in _LINES:
        records = _records(plain, complete=complete)
        columns = list(dict.fromkeys(name for record in records for name in record))
        found = recognise_record(records[0], ReadingOptions())
        rows = [[_cell(record.get(name)) for name in columns] for record in records]
        return _described(columns, rows, None if found is None else found.note)
    known = ", ".join(sorted({*_SEPARATORS, *_LINES} & MEDIA_TYPES.keys()))
    raise UnsupportedMediaType(f"Only the beginning of {known} can be looked at; upload the file to have it read.")


def _unpacked(body: bytes, *, complete: bool) -> tuple[str, bool]:
    """The text, plain or out of gzip, and whether it is all; half a character at its end is left out.

    Raises Unprocessable.
    """
    if body.startswith(_GZIP):
        unpacker = zlib.decompressobj(16 + zlib.MAX_WBITS)
        try:
            body = unpacker.decompress(body, _MAX_PLAIN_BYTES)
        except zlib.error as error:
            raise Unprocessable(f"The gzip file is damaged: {error}.", code="invalid_gzip") from None
        complete = complete and unpacker.eof
    text = body.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "replace" if complete else "ignore")
    if not text.strip():
        raise Unprocessable("The file is empty.", code="empty_file")
    return text, complete


def _table(text: str, separator: str, *, complete: bool) -> tuple[list[str], list[list[str]]]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    rows = []
    try:
        for row in reader:
            rows.append([cell.strip() for cell in row])
            if len(rows) > ROWS_GUESSED_FROM:
                break
    except csv.Error as error:
        raise Unprocessable(f"Line {reader.line_num} cannot be read: {error}.", code="invalid_csv") from None
    if not complete and 1 < len(rows) <= ROWS_GUESSED_FROM:
        rows.pop()  # it may have been cut
    header, *body = rows
    return header, [(row + [""] * len(header))[: len(header)] for row in body]


def _records(text: str, *, complete: bool) -> list[dict[str, Any]]:
    lines = [line for line in text.split("\n")[: ROWS_GUESSED_FROM + 1] if line.strip()]
    if not complete and 1 < len(lines) <= ROWS_GUESSED_FROM:
        lines.pop()
    records = []
    for number, line in enumerate(lines, 1):
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise Unprocessable(f"Line {number} is not JSON: {error}.", code="invalid_json") from None
        if not isinstance(record, dict):
            raise Unprocessable(f"Line {number} is not a JSON object.", code="invalid_json")
        records.append(record)
    return records


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _note(read: Callable[[], str | None]) -> str | None:
    """What a plan says of a tool; a file that fits none is no fault before its columns are named."""
    try:
        return read()
    except BadData:
        return None


def _described(columns: list[str], rows: list[list[str]], recognised: str | None) -> FilePreview:
    guesses = [] if recognised else guess_columns(columns, rows)
    found = {guess.ours for guess in guesses}
    missing = [] if recognised else [name for name in ("annotator", "label") if name not in found]
    if not recognised and not found & {"prompt", "item_id"}:
        missing.append("prompt")
    return FilePreview(
        columns=columns,
        rows=[[cell[:LONGEST_CELL] for cell in row] for row in rows[:ROWS_SHOWN]],
        recognised=recognised,
        guesses=[ColumnGuess(**guess._asdict()) for guess in guesses],
        missing=sorted(missing, key=COLUMNS.index),
    )
