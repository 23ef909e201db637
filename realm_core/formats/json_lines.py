"""JSON Lines as blocks, and JSON objects as rows.

polars reads a block at once; json reads it again line by line when polars refuses it or may have read it in another
way than json does. Both take a number as its shortest text (1.0 is "1", 1e5 is "100000"), true as "true", and the
first of two equal keys.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

import polars as pl

from realm_core.formats.columns import COLUMNS, ROW, ColumnPlan, plan_columns
from realm_core.formats.compression import ByteStream
from realm_core.formats.faults import BadData, Fault, Faults, TooLarge, is_unicode
from realm_core.formats.reading_options import ReadingOptions
from realm_core.formats.recognised import BadRecord, Recognised
from realm_core.formats.recognition import recognise_record

_UTF8_MARK = b"\xef\xbb\xbf"


class JsonLinesFile:
    """A JSONL that is read as it arrives. Its columns are those that its first block has a value for."""

    def __init__(self, chunks: Iterable[bytes], options: ReadingOptions, faults: Faults) -> None:
        self._stream = ByteStream(chunks, options.limits.block_bytes)
        self._limits = options.limits
        self._faults = faults
        self._row = 1
        if self._stream.peek().startswith(_UTF8_MARK):
            self._stream.skip(len(_UTF8_MARK))
        if not self._stream.peek().strip():
            raise BadData("empty_file", "The file is empty: it needs at least one line.")
        first = _first_object(self._stream.peek())
        self._tool = recognise_record(first, options)
        mapping = self._tool.mapping if self._tool else options.mapping
        self._keys = _keys(mapping)
        self._first = self._next_frame()
        faults.raise_if_any()
        self.plan = _plan(first, self._first, self._keys, mapping, self._tool)

    def frames(self) -> Iterator[pl.DataFrame]:
        """Blocks of good records: our columns as text, and their line numbers."""
        frame: pl.DataFrame | None = self._first
        while frame is not None:
            if frame.height:
                yield _without_empty_columns(frame)
            frame = self._next_frame()

    def _next_frame(self) -> pl.DataFrame | None:
        data = self._stream.peek()
        if not data:
            return None
        n_bytes = data.rfind(b"\n") + 1
        if not n_bytes:
            detail = f"Line {self._row} does not end within {self._limits.block_bytes:,} bytes."
            raise TooLarge("record_too_long", detail, (Fault(self._row, None, "record_too_long", detail),))
        block = data[:n_bytes]
        n_lines = block.count(b"\n")
        frame = None if self._tool and self._tool.rows else self._read_fast(block, n_lines)
        if frame is None:
            objects = _objects(enumerate(block.split(b"\n")[:-1], self._row), self._faults)
            frame = frame_of_objects(_as_rows(objects, self._tool, self._faults), self._keys, self._faults)
        self._stream.skip(n_bytes)
        self._row += n_lines
        return frame

    def _read_fast(self, block: bytes, n_lines: int) -> pl.DataFrame | None:
        """The block by polars; None when it refuses it, skips a line, or may have read a value in its own way."""
        schema = {key: pl.List(pl.String) if ours == "options" else pl.String() for key, ours in self._keys.items()}
        try:
            frame = pl.read_ndjson(block, schema=schema)
        except pl.exceptions.PolarsError:
            return None
        if frame.height != n_lines:
            return None
        frame = frame.rename(self._keys).with_row_index(ROW, self._row)
        if any(_doubtful(texts) for texts in (*frame.select(pl.exclude(ROW, "options")), frame["options"].explode())):
            return None
        return frame.with_columns(lists_as_text(frame["options"]))


def _doubtful(texts: pl.Series) -> bool:
    """Could one of these be a list or an object that polars made text of, or have had half a surrogate pair?"""
    if texts.null_count() == len(texts):
        return False
    nested = texts.str.starts_with("[") | texts.str.starts_with("{")
    return bool((nested | texts.str.contains("\0", literal=True)).any())


def lists_as_text(lists: pl.Series) -> pl.Series:
    """Lists of texts as JSON."""
    if lists.null_count() == len(lists):
        return pl.Series(lists.name, [], pl.String).extend_constant(None, len(lists))
    texts = [None if given is None else json_text(given) for given in lists.to_list()]
    return pl.Series(lists.name, texts, pl.String)


def _keys(mapping: Mapping[str, str]) -> dict[str, str]:
    """The key under which each of our columns stands in an object."""
    own = {name: name for name in COLUMNS if name not in mapping and name not in mapping.values()}
    return own | dict(mapping)


def _first_object(data: bytes) -> dict[str, Any]:
    try:
        first = json.loads(data[: data.find(b"\n") + 1])
    except (ValueError, RecursionError):
        return {}
    return first if isinstance(first, dict) else {}


def _plan(
    first: Mapping[str, Any],
    frame: pl.DataFrame | None,
    keys: Mapping[str, str],
    mapping: Mapping[str, str],
    tool: Recognised | None,
) -> ColumnPlan:
    """The columns of objects that begin with `first`; of a tool's records, those that the rows made of them have."""
    names = [] if tool and tool.rows else list(first)
    return plan_columns(_found(names, frame, keys), mapping, note=tool.note if tool else None)


