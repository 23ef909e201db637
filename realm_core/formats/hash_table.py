"""Numbers by 128-bit hash, and arrays that grow: what is kept of items while a file is read."""

from __future__ import annotations

from math import prod
from mmap import mmap
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from realm_core.annotations import UNKNOWN, IntArray
from realm_core.formats.faults import BadData

_FIRST_ROWS = 1024
HashArray = NDArray[np.uint64]  # (n, 2): a 128-bit hash a row


class HashTable:
    """Numbers by hash in 20 bytes each: sorted runs, of which neighbours are merged while they are alike in size."""

    def __init__(self) -> None:
        self._runs: list[_Run] = []

    def find(self, hashes: HashArray) -> IntArray:
        """The number of each hash, UNKNOWN for those not there. (n,)"""
        numbers = np.full(len(hashes), UNKNOWN, np.int32)
        first, second = np.ascontiguousarray(hashes.T)
        for run in self._runs:
            at = np.searchsorted(run.first, first)
            at[at == len(run.first)] = 0
            there = (run.first[at] == first) & (run.second[at] == second)
            numbers[there] = run.numbers[at[there]]
        return numbers

    def add(self, hashes: HashArray, numbers: IntArray) -> None:
        """Add hashes that are not there yet."""
        if not len(hashes):
            return
        parts = [_Run(hashes[:, 0], hashes[:, 1], numbers)]
        while self._runs and len(self._runs[-1].first) < 2 * sum(len(part.first) for part in parts):
            parts.append(self._runs.pop())
        first, second, merged = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
        order = np.argsort(first, kind="stable")
        run = _Run(first[order], second[order], merged[order])
        if (run.first[1:] == run.first[:-1]).any():
            raise collision()
        self._runs.append(run)


class _Run(NamedTuple):
    """Hashes by their first 64 bits, which are sorted and distinct."""

    first: NDArray[np.uint64]
    second: NDArray[np.uint64]
    numbers: IntArray


def collision() -> BadData:
    """Two items have hashes that begin with the same 64 bits: one upload of 10^7 items in 10^5."""
    return BadData("hashcollision", "Two items cannot be told apart by their hashes; send the file again.")


class Column:
    """An array that grows at its end, in pages of its own, which are given back whole: malloc would keep them."""

    def __init__(self, dtype: type[np.generic], *shape: int) -> None:
        self._values = _own_pages(_FIRST_ROWS, np.dtype(dtype), shape)
        self._size = 0

    def extend(self, values: NDArray[Any]) -> None:
        size = self._size + len(values)
        if size > len(self._values):
            grown = _own_pages(max(size, 2 * len(self._values)), self._values.dtype, self._values.shape[1:])
            grown[: self._size] = self._values[: self._size]
            self._values = grown
        self._values[self._size : size] = values
        self._size = size

    @property
    def values(self) -> NDArray[Any]:
        return self._values[: self._size]


def _own_pages(n_rows: int, dtype: np.dtype[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """An array of zeros that takes no memory before it is written."""
    return np.frombuffer(mmap(-1, n_rows * prod(shape) * dtype.itemsize), dtype).reshape(n_rows, *shape)
