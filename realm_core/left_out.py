"""Was it worth it? Each method hides a fifth of the labels from itself and says how probable they are, without gold.

A method that knows the truth and the people finds the hidden labels probable: their mean log-likelihood compares
methods that have nothing else in common. The same predictions, beside how often each label was then given, tell whether
a probability of 80 % comes true in 80 % of the cases.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from realm_core.aggregation import Truth, dawid_skene, majority_vote
from realm_core.annotations import UNKNOWN, Annotations, FloatArray
from realm_core.intervals import Z95, wilson
from realm_core.report_evidence import Evidence
from realm_core.truth_candidates import Candidate, affords_confusion
from realm_core.truth_trials import LEAST_LIKELIHOOD, predictive_likelihood

SHARE_LEFT_OUT = 0.2
MIN_LEFT_OUT = 30  # labels; fewer compare nothing
N_BINS = 10
TOLERANCE = 1e-4  # of the fits, whose predictions are compared, not kept


def worth(evidence: Evidence, candidate: Candidate, plain_log_p: FloatArray | None) -> dict[str, Any]:
    """JSON: `comparison` of the methods, `calibration` by hidden labels, and `gold_calibration` where gold is given.

    `plain_log_p` (N, Kmax): a model trained on the labels as they are.
    """
    annotations, log_p = evidence.annotations, evidence.log_p
    found = {"gold_calibration": gold_calibration(annotations, evidence.truth.posterior)}
    left_out = _left_out(annotations, has_model=evidence.model_counts)
    if left_out.sum() < MIN_LEFT_OUT:
        return found | {"comparison": [], "calibration": []}
    kept, hidden = annotations.select_labels(~left_out), annotations.select_labels(left_out)
    ours = predictions(hidden, candidate.fit(kept, log_p, tolerance=TOLERANCE))
    return found | {
        "comparison": _comparison(kept, hidden, ours, plain_log_p),
        "calibration": _calibration(hidden, ours),
    }


def _comparison(
    kept: Annotations, hidden: Annotations, ours: FloatArray, plain_log_p: FloatArray | None
) -> list[dict[str, Any]]:
    """`realm`, `majority_vote`, `dawid_skene` and `plain_fine_tuning`, as far as each can be had.

    `log_likelihood` is the mean over the `n` hidden labels, with its 95 % interval; `difference` that of the method
    less ours, label by label, with its interval: wholly above 0 is better than ours. Items are what varies.
    """
    predicted = {"realm": ours, "majority_vote": _smoothed_votes(kept, hidden)}
    if affords_confusion(kept):
        predicted["dawid_skene"] = predictions(hidden, dawid_skene(kept, tolerance=TOLERANCE))
    if plain_log_p is not None:
        predicted["plain_fine_tuning"] = np.exp(plain_log_p)[hidden.item]
    scores = {name: _own(one, hidden) for name, one in predicted.items()}
    return [_scored(name, own, scores["realm"], hidden.item) for name, own in scores.items()]


def _calibration(hidden: Annotations, ours: FloatArray) -> list[dict[str, Any]]:
    """Predicted and observed share of each answer among hidden labels, in bins of the prediction."""
    answers = np.arange(ours.shape[1])
    given = answers == hidden.label[:, None]
    possible = answers < hidden.answer_counts[hidden.item][:, None]
    return _binned(ours[possible], given[possible])


def gold_calibration(annotations: Annotations, posterior: FloatArray) -> list[dict[str, Any]]:
    """The probabilities of cleaned labels (N, Kmax), and how many of them gold says are right; JSON."""
    if annotations.gold is None or (annotations.gold != UNKNOWN).sum() < MIN_LEFT_OUT:
        return []
    known = np.flatnonzero(annotations.gold != UNKNOWN)
    cleaned = posterior[known].argmax(axis=1)
    return _binned(posterior[known, cleaned], cleaned == annotations.gold[known])


def _left_out(annotations: Annotations, *, has_model: bool) -> NDArray[np.bool_]:
    """A mask of labels, the same every time; without a model only of items that somebody else labelled too."""
    per_item = np.bincount(annotations.item, minlength=annotations.n_items)
    usable = has_model | (per_item[annotations.item] > 1)
    usable &= annotations.answer_counts[annotations.item] > 1
    return np.asarray((np.random.default_rng(1).random(annotations.n_labels) < SHARE_LEFT_OUT) & usable)


def predictions(hidden: Annotations, truth: Truth) -> FloatArray:
    """How probable each answer was that a hidden label could have been. (L, Kmax)"""
    answers = range(truth.posterior.shape[1])
    of_answers = [predictive_likelihood(hidden, truth, np.full(hidden.n_labels, answer)) for answer in answers]
    return np.stack(of_answers, axis=1)


def _smoothed_votes(kept: Annotations, hidden: Annotations) -> FloatArray:
    """(votes + 1) / (n + K): what counting votes says of another one. (L, Kmax)"""
    n = np.bincount(kept.item, minlength=kept.n_items)[:, None]
    k = kept.answer_counts[:, None]
    shares = (majority_vote(kept).posterior * n + 1) / (n + k)
    return np.asarray(shares[hidden.item])


def _own(predicted: FloatArray, hidden: Annotations) -> FloatArray:
    """The log-likelihood of each hidden label. (L,)"""
    own = predicted[np.arange(hidden.n_labels), hidden.label]
    return np.asarray(np.log(np.maximum(own, LEAST_LIKELIHOOD)))


def _scored(name: str, own: FloatArray, ours: FloatArray, item: NDArray[np.int32]) -> dict[str, Any]:
    value, half = _mean_and_half(own, item)
    difference, half_difference = _mean_and_half(own - ours, item)
    return {
        "method": name,
        "n": len(own),
        "log_likelihood": value,
        "low": value - half,
        "high": value + half,
        "difference": difference,
        "difference_low": difference - half_difference,
        "difference_high": difference + half_difference,
    }


def _mean_and_half(values: FloatArray, item: NDArray[np.int32]) -> tuple[float, float]:
    """A mean and half its 95 % interval; labels of one item vary together."""
    mean = float(values.mean())
    by_item = np.bincount(item, values - mean)
    return mean, Z95 * float(np.sqrt((by_item**2).sum())) / len(values)


def _binned(predicted: FloatArray, came_true: NDArray[np.bool_]) -> list[dict[str, Any]]:
    which = np.minimum((predicted * N_BINS).astype(np.intp), N_BINS - 1)
    found = []
    for number in np.unique(which):
        mine = which == number
        n, observed = int(mine.sum()), float(came_true[mine].mean())
        low, high = wilson(observed, n)
        found.append(
            {"predicted": float(predicted[mine].mean()), "observed": observed, "low": low, "high": high, "n": n}
        )
    return found
