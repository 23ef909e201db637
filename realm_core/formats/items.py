"""Items numbered as they are first seen, by 128-bit hashes, so that no text has to stay in memory.

Two kinds of hash: a fast one with secret seeds finds the item of every row while a file is read; a cryptographic one,
made once for each item, is the `key` that the item keeps for ever.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from hashlib import blake2b

import numpy as np
import polars as pl
from numpy.typing import NDArray

from realm_core.annotations import UNKNOWN, IntArray
from realm_core.formats.columns import ROW
from realm_core.formats.faults import Fault, Faults
from realm_core.formats.hash_table import Column, HashArray, HashTable, collision
from realm_core.formats.reading_options import DEFAULT_TASK

KEY_BYTES = 16


def _digests(texts: pl.DataFrame) -> list[bytes]:
    """A 128-bit hash of each row of texts, none of them empty or with a NUL character; null is no text."""
    joined = texts.select(pl.concat_str(pl.all().fill_null(""), separator="\0").cast(pl.Binary)).to_series()
    return [blake2b(row, digest_size=KEY_BYTES).digest() for row in joined.to_list()]


def as_hashes(digests: Iterable[bytes]) -> HashArray:
    return np.frombuffer(b"".join(digests), np.uint64).reshape(-1, 2)


class ItemBook:
    """Finds the number of each row's item: by (task, item_id), else by (task, prompt, options)."""

    def __init__(self) -> None:
        self._seeds = (secrets.randbits(64), secrets.randbits(64))  # no file can be made to fit them
        self._table = HashTable()
        self._first_row = Column(np.uint32)
        self._texts = _NamedTexts()
        self._task = Column(np.int16)
        self._has_options = Column(np.bool_)
        self._keys = Column(np.uint64, 2)

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
        self._table = HashTable()

    def keys(self) -> HashArray:
        """What each item is known by for ever. (N, 2)"""
        return self._keys.values

    def texts(self) -> HashArray | None:
        """Hashes of the texts of the items that have an item_id (N, 2): the keys of the others are such hashes already.

        None when no item has an item_id.
        """
        return self._texts.hashes(self.n_items)

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
        new_items = self._add(frame[at[new]], whole[at[new]])
        numbered = frame.with_columns(pl.Series("item", numbers[group]))
        return self._without_contradictions(numbered, whole, faults), new_items

    def _add(self, new: pl.DataFrame, whole: pl.DataFrame) -> pl.DataFrame:
        """Keep what is asked of items later; the frame with their `item` and `key`."""
        keys = _digests(_identity(whole))
        items = pl.Series("item", np.arange(self.n_items, self.n_items + new.height, dtype=np.int32))
        self._texts.add(self.n_items, whole)
        self._keys.extend(as_hashes(keys))
        self._first_row.extend(new[ROW].to_numpy())
        self._task.extend(new["task_number"].to_numpy())
        self._has_options.extend(whole["options"].is_not_null().to_numpy())
        return new.with_columns(items, pl.Series("key", [key.hex() for key in keys], pl.String))

    def _without_contradictions(self, frame: pl.DataFrame, whole: pl.DataFrame, faults: Faults) -> pl.DataFrame:
        other = pl.Series(self._texts.differ(frame["item"].to_numpy(), whole))
        if not other.any():
            return frame
        bad = frame.filter(other)
        first_rows = self._first_row.values[bad["item"].to_numpy()].tolist()
        found = zip(bad[ROW], bad["item_id"], first_rows, strict=True)
        faults.add((_contradiction(row, item_id, first) for row, item_id, first in found), bad.height)
        return frame.filter(~other)


def _contradiction(row: int, item_id: str, first_row: int) -> Fault:
    detail = f"item_id {item_id[:60]!r} has another prompt or other options here than in row {first_row}."
    return Fault(row, "prompt", "item_with_two_texts", detail)


class _NamedTexts:
    """The texts of the items that have an item_id, as hashes.

    A fast one, to see that no id comes back with another text, and a cryptographic one for the hash of the version.
    """

    def __init__(self) -> None:
        self._fast = Column(np.uint64)  # by item; anything where there is no item_id
        self._lasting: list[tuple[NDArray[np.int64], HashArray]] = []

    def add(self, first: int, whole: pl.DataFrame) -> None:
        """Keep those of the new items from number `first` on."""
        named = whole["item_id"].is_not_null()
        if not named.any():
            return
        self._fast.extend(np.zeros(first - len(self._fast.values), np.uint64))
        self._fast.extend(_fast_hashes(whole))
        texts = whole.filter(named).select("prompt", "options")
        self._lasting.append((first + np.flatnonzero(named.to_numpy()), as_hashes(_digests(texts))))

    def differ(self, items: IntArray, whole: pl.DataFrame) -> NDArray[np.bool_]:
        """Which rows have an item_id, and another text than the item that it names."""
        other = np.zeros(len(items), np.bool_)
        rows = np.flatnonzero(whole["item_id"].is_not_null().to_numpy())
        if len(rows):
            other[rows] = self._fast.values[items[rows]] != _fast_hashes(whole)[rows]
        return other

    def hashes(self, n_items: int) -> HashArray | None:
        """The lasting hashes (N, 2), zero where there is no item_id; None when there is none at all."""
        if not self._lasting:
            return None
        found = np.zeros((n_items, 2), np.uint64)
        for items, texts in self._lasting:
            found[items] = texts
        return found


def _fast_hashes(whole: pl.DataFrame) -> NDArray[np.uint64]:
    return whole.select("prompt", "options").hash_rows().to_numpy()


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
        raise collision()
    return first, group
