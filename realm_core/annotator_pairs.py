"""Pairs of annotators: how often two agree on what both labelled, and who makes the same mistakes as whom.

Two who label independently of each other still make some mistakes in common. Given the truth, on the items S that both
labelled, that many are expected (with the channel π of each):

    E_rs = Σ_{i∈S} Σ_y q_i(y) Σ_{l≠y} π_r(l|y) π_s(l|y)        seen: O_rs = Σ_{i∈S} [l_ir = l_is] (1 − q_i(l_ir))

Hard items mislead everybody, so O exceeds E for innocent pairs too: E is scaled by the crowd's own typical ratio O/E.
Two who misunderstood the same rule share it in their π, and are not accused. What is left is tested by the upper tail
of a Poisson distribution, all pairs at a false discovery rate of 5 %.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse, special

from realm_core.annotations import FloatArray
from realm_core.flags import BoolArray, discoveries
from realm_core.report_evidence import Evidence

MIN_SHARED = 10  # items; fewer say nothing about two people
MOST_PAIRS = 500_000  # are kept, those who share the most
MIN_SAME_MISTAKES = 5.0
MANY_TIMES = 2.0  # as many common mistakes as expected, or it is no finding however certain
SMOOTHING = 5.0  # labels of the pool in each row of an annotator's confusion
_BLOCK = 256  # annotators whose pairs are counted at a time, which bounds memory


@dataclass(frozen=True, eq=False)
class PairRows:
    """Pairs `first` < `second` of annotators who share at least MIN_SHARED items; all arrays (P,).

    `shared` items, on `equal` of them the same label; `same_mistakes` O and `expected_mistakes` (scaled E) of the
    module's docstring; `suspicious`: more of them than chance explains.
    """

    first: NDArray[np.intp]
    second: NDArray[np.intp]
    shared: NDArray[np.intp]
    equal: NDArray[np.intp]
    same_mistakes: FloatArray
    expected_mistakes: FloatArray
    suspicious: BoolArray

    def __len__(self) -> int:
        return len(self.first)


def annotator_pairs(evidence: Evidence) -> PairRows:
    """All pairs that share enough, by annotator."""
    first, second, shared = _busy_pairs(evidence)
    counts = _Products(evidence, first, second)
    equal = np.rint(counts.same_label(np.ones(len(evidence.table.item)))).astype(np.intp)
    same_mistakes = counts.same_label(1 - evidence.table.of_own_label(evidence.posterior))
    expected = _expected_mistakes(evidence, counts)
    expected *= _typical_ratio(same_mistakes, expected)
    return PairRows(first, second, shared, equal, same_mistakes, expected, _suspicious(same_mistakes, expected))


def _busy_pairs(evidence: Evidence) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]:
    """first, second and the items that they share, of those who share the most."""
    found = []
    by_item = _columns(evidence, np.ones(len(evidence.table.item)))
    for start, block in _blocks(by_item):
        shared = (block.T @ by_item).tocoo()
        rows, columns = shared.coords
        keep = (shared.data >= MIN_SHARED) & (rows + start < columns)
        found.append((rows[keep] + start, columns[keep], shared.data[keep]))
    first, second, n = (np.concatenate(parts) for parts in zip(*found, strict=True)) if found else (np.empty(0),) * 3
    if len(n) > MOST_PAIRS:
        most = np.sort(np.argpartition(n, -MOST_PAIRS)[-MOST_PAIRS:])
        first, second, n = first[most], second[most], n[most]
    return first.astype(np.intp), second.astype(np.intp), np.rint(n).astype(np.intp)


def _columns(evidence: Evidence, weight: FloatArray, *, by_answer: bool = False) -> sparse.csc_array[Any]:
    """√weight of each label, in the row of its item (or of its item and answer) and the column of its annotator."""
    table = evidence.table
    rows = table.label * table.n_items + table.item if by_answer else table.item
    shape = (table.n_items * (table.n_answers if by_answer else 1), table.n_annotators)
    matrix = sparse.coo_array((np.sqrt(weight), (rows, table.cell // table.n_tasks)), shape=shape)
    return matrix.tocsc()


def _blocks(matrix: sparse.csc_array[Any]) -> Iterator[tuple[int, sparse.csc_array[Any]]]:
    for start in range(0, matrix.shape[1], _BLOCK):
        yield start, matrix[:, start : start + _BLOCK]


class _Products:
    """Sums over what the two of each pair both labelled. All results (P,)."""

    def __init__(self, evidence: Evidence, first: NDArray[np.intp], second: NDArray[np.intp]) -> None:
        self._evidence = evidence
        self.first, self.second = first, second

    def same_label(self, weight: FloatArray) -> FloatArray:
        """Σ of `weight` (L,), equal for equal labels of an item, over the items with equal labels."""
        return self._sum(_columns(self._evidence, weight, by_answer=True))

    def shared(self, weight: FloatArray) -> FloatArray:
        """Σ of `weight` (L,), equal for all labels of an item, over the shared items."""
        return self._sum(_columns(self._evidence, weight))

    def _sum(self, matrix: sparse.csc_array[Any]) -> FloatArray:
        total = np.zeros(len(self.first))
        for start, block in _blocks(matrix):
            mine = slice(*np.searchsorted(self.first, (start, start + _BLOCK)))
            product = (block.T @ matrix).tocsr()
            product.sum_duplicates()
            total[mine] = _entries(product, self.first[mine] - start, self.second[mine])
        return total


def _entries(matrix: sparse.csr_array[Any], rows: NDArray[np.intp], columns: NDArray[np.intp]) -> FloatArray:
    """matrix[rows, columns], 0 where nothing is stored."""
    n_rows, n_columns = matrix.shape
    stored = np.repeat(np.arange(n_rows, dtype=np.int64), np.diff(matrix.indptr)) * n_columns + matrix.indices
    wanted = rows.astype(np.int64) * n_columns + columns
    place = np.minimum(np.searchsorted(stored, wanted), max(len(stored) - 1, 0))
    if not len(stored):
        return np.zeros(len(wanted))
    return np.where(stored[place] == wanted, matrix.data[place], 0.0)


def _expected_mistakes(evidence: Evidence, counts: _Products) -> FloatArray:
    """E of each pair, task by task, by confusion matrices where a task has them and by accuracies elsewhere. (P,)"""
    table, rates = evidence.table, _rates(evidence)
    task_of_label = table.item_task[table.item]
    expected = np.zeros(len(counts.first))
    for task in range(table.n_tasks):
        here = (task_of_label == task).astype(np.float64)
        first, second = counts.first * table.n_tasks + task, counts.second * table.n_tasks + task
        if rates is None or not evidence.fixed_answers[task]:
            wrong = 1 - np.clip(evidence.accuracy, 0, 1)
            chance = counts.shared(here / np.maximum(table.answer_counts[table.item] - 1, 1))
            expected += wrong[first] * wrong[second] * chance
            continue
        for truth in range(table.task_answers[task]):
            both = (rates[first, truth] * rates[second, truth]).sum(axis=1)
            both -= rates[first, truth, truth] * rates[second, truth, truth]
            expected += both * counts.shared(here * evidence.posterior[truth, table.item])
    return expected


def _rates(evidence: Evidence) -> FloatArray | None:
    """π_r(l | y) of each cell from the expected counts, pulled to the pool's. (R·T, K, K), None where not counted."""
    counts, table = evidence.confusion, evidence.table
    if counts is None:
        return None
    by_task = counts.reshape(-1, table.n_tasks, table.n_answers, table.n_answers).sum(axis=0)
    pool = by_task / np.maximum(by_task.sum(axis=2, keepdims=True), 1e-9)
    return np.asarray((counts + SMOOTHING * pool[table.cell_task]) / (counts.sum(axis=2, keepdims=True) + SMOOTHING))


def _typical_ratio(seen: FloatArray, expected: FloatArray) -> float:
    """The median of seen / expected, each pair weighing as much as it is expected to show; at least 1."""
    known = np.flatnonzero(expected > 0)
    if not len(known):
        return 1.0
    ratio = seen[known] / expected[known]
    order = np.argsort(ratio)
    weight = np.cumsum(expected[known][order])
    return max(1.0, float(ratio[order][np.searchsorted(weight, weight[-1] / 2)]))


def _suspicious(seen: FloatArray, expected: FloatArray) -> BoolArray:
    """P(Poisson(expected) ≥ seen) is small, seen is many times as much, and not a handful."""
    p_values = special.gammainc(np.maximum(seen, 1e-9), expected)
    enough = (seen >= MIN_SAME_MISTAKES) & (seen >= MANY_TIMES * expected)
    return discoveries(np.asarray(p_values)) & enough
