"""Parquet, read from a file a slice of rows at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import TypeVar

import numpy as np
import polars as pl

from realm_core.formats.cleanlab import as_rows
from realm_core.formats.columns import ROW
from realm_core.formats.compression import plain_bytes
from realm_core.formats.faults import BadData, Faults, TooLarge
from realm_core.formats.hugging_face import class_names
from realm_core.formats.json_lines import JsonLinesFile, lists_as_text
from realm_core.formats.reading_options import ReadingOptions
from realm_core.formats.recognition import plan_table, recognise_record

T = TypeVar("T")
_RECORDS_AT_ONCE = 2**12
_ROWS_AT_ONCE = 2**17  # a slice is decoded from the start of its row group, so small ones cost more


def open_parquet(path: Path, options: ReadingOptions, faults: Faults) -> ParquetFile | JsonLinesFile:
    """A Parquet file; one of a tool's records, whose cells are lists, is read as the JSON lines it stands for.

    Raises BadData.
    """
    if path.stat().st_size == 0 or options.mapping:
        return ParquetFile(path, options)
    scan = pl.scan_parquet(path, glob=False)
    tool = recognise_record(dict.fromkeys(_read(scan.collect_schema).names()), options)
    if tool is None or tool.rows is None:
        return ParquetFile(path, options)
    return JsonLinesFile(plain_bytes(_as_json_lines(scan), options.limits), options, faults)


def _as_json_lines(scan: pl.LazyFrame) -> Iterator[bytes]:
    start = 0
    while (frame := _read(scan.slice(start, _RECORDS_AT_ONCE).collect)).height:
        yield frame.write_ndjson().encode()
        start += frame.height


class ParquetFile:
    """A Parquet file, whose footer tells the columns and the number of rows before anything else is read."""

    def __init__(self, path: Path, options: ReadingOptions) -> None:
        self._limits = options.limits
        self._scan = pl.scan_parquet(path, glob=False)
        if path.stat().st_size == 0:
            raise BadData("empty_file", "The file is empty.")
        schema = _read(self._scan.collect_schema)
        self._n_rows: int = _read(lambda: self._scan.select(pl.len()).collect().item())
        if self._n_rows > options.limits.max_rows:
            raise TooLarge("too_many_rows", f"The file has {self._n_rows:,} rows; at most {options.limits.max_rows:,}.")
        self.plan = plan_table(schema.names(), options)
        names = class_names(_read(lambda: pl.read_parquet_metadata(path)))
        self._columns = [
            _named(theirs, names[theirs]).alias(ours)
            if theirs in names and schema[theirs].is_integer()
            else _as_text(ours, theirs, schema[theirs])
            for ours, theirs in self.plan.sources.items()
        ]

    def frames(self) -> Iterator[pl.DataFrame]:
        """Blocks of rows: our columns as text, and their row numbers, the first being 1."""
        size = 0
        for start in range(0, self._n_rows, _ROWS_AT_ONCE):
            frame = _read(self._scan.slice(start, _ROWS_AT_ONCE).select(self._columns).collect)
            if frame.schema.get("options") == pl.List(pl.String):
                frame = frame.with_columns(lists_as_text(frame["options"]))
            frame = frame.with_row_index(ROW, start + 1)
            for part in _parts(frame, self._limits.block_bytes):
                size += sum(int(column.str.len_bytes().sum()) for column in part.drop(ROW))
                if size > self._limits.max_bytes:
                    raise TooLarge(
                        "too_large", f"The data is larger than {self._limits.max_bytes:,} bytes uncompressed."
                    )
                yield as_rows(part, self.plan.wide) if self.plan.wide else part


def _read(action: Callable[[], T]) -> T:
    """What polars reads. Raises BadData where it finds the file damaged."""
    try:
        return action()
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
        reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise BadData(
            "invalid_parquet", f"The Parquet file is damaged or cut short ({reason}). Send it again whole."
        ) from None


def _named(column: str, names: list[str]) -> pl.Expr:
    """The names of classes for their numbers; null for -1, which is none."""
    return pl.col(column).cast(pl.Int64).replace_strict(dict(enumerate(names)), default=None, return_dtype=pl.String)


def _as_text(ours: str, theirs: str, kind: pl.DataType) -> pl.Expr:
    """A column as the text that a CSV would hold. Raises BadData for one of a kind that has none."""
    column = pl.col(theirs)
    if isinstance(kind, pl.String | pl.Boolean | pl.Categorical | pl.Enum | pl.Decimal | pl.Null) or kind.is_integer():
        return column.cast(pl.String).alias(ours)
    if (
        kind.is_float()
    ):  # whole numbers without the point, as in JSON: a column of whole numbers with gaps is often float
        whole = (column == column.round()) & (column.abs() < 2**53)
        as_whole = column.cast(pl.Int64, strict=False).cast(pl.String)
        return pl.when(whole).then(as_whole).when(column.is_not_nan()).then(column.cast(pl.String)).alias(ours)
    if isinstance(kind, pl.Datetime | pl.Date) and ours == "created_at":
        return (column.cast(pl.Datetime("us")).dt.epoch("us") / 1e6).cast(pl.String).alias(ours)
    if isinstance(kind, pl.List) and ours == "options":
        return column.cast(pl.List(pl.String)).alias(ours)
    raise BadData("wrong_type", f"Column {theirs!r} is of type {kind}; it must be text or numbers.")


def _parts(frame: pl.DataFrame, max_bytes: int) -> Iterator[pl.DataFrame]:
    """The frame in parts of about `max_bytes` of text each: a dictionary in the file may stand for far more text."""
    sizes = frame.select(pl.sum_horizontal(pl.exclude(ROW).str.len_bytes().fill_null(0)).cast(pl.Int64).cum_sum())
    cuts = np.flatnonzero(np.diff(sizes.to_series().to_numpy() // max_bytes)) + 1
    for start, end in pairwise([0, *cuts.tolist(), frame.height]):
        yield frame.slice(start, end - start)
