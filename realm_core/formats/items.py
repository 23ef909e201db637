"""Items numbered as they are first seen, by 128-bit keys, so that no text has to stay in memory."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from realm_core.annotations import UNKNOWN, IntArray
from realm_core.formats.columns import ROW
from realm_core.formats.faults import BadData, Fault, Faults
from realm_core.formats.reading_options import DEFAULT_TASK

KeyArray = NDArray[np.uint64]  # (n, 2): a 128-bit key a row
KEY_BYTES = 16
_NO_CONTENT = bytes(KEY_BYTES)
_SEED = 0


def digest(*parts: str | None) -> bytes:
    """A 128-bit hash of texts, none of them empty or with a NUL character; None is no text."""
    return hashlib.blake2b("\0".join(part or "" for part in parts).encode(), digest_size=KEY_BYTES).digest()


def as_keys(digests: Iterable[bytes]) -> KeyArray:
    return np.frombuffer(b"".join(digests), np.uint64).reshape(-1, 2)


def _hexadecimal(keys: KeyArray) -> list[str]:
    digits = keys.tobytes().hex()
    return [digits[start : start + 2 * KEY_BYTES] for start in range(0, len(digits), 2 * KEY_BYTES)]


class KeyTable:
    """Numbers by key in 20 bytes each: sorted runs, of which neighbours are merged while they are alike in size."""

    def __init__(self) -> None:
        self._runs: list[tuple[KeyArray, IntArray]] = []

    def find(self, keys: KeyArray) -> IntArray:
        """The number of each key, UNKNOWN for those not there. (n,)"""
        numbers = np.full(len(keys), UNKNOWN, np.int32)
        for run_keys, run_numbers in self._runs:
            at = np.searchsorted(run_keys[:, 0], keys[:, 0])
            at[at == len(run_keys)] = 0
            there = (run_keys[at] == keys).all(axis=1)
            numbers[there] = run_numbers[at[there]]
        return numbers

    def add(self, keys: KeyArray, numbers: IntArray) -> None:
        """Add keys that are not there yet."""
        if not len(keys):
            return
        while self._runs and len(self._runs[-1][0]) < 2 * len(keys):
            other_keys, other_numbers = self._runs.pop()
            keys, numbers = np.concatenate([other_keys, keys]), np.concatenate([other_numbers, numbers])
        order = np.argsort(keys[:, 0], kind="stable")
        keys, numbers = keys[order], numbers[order]
        if (keys[1:, 0] == keys[:-1, 0]).any():  # one in 10^5 at 10^7 items, or made on purpose
            raise BadData("key_collision", "Two items cannot be told apart by their hashes; change one item_id.")
        self._runs.append((keys, numbers))


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
        self._table = KeyTable()
        self._first_row = Column(np.uint32)
        self._text = Column(np.uint64)  # a hash, to see whether an item_id comes back with another text
        self._task = Column(np.int16)
        self._has_options = Column(np.bool_)
        self._keys: list[KeyArray] = []
        self._contents: list[KeyArray] = []

    @property
    def n_items(self) -> int:
        return len(self._task.values)

    @property
    def task(self) -> NDArray[np.int16]:
        return self._task.values

    @property
    def has_options(self) -> NDArray[np.bool_]:
        return self._has_options.values

    def keys(self) -> KeyArray:
        return np.concatenate(self._keys) if self._keys else as_keys([])

    def contents(self) -> KeyArray:
        """Hashes of the texts of the items that have an item_id; the keys of the others say it all."""
        return np.concatenate(self._contents) if self._contents else as_keys([])

    def number(self, frame: pl.DataFrame, faults: Faults) -> tuple[pl.DataFrame, pl.DataFrame]:
        """The rows with the number of their `item`, less those whose text contradicts it; and the items that are new.

        The frame has `task_number` beside our columns.
        """
        identity = _identity(frame)
        distinct = identity.with_row_index("at").unique(identity.columns, keep="first", maintain_order=True)
        at = distinct["at"].to_numpy()
        keys = as_keys(digest(task or DEFAULT_TASK, *rest) for task, *rest in _complete(distinct, _PARTS).iter_rows())
        numbers = self._table.find(keys)
        new = numbers == UNKNOWN
        numbers[new] = np.arange(self.n_items, self.n_items + int(new.sum()), dtype=np.int32)
        self._table.add(keys[new], numbers[new])
        texts = _complete(frame, ("prompt", "options")).hash_rows(_SEED).to_numpy()
        new_items = frame[at[new]].with_columns(
            pl.Series("item", numbers[new]), pl.Series("key", _hexadecimal(keys[new]), pl.String)
        )
        self._add(new_items, keys[new], texts[at[new]])
        numbered = identity.join(
            distinct.with_columns(pl.Series("item", numbers)),
            on=identity.columns,
            how="left",
            nulls_equal=True,
            maintain_order="left",
        )
        return self._without_contradictions(frame.with_columns(numbered["item"]), texts, faults), new_items

    def _add(self, new: pl.DataFrame, keys: KeyArray, texts: NDArray[np.uint64]) -> None:
        self._keys.append(keys)
        self._first_row.extend(new[ROW].to_numpy())
        self._text.extend(texts)
        self._task.extend(new["task_number"].to_numpy())
        whole = _complete(new, ("item_id", "prompt", "options"))
        self._has_options.extend(whole["options"].is_not_null().to_numpy())
        self._contents.append(
            as_keys(
                _NO_CONTENT if item_id is None else digest(prompt, options)
                for item_id, prompt, options in whole.iter_rows()
            )
        )

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


_PARTS = ("task", "item_id", "prompt", "options")


def _identity(frame: pl.DataFrame) -> pl.DataFrame:
    """What tells items apart: the task and the item_id, or where there is none the prompt and its options."""
    texts = [name for name in ("prompt", "options") if name in frame.columns]
    task = [name for name in ("task",) if name in frame.columns]
    if "item_id" not in frame.columns:
        return frame.select(*task, *texts)
    if frame["item_id"].null_count() == 0:
        return frame.select(*task, "item_id")
    without_id = (pl.when(pl.col("item_id").is_null()).then(pl.col(name)).alias(name) for name in texts)
    return frame.select(*task, "item_id", *without_id)


def _complete(frame: pl.DataFrame, names: tuple[str, ...]) -> pl.DataFrame:
    """The named columns, those that are not there as nulls."""
    missing = [pl.lit(None, pl.String).alias(name) for name in names if name not in frame.columns]
    return frame.with_columns(missing).select(names)  # a selection of literals alone would have one row
