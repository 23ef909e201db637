"""What was read of a file, as integer arrays.

Ten million rows are a hundred megabytes of them, so what is done to all rows is done to a part at a time.
"""

from __future__ import annotations

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

_ROWS_AT_ONCE = 2**20
_VALUES: dict[str, tuple[type[np.generic], float]] = {  # dtype, and what stands where there is none
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
    """Rows as they come, by column. Optional columns begin with the first block that has them."""

    def __init__(self) -> None:
        self._columns = {"item": Column(np.int32), "annotator": Column(np.int32), "label": Column(np.int16)}
        self.size = 0

    def add(self, *, item: IntArray, annotator: IntArray, label: IntArray, values: pl.DataFrame) -> None:
        self._columns["item"].extend(item)
        self._columns["annotator"].extend(annotator)
        self._columns["label"].extend(label.astype(np.int16))
        for name, (dtype, missing) in _VALUES.items():
            if name in values.columns and name not in self._columns:
                self._columns[name] = Column(dtype)
                self._columns[name].extend(np.full(self.size, missing, dtype))
            if name in self._columns:
                given = values[name].fill_null(missing).to_numpy() if name in values.columns else missing
                self._columns[name].extend(np.broadcast_to(given, len(item)))
        self.size += len(item)

    def take(self) -> dict[str, NDArray[Any]]:
        """All columns, which are then forgotten here."""
        taken = {name: column.values for name, column in self._columns.items()}
        self._columns.clear()
        return taken


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
    columns = rows.take()
    _renumber(items, answers, columns["item"], columns["label"], gold)
    kept, identical, conflicting = _last_of_each(columns, items.n_items, len(annotators))
    values = {name: kept.get(name) for name in _VALUES}
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
        **values,
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


def _renumber(
    items: ItemBook, answers: AnswerBook, item: IntArray, label: NDArray[np.int16], gold: NDArray[np.int16]
) -> None:
    """Put labels and gold, in place, into the lasting order of the answers. Options of an item's own have theirs."""
    used = np.zeros((len(answers.tasks), max(len(task.answers) for task in answers.tasks)), np.bool_)
    parts = [
        (item[start : start + _ROWS_AT_ONCE], label[start : start + _ROWS_AT_ONCE])
        for start in range(0, len(item), _ROWS_AT_ONCE)
    ]
    given = np.flatnonzero(gold != UNKNOWN)
    gold_given = gold[given]
    parts.append((given.astype(np.int32), gold_given))
    for of_item, answer in parts:
        counted = ~items.has_options[of_item]
        used[items.task[of_item[counted]], answer[counted]] = True
    numbers = answers.sort(used).astype(np.int16)
    for of_item, answer in parts:
        counted = ~items.has_options[of_item]
        answer[counted] = numbers[items.task[of_item[counted]], answer[counted]]
    gold[given] = gold_given


def _last_of_each(
    columns: dict[str, NDArray[Any]], n_items: int, n_annotators: int
) -> tuple[dict[str, NDArray[Any]], int, int]:
    """The last row of each (item, annotator), in their order; and how many others say the same, or something else.

    Takes the columns out of `columns`.
    """
    kept: dict[str, list[NDArray[Any]]] = {name: [] for name in columns}
    identical = conflicting = 0
    step = max(1, n_items * _ROWS_AT_ONCE // len(columns["item"]))
    for first in range(0, n_items, step):
        rows = np.flatnonzero((columns["item"] >= first) & (columns["item"] < first + step))
        rows, same, other = _last_rows(columns, rows, n_annotators)
        identical, conflicting = identical + same, conflicting + other
        for name, values in columns.items():
            kept[name].append(values[rows])
    columns.clear()
    return {name: np.concatenate(kept.pop(name)) for name in list(kept)}, identical, conflicting


def _last_rows(
    columns: dict[str, NDArray[Any]], rows: NDArray[np.int64], n_annotators: int
) -> tuple[NDArray[np.int64], int, int]:
    pair = columns["item"][rows].astype(np.int64) * n_annotators + columns["annotator"][rows]
    order = np.argsort(pair, kind="stable")
    pair, rows = pair[order], rows[order]
    is_last = np.append(pair[1:] != pair[:-1], True)
    last = rows[is_last]
    n_repeats = len(rows) - len(last)
    if not n_repeats:
        return last, 0, 0
    group = np.cumsum(is_last) - is_last
    label = columns["label"]
    identical = int((label[rows] == label[last][group]).sum()) - len(last)
    return last, identical, n_repeats - identical
