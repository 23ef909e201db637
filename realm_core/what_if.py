"""The report without some of the labels, in seconds: truth inference anew, the model's p(y | x) held fixed.

Nothing is trained, so p(y | x) still knows what the left-out labels taught the model; what changes is what the votes
say.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from realm_core.aggregation import Truth
from realm_core.agreement import krippendorff_alpha, pairs_of_cells
from realm_core.annotations import UNKNOWN, Annotations, FloatArray
from realm_core.label_table import LabelTable
from realm_core.truth_candidates import Candidate
from realm_core.truth_choice import truth_under


@dataclass(frozen=True, eq=False)
class Outlook:
    """What labels and a fixed model say: the truth, and the overview's figures (None where they cannot be told)."""

    truth: Truth
    n_labels: int
    n_items_without_label: int
    expected_accuracy: float
    gold_accuracy: float | None
    agreement: float | None
    alpha: float | None


def outlook(annotations: Annotations, candidate: Candidate, log_p: FloatArray | None) -> Outlook:
    """The figures of a report, by the truth inference that the report chose."""
    table = LabelTable.of(annotations)
    truth = truth_under(annotations, candidate.fit(annotations, log_p).posterior)
    pairs, equal = (float(counts.sum()) for counts in pairs_of_cells(table))
    return Outlook(
        truth=truth,
        n_labels=annotations.n_labels,
        n_items_without_label=int((np.bincount(annotations.item, minlength=annotations.n_items) == 0).sum()),
        expected_accuracy=float(truth.posterior.max(axis=1).mean()),
        gold_accuracy=_gold_accuracy(annotations, truth.posterior),
        agreement=equal / pairs if pairs else None,
        alpha=krippendorff_alpha(table).value,
    )


def _gold_accuracy(annotations: Annotations, posterior: FloatArray) -> float | None:
    if annotations.gold is None or not (annotations.gold != UNKNOWN).any():
        return None
    known = np.flatnonzero(annotations.gold != UNKNOWN)
    return float((posterior[known].argmax(axis=1) == annotations.gold[known]).mean())


def changed_labels(before: FloatArray, after: FloatArray) -> NDArray[Any]:
    """Items whose likeliest answer differs between two posteriors (N, Kmax), the surest of the new answers first."""
    changed = np.flatnonzero(before.argmax(axis=1) != after.argmax(axis=1))
    return np.asarray(changed[np.argsort(-after[changed].max(axis=1), kind="stable")])


def accuracy_per_annotator(annotations: Annotations, truth: Truth) -> FloatArray:
    """The accuracies of a truth, averaged over each annotator's own labels, nan without any. (R,)"""
    task = annotations.item_task[annotations.item]
    own = truth.accuracy[annotations.annotator, task]
    n = np.bincount(annotations.annotator, minlength=annotations.n_annotators)
    total = np.bincount(annotations.annotator, own, minlength=annotations.n_annotators)
    return np.where(n > 0, total / np.maximum(n, 1), np.nan)
