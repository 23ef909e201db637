"""What was read of a file, as integer arrays.

Ten million rows are a hundred megabytes of them, so they are never there twice: what is done to all rows is done to a
part at a time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from realm_core.annotations import UNKNOWN, FloatArray, IntArray
from realm_core.formats.answers import AnswerBook, KnownTask
from realm_core.formats.hash_table import Column, HashArray
from realm_core.formats.items import ItemBook
from realm_core.formats.version_hash import hash_of

_ITEMS_TOGETHER = 2**15
_COLUMNS: dict[str, tuple[type[np.generic], float]] = {  # dtype, and what stands where there is none
    "item": (np.int32, UNKNOWN),
    "annotator": (np.int32, UNKNOWN),
    "label": (np.int16, UNKNOWN),
    "created_at": (np.float64, np.nan),
    "duration_ms": (np.int32, UNKNOWN),
    "cost": (np.float32, np.nan),
}


@dataclass(frozen=True)
class Counts:
    """What became of the rows: rows = labels + identical_repeats + conflicting_repeats + ignored + rejected."""

    rows: int
    labels: int
    items: int
    annotators: int
    identical_repeats: int
    conflicting_repeats: int
    ignored: int
    rejected: int

    def as_dict(self) -> dict[str, int]:
        return asdict(self)


@dataclass(frozen=True, eq=False)
class AnnotationTable:
    """Labels sorted by (item, annotator), one for each pair. Shapes: (L,) for labels, (N,) for items.

    `label` and `gold` index the item's own options where it has them, else its task's answers. `item_keys` (N, 2) are
    what items are known by for ever, `item_texts` (N, 2) hashes of the texts of those that have an item_id.
    """

    tasks: tuple[KnownTask, ...]
    annotators: tuple[str, ...]
    item_task: NDArray[np.int16]
    item_has_options: NDArray[np.bool_]
    gold: NDArray[np.int16] | None
    item: IntArray
    annotator: IntArray
    label: NDArray[np.int16]
    created_at: FloatArray | None
    duration_ms: IntArray | None
    cost: NDArray[np.float32] | None
    counts: Counts
    item_keys: HashArray
    item_texts: HashArray | None

    @property
    def sha256(self) -> str:
        """A hash of what the table says, whatever the order of the rows that it was read from."""
        of_items = [self.item_keys, self.item_texts, self.gold]
        of_labels = [self.label, self.created_at, self.duration_ms, self.cost]
        return hash_of(self.tasks, self.annotators, self.item, self.annotator, of_items, of_labels)


class LabelRows:
    """Rows as they come, those of neighbouring items together: so they are sorted, and forgotten, a part at a time."""

    def __init__(self) -> None:
        self._parts: list[_Rows] = []
        self.size = 0

    def add(self, *, item: IntArray, annotator: IntArray, label: IntArray, values: pl.DataFrame) -> None:
        if not len(item):
            return
        columns = {"item": item, "annotator": annotator, "label": label}
        columns |= {name: values[name].fill_null(_COLUMNS[name][1]).to_numpy() for name in values.columns}
        part = (item // _ITEMS_TOGETHER).astype(np.uint16)  # of which there are as many as it can tell apart
        order = np.argsort(part, kind="stable")
        numbers, begins = np.unique(part[order], return_index=True)
        for number, rows in zip(numbers.tolist(), np.split(order, begins[1:]), strict=True):
            self._parts.extend(_Rows() for _ in range(len(self._parts), number + 1))
            self._parts[number].extend({name: given[rows] for name, given in columns.items()})
        self.size += len(item)

    @property
    def columns(self) -> list[str]:
        """The columns that some row has."""
        return [name for name in _COLUMNS if any(part.has(name) for part in self._parts)]

    def answers(self) -> Iterator[tuple[IntArray, NDArray[np.int16]]]:
        """Items and labels of each part, to be changed in place."""
        for part in self._parts:
            yield part.values("item"), part.values("label")

    def take(self) -> Iterator[_Rows]:
        """The parts in the order of their items; each is forgotten here."""
        self._parts.reverse()
        while self._parts:
            yield self._parts.pop()


class _Rows:
    """Columns that grow. Optional ones begin with the first rows that have them."""

    def __init__(self) -> None:
        self._columns: dict[str, Column] = {}
        self._size = 0

    def has(self, name: str) -> bool:
        return name in self._columns

    def extend(self, columns: Mapping[str, NDArray[Any]]) -> None:
        n = len(columns["item"])
        for name in {**self._columns, **columns}:
            dtype, missing = _COLUMNS[name]
            if name not in self._columns:
                self._columns[name] = Column(dtype)
                self._columns[name].extend(np.full(self._size, missing, dtype))
            self._columns[name].extend(columns.get(name, np.broadcast_to(missing, n)))
        self._size += n

    def values(self, name: str) -> NDArray[Any]:
        """A column; what stands for no value where no row has one."""
        if name in self._columns:
            return self._columns[name].values
        dtype, missing = _COLUMNS[name]
        return np.full(self._size, missing, dtype)


def assemble(
    rows: LabelRows,
    items: ItemBook,
    answers: AnswerBook,
    *,
    annotators: tuple[str, ...],
    gold: NDArray[np.int16],
    n_ignored: int,
    n_rejected: int,
) -> AnnotationTable:
    """Sort the rows, keep the last of each (item, annotator), and give the answers their lasting numbers."""
    items.close()
    _renumber(items, answers, rows, gold)
    kept, identical, conflicting = _last_of_each(rows, len(annotators))
    known_gold = gold if (gold != UNKNOWN).any() else None
    return AnnotationTable(
        tasks=tuple(answers.tasks),
        annotators=annotators,
        item_task=items.task,
        item_has_options=items.has_options,
        gold=known_gold,
        item=kept["item"],
        annotator=kept["annotator"],
        label=kept["label"],
        created_at=kept.get("created_at"),
        duration_ms=kept.get("duration_ms"),
        cost=kept.get("cost"),
        counts=Counts(
            rows=rows.size + n_ignored + n_rejected,
            labels=len(kept["item"]),
            items=items.n_items,
            annotators=len(annotators),
            identical_repeats=identical,
            conflicting_repeats=conflicting,
            ignored=n_ignored,
            rejected=n_rejected,
        ),
        item_keys=items.keys(),
        item_texts=items.texts(),
    )


def _renumber(items: ItemBook, answers: AnswerBook, rows: LabelRows, gold: NDArray[np.int16]) -> None:
    """Put labels and gold, in place, into the lasting order of the answers. Options of an item's own have theirs."""
    used = np.zeros((len(answers.tasks), max(len(task.answers) for task in answers.tasks)), np.bool_)
    given = np.flatnonzero(gold != UNKNOWN)
    gold_given = gold[given]
    parts = [*rows.answers(), (given.astype(np.int32), gold_given)]
    for of_item, answer in parts:
        counted = ~items.has_options[of_item]
        used[items.task[of_item[counted]], answer[counted]] = True
    numbers = answers.sort(used).astype(np.int16)
    for of_item, answer in parts:
        counted = ~items.has_options[of_item]
        answer[counted] = numbers[items.task[of_item[counted]], answer[counted]]
    gold[given] = gold_given


