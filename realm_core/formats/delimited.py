"""CSV and TSV as blocks of whole records.

A block is read by polars when it is plainly well-formed: quotes only where RFC 4180 puts them, the same number of
cells in every record, no blank ones. Any other block is read again by the csv module, which knows which record is at
fault. Both give the same records (a property test holds them together); a record that the csv module can read is good.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from realm_core.formats.cleanlab import as_rows
from realm_core.formats.columns import ROW, ColumnPlan
from realm_core.formats.compression import ByteStream
from realm_core.formats.faults import BadData, Fault, Faults, TooLarge, is_unicode
from realm_core.formats.reading_options import ReadingOptions
from realm_core.formats.recognition import plan_table

_NEWLINE, _RETURN, _QUOTE = b'\n\r"'
_LONE_RETURN = re.compile("\r(?!\n)")
_MARK = "\udc0d"  # for a lone carriage return, which the csv module takes for the end of a line; no text has it
_UTF8_MARK, _UTF16_MARKS = b"\xef\xbb\xbf", (b"\xff\xfe", b"\xfe\xff")


@dataclass(frozen=True)
class Records:
    """The first records of some bytes: how many, how many bytes they took, and the good ones with their numbers."""

    frame: pl.DataFrame
    n_records: int
    n_bytes: int


class DelimitedFile:
    """A CSV (or TSV) that is read as it arrives."""

    def __init__(self, chunks: Iterable[bytes], separator: str, options: ReadingOptions, faults: Faults) -> None:
        self._stream = ByteStream(chunks, options.limits.block_bytes)
        self._separator = separator
        self._limits = options.limits
        self._faults = faults
        self._row = 2
        self._names = self._read_header()
        self.plan: ColumnPlan = plan_table(self._names, options)

    def _read_header(self) -> list[str]:
        start = self._stream.peek()
        if start.startswith(_UTF16_MARKS):
            raise BadData("invalid_utf8", "The file is UTF-16; save it as UTF-8.")
        if start.startswith(_UTF8_MARK):
            self._stream.skip(len(_UTF8_MARK))
            start = self._stream.peek()
        if not start.strip():
            raise BadData("empty_file", "The file is empty: it needs a header and at least one row.")
        if b"\r" in start[: start.find(b"\n")].removesuffix(b"\r"):
            raise BadData("line_endings", "Lines end in a lone carriage return; save the file with LF or CRLF.")
        records = _CsvModule(start, self._separator, row=1)
        names = next(records, None)
        if records.faults:
            raise BadData("invalid_rows", f"The header is bad: {records.faults[0].detail}", tuple(records.faults))
        if names is None:
            raise self._too_long(1)
        if len(names) > self._limits.max_columns:
            raise TooLarge(
                "too_many_columns", f"The header names {len(names):,} columns; at most {self._limits.max_columns:,}."
            )
        if not all(map(is_unicode, names)):
            raise BadData("invalid_utf8", "The header (row 1) is not valid UTF-8.", (_not_unicode(1, None),))
        self._stream.skip(records.n_bytes)
        return names

    def frames(self) -> Iterator[pl.DataFrame]:
        """Blocks of good records: our columns as text, empty cells null, and their row numbers."""
        while data := self._stream.peek():
            records = self._read_fast(data) or self._read_exactly(data)
            if not records.n_bytes:
                raise self._too_long(self._row)
            self._stream.skip(records.n_bytes)
            self._row += records.n_records
            ours = {f"c{self._names.index(theirs)}": name for name, theirs in self.plan.sources.items()}
            frame = records.frame.select(ROW, *(pl.col(column).alias(name) for column, name in ours.items()))
            yield as_rows(frame, self.plan.wide) if self.plan.wide else frame

    def _too_long(self, row: int) -> TooLarge:
        limit = f"{self._limits.block_bytes:,} bytes"
        detail = f"Row {row} does not end within {limit}: is a quote not closed, or a line break missing?"
        return TooLarge("record_too_long", detail, (Fault(row, None, "record_too_long", detail),))

    def _read_fast(self, data: bytes) -> Records | None:
        """The whole records of a well-formed block; None when it is not plainly so."""
        found = _layout(data, ord(self._separator))
        if found is None:
            return None
        try:
            frame = pl.read_csv(
                data[: found.n_bytes],
                has_header=False,
                separator=self._separator,
                schema={f"c{index}": pl.String for index in range(len(self._names))},
            )
        except pl.exceptions.PolarsError:
            return None
        if frame.height != found.n_records:
            return None
        if frame.to_series(-1).null_count() and found.n_separators() != frame.height * (frame.width - 1):
            return None  # polars refuses a row that is too long, and takes one that is too short for empty cells
        return Records(frame.with_row_index(ROW, self._row), found.n_records, found.n_bytes)

    def _read_exactly(self, data: bytes) -> Records:
        """The whole records of any block, its faults noted."""
        records = _CsvModule(data, self._separator, self._row)
        good, rows = [], []
        for cells in records:
            fault = self._fault_of(records.row, cells) if cells else None
            if fault is not None:
                self._faults.add([fault], 1)
            elif cells:
                good.append(cells)
                rows.append(records.row)
        for fault in records.faults:
            self._faults.add([fault], 1)
        if records.open_quote_at is not None and self._stream.ended:
            row = records.open_quote_at
            detail = "A quote is opened in this row and never closed."
            raise BadData("invalid_rows", f"Row {row} is bad: {detail}", (Fault(row, None, "unclosed_quote", detail),))
        schema = {f"c{index}": pl.String for index in range(len(self._names))}
        frame = pl.DataFrame(good, schema, orient="row").with_columns(pl.all().replace("", None))
        return Records(
            frame.with_columns(pl.Series(ROW, rows, pl.UInt32)), records.row - self._row + 1, records.n_bytes
        )

    def _fault_of(self, row: int, cells: Sequence[str]) -> Fault | None:
        if len(cells) != len(self._names):
            detail = f"The row has {len(cells):,} cells, the header {len(self._names):,} columns."
            return Fault(row, None, "wrong_number_of_cells", detail)
        bad = next((name for name, cell in zip(self._names, cells, strict=True) if not is_unicode(cell)), None)
        return None if bad is None else _not_unicode(row, bad)


def _not_unicode(row: int, column: str | None) -> Fault:
    return Fault(row, column, "invalid_utf8", "The bytes are not valid UTF-8; save the file as UTF-8.")


class _CsvModule:
    """The whole records of some bytes, by the csv module, with the row and byte at which each ends.

    A line that breaks the rules of quoting is noted in `faults`, and reading goes on with the next. A blank line is an
    empty record. The records end before one that is not complete.
    """

    def __init__(self, data: bytes, separator: str, row: int) -> None:
        csv.field_size_limit(2**31 - 1)  # ours is checked later, in bytes
        self._reader = csv.reader(self._lines(data), delimiter=separator, strict=True)
        self._read = 0
        self.row = row - 1
        self.n_bytes = 0
        self.faults: list[Fault] = []
        self.open_quote_at: int | None = None

    def _lines(self, data: bytes) -> Iterator[str]:
        for line in io.BytesIO(data):
            if line.endswith(b"\n"):
                self._read += len(line)
                yield _LONE_RETURN.sub(_MARK, line.decode("utf-8", "surrogateescape"))

    def __iter__(self) -> Iterator[list[str]]:
        return self

    def __next__(self) -> list[str]:
        while True:
            try:
                cells = next(self._reader)
            except csv.Error as error:
                if "unexpected end of data" in str(error):
                    self.open_quote_at = self.row + 1
                    raise StopIteration from None
                self.row += 1
                self.n_bytes = self._read
                detail = "Text follows a closing quote; a quote inside a quoted cell must be doubled."
                self.faults.append(Fault(self.row, None, "invalid_quoting", detail))
                continue
            self.row += 1
            self.n_bytes = self._read
            return [cell.replace(_MARK, "\r") for cell in cells]


@dataclass(frozen=True)
class _Layout:
    """Where the whole records of a block end."""

    n_records: int
    n_bytes: int
    octets: NDArray[np.uint8]
    quotes: NDArray[np.int64]
    separator: int

    def n_separators(self) -> int:
        """How many separators stand between cells."""
        separators = np.flatnonzero(self.octets[: self.n_bytes] == self.separator)
        return int(_outside_quotes(separators, self.quotes).sum())


def _outside_quotes(positions: NDArray[np.int64], quotes: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which positions have an even number of quotes before them: those are not inside a cell."""
    outside: NDArray[np.bool_] = np.searchsorted(quotes, positions) % 2 == 0
    return outside


