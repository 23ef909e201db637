"""Probabilities p(y | x) of a model that has not seen the labels of x, for the report.

Intervals from in-sample probabilities cover 53 % instead of 95 %, and features tuned on the held-out prompts are not
out of fold either. So: the frozen embeddings of the *pretrained* encoder, and a linear head on them that is fitted
without the fold it answers for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax

from realm_core.aggregation import Truth, one_coin
from realm_core.annotations import Annotations, FloatArray
from realm_core.splits import fold_of_prompts

SCALES = (1.0, 2.0, 5.0, 10.0, 20.0, 40.0)  # of the cosine; 0 is tried too: the words say nothing about the labels
PENALTIES = (10.0, 1.0, 0.1, 0.01)  # on ½‖head‖², in labels' worth of log likelihood
ROUNDS = 2
MAX_HEAD_ITEMS = 20_000  # a head of some hundred weights per answer learns nothing from more


@dataclass(frozen=True, eq=False)
class ZeroShot:
    """What the pretrained model says before any training: log p (N, Kmax), the scale of its cosines, and the truth
    inferred with it."""

    log_p: FloatArray
    scale: float
    truth: Truth


def calibrate_zero_shot(annotations: Annotations, cosines: FloatArray) -> ZeroShot:
    """Find how far to trust the words: the scale of the cosines, and the truth, with the largest likelihood of labels.

    cosines (N, Kmax), −∞ beyond K_i. Where most annotators are worse than chance, a mirrored truth explains the labels
    as well as the real one, and only the words can tell them apart. So each scale starts twice: from annotators who
    are trusted, and from annotators as good as the words say they are.
    """
    uniform = _scaled(cosines, 0.0)
    candidates = [ZeroShot(uniform, 0.0, one_coin(annotations, uniform))]
    for scale in SCALES:
        log_p = _scaled(cosines, scale)
        starts = (None, _accuracy_under(annotations, log_p))
        candidates += [ZeroShot(log_p, scale, one_coin(annotations, log_p, start=start)) for start in starts]
    return max(candidates, key=lambda candidate: candidate.truth.log_likelihood)


def _scaled(cosines: FloatArray, scale: float) -> FloatArray:
    possible = np.isfinite(cosines)
    return log_softmax(np.where(possible, scale * np.where(possible, cosines, 0.0), -np.inf), axis=1)


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

    The head adds to the zero-shot log odds. Its targets are the posterior q of the truth inferred so far; its penalty
    is the one under which the held-out probabilities explain the annotations best.
    """
    fold = fold_of_prompts(annotations, folds, seed)
    truth, log_p = zero_shot.truth, zero_shot.log_p
    for _ in range(ROUNDS):
        candidates = []
        for penalty in PENALTIES:
            candidate = _out_of_fold(annotations, embeddings, zero_shot.log_p, truth.posterior, fold, penalty, seed)
            start = truth.accuracy
            candidates.append((one_coin(annotations, candidate, start=start), candidate))
        truth, log_p = max(candidates, key=lambda pair: pair[0].log_likelihood)
    return log_p


def _out_of_fold(
    annotations: Annotations,
    embeddings: NDArray[np.float32],
    offset: FloatArray,
    posterior: FloatArray,
    fold: NDArray[np.int64],
    penalty: float,
    seed: int,
) -> FloatArray:
    log_p = np.full_like(offset, -np.inf)
    labelled = np.bincount(annotations.item, minlength=annotations.n_items) > 0
    for task, of_task in enumerate(annotations.tasks):
        answers = slice(0, len(of_task.answers))
        for held_out in range(fold.max() + 1):
            here = annotations.item_task == task
            train = np.flatnonzero(here & labelled & (fold != held_out))
            test = np.flatnonzero(here & (fold == held_out))
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


def as_cosines(
    embeddings: NDArray[np.float32], answers: Sequence[NDArray[np.float32]], item_task: NDArray[np.int32]
) -> FloatArray:
    """Cosines of prompts and answers, both of unit length. embeddings (N, D), answers T × (K_t, D) -> (N, Kmax)."""
    out = np.full((len(embeddings), max(len(of_task) for of_task in answers)), -np.inf)
    for task, of_task in enumerate(answers):
        here = np.flatnonzero(item_task == task)
        out[here, : len(of_task)] = embeddings[here] @ of_task.T
    return out