def _last_of_each(rows: LabelRows, n_annotators: int) -> tuple[dict[str, NDArray[Any]], int, int]:
    """The last row of each (item, annotator), in their order; and how many others say the same, or something else.

    Takes the rows out of `rows`: what they took is given back while what is kept of them grows.
    """
    kept = {name: np.empty(rows.size, _COLUMNS[name][0]) for name in rows.columns}
    size = identical = conflicting = 0
    for part in rows.take():
        last, same, other = _last_rows(part, n_annotators)
        identical, conflicting = identical + same, conflicting + other
        for name, values in kept.items():
            values[size : size + len(last)] = part.values(name)[last]
        size += len(last)
    return {name: values[:size] for name, values in kept.items()}, identical, conflicting


def _last_rows(part: _Rows, n_annotators: int) -> tuple[NDArray[np.int64], int, int]:
    pair = part.values("item").astype(np.int64) * n_annotators + part.values("annotator")
    order = np.argsort(pair, kind="stable")
    pair = pair[order]
    is_last = np.append(pair[1:] != pair[:-1], True)
    last = order[is_last]
    n_repeats = len(order) - len(last)
    if not n_repeats:
        return last, 0, 0
    group = np.cumsum(is_last) - is_last
    label = part.values("label")
    identical = int((label[order] == label[last][group]).sum()) - len(last)
    return last, identical, n_repeats - identical