_BYTES = np.arange(256)


def _layout(data: bytes, separator: int) -> _Layout | None:
    """The whole records of a block, if every quote opens or closes a cell or is doubled inside one.

    None when a quote stands elsewhere, a record is blank, or a cell ends in a carriage return, which polars drops: the
    csv module must look.
    """
    if bytes([_RETURN, separator]) in data:
        return None
    octets = np.frombuffer(data, np.uint8)
    newlines = np.flatnonzero(octets == _NEWLINE)
    quotes = np.flatnonzero(octets == _QUOTE)
    ends = newlines[_outside_quotes(newlines, quotes)]
    if not len(ends):
        return None
    n_bytes = int(ends[-1]) + 1
    quotes = quotes[: np.searchsorted(quotes, n_bytes)]
    opens, closes = quotes[::2], quotes[1::2]
    before = np.where(opens > 0, octets[opens - 1], _NEWLINE)
    if not np.isin(_BYTES, [separator, _NEWLINE, _QUOTE])[before].all():
        return None
    if not np.isin(_BYTES, [separator, _NEWLINE, _RETURN, _QUOTE])[octets[closes + 1]].all():
        return None
    lengths = np.diff(ends, prepend=-1)
    if (lengths == 1).any() or (octets[ends[lengths == 2] - 1] == _RETURN).any():
        return None
    return _Layout(len(ends), n_bytes, octets, quotes, separator)
