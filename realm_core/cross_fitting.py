"""Probabilities p(y | x) of a model that has not seen the labels of x, for the report.

Intervals from in-sample probabilities cover 53 % instead of 95 %, and features tuned on the held-out prompts are not
out of fold either. So: the frozen embeddings of the *pretrained* encoder, and a linear head on them that is fitted
without the fold it answers for.

Prompts with options of their own have no answers in common that a head could learn: for them stand the zero-shot
probabilities of the pretrained model at the calibrated scale, one number that all labels together choose. Out of fold
they are, only less sharp than what fine-tuning reaches.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax

from realm_core.aggregation import Truth, dawid_skene, majority_vote, one_coin
from realm_core.annotations import Annotations, FloatArray
from realm_core.splits import fold_of_prompts
from realm_core.truth_candidates import ChannelChoice
from realm_core.truth_choice import best_truth, renamed_by_words

PENALTIES = (10.0, 1.0, 0.1, 0.01)  # on ½‖head‖², in labels' worth of log likelihood
ROUNDS = 2
TOLERANCE = 1e-4  # of posteriors that a head is fitted to
MAX_HEAD_ITEMS = 20_000  # a head of some hundred weights per answer learns nothing from more


@dataclass(frozen=True, eq=False)
class ZeroShot:
    """What the pretrained model says before any training: log p (N, Kmax), the scale of its scores, and the truth
    inferred with it."""

    log_p: FloatArray
    scale: float
    truth: Truth


def calibrate_zero_shot(annotations: Annotations, scores: FloatArray, scales: Sequence[float]) -> ZeroShot:
    """Find how far to trust the words: the scale of the scores, and the truth, with the largest likelihood of labels.

    scores (N, Kmax), cosines or logits, −∞ beyond K_i. Scale 0 is tried too: the words say nothing.

    Where most annotators are worse than chance, a mirrored truth explains the labels as well as the real one, and only
    the words can tell them apart. So each scale starts twice: from annotators who are trusted, and from annotators as
    good as the words say they are.
    """
    uniform = _scaled(scores, 0.0)
    candidates = [ZeroShot(uniform, 0.0, one_coin(annotations, uniform))]
    for scale in scales:
        log_p = _scaled(scores, scale)
        starts = (None, _accuracy_under(annotations, log_p))
        candidates += [ZeroShot(log_p, scale, one_coin(annotations, log_p, start=start)) for start in starts]
    return max(candidates, key=lambda candidate: candidate.truth.log_likelihood)


def _scaled(scores: FloatArray, scale: float) -> FloatArray:
    possible = np.isfinite(scores)
    return log_softmax(np.where(possible, scale * np.where(possible, scores, 0.0), -np.inf), axis=1)


def _accuracy_under(annotations: Annotations, log_p: FloatArray) -> FloatArray:
    """Mean probability that log_p gives to the labels of each annotator on each task. (R, T)"""
    shape = (annotations.n_annotators, len(annotations.tasks))
    cell = annotations.annotator.astype(np.int64) * shape[1] + annotations.item_task[annotations.item]
    right = np.exp(log_p[annotations.item, annotations.label])
    count = np.bincount(cell, minlength=shape[0] * shape[1])
    total = np.bincount(cell, right, minlength=shape[0] * shape[1])
    pooled = right.mean() if len(right) else 0.5
    return np.clip((total + pooled) / (count + 1), 0.01, 0.99).reshape(shape)


def cross_fit(
    annotations: Annotations, embeddings: NDArray[np.float32], zero_shot: ZeroShot, folds: int, seed: int
) -> FloatArray:
    """log p(y | x) of every item by a head that was fitted without its fold. embeddings (N, D) -> (N, Kmax).

    Items with options of their own keep what `zero_shot` says. The head adds to the zero-shot log odds. Its
    targets are the posterior q of the truth inferred so far, by the channel that labels alone speak for; its penalty is
    the one under which the held-out probabilities explain the annotations best.
    """
    fold = fold_of_prompts(annotations, folds, seed)
    channel = best_truth(annotations).candidate.channel
    truth, log_p = zero_shot.truth, zero_shot.log_p
    if channel == "confusion":
        truth = renamed_by_words(annotations, log_p, truth)
    for _ in range(ROUNDS):
        candidates = []
        for penalty in PENALTIES:
            candidate = _out_of_fold(annotations, embeddings, zero_shot.log_p, truth.posterior, fold, penalty, seed)
            candidates.append((_infer(annotations, candidate, channel, truth), candidate))
        truth, log_p = max(candidates, key=lambda pair: pair[0].log_likelihood)
    return log_p


def _infer(annotations: Annotations, log_p: FloatArray, channel: ChannelChoice, start: Truth) -> Truth:
    if channel == "one_coin":
        return one_coin(annotations, log_p, start=start.accuracy, learn_prevalence=True)
    return dawid_skene(annotations, log_p, start=start.posterior, tolerance=TOLERANCE)


def cross_fit_plain(
    annotations: Annotations, embeddings: NDArray[np.float32], zero_shot: ZeroShot, folds: int, seed: int
) -> FloatArray:
    """log p(l | x) of every item by a head that takes every label for right: plain fine-tuning, to compare with.

    As `cross_fit`, but the targets are the shares of the labels, and the penalty is the one under which held-out labels
    are the likeliest.
    """
    fold = fold_of_prompts(annotations, folds, seed)
    votes = majority_vote(annotations).posterior
    candidates = [
        _out_of_fold(annotations, embeddings, zero_shot.log_p, votes, fold, penalty, seed) for penalty in PENALTIES
    ]
    return max(candidates, key=lambda log_p: float(log_p[annotations.item, annotations.label].mean()))


def _out_of_fold(
    annotations: Annotations,
    embeddings: NDArray[np.float32],
    offset: FloatArray,
    posterior: FloatArray,
    fold: NDArray[np.int64],
    penalty: float,
    seed: int,
) -> FloatArray:
    log_p = offset.copy()
    fixed = np.array([own is None for own in annotations.options or (None,) * annotations.n_items])
    labelled = np.bincount(annotations.item, minlength=annotations.n_items) > 0
    for task, of_task in enumerate(annotations.tasks):
        answers = slice(0, len(of_task.answers))
        here = fixed & (annotations.item_task == task)
        for held_out in range(fold.max() + 1):
            train = np.flatnonzero(here & labelled & (fold != held_out))
            test = np.flatnonzero(here & (fold == held_out))
            if not len(train) or not len(test):
                continue
            if len(train) > MAX_HEAD_ITEMS:
                train = np.random.default_rng(seed).choice(train, MAX_HEAD_ITEMS, replace=False)
            head = fit_head(embeddings[train], offset[train, answers], posterior[train, answers], penalty)
            log_p[test, answers] = head_log_p(head, embeddings[test], offset[test, answers])
    return log_p


def head_log_p(head: FloatArray, embeddings: NDArray[np.float32], offset: FloatArray) -> FloatArray:
    """log softmax(offset + z·W + b). head (D + 1, K) is W over b; embeddings (n, D), offset (n, K) -> (n, K)."""
    log_p: FloatArray = log_softmax(offset + embeddings @ head[:-1] + head[-1], axis=1)
    return log_p


def fit_head(embeddings: NDArray[np.float32], offset: FloatArray, targets: FloatArray, penalty: float) -> FloatArray:
    """The head (D + 1, K) that maximises Σ_i Σ_y q_i(y) log p_i(y) − ½ penalty ‖W‖². targets q (n, K)."""
    shape = (embeddings.shape[1] + 1, targets.shape[1])
    features = embeddings.astype(np.float64)

    def loss(flat: FloatArray) -> tuple[float, FloatArray]:
        head = flat.reshape(shape)
        logits = offset + features @ head[:-1] + head[-1]
        residual = softmax(logits, axis=1) - targets
        gradient = np.vstack([features.T @ residual + penalty * head[:-1], residual.sum(axis=0)])
        value = -float((targets * log_softmax(logits, axis=1)).sum()) + penalty / 2 * float((head[:-1] ** 2).sum())
        return value, gradient.ravel()

    result = minimize(loss, np.zeros(shape).ravel(), jac=True, method="L-BFGS-B", options={"maxiter": 100})
    return np.asarray(result.x).reshape(shape)
