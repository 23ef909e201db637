"""How good truth inference was, by gold."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

from benchmarks.crowd_tools import Inferred
from realm_core.annotations import UNKNOWN, Annotations, FloatArray

LEAST_LABELS = 5  # with gold, of an annotator who is ranked
SAME = 1e-9  # answers that differ by less are tied


@dataclass(frozen=True)
class Score:
    """One tool on one set.

    `accuracy` of the labels, a tie counting as its expected value, and `own_accuracy` of those that the tool prints;
    `spearman` and `rmse` of the annotators' accuracies against their share right by gold, None where nobody is ranked.
    """

    accuracy: float
    own_accuracy: float | None
    spearman: float | None
    rmse: float | None
    seconds: float


def score(annotations: Annotations, inferred: Inferred, seconds: float) -> Score:
    """Compare with gold."""
    by_gold, n_labels = gold_accuracy(annotations)
    ranked = (n_labels >= LEAST_LABELS) & np.isfinite(inferred.accuracy)
    estimated, right = inferred.accuracy[ranked], by_gold[ranked]
    varied = len(right) > 2 and np.ptp(estimated) > 0 and np.ptp(right) > 0
    return Score(
        accuracy=label_accuracy(annotations, inferred.answers),
        own_accuracy=None if inferred.own_label is None else _share_gold(annotations, inferred.own_label),
        spearman=float(spearmanr(estimated, right).statistic) if varied else None,
        rmse=float(np.sqrt(np.mean((estimated - right) ** 2))) if len(right) else None,
        seconds=seconds,
    )


def label_accuracy(annotations: Annotations, answers: FloatArray) -> float:
    """Share of the items with gold whose likeliest answer is right: one of m that tie counts 1/m."""
    items, gold = _with_gold(annotations)
    likeliest = answers[items] >= answers[items].max(axis=1, keepdims=True) - SAME
    return float(np.mean(likeliest[np.arange(len(items)), gold] / likeliest.sum(axis=1)))


def gold_accuracy(annotations: Annotations) -> tuple[FloatArray, NDArray[np.intp]]:
    """Share right by gold of each annotator (R,), nan without any, and the number of labels that it rests on (R,)."""
    assert annotations.gold is not None
    gold = annotations.gold[annotations.item]
    known = gold != UNKNOWN
    n = np.bincount(annotations.annotator[known], minlength=annotations.n_annotators)
    right = np.bincount(annotations.annotator[known & (annotations.label == gold)], minlength=annotations.n_annotators)
    return np.where(n > 0, right / np.maximum(n, 1), np.nan), n


def _share_gold(annotations: Annotations, label: NDArray[np.intp]) -> float:
    items, gold = _with_gold(annotations)
    return float(np.mean(label[items] == gold))


def _with_gold(annotations: Annotations) -> tuple[NDArray[np.intp], NDArray[np.int32]]:
    assert annotations.gold is not None
    items = np.flatnonzero(annotations.gold != UNKNOWN)
    return items, annotations.gold[items]