def _as_rows(objects: Iterable[tuple[int, Any]], tool: Recognised | None, faults: Faults) -> Iterator[tuple[int, Any]]:
    """The rows that a tool's records hold, each with the number of its record; other objects are rows already."""
    if tool is None or tool.rows is None:
        yield from objects
        return
    for row, record in objects:
        try:
            made = list(tool.rows(record)) if isinstance(record, dict) else [record]
        except BadRecord as error:
            faults.add([Fault(row, error.field, "unreadable_record", str(error))], 1)
            continue
        for one in made:
            yield row, one


def _found(names: Sequence[str], frame: pl.DataFrame | None, keys: Mapping[str, str]) -> list[str]:
    """The keys of the first object and of ours that others have, less those without a value in the whole block."""
    if frame is None:
        return list(names)
    empty = {key for key, ours in keys.items() if frame[ours].null_count() == frame.height}
    found = [name for name in names if name not in empty]
    return found + [key for key in keys if key not in empty and key not in names]


def _without_empty_columns(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.select(column.name for column in frame if column.null_count() < frame.height)


def _objects(lines: Iterable[tuple[int, bytes]], faults: Faults) -> Iterator[tuple[int, Any]]:
    for row, line in lines:
        if not line.strip():
            continue
        try:
            yield row, parse_json(line.decode())
        except UnicodeDecodeError:
            detail = "The bytes are not valid UTF-8; save the file as UTF-8."
            faults.add([Fault(row, None, "invalid_utf8", detail)], 1)
        except json.JSONDecodeError as error:
            detail = f"This line is not valid JSON: {error.msg} at character {error.colno}."
            faults.add([Fault(row, None, "invalid_json", detail)], 1)
        except (ValueError, RecursionError) as error:
            faults.add([Fault(row, None, "invalid_json", f"This line is not valid JSON: {error}.")], 1)


def parse_json(text: str | bytes) -> Any:
    """A JSON value whose numbers are text already, of equal keys the first."""
    return json.loads(
        text,
        parse_int=lambda digits: str(int(digits)),
        parse_float=_float_text,
        parse_constant=_refuse_constant,
        object_pairs_hook=_first_of_equal_keys,
    )


def _first_of_equal_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    return dict(pairs) | dict(reversed(pairs))


def _float_text(text: str) -> str:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise ValueError(f"the number {text[:30]} is out of range")
    return format(Decimal(repr(value)).normalize(), "f")


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON value")


def frame_of_objects(objects: Iterable[tuple[int, Any]], keys: Mapping[str, str], faults: Faults) -> pl.DataFrame:
    """Parsed objects with their row numbers as our columns; the faults of those that cannot be are noted."""
    rows: list[tuple[int, list[str | None]]] = []
    for row, value in objects:
        try:
            rows.append((row, _cells(row, value, keys)))
        except _BadCell as bad:
            faults.add([bad.fault], 1)
    columns = {
        ours: pl.Series(ours, [cells[i] for _, cells in rows], pl.String) for i, ours in enumerate(keys.values())
    }
    return pl.DataFrame([pl.Series(ROW, [row for row, _ in rows], pl.UInt32), *columns.values()])


class _BadCell(Exception):
    def __init__(self, row: int, column: str | None, code: str, detail: str) -> None:
        super().__init__(detail)
        self.fault = Fault(row, column, code, detail)


def _cells(row: int, value: Any, keys: Mapping[str, str]) -> list[str | None]:
    if not isinstance(value, dict):
        raise _BadCell(
            row, None, "not_an_object", 'Each row must be a JSON object: {"prompt": …, "annotator": …, "label": …}.'
        )
    return [_cell(row, key, value.get(key), is_list=ours == "options") for key, ours in keys.items()]


def _cell(row: int, key: str, value: Any, *, is_list: bool) -> str | None:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list) and is_list:
        value = json_text(value)
    if value is not None and not isinstance(value, str):
        raise _BadCell(row, key, "not_text", "The value must be text or a number, not a list or an object.")
    if value is not None and not is_unicode(value):
        raise _BadCell(row, key, "invalid_unicode", "The text has half of a surrogate pair, which is no character.")
    return value


def json_text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


class JsonRows:
    """Rows that are parsed JSON objects already, numbered from 1."""

    def __init__(self, objects: Sequence[Any], options: ReadingOptions, faults: Faults) -> None:
        if not objects:
            raise BadData("no_rows", "There are no annotations.")
        first = objects[0] if isinstance(objects[0], dict) else {}
        tool = recognise_record(first, options)
        mapping = tool.mapping if tool else options.mapping
        self._keys = _keys(mapping)
        self._frame = frame_of_objects(_as_rows(enumerate(objects, 1), tool, faults), self._keys, faults)
        faults.raise_if_any()
        self.plan = _plan(first, self._frame, self._keys, mapping, tool)

    def frames(self) -> Iterator[pl.DataFrame]:
        yield _without_empty_columns(self._frame)
