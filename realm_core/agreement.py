"""How far annotators agree with each other, whoever is right."""

from __future__ import annotations

import numpy as np

from realm_core.annotations import FloatArray
from realm_core.label_table import LabelTable


def pairs_of_cells(table: LabelTable) -> tuple[FloatArray, FloatArray]:
    """For each (annotator, task): pairs of an own label and another one of the same item, and how many are equal."""
    equal = table.votes()[table.label, table.item] - 1
    others = (table.labels_per_item[table.item] - 1).astype(np.float64)
    return table.sum_over_cells(others), table.sum_over_cells(equal)


def krippendorff_alpha(table: LabelTable) -> float | None:
    """Agreement beyond chance, for nominal labels and any pattern of missing ones; None where no two could differ.

    α = 1 − D_o / D_e with, over the items i that have n_i > 1 labels, c_ik of them answer k, n = Σ n_i, n_k = Σ_i c_ik:

        D_o = 1/n Σ_i (n_i² − Σ_k c_ik²) / (n_i − 1)        D_e = (n² − Σ_k n_k²) / (n (n − 1))

    Several tasks: both averaged over the tasks, weighted by their labels. Source: Krippendorff 2004, Content Analysis.
    """
    votes = table.votes()
    votes = votes * (votes.sum(axis=0) > 1)
    observed = expected = 0.0
    for task in range(table.n_tasks):
        counts = votes[:, table.item_task == task]
        of_item, of_answer, n = counts.sum(axis=0), counts.sum(axis=1), counts.sum()
        if n:
            observed += float(((of_item**2 - (counts**2).sum(axis=0)) / np.maximum(of_item - 1, 1)).sum())
            expected += float((n**2 - (of_answer**2).sum()) / (n - 1))
    return 1 - observed / expected if expected > 0 else None
