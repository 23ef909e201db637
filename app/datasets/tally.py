"""Whole numbers by key, few of the possible keys: they add up, subtract exactly, and fit into a column."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_DENSE = 2**16  # so many possible keys are counted in an array of all, however few are there
Integers = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Tally:
    """`keys` (C, D), each once and in order; `counts` (C, W) of each, not all of them zero."""

    keys: Integers
    counts: Integers

    @staticmethod
    def nothing(n_columns: int, n_amounts: int) -> Tally:
        """What others are added to."""
        return Tally(np.zeros((0, n_columns), np.int64), np.zeros((0, n_amounts), np.int64))

    @staticmethod
    def of(keys: Sequence[NDArray[Any]], *amounts: NDArray[Any]) -> Tally:
        """Adds up each of `amounts` (M,), or ones, over the rows of the same key, given as D columns (M,) from 0 on."""
        sizes = [int(column.max(initial=0)) + 1 for column in keys]
        code = np.zeros(len(keys[0]), np.int64)
        for column, size in zip(keys, sizes, strict=True):
            code *= size
            code += column
        n_codes = int(np.prod(sizes, dtype=object))
        if n_codes <= max(_DENSE, len(code)):
            place, codes = code, np.arange(n_codes)
        else:
            codes, place = np.unique(code, return_inverse=True)
        counts = np.stack([_added_up(place, one, len(codes)) for one in amounts or (None,)], axis=1)
        there = counts.any(axis=1)
        return Tally(_columns(codes[there], sizes), counts[there])

    def plus(self, other: Tally) -> Tally:
        """Both together."""
        keys, counts = np.concatenate([self.keys, other.keys]), np.concatenate([self.counts, other.counts])
        return Tally.of(list(keys.T), *counts.T)

    def minus(self, other: Tally) -> Tally:
        """This without the other, which was added to it."""
        return self.plus(Tally(other.keys, -other.counts))

    def where(self, *key: int) -> Tally:
        """The part whose keys begin with `key`, without these columns."""
        chosen = (self.keys[:, : len(key)] == key).all(axis=1)
        return Tally(self.keys[chosen, len(key) :], self.counts[chosen])


def _added_up(place: NDArray[np.intp], amounts: NDArray[Any] | None, size: int) -> Integers:
    if amounts is None:
        return np.bincount(place, minlength=size)
    return np.rint(np.bincount(place, amounts, minlength=size)).astype(np.int64)  # float64: exact below 2^53


def _columns(codes: NDArray[np.intp], sizes: Sequence[int]) -> Integers:
    columns = []
    for size in reversed(sizes):
        codes, column = np.divmod(codes, size)
        columns.append(column)
    return np.stack(columns[::-1], axis=1).astype(np.int64)
