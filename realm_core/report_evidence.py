"""What every figure of a report is made of: the labels, the posterior, and counts of one by the other."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from realm_core.aggregation import Truth
from realm_core.annotations import Annotations, FloatArray
from realm_core.label_table import LabelTable
from realm_core.truth_candidates import MAX_CONFUSION_ANSWERS


@dataclass(frozen=True, eq=False)
class Evidence:
    """Annotations, the model's log p (N, Kmax) or None, the truth inferred from both, and whether the model had a say
    in it.

    A cell is one (annotator, task): cell = annotator · T + task.
    """

    annotations: Annotations
    log_p: FloatArray | None
    truth: Truth
    model_counts: bool = False

    @cached_property
    def table(self) -> LabelTable:
        return LabelTable.of(self.annotations)

    @cached_property
    def posterior(self) -> FloatArray:
        """q_i(y), answers first. (Kmax, N)"""
        return np.ascontiguousarray(self.truth.posterior.T)

    @cached_property
    def accuracy(self) -> FloatArray:
        """a of each cell. (R·T,)"""
        return self.truth.accuracy.ravel()

    @cached_property
    def n(self) -> NDArray[np.intp]:
        """All labels of each cell. (R·T,)"""
        task = self.annotations.item_task[self.annotations.item]
        cell = self.annotations.annotator.astype(np.intp) * self.table.n_tasks + task
        return np.bincount(cell, minlength=self.table.n_cells)

    @cached_property
    def created_at(self) -> FloatArray | None:
        """When each label of `table` was given. (L,)"""
        times = self.annotations.created_at
        return None if times is None else times[self.table.rows]

    @cached_property
    def informative(self) -> FloatArray:
        """Labels of each cell that tell how good the annotator is. (R·T,)

        With a model that counts, all. Without, those on items that somebody else labelled too, if three annotators or
        more are connected by such items: of two, labels alone do not tell who is right.
        """
        if self.model_counts:
            return self.table.labels_per_cell
        in_group = self.table.group_sizes()[self.table.cell // self.table.n_tasks] > 2
        compared = self.table.compared & in_group
        return self.table.sum_over_cells(compared.astype(np.float64))

    @cached_property
    def label_counts(self) -> NDArray[np.intp]:
        """How often each cell gave each answer. (R·T, K)"""
        k = self.table.n_answers
        flat = np.bincount(self.table.cell * k + self.table.label, minlength=self.table.n_cells * k)
        return flat.reshape(self.table.n_cells, k)

    @cached_property
    def fixed_answers(self) -> NDArray[np.bool_]:
        """Tasks whose prompts all have the same answers. (T,)"""
        fixed = np.ones(self.table.n_tasks, dtype=np.bool_)
        if self.annotations.options is not None:
            has_own = np.array([own is not None for own in self.annotations.options], dtype=np.bool_)
            fixed[self.annotations.item_task[has_own]] = False
        return fixed

    @cached_property
    def confusion(self) -> FloatArray | None:
        """Expected number of labels l where y is true, rows = truth; zero where answers are not fixed. (R·T, K, K)

        None where no task has fixed answers, or so many that K×K counts of everybody would dwarf the labels.
        """
        table, k = self.table, self.table.n_answers
        if k > MAX_CONFUSION_ANSWERS or not self.fixed_answers.any():
            return None
        counts = np.zeros((k, table.n_cells * k))  # truth first
        for part in table.parts(n_sums=counts.shape[1]):
            item, flat = table.item[part], table.cell[part] * k + table.label[part]
            for of_truth, q in zip(counts, self.posterior, strict=True):
                of_truth += np.bincount(flat, q[item], minlength=len(of_truth))
        by_cell = counts.reshape(k, table.n_cells, k).swapaxes(0, 1)
        return np.where(self.fixed_answers[table.cell_task][:, None, None], by_cell, 0)
