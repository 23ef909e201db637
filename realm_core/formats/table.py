"""What was read of a file, as integer arrays, and its hash."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from realm_core.annotations import UNKNOWN, FloatArray, IntArray
from realm_core.formats.answers import AnswerBook, KnownTask
from realm_core.formats.items import HashArray, ItemBook

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

    `label` and `gold` index the item's own options where it has them, else its task's answers.
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
    sha256: str


class LabelRows:
    """Rows as they come, a list of arrays for each column."""

    def __init__(self) -> None:
        self._blocks: dict[str, list[NDArray[Any] | None]] = {
            name: [] for name in ("item", "annotator", "label", *_VALUES)
        }
        self._sizes: list[int] = []
        self.size = 0

    def add(self, *, item: IntArray, annotator: IntArray, label: IntArray, values: pl.DataFrame) -> None:
        self._sizes.append(len(item))
        self.size += len(item)
        self._blocks["item"].append(item)
        self._blocks["annotator"].append(annotator)
        self._blocks["label"].append(label.astype(np.int16))
        for name, (dtype, missing) in _VALUES.items():
            column = values[name].fill_null(missing).to_numpy().astype(dtype) if name in values.columns else None
            self._blocks[name].append(column)

    def take(self, name: str) -> NDArray[Any]:
        """All of a column, which is then forgotten here."""
        return np.concatenate([block for block in self._blocks.pop(name) if block is not None])

    def take_optional(self, name: str) -> NDArray[Any] | None:
        """All of a column that not every block need have; None when none has."""
        blocks = self._blocks.pop(name)
        if all(block is None for block in blocks):
            return None
        filled = (
            np.full(size, _VALUES[name][1], _VALUES[name][0]) if block is None else block
            for size, block in zip(self._sizes, blocks, strict=True)
        )
        return np.concatenate(list(filled))


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
    item, annotator, label = rows.take("item"), rows.take("annotator"), rows.take("label")
    label, gold = _renumber(items, answers, item, label, gold)
    keep, identical, conflicting = _last_of_each(item, annotator, label, len(annotators))
    table = AnnotationTable(
        tasks=tuple(answers.tasks),
        annotators=annotators,
        item_task=items.task,
        item_has_options=items.has_options,
        gold=gold if (gold != UNKNOWN).any() else None,
        item=item[keep],
        annotator=annotator[keep],
        label=label[keep],
        created_at=_picked(rows.take_optional("created_at"), keep),
        duration_ms=_picked(rows.take_optional("duration_ms"), keep),
        cost=_picked(rows.take_optional("cost"), keep),
        counts=Counts(
            rows=len(item) + n_ignored + n_rejected,
            labels=len(keep),
            items=items.n_items,
            annotators=len(annotators),
            identical_repeats=identical,
            conflicting_repeats=conflicting,
            ignored=n_ignored,
            rejected=n_rejected,
        ),
        sha256="",
    )
    return replace(table, sha256=sha256_of(table, items.keys(), items.contents()))


def _picked(values: NDArray[Any] | None, keep: NDArray[np.int64]) -> NDArray[Any] | None:
    return None if values is None else values[keep]


def _renumber(
    items: ItemBook, answers: AnswerBook, item: IntArray, label: NDArray[np.int16], gold: NDArray[np.int16]
) -> tuple[NDArray[np.int16], NDArray[np.int16]]:
    """Labels and gold by the lasting order of the answers."""
    used = np.zeros((len(answers.tasks), max(len(task.answers) for task in answers.tasks)), np.bool_)
    of_task = ~items.has_options
    for_label, for_gold = of_task[item], of_task & (gold != UNKNOWN)
    used[items.task[item[for_label]], label[for_label]] = True
    used[items.task[for_gold], gold[for_gold]] = True
    numbers = answers.sort(used).astype(np.int16)
    label[for_label] = numbers[items.task[item[for_label]], label[for_label]]
    gold[for_gold] = numbers[items.task[for_gold], gold[for_gold]]
    return label, gold


def _last_of_each(
    item: IntArray, annotator: IntArray, label: NDArray[np.int16], n_annotators: int
) -> tuple[NDArray[np.int64], int, int]:
    """The rows to keep, by (item, annotator), and how many others say the same as the kept one, or something else."""
    pair = item.astype(np.int64) * n_annotators + annotator
    order = np.argsort(pair, kind="stable")
    pair = pair[order]
    is_last = np.append(pair[1:] != pair[:-1], True)
    keep = order[is_last]
    n_repeats = len(order) - len(keep)
    if not n_repeats:
        return keep, 0, 0
    group = np.cumsum(is_last) - is_last
    identical = int((label[order] == label[keep][group]).sum()) - len(keep)
    return keep, identical, n_repeats - identical


def sha256_of(table: AnnotationTable, item_keys: HashArray, item_contents: HashArray) -> str:
    """A hash of what the table says, whatever the order of the rows it was read from.

    Items count by the order of their keys, annotators by that of their names, labels by (item, annotator).
    """
    by_key = np.lexsort((item_keys[:, 1], item_keys[:, 0]))
    by_name = np.array(sorted(range(len(table.annotators)), key=table.annotators.__getitem__), np.int64)
    item, annotator = _rank(by_key)[table.item], _rank(by_name)[table.annotator]
    order = np.argsort(item.astype(np.int64) * len(by_name) + annotator)
    answers = sorted([task.name, task.declared, list(task.answers.items())] for task in table.tasks)
    names = [table.annotators[number] for number in by_name]
    found = hashlib.sha256(json.dumps([answers, names], ensure_ascii=False).encode())
    of_labels: list[NDArray[Any] | None] = [
        item,
        annotator,
        table.label,
        table.created_at,
        table.duration_ms,
        table.cost,
    ]
    _update(found, item_keys, by_key)
    _update(found, item_contents, by_key)
    _update(found, table.gold, by_key)
    for values in of_labels:
        _update(found, values, order)
    return found.hexdigest()


def _rank(order: NDArray[np.int64]) -> IntArray:
    rank = np.empty(len(order), np.int32)
    rank[order] = np.arange(len(order), dtype=np.int32)
    return rank


def _update(found: hashlib._Hash, values: NDArray[Any] | None, order: NDArray[np.int64]) -> None:
    found.update(b"\0" if values is None else b"\1")
    if values is not None:
        found.update(values[order].data)
