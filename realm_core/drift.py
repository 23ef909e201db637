"""Whether an annotator's accuracy changed at some time, and when."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import special

from realm_core.annotations import FloatArray
from realm_core.flags import Findings, discoveries
from realm_core.label_table import LabelTable

MIN_LABELS_TO_CHANGE = 30
LEAST_CHANGE = 0.05  # of accuracy: more labels make smaller changes certain, not important
N_STRETCHES = 10  # of time, for what happens to everybody
MIN_FOR_TREND = 5  # annotators at work in one


def drift(table: LabelTable, own: FloatArray, accuracy: FloatArray, created_at: FloatArray | None) -> Findings:
    """Whose residuals, cumulated in order of time, stray too far from zero (CUSUM); rows are annotators.

    The residual of a label is q_i(l_ir) − a_r, less what the others' residuals on the same item say about the item. For
    a constant accuracy, max |S_k| / (σ √n) is distributed like the supremum of a Brownian bridge (Kolmogorov). The sum
    must stray as it is, and also less the trend of the whole crowd: nobody is accused of prompts that got harder.

    `own` (L,) is q_i(l_ir), `accuracy` (R·T,), `created_at` (L,) with nan where unknown.
    """
    if created_at is None or not np.isfinite(created_at).any():
        return Findings.none(table.n_annotators)
    annotator = table.cell // table.n_tasks
    rows = np.flatnonzero(np.isfinite(created_at))
    rows = rows[np.lexsort((created_at[rows], annotator[rows]))]
    timeline = _Timeline(annotator[rows], created_at[rows], table.n_annotators)
    residual = _without_item_effect(table, own - accuracy[table.cell])[rows]
    p_values = np.maximum(timeline.p_values(residual), timeline.p_values(residual - timeline.common_trend(residual)))
    return timeline.changes(discoveries(p_values), residual, own[rows])


def _without_item_effect(table: LabelTable, residual: FloatArray) -> FloatArray:
    """Residuals less their regression on the mean residual of the other labels of the item. (L,)"""
    n = table.labels_per_item[table.item]
    total = np.bincount(table.item, residual, minlength=table.n_items)[table.item]
    others = np.where(n > 1, (total - residual) / np.maximum(n - 1, 1), 0.0)
    slope = np.clip(float(residual @ others) / max(float(others @ others), 1e-12), 0.0, 1.0)
    return np.asarray(residual - slope * others)


class _Timeline:
    """Labels sorted by annotator, then time; all methods take values in that order. (labels,)"""

    def __init__(self, annotator: NDArray[np.intp], time: FloatArray, n_annotators: int) -> None:
        self.annotator, self.time = annotator, time
        self.n = np.bincount(annotator, minlength=n_annotators)
        self.start = np.cumsum(self.n) - self.n
        same_annotator = np.append(np.diff(annotator) == 0, False)
        self.can_change = same_annotator & np.append(np.diff(time) > 0, False)  # between this label and the next

    def p_values(self, residual: FloatArray) -> FloatArray:
        """Of the largest excursion of each annotator, nan where there is too little to see one. (R,)"""
        highest = np.maximum.reduceat(np.append(self._excursions(residual), 0.0), self.start)
        centred = residual - self._mean(residual)[self.annotator]
        deviation = np.sqrt(self._mean(centred**2))
        with np.errstate(invalid="ignore", divide="ignore"):
            p_values = special.kolmogorov(highest / (deviation * np.sqrt(self.n)))
        return np.where((self.n >= MIN_LABELS_TO_CHANGE) & (highest > 0), p_values, np.nan)

    def common_trend(self, residual: FloatArray) -> FloatArray:
        """What happens to everybody: in each stretch of time the median annotator's mean residual. (labels,)"""
        ends = np.quantile(self.time, np.arange(1, N_STRETCHES) / N_STRETCHES)
        stretch = np.searchsorted(ends, self.time, side="right")
        cell, size = self.annotator * N_STRETCHES + stretch, len(self.n) * N_STRETCHES
        with np.errstate(invalid="ignore"):
            means = np.bincount(cell, residual, minlength=size) / np.bincount(cell, minlength=size)
        means = means.reshape(-1, N_STRETCHES)
        enough = np.isfinite(means).sum(axis=0) >= MIN_FOR_TREND
        trend = np.zeros(N_STRETCHES)
        trend[enough] = np.nanmedian(means[:, enough], axis=0)
        return np.asarray(trend[stretch])

    def changes(self, flagged: NDArray[np.bool_], residual: FloatArray, own: FloatArray) -> Findings:
        """When the flagged annotators changed, and how often they were right before and after, if that matters."""
        excursions, detail = self._excursions(residual), {}
        for r in np.flatnonzero(flagged):
            mine = slice(self.start[r], self.start[r] + self.n[r])
            split = int(excursions[mine].argmax()) + 1
            before, after = float(own[mine][:split].mean()), float(own[mine][split:].mean())
            if abs(after - before) >= LEAST_CHANGE:
                detail[int(r)] = {"at": float(self.time[mine][split]), "before": before, "after": after}
        return Findings(np.isin(np.arange(len(flagged)), list(detail)), detail)

    def _excursions(self, residual: FloatArray) -> FloatArray:
        """|S_k| of each annotator's centred residuals, 0 where the next label has the same time."""
        total = np.cumsum(residual - self._mean(residual)[self.annotator])
        before = np.concatenate([[0.0], total])[self.start]  # of the annotator's first label
        return np.where(self.can_change, np.abs(total - before[self.annotator]), 0.0)

    def _mean(self, values: FloatArray) -> FloatArray:
        """Of each annotator. (R,)"""
        total = np.bincount(self.annotator, values, minlength=len(self.n))
        return np.asarray(total / np.maximum(self.n, 1))
