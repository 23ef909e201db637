"""What a crowd's labels look like before anything is learned from them, and what cannot be learned from them.

All of it follows from sums over items, which are counted in integer arrays when a dataset is made, and kept. Those of
its next version differ from them by what was on the items that got labels, and by what is now: exactly.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.datasets.chance_corrected import N_GROUPS, krippendorff_alpha
from app.datasets.tally import Tally
from realm_core.agreement import Alpha
from realm_core.formats.answers import similar_labels

_CELLS_AT_ONCE = 1_000_000
_LABELS_AT_ONCE = 2**20
_LONGEST_HISTOGRAM = 20
_NAMES_SHOWN = 5
Tasks = Sequence[tuple[str, Sequence[str]]]  # names and answers
NamesOf = Callable[[Sequence[int]], Sequence[str]]  # of annotators, by key


@dataclass(frozen=True, eq=False)
class CrowdLabels:
    """Labels, sorted by item. Shapes: (L,) for labels, (N,) for items.

    `annotator` indexes `annotator_keys`; `label` indexes the item's own options where `item_has_options`. Where these
    are not all items of a dataset, `item_number` is which they are.
    """

    annotator_keys: NDArray[Any]
    item_task: NDArray[Any]
    item_has_options: NDArray[np.bool_]
    item: NDArray[Any]
    annotator: NDArray[Any]
    label: NDArray[Any]
    item_number: NDArray[Any] | None = None

    @cached_property
    def labels_per_item(self) -> NDArray[np.int64]:
        n = np.zeros(len(self.item_task), np.int64)
        for part in self.parts():
            first, last = self.item[part][[0, -1]]
            n[first : last + 1] += np.bincount(self.item[part] - first)
        return n

    @cached_property
    def first_label(self) -> NDArray[np.int64]:
        """Where the labels of each item begin, and the end of the last. (N + 1,)"""
        return np.concatenate([[0], np.cumsum(self.labels_per_item)])

    def parts(self) -> Iterator[slice]:
        """All labels, some at a time: numpy makes 64-bit copies of what it indexes with."""
        for start in range(0, len(self.item), _LABELS_AT_ONCE):
            yield slice(start, start + _LABELS_AT_ONCE)

    @cached_property
    def is_compared(self) -> NDArray[np.bool_]:
        """Has the item several labels, and do they mean the same as on others: no options of its own? (N,)"""
        return (self.labels_per_item > 1) & ~self.item_has_options

    @cached_property
    def group(self) -> NDArray[np.int64]:
        """What the item is drawn with for the interval of alpha; 0 where it is not compared. (N,)"""
        number = np.arange(len(self.item_task)) if self.item_number is None else self.item_number
        return np.where(self.is_compared, number % N_GROUPS, 0)

    @cached_property
    def equal_pairs(self) -> NDArray[np.int64]:
        """Pairs of equal labels on each item. (N,)"""
        pairs = np.zeros(len(self.item_task), np.int64)
        n_answers = int(self.label.max(initial=0)) + 1
        step = max(1, _CELLS_AT_ONCE // n_answers)
        for start in range(0, len(pairs), step):
            n = min(step, len(pairs) - start)
            own = slice(self.first_label[start], self.first_label[start + n])
            cell = self.label[own].astype(np.int64)
            cell *= n
            cell += self.item[own]
            cell -= start
            votes = np.bincount(cell, minlength=n_answers * n).reshape(n_answers, n)  # answers first: sums are faster
            pairs[start : start + n] = (votes * (votes - 1)).sum(axis=0) // 2
        return pairs


@dataclass(frozen=True, eq=False)
class CrowdSums:
    """What statistics are made of; each adds up over items."""

    items: Tally  # by (task, has options, group, labels on it): items, and pairs of equal labels
    answers: Tally  # by (task, is compared, group, answer), on items without options of their own: labels
    annotators: Tally  # by key: labels, and those of them on items that nobody else labelled

    def changed(self, before: CrowdSums, after: CrowdSums) -> CrowdSums:
        """The sums when items of these, `before`, become `after`."""
        return CrowdSums(
            self.items.plus(after.items).minus(before.items),
            self.answers.plus(after.answers).minus(before.answers),
            self.annotators.plus(after.annotators).minus(before.annotators),
        )

    def to_bytes(self) -> bytes:
        """What `from_bytes` reads."""
        file = BytesIO()
        tallies = (self.items, self.answers, self.annotators)
        np.savez(file, *(array for tally in tallies for array in (tally.keys, tally.counts)))
        return file.getvalue()

    @staticmethod
    def from_bytes(data: bytes) -> CrowdSums:
        with np.load(BytesIO(data), allow_pickle=False) as file:
            arrays = [file[name] for name in file.files]
        return CrowdSums(*(Tally(keys, counts) for keys, counts in zip(arrays[::2], arrays[1::2], strict=True)))


def sums_of(crowd: CrowdLabels) -> CrowdSums:
    """Counted over all labels."""
    n = crowd.labels_per_item
    by = (crowd.item_task, crowd.item_has_options, crowd.group, n)
    items = Tally.of(by, np.ones(len(n), np.int64), crowd.equal_pairs)
    size = len(crowd.annotator_keys)
    labels = np.zeros(size, np.int64)
    for part in crowd.parts():
        labels += np.bincount(crowd.annotator[part], minlength=size)
    alone = np.bincount(crowd.annotator[crowd.first_label[:-1][n == 1]], minlength=size)
    return CrowdSums(items, _answers(crowd), Tally.of((crowd.annotator_keys,), labels, alone))


def _answers(crowd: CrowdLabels) -> Tally:
    kind = (crowd.item_task.astype(np.int64) * 2 + crowd.is_compared) * N_GROUPS + crowd.group
    some_have_options = crowd.item_has_options.any()
    found = Tally.nothing(2, 1)
    for part in crowd.parts():
        item, label = crowd.item[part], crowd.label[part]
        if some_have_options:
            counted = ~crowd.item_has_options[item]
            item, label = item[counted], label[counted]
        found = found.plus(Tally.of((kind[item], label)))
    kinds, answers = found.keys.T
    by = (kinds // N_GROUPS // 2, kinds // N_GROUPS % 2, kinds % N_GROUPS, answers)
    return Tally(np.stack(by, axis=1), found.counts)


def statistics_of(sums: CrowdSums, tasks: Tasks, names_of: NamesOf) -> dict[str, Any]:
    """Labels per item and per annotator, overlap, agreement, balance, and warnings."""
    n, n_items = sums.items.keys[:, -1], sums.items.counts[:, 0]
    total = int(n_items.sum())
    per_annotator = sums.annotators.counts[:, 0]
    several = int(n_items[n > 1].sum())
    return {
        "labels": int((n * n_items).sum()),
        "items": total,
        "annotators": len(per_annotator),
        "labels_per_item": _spread(n, n_items) | {"histogram": _histogram(n, n_items)},
        "labels_per_annotator": _spread(per_annotator, np.ones_like(per_annotator)),
        "overlap": {
            "items_with_several_labels": several,
            "share": several / total,
            "annotators_without_overlap": len(_without_overlap(sums)),
        },
        "agreement": _agreement(sums.items),
        "tasks": [_task_statistics(sums, number, *task) for number, task in enumerate(tasks)],
        "warnings": [{"code": code, "detail": detail} for code, detail in _warnings(sums, tasks, names_of)],
    }


def _spread(values: NDArray[np.int64], how_many: NDArray[np.int64]) -> dict[str, float]:
    """Of `values` that are there so often; zeros when there are none: all annotators may have been erased."""
    if not len(values):
        return {"min": 0, "median": 0.0, "mean": 0.0, "max": 0}
    order = np.argsort(values, kind="stable")
    values, upto = values[order], np.cumsum(how_many[order])
    total = int(upto[-1])
    middle = values[np.searchsorted(upto, [(total - 1) // 2, total // 2], side="right")]
    return {
        "min": int(values[0]),
        "median": float(middle.mean()),
        "mean": int((values * how_many[order]).sum()) / total,
        "max": int(values[-1]),
    }


def _histogram(values: NDArray[np.int64], how_many: NDArray[np.int64]) -> dict[str, int]:
    """How many have 1, 2, 3, … labels; the last bar holds all that have as many or more."""
    bars = np.zeros(_LONGEST_HISTOGRAM + 1, np.int64)
    np.add.at(bars, np.minimum(values, _LONGEST_HISTOGRAM), how_many)
    return {f"{number}+" if number == _LONGEST_HISTOGRAM else str(number): int(n) for number, n in enumerate(bars) if n}


def _agreement(items: Tally) -> float | None:
    n, (n_items, equal) = items.keys[:, -1], items.counts.T
    return _share(int(equal.sum()), int((n * (n - 1) // 2 * n_items).sum()))


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _without_overlap(sums: CrowdSums) -> NDArray[np.int64]:
    """Keys of the annotators who labelled no item that somebody else labelled too."""
    labels, alone = sums.annotators.counts.T
    keys: NDArray[np.int64] = sums.annotators.keys[labels == alone, 0]
    return keys


def _task_statistics(sums: CrowdSums, number: int, name: str, answers: Sequence[str]) -> dict[str, Any]:
    """One task. Balance is that of items without options of their own: only there do answers mean the same."""
    items = sums.items.where(number)
    n, n_items = items.keys[:, -1], items.counts[:, 0]
    given = sums.answers.where(number)
    counts = np.zeros(len(answers), np.int64)
    np.add.at(counts, given.keys[:, -1], given.counts[:, 0])
    return {
        "task": name,
        "items": int(n_items.sum()),
        "labels": int((n * n_items).sum()),
        "agreement": _agreement(items),
        "alpha": vars(_alpha(items.where(0), given.where(1), len(answers))),
        "balance": [
            {"label": answer, "count": count, "share": _share(count, int(counts.sum()))}
            for answer, count in zip(answers, counts.tolist(), strict=True)
        ],
    }


def _alpha(items: Tally, answers: Tally, n_answers: int) -> Alpha:
    """Agreement beyond chance, of items by (group, labels on it) and compared labels by (group, answer)."""
    group, n = items.keys[items.keys[:, 1] > 1].T
    n_items, equal = items.counts[items.keys[:, 1] > 1].T
    unequal = (n * (n - 1) * n_items - 2 * equal).astype(np.float64)
    differing = np.bincount(group, unequal / (n - 1), minlength=N_GROUPS).astype(np.float64, copy=False)
    by_group = np.zeros((N_GROUPS, n_answers), np.int64)
    by_group[tuple(answers.keys.T)] = answers.counts[:, 0]
    return krippendorff_alpha(differing, by_group, int(n_items.sum()))


def _warnings(sums: CrowdSums, tasks: Tasks, names_of: NamesOf) -> Iterator[tuple[str, str]]:
    """What cannot be learned from these labels."""
    n_annotators, alone = len(sums.annotators.keys), _without_overlap(sums)
    if n_annotators == 1:
        yield "one_annotator", "There is one annotator only, so nothing tells how far to trust the labels."
    elif sums.items.keys[:, -1].max() == 1:
        yield (
            "one_label_per_prompt",
            "Every prompt has one label, so annotators cannot be compared with each other; only a model that learns "
            "from the texts can tell them apart.",
        )
    elif len(alone):
        yield (
            "annotators_without_overlap",
            f"{len(alone):,} of {n_annotators:,} annotators share no prompt with anybody "
            f"({_named(names_of(alone[:_NAMES_SHOWN].tolist()), len(alone))}), so they cannot be compared with others.",
        )
    for name, answers in tasks:
        if len(answers) == 1:
            yield "one_answer", f"Task {name!r} has one answer only, {answers[0]!r}: there is nothing to learn in it."
        for alike in similar_labels(answers):
            yield (
                "similar_labels",
                f"Task {name!r} has labels that differ only in case or spaces: {_named(alike, len(alike))}.",
            )


def _named(names: Sequence[str], n: int) -> str:
    return ", ".join(repr(name[:60]) for name in names) + (", …" if n > len(names) else "")
