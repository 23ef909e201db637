"""How far annotators agree with each other, whoever is right."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from realm_core.annotations import FloatArray
from realm_core.intervals import Z95
from realm_core.label_table import LabelTable

N_GROUPS = 50  # of items, left out in turn for an interval


def pairs_of_cells(table: LabelTable) -> tuple[FloatArray, FloatArray]:
    """For each (annotator, task): pairs of an own label and another one of the same item, and how many are equal."""
    equal = table.votes()[table.label, table.item] - 1
    others = (table.labels_per_item[table.item] - 1).astype(np.float64)
    return table.sum_over_cells(others), table.sum_over_cells(equal)


@dataclass(frozen=True)
class Alpha:
    """Krippendorff's α with its 95 % interval; None where no two labels could differ, or the interval cannot be told.

    `n_items` have labels of two annotators or more.
    """

    value: float | None
    low: float | None
    high: float | None
    n_items: int


def krippendorff_alpha(table: LabelTable) -> Alpha:
    """Agreement beyond chance, for nominal labels and any pattern of missing ones.

    α = 1 − D_o / D_e with, over the items i that have n_i > 1 labels, c_ik of them answer k, n = Σ n_i, n_k = Σ_i c_ik:

        D_o = 1/n Σ_i (n_i² − Σ_k c_ik²) / (n_i − 1)        D_e = (n² − Σ_k n_k²) / (n (n − 1))

    Several tasks: both averaged over the tasks, weighted by their labels. Source: Krippendorff 2004, Content Analysis.
    The interval comes from leaving out each of N_GROUPS groups of items (delete-a-group jackknife; Kott 2001).
    """
    votes = table.votes()
    tasks = [votes[:, table.item_task == task] for task in range(table.n_tasks)]
    return _alpha([_Disagreement.of(counts) for counts in tasks])


def label_alphas(table: LabelTable, fixed_answers: NDArray[np.bool_]) -> list[dict[str, Any]]:
    """α of each answer against all the others, of the tasks whose prompts have the same answers; JSON."""
    votes = table.votes()
    found = []
    for task in np.flatnonzero(fixed_answers):
        counts = votes[:, table.item_task == task]
        total = counts.sum(axis=0)
        for answer in range(table.task_answers[task]):
            alpha = _alpha([_Disagreement.of(np.stack([counts[answer], total - counts[answer]]))])
            about = {"task": int(task), "answer": answer, "n_labels": int(counts[answer].sum())}
            found.append(about | {"alpha": alpha.value, "low": alpha.low, "high": alpha.high})
    return found


@dataclass(frozen=True, eq=False)
class _Disagreement:
    """Of one task's items with several labels, in groups: Σ_i (n_i² − Σ_k c_ik²)/(n_i − 1) and answers counted.

    `observed` (G,), `answers` (G, K), `n_items` in all.
    """

    observed: FloatArray
    answers: FloatArray
    n_items: int

    @classmethod
    def of(cls, counts: FloatArray) -> _Disagreement:
        """Of the votes (K, items)."""
        counts = counts[:, counts.sum(axis=0) > 1]
        group = np.arange(counts.shape[1]) % N_GROUPS
        of_item = counts.sum(axis=0)
        differing = (of_item**2 - (counts**2).sum(axis=0)) / np.maximum(of_item - 1, 1)
        sums = [np.bincount(group, row, minlength=N_GROUPS).astype(np.float64) for row in (differing, *counts)]
        return cls(sums[0], np.stack(sums[1:], axis=1), counts.shape[1])

    def whole_and_parts(self) -> tuple[FloatArray, FloatArray]:
        """n·D_o and n·D_e of all groups together, then without each of them in turn. Both (1 + G,)."""
        observed, answers = (
            whole.sum(axis=0) - np.insert(whole, 0, 0.0, axis=0) for whole in (self.observed, self.answers)
        )
        return observed, expected_disagreement(answers)


def expected_disagreement(answers: FloatArray) -> FloatArray:
    """n·D_e = (n² − Σ_k n_k²) / (n − 1) of answers that were given n_k times. (…, K) -> (…)"""
    n = answers.sum(axis=-1)
    return np.asarray((n**2 - (answers**2).sum(axis=-1)) / np.maximum(n - 1, 1))


def alphas(observed: FloatArray, expected: FloatArray) -> FloatArray:
    """α of n·D_o and n·D_e, element by element; nan where all labels are the same, or there are none."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(expected > 0, 1 - observed / expected, np.nan)


def _alpha(tasks: list[_Disagreement]) -> Alpha:
    observed, expected = (np.sum(parts, axis=0) for parts in zip(*(t.whole_and_parts() for t in tasks), strict=True))
    whole, *parts = alphas(observed, expected).tolist()
    n_items = sum(task.n_items for task in tasks)
    if np.isnan(whole):
        return Alpha(None, None, None, n_items)
    if n_items < N_GROUPS or np.isnan(parts).any():
        return Alpha(whole, None, None, n_items)
    spread = (N_GROUPS - 1) / N_GROUPS * float(((np.array(parts) - np.mean(parts)) ** 2).sum())
    half = Z95 * float(np.sqrt(spread))
    return Alpha(whole, max(whole - half, -1.0), min(whole + half, 1.0), n_items)
