"""Items numbered as they are first seen, by 128-bit hashes, so that no text has to stay in memory.

Two kinds of hash: a fast one with secret seeds finds the item of every row while a file is read; a cryptographic one,
made once for each item, is the `key` that the item keeps for ever.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from hashlib import blake2b
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from realm_core.annotations import UNKNOWN, IntArray
from realm_core.formats.columns import ROW
from realm_core.formats.faults import BadData, Fault, Faults
from realm_core.formats.reading_options import DEFAULT_TASK

HashArray = NDArray[np.uint64]  # (n, 2): a 128-bit hash a row
KEY_BYTES = 16


def _digests(texts: pl.DataFrame) -> list[bytes]:
    """A 128-bit hash of each row of texts, none of them empty or with a NUL character; null is no text."""
    joined = texts.select(pl.concat_str(pl.all().fill_null(""), separator="\0").cast(pl.Binary)).to_series()
    return [blake2b(row, digest_size=KEY_BYTES).digest() for row in joined.to_list()]


def as_keys(digests: Iterable[bytes]) -> HashArray:
    return np.frombuffer(b"".join(digests), np.uint64).reshape(-1, 2)


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
            raise _collision()
        self._runs.append(run)


class _Run(NamedTuple):
    """Hashes by their first 64 bits, which are sorted and distinct."""

    first: NDArray[np.uint64]
    second: NDArray[np.uint64]
    numbers: IntArray


def _collision() -> BadData:
    """Two items have hashes that begin with the same 64 bits: one upload of 10^7 items in 10^5."""
    return BadData("hash_collision", "Two items cannot be told apart by their hashes; send the file again.")


class Column:
    """An array that grows at its end."""

    def __init__(self, dtype: type[np.generic]) -> None:
        self._values: NDArray[Any] = np.empty(1024, dtype)
        self._size = 0

    def extend(self, values: NDArray[Any]) -> None:
        size = self._size + len(values)
        if size > len(self._values):
            grown = np.empty(max(size, 2 * len(self._values)), self._values.dtype)
            grown[: self._size] = self._values[: self._size]
            self._values = grown
        self._values[self._size : size] = values
        self._size = size

    @property
    def values(self) -> NDArray[Any]:
        return self._values[: self._size]


class ItemBook:
    """Finds the number of each row's item: by (task, item_id), else by (task, prompt, options)."""

    def __init__(self) -> None:
        self._seeds = (secrets.randbits(64), secrets.randbits(64))  # no file can be made to fit them
        self._table = HashTable()
        self._first_row = Column(np.uint32)
        self._text = Column(np.uint64)  # a hash, to see whether an item_id comes back with another text
        self._task = Column(np.int16)
        self._has_options = Column(np.bool_)
        self._keys: list[HashArray] = []
        self._contents: list[HashArray] = []
        self._any_named = False

    @property
    def n_items(self) -> int:
        return len(self._task.values)

    @property
    def task(self) -> NDArray[np.int16]:
        return self._task.values

    @property
    def has_options(self) -> NDArray[np.bool_]:
        return self._has_options.values

    @property
    def first_rows(self) -> NDArray[np.uint32]:
        return self._first_row.values

    def close(self) -> None:
        """Forget what only numbering needs: no more rows will come."""
        self._table, self._text = HashTable(), Column(np.uint64)
        self._keys, self._contents = [np.concatenate(self._keys)], [np.concatenate(self._contents)]

    def keys(self) -> HashArray:
        """What each item is known by for ever. (N, 2)"""
        return self._keys[0]

    def contents(self) -> HashArray | None:
        """Hashes of the texts of the items that have an item_id (N, 2): the keys of the others are such hashes already.

        None when no item has an item_id.
        """
        return self._contents[0] if self._any_named else None

    def number(self, frame: pl.DataFrame, faults: Faults) -> tuple[pl.DataFrame, pl.DataFrame]:
        """The rows with the number of their `item`, less those whose text contradicts it; and the items that are new.

        The frame has `task_number` beside our columns.
        """
        whole = _complete(frame)
        hashes = np.column_stack([_identity(whole).hash_rows(seed).to_numpy() for seed in self._seeds])
        at, group = _distinct(hashes)
        numbers = self._table.find(hashes[at])
        new = np.flatnonzero(numbers == UNKNOWN)
        new = new[np.argsort(at[new])]  # in the order of the rows
        numbers[new] = np.arange(self.n_items, self.n_items + len(new), dtype=np.int32)
        self._table.add(hashes[at[new]], numbers[new])
        texts = whole.select("prompt", "options").hash_rows().to_numpy()
        new_items = self._add(frame[at[new]], whole[at[new]], texts[at[new]])
        numbered = frame.with_columns(pl.Series("item", numbers[group]))
        return self._without_contradictions(numbered, texts, faults), new_items

    def _add(self, new: pl.DataFrame, whole: pl.DataFrame, texts: NDArray[np.uint64]) -> pl.DataFrame:
        """Keep what is asked of items later; the frame with their `item` and `key`."""
        keys = _digests(_identity(whole))
        named = whole["item_id"].is_not_null()
        contents = np.zeros((new.height, 2), np.uint64)
        self._any_named |= bool(named.any())
        contents[named.to_numpy()] = as_keys(_digests(whole.filter(named).select("prompt", "options")))
        items = pl.Series("item", np.arange(self.n_items, self.n_items + new.height, dtype=np.int32))
        self._keys.append(as_keys(keys))
        self._contents.append(contents)
        self._first_row.extend(new[ROW].to_numpy())
        self._text.extend(texts)
        self._task.extend(new["task_number"].to_numpy())
        self._has_options.extend(whole["options"].is_not_null().to_numpy())
        return new.with_columns(items, pl.Series("key", [key.hex() for key in keys], pl.String))

    def _without_contradictions(self, frame: pl.DataFrame, texts: NDArray[np.uint64], faults: Faults) -> pl.DataFrame:
        items = frame["item"].to_numpy()
        other = pl.Series(self._text.values[items] != texts)
        if not other.any():
            return frame
        bad = frame.filter(other)
        first_rows = self._first_row.values[bad["item"].to_numpy()]
        faults.add(
            (
                Fault(
                    row,
                    "prompt",
                    "item_with_two_texts",
                    f"item_id {item_id[:60]!r} has another prompt or other options here than in row {first}.",
                )
                for row, item_id, first in zip(bad[ROW], bad["item_id"], first_rows.tolist(), strict=True)
            ),
            bad.height,
        )
        return frame.filter(~other)


def _complete(frame: pl.DataFrame) -> pl.DataFrame:
    """The columns that make up an item; those that are not there as nulls."""
    there = frame.columns
    return frame.select(
        pl.col(name) if name in there else pl.lit(None, pl.String).alias(name)
        for name in ("task", "item_id", "prompt", "options")
    ).with_columns(pl.col("task").fill_null(DEFAULT_TASK))


def _identity(whole: pl.DataFrame) -> pl.DataFrame:
    """What tells items apart: the task and the item_id, or where there is none the prompt and its options."""
    if whole["item_id"].null_count() == whole.height:
        return whole
    texts = (pl.when(pl.col("item_id").is_null()).then(pl.col(name)).alias(name) for name in ("prompt", "options"))
    return whole.with_columns(texts)


def _distinct(hashes: HashArray) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The first row with each hash, sorted by hash, and for each row which of them is its own."""
    _, first, group = np.unique(hashes[:, 0], return_index=True, return_inverse=True)
    if (hashes[first[group]] != hashes).any():
        raise _collision()
    return first, group
