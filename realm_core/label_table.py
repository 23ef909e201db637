"""The labels of a crowd as sparse matrices, for estimators that pass over all of them many times."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse import csgraph

from realm_core.annotations import UNKNOWN, Annotations, FloatArray

_LABELS_AT_ONCE = 2**16


class LabelTable:
    """L labels, indexed by (answer, item) and by cell = (annotator, task).

    Dense arrays over items are (Kmax, N), answers first: normalising over a few answers is several times faster that
    way. Arrays over cells are (R·T,), cell = annotator · T + task. Labels of items with one answer say nothing about
    anybody and are left out.
    """

    @classmethod
    def of(cls, annotations: Annotations) -> LabelTable:
        """The table of these annotations, made once for as long as they are there: it is three times their size."""
        if annotations not in _tables:
            _tables[annotations] = cls(annotations)
        return _tables[annotations]

    def __init__(self, annotations: Annotations) -> None:
        self.n_tasks = len(annotations.tasks)
        self.n_items = annotations.n_items
        self.n_annotators = annotations.n_annotators
        self.n_cells = self.n_annotators * self.n_tasks
        self.answer_counts = annotations.answer_counts
        self.n_answers = int(self.answer_counts.max(initial=1))
        answers = np.arange(self.n_answers)[:, None]
        self.valid = answers < self.answer_counts  # which answers may be true (Kmax, N)
        if annotations.known is not None:
            self.valid &= (annotations.known == UNKNOWN) | (annotations.known == answers)
        self.item_task = annotations.item_task
        self.rows = self._informative(annotations)  # of `annotations`, (L,)
        some = slice(None) if len(self.rows) == annotations.n_labels else self.rows
        self.item = annotations.item[some].astype(np.intp)
        self.label = annotations.label[some].astype(np.intp)
        self.cell = annotations.annotator[some].astype(np.intp)
        if self.n_tasks > 1:
            self.cell *= self.n_tasks
            self.cell += self.item_task[self.item]
        self.labels_per_item = np.bincount(self.item, minlength=self.n_items)
        self.labels_per_cell = np.bincount(self.cell, minlength=self.n_cells).astype(float)
        self.cell_task = np.tile(np.arange(self.n_tasks), self.n_annotators)
        self.task_answers = np.zeros(self.n_tasks, dtype=np.int64)  # the most that any of its prompts has
        for k in np.flatnonzero(np.bincount(self.answer_counts)):
            self.task_answers[self.item_task[self.answer_counts == k]] = k
        self.cell_answers = self.task_answers[self.cell_task]

    @cached_property
    def compared(self) -> NDArray[np.bool_]:
        """Which labels are on items that somebody else labelled too. (L,)"""
        return self.labels_per_item[self.item] > 1

    def _informative(self, annotations: Annotations) -> NDArray[np.intp]:
        """Which labels are on items that have several answers."""
        if (self.answer_counts > 1).all():
            return np.arange(annotations.n_labels)
        return np.flatnonzero(self.answer_counts[annotations.item] > 1)

    def parts(self, n_sums: int) -> Iterator[slice]:
        """All labels, so few at a time that they stay in the processor's cache, but no fewer than sums made of them."""
        step = max(_LABELS_AT_ONCE, n_sums)
        for start in range(0, len(self.item), step):
            yield slice(start, start + step)

    def votes(self) -> FloatArray:
        """How many labels each answer of each item got. (Kmax, N)"""
        flat = np.bincount(self.label * self.n_items + self.item, minlength=self.n_answers * self.n_items)
        return flat.reshape(self.n_answers, self.n_items).astype(float)

    def by_answer(self) -> sparse.csr_array[Any]:
        """(Kmax·N, R·T): a one for each label, in the row of its (answer, item) and the column of its cell."""
        rows = self.label * self.n_items + self.item
        return _ones(rows, self.cell, (self.n_answers * self.n_items, self.n_cells))

    def by_item(self) -> sparse.csr_array[Any]:
        """(N, R·T·Kmax): a one for each label, in the row of its item and the column of its (cell, answer)."""
        columns = self.cell * self.n_answers + self.label
        return _ones(self.item, columns, (self.n_items, self.n_cells * self.n_answers))

    def group_sizes(self) -> NDArray[np.intp]:
        """How many annotators are connected to each annotator by items that both labelled, themselves included. (R,)"""
        groups = self.groups()
        return np.bincount(groups)[groups]

    def groups(self) -> NDArray[np.int32]:
        """For each annotator the number of their group, connected by shared items, directly or through others. (R,)"""
        n_nodes = self.n_annotators + self.n_items
        edges = (self.cell // self.n_tasks, self.n_annotators + self.item)
        graph = _ones(*edges, (n_nodes, n_nodes))
        _, group = csgraph.connected_components(graph, directed=False)
        return np.asarray(group[: self.n_annotators])

    def sum_over_cells(self, values: FloatArray) -> FloatArray:
        """Per-label values (L,) added up for each (annotator, task). (R·T,)"""
        return np.bincount(self.cell, values, minlength=self.n_cells).astype(np.float64, copy=False)

    def of_own_label(self, posterior: FloatArray) -> FloatArray:
        """q_i(l_ir), the probability (Kmax, N) that each label is right. (L,)"""
        own: FloatArray = posterior[self.label, self.item]
        return own


_tables: WeakKeyDictionary[Annotations, LabelTable] = WeakKeyDictionary()


def _ones(rows: NDArray[np.intp], columns: NDArray[np.intp], shape: tuple[int, int]) -> sparse.csr_array[Any]:
    matrix = sparse.coo_array((np.ones(len(rows)), (rows, columns)), shape=shape)
    matrix.has_canonical_format = True  # a product adds repeated entries anyway: no pass to look for them
    return matrix.tocsr()
