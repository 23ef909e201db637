"""What a crowd's labels look like before anything is learned from them, and what cannot be learned from them.

All of it is counted in integer arrays, once, when a version is made or first asked about.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.datasets.chance_corrected import N_GROUPS, Alpha, krippendorff_alpha
from realm_core.formats.answers import similar_labels

_CELLS_AT_ONCE = 1_000_000
_LABELS_AT_ONCE = 2**20
_LONGEST_HISTOGRAM = 20
_NAMES_SHOWN = 5


@dataclass(frozen=True, eq=False)
class CrowdLabels:
    """The labels of a version, sorted by item. Shapes: (L,) for labels, (N,) for items.

    `tasks` are names and answers; `annotators` are names by number. `label` indexes the item's own options where
    `item_has_options`.
    """

    tasks: Sequence[tuple[str, Sequence[str]]]
    annotators: Sequence[str]
    item_task: NDArray[Any]
    item_has_options: NDArray[np.bool_]
    item: NDArray[Any]
    annotator: NDArray[Any]
    label: NDArray[Any]

    @cached_property
    def labels_per_item(self) -> NDArray[np.int64]:
        return np.diff(np.searchsorted(self.item, np.arange(len(self.item_task) + 1)))

    @cached_property
    def labels_per_annotator(self) -> NDArray[np.int64]:
        return self._count(self.annotator[part] for part in self.parts())

    @cached_property
    def shares_items(self) -> NDArray[np.bool_]:
        """Has the annotator labelled an item that somebody else labelled too? (R,)"""
        shared = self.labels_per_item > 1
        return self._count(self.annotator[part][shared[self.item[part]]] for part in self.parts()) > 0

    def _count(self, annotators: Iterator[NDArray[Any]]) -> NDArray[np.int64]:
        """How often each annotator is among these. (R,)"""
        n = len(self.annotators)
        return reduce(np.add, (np.bincount(some, minlength=n) for some in annotators))

    def parts(self) -> Iterator[slice]:
        """All labels, some at a time: numpy makes 64-bit copies of what it indexes with."""
        for start in range(0, len(self.item), _LABELS_AT_ONCE):
            yield slice(start, start + _LABELS_AT_ONCE)

    @cached_property
    def labels_per_answer(self) -> NDArray[np.int64]:
        """How often each answer of each task was given, on items without options of their own. (T, K)"""
        shape = len(self.tasks), int(self.label.max()) + 1
        counts = np.zeros(shape, np.int64)
        for part in self.parts():
            item = self.item[part]
            counted = ~self.item_has_options[item]
            cell = self.item_task[item[counted]].astype(np.int64) * shape[1] + self.label[part][counted]
            counts += np.bincount(cell, minlength=counts.size).reshape(shape)
        return counts

    def alpha(self, task: int) -> Alpha:
        """Agreement beyond chance in a task, on items without options of their own: only there are labels the same."""
        counted = (self.item_task == task) & ~self.item_has_options & (self.labels_per_item > 1)
        n = self.labels_per_item[counted]
        group = np.full(len(counted), -1, np.int32)
        group[counted] = np.arange(len(n)) % N_GROUPS
        differing = 2 * (self.pairs[counted] - self.equal_pairs[counted]) / np.maximum(n - 1, 1)
        shape = N_GROUPS, int(self.label.max()) + 1
        answers = np.zeros(shape, np.int64)
        for part in self.parts():
            of_group = group[self.item[part]]
            cell = of_group[of_group >= 0].astype(np.int64) * shape[1] + self.label[part][of_group >= 0]
            answers += np.bincount(cell, minlength=answers.size).reshape(shape)
        by_group = np.bincount(group[counted], differing, minlength=N_GROUPS).astype(np.float64)
        return krippendorff_alpha(by_group, answers, int(counted.sum()))

    @cached_property
    def equal_pairs(self) -> NDArray[np.int64]:
        """Pairs of equal labels on each item. (N,)"""
        pairs = np.zeros(len(self.item_task), np.int64)
        n_answers = int(self.label.max()) + 1
        step = max(1, _CELLS_AT_ONCE // n_answers)
        for start in range(0, len(pairs), step):
            end = min(start + step, len(pairs))
            first, last = np.searchsorted(self.item, [start, end])
            cell = (self.item[first:last] - start).astype(np.int64) * n_answers + self.label[first:last]
            counts = np.bincount(cell, minlength=(end - start) * n_answers).reshape(-1, n_answers)
            pairs[start:end] = (counts * (counts - 1) // 2).sum(axis=1)
        return pairs

    @cached_property
    def pairs(self) -> NDArray[np.int64]:
        """Pairs of labels on each item. (N,)"""
        return self.labels_per_item * (self.labels_per_item - 1) // 2


def statistics_of(crowd: CrowdLabels) -> dict[str, Any]:
    """Labels per item and per annotator, overlap, agreement, balance, and warnings."""
    per_item = crowd.labels_per_item
    return {
        "labels": len(crowd.item),
        "items": len(crowd.item_task),
        "annotators": len(crowd.annotators),
        "labels_per_item": _spread(per_item) | {"histogram": _histogram(per_item)},
        "labels_per_annotator": _spread(crowd.labels_per_annotator),
        "overlap": {
            "items_with_several_labels": int((per_item > 1).sum()),
            "share": float((per_item > 1).mean()),
            "annotators_without_overlap": int((~crowd.shares_items).sum()),
        },
        "agreement": _share(crowd.equal_pairs.sum(), crowd.pairs.sum()),
        "tasks": [_task_statistics(crowd, number) for number in range(len(crowd.tasks))],
        "warnings": [{"code": code, "detail": detail} for code, detail in _warnings(crowd)],
    }


def _spread(counts: NDArray[np.int64]) -> dict[str, float]:
    return {
        "min": int(counts.min()),
        "median": float(np.median(counts)),
        "mean": float(counts.mean()),
        "max": int(counts.max()),
    }


def _histogram(counts: NDArray[np.int64]) -> dict[str, int]:
    """How many have 1, 2, 3, … labels; the last bar holds all that have as many or more."""
    bars = np.bincount(np.minimum(counts, _LONGEST_HISTOGRAM))
    return {f"{number}+" if number == _LONGEST_HISTOGRAM else str(number): int(n) for number, n in enumerate(bars) if n}


def _share(part: Any, whole: Any) -> float | None:
    return float(part / whole) if whole else None


def _task_statistics(crowd: CrowdLabels, number: int) -> dict[str, Any]:
    """One task. Balance is that of items without options of their own: only there do answers mean the same."""
    name, answers = crowd.tasks[number]
    of_task = crowd.item_task == number
    counts = np.zeros(len(answers), np.int64)
    given = crowd.labels_per_answer[number, : len(answers)]
    counts[: len(given)] = given
    return {
        "task": name,
        "items": int(of_task.sum()),
        "labels": int(crowd.labels_per_item[of_task].sum()),
        "agreement": _share(crowd.equal_pairs[of_task].sum(), crowd.pairs[of_task].sum()),
        "alpha": vars(crowd.alpha(number)),
        "balance": [
            {"label": answer, "count": int(count), "share": _share(count, counts.sum())}
            for answer, count in zip(answers, counts, strict=True)
        ],
    }


def _warnings(crowd: CrowdLabels) -> Iterator[tuple[str, str]]:
    """What cannot be learned from these labels."""
    if len(crowd.annotators) == 1:
        yield "one_annotator", "There is one annotator only, so nothing tells how far to trust the labels."
    elif crowd.labels_per_item.max() == 1:
        yield (
            "one_label_per_prompt",
            "Every prompt has one label, so annotators cannot be compared with each other; only a model that learns "
            "from the texts can tell them apart.",
        )
    elif not crowd.shares_items.all():
        alone = np.flatnonzero(~crowd.shares_items)
        yield (
            "annotators_without_overlap",
            f"{len(alone):,} of {len(crowd.annotators):,} annotators share no prompt with anybody "
            f"({_named([crowd.annotators[number] for number in alone[:_NAMES_SHOWN]], len(alone))}), so they cannot be "
            "compared with others.",
        )
    for name, answers in crowd.tasks:
        if len(answers) == 1:
            yield "one_answer", f"Task {name!r} has one answer only, {answers[0]!r}: there is nothing to learn in it."
        for alike in similar_labels(answers):
            yield (
                "similar_labels",
                f"Task {name!r} has labels that differ only in case or spaces: {_named(alike, len(alike))}.",
            )


def _named(names: Sequence[str], n: int) -> str:
    return ", ".join(repr(name[:60]) for name in names) + (", …" if n > len(names) else "")
