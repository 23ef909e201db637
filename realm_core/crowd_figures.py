"""What a whole crowd does: how certain the cleaned labels are, which answers people confuse, how each answer fares.

JSON for the pages and the API, made once when the report is made: nothing of it is counted anew per request.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from realm_core.agreement import label_alphas
from realm_core.annotations import FloatArray
from realm_core.intervals import wilson
from realm_core.report_evidence import Evidence
from realm_core.truth_candidates import Candidate

N_BINS = 20
N_FINE_BINS = 1000
MOST_PAIRS_OF_ANSWERS = 20
MIN_EXPECTED = 5.0  # labels where an answer is probably right, for an annotator to be counted among those who saw it
WIDESPREAD, NOTABLE = 0.5, 0.05  # of the annotators take one answer for the other; of the better half's labels


def crowd_figures(evidence: Evidence, candidate: Candidate) -> dict[str, Any]:
    """`certainty` (histograms, coarse and fine), `answers` (agreement on each), `confused_answers`, how often each
    answer of each task was given (`label_counts`), and the method, to repeat it."""
    probability = evidence.truth.posterior.max(axis=1)
    return {
        "answer_shares": candidate.shares,
        "candidate_model_weight": candidate.model_weight,
        "candidate_power": candidate.power,
        "label_counts": _label_counts(evidence),
        "certainty": _certainty(probability),
        "fine_certainty": _fine_certainty(probability),
        "answers": label_alphas(evidence.table, evidence.fixed_answers),
        "confused_answers": _confused_answers(evidence),
    }


def _label_counts(evidence: Evidence) -> list[list[int]]:
    """How often each answer was given by everybody, task by task."""
    table = evidence.table
    of_pool = evidence.label_counts.reshape(-1, table.n_tasks, table.n_answers).sum(axis=0)
    return [of_pool[task, :k].tolist() for task, k in enumerate(table.task_answers)]


def _certainty(probability: FloatArray) -> list[dict[str, float]]:
    """How many items have a cleaned label that is so probable."""
    counts, edges = np.histogram(np.clip(probability, 0, 1), bins=N_BINS, range=(0, 1))
    return [
        {"low": round(float(low), 4), "high": round(float(high), 4), "n_items": int(n)}
        for n, low, high in zip(counts, edges, edges[1:], strict=False)
    ]


def _fine_certainty(probability: FloatArray) -> list[tuple[int, int, float]]:
    """The items in bins of a thousandth of probability: number of the bin, of its items, sum of their probabilities.

    The least certain first; bins without items are left out.
    """
    number = np.minimum((probability * N_FINE_BINS).astype(np.intp), N_FINE_BINS - 1)
    counts = np.bincount(number, minlength=N_FINE_BINS)
    totals = np.bincount(number, weights=probability, minlength=N_FINE_BINS)
    return [(int(bin_), int(counts[bin_]), float(totals[bin_])) for bin_ in np.flatnonzero(counts)]


def _confused_answers(evidence: Evidence) -> list[dict[str, Any]]:
    """The pairs of answers that the crowd confuses most: given `answer` where `probable_answer` is right.

    `rate` over all labels where that one is probably right, `better_rate` over those of the better half of the
    annotators, with its 95 % interval; `n_annotators` who saw enough, `share_of_annotators` who do it at half the
    pool's rate or more. `everybody`: most do, the better half notably so, so that the guideline is likelier at fault
    than the people.
    """
    counts = evidence.confusion
    if counts is None:
        return []
    found = [
        pair
        for task in np.flatnonzero(evidence.fixed_answers)
        for pair in _pairs_of_task(counts, evidence.accuracy, int(task), evidence.table.n_tasks)
    ]
    return sorted(found, key=lambda pair: (not pair["everybody"], -pair["n_labels"]))[:MOST_PAIRS_OF_ANSWERS]


def _pairs_of_task(counts: FloatArray, accuracy: FloatArray, task: int, n_tasks: int) -> list[dict[str, Any]]:
    own, right = counts[task::n_tasks], accuracy[task::n_tasks]
    seen = own.sum(axis=2)
    present = seen.sum(axis=1) > 0
    if not present.any():
        return []
    better = present & (right >= np.median(right[present]))
    pool, of_better = own.sum(axis=0), own[better].sum(axis=0)
    pairs = [(y, label) for y in range(len(pool)) for label in range(len(pool)) if y != label and pool[y, label] >= 1]
    return [_confused(own, seen, pool, of_better, task, y, label) for y, label in pairs]


def _confused(
    own: FloatArray, seen: FloatArray, pool: FloatArray, of_better: FloatArray, task: int, y: int, label: int
) -> dict[str, Any]:
    rate = float(pool[y, label] / pool[y].sum())
    n_better = float(of_better[y].sum())
    better_rate = float(of_better[y, label] / n_better) if n_better else None
    low, high = wilson(better_rate, n_better)
    enough = seen[:, y] >= MIN_EXPECTED
    doing_it = own[enough, y, label] >= np.maximum(rate / 2 * seen[enough, y], 0.5)
    share = float(doing_it.mean()) if enough.any() else None
    return {
        "task": task,
        "probable_answer": y,
        "answer": label,
        "n_labels": float(pool[y, label]),
        "n_seen": float(pool[y].sum()),
        "rate": rate,
        "better_rate": better_rate,
        "better_low": low,
        "better_high": high,
        "n_annotators": int(enough.sum()),
        "share_of_annotators": share,
        "everybody": bool(share is not None and low is not None and share >= WIDESPREAD and low >= NOTABLE),
    }
