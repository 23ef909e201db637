"""What is wrong with uploaded data, and where: every fault of a row names its row, its column and what to do."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from threading import Lock
from typing import Literal

OnError = Literal["abort", "skip"]
MAX_FAULTS_KEPT = 100


@dataclass(frozen=True, order=True)
class Fault:
    """One fault of one row. Rows count from 1; the header of a CSV is row 1, the first line of a JSONL too."""

    row: int
    column: str | None
    code: str
    detail: str


class BadData(ValueError):
    """The data cannot be used; the message is for the user."""

    def __init__(self, code: str, detail: str, faults: tuple[Fault, ...] = ()) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.faults = faults


class TooLarge(BadData):
    """The data goes beyond a limit."""


class Faults:
    """The faults found so far, by whatever thread: listed up to a cap, counted without one."""

    def __init__(self, on_error: OnError) -> None:
        self._on_error = on_error
        self._listed: list[Fault] = []
        self._lock = Lock()
        self.rejected = 0  # rows, not faults: a row may have several

    @property
    def listed(self) -> tuple[Fault, ...]:
        return tuple(sorted(self._listed, key=lambda fault: (fault.row, fault.column or "")))

    def add(self, faults: Iterable[Fault], n_rows: int) -> None:
        """Note the faults of `n_rows` rows. Raises BadData when there is nothing left to hope for."""
        with self._lock:
            self.rejected += n_rows
            self._listed += islice(faults, MAX_FAULTS_KEPT - len(self._listed))
        if self._on_error == "abort" and len(self._listed) == MAX_FAULTS_KEPT:
            self.raise_if_any()

    def raise_if_any(self) -> None:
        """Raises BadData unless bad rows are to be skipped."""
        if self._on_error == "skip" or not self.rejected:
            return
        listed = self.listed
        first = listed[0]
        others = {1: "", 2: " Another row is bad."}.get(self.rejected, f" {self.rejected - 1:,} more rows are bad.")
        if len(listed) == MAX_FAULTS_KEPT:
            others = f" Reading stopped after {MAX_FAULTS_KEPT} faults."
        raise BadData("invalid_rows", f"Row {first.row} is bad: {first.detail}{others} Nothing was kept.", listed)


def is_unicode(text: str) -> bool:
    """False for text with half of a surrogate pair, which has no UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
