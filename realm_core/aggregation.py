"""Truth inference without a model: majority vote, one-coin EM and Dawid–Skene, vectorised.

All three answer "which label is right, and how often is each annotator right?" from the labels alone, or from them and
a model's log p(y | x), held fixed. For items i with K_i answers y and annotators r:

    q_i(y) ∝ p_i(y) Π_r π_r(l_ir | y)                  E-step, the posterior of item i
    one coin   π_r(l | y) = a_r if l = y else (1 − a_r) / (K_i − 1)
    confusion  π_r(l | y) = row y of a K×K stochastic matrix

Sources: Dawid and Skene 1979; one coin: Zhang, Chen, Zhou and Jordan 2016. An iteration is two sparse products; memory
is linear in the labels and in N·K.

Without a model the likelihood has a mirror image in which everybody is wrong, so EM starts with everybody above chance
and settles where the majority (or `log_prior`) points. Single annotators may end below chance; whether the crowd as a
whole is, no method can tell from labels alone.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy import sparse
from scipy.optimize import minimize
from scipy.special import betaln, logsumexp

from realm_core.annotations import Annotations, FloatArray
from realm_core.label_table import LabelTable

START_ACCURACY = 0.7  # .2 or more above chance, whatever K
SMALLEST = 1e-10  # rates stay this far from 0 and 1, so that no logarithm is infinite
MIN_TO_SPREAD = 10  # annotators, to tell how much they differ
UNSEEN = 0.1  # imagined labels of each wrong answer in a row of the pool


@dataclass(frozen=True, eq=False)
class Truth:
    """What truth inference concluded.

    `posterior` (N, Kmax) is q_i(y), zero beyond K_i. `accuracy` (R, T) is the probability of being right, that of
    the pool where there is no label. `confusion` (R, T, Kmax, Kmax), rows = truth, comes from `dawid_skene` only.
    `log_likelihood` is Σ_i log Σ_y p_i(y) Π_r π_r(l_ir | y), without the priors of the parameters; nan for votes.
    """

    posterior: FloatArray
    accuracy: FloatArray
    confusion: FloatArray | None
    log_likelihood: float

    def tempered(self, power: float) -> Truth:
        """The same, only so sure; see `tempered`."""
        return self if power == 1 else replace(self, posterior=tempered(self.posterior, power))


@dataclass(frozen=True)
class AccuracyPrior:
    """Beta prior of an annotator's accuracy: `strength` imagined labels that are right at the rate `mean`.

    With `mean` None that rate is the pooled accuracy of the task, estimated anew in every iteration (empirical Bayes).
    It moves an annotator with n labels by strength / (n + strength) of the way to the pool.
    """

    strength: float = 6.0
    mean: float | None = None


@dataclass(frozen=True)
class ConfusionPrior:
    """Dirichlet prior of a confusion row: `strength` imagined labels, spread like those of the whole pool.

    The pool's row knows which answers are hard to tell apart, where the annotator's own one-coin row only knows how
    often they are wrong: on 8 of 11 real crowds it predicts labels left out better.
    """

    strength: float = 5.0


POOLED = AccuracyPrior()
UNIT = AccuracyPrior(1.0)  # as much as one label says (Kass and Wasserman 1995)
POOLED_ROWS = ConfusionPrior()


def tempered(posterior: FloatArray, power: float) -> FloatArray:
    """q_i(y)^power, normalised: less sure with a power below 1, for mistakes that are not independent. (N, Kmax)"""
    powers = posterior**power
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def majority_vote(annotations: Annotations) -> Truth:
    """The share of votes of each answer; uniform where an item has no label."""
    table = LabelTable.of(annotations)
    shares = _vote_shares(table)
    return _truth(table, shares, accuracy_under(table, shares, None), float("nan"))


def one_coin(
    annotations: Annotations,
    log_prior: FloatArray | None = None,
    *,
    prior: AccuracyPrior | None = POOLED,
    start: FloatArray | None = None,
    learn_prevalence: bool = False,
    max_iterations: int = 200,
    tolerance: float = 1e-8,
) -> Truth:
    """EM for one accuracy per (annotator, task), maximum a posteriori under `prior` (None: maximum likelihood).

    `log_prior` (N, Kmax) is log p_i(y), held fixed; None: uniform. With `learn_prevalence` it is learned besides how
    common each answer of a task is. `start` (R, T): first accuracies. Ends when no accuracy moves by `tolerance`.
    """
    table = LabelTable.of(annotations)
    log_p = _LogPrior(table, log_prior, _vote_shares(table) if learn_prevalence else None)
    by_answer = table.by_answer()
    log_wrong_answers = np.log(np.maximum(table.answer_counts - 1, 1))  # log(K_i − 1)
    votes = table.votes()
    accuracy = np.full(table.n_cells, START_ACCURACY) if start is None else start.ravel()
    constant = -float(votes.sum(axis=0) @ log_wrong_answers)
    for _ in range(max_iterations):
        previous = np.clip(accuracy, SMALLEST, 1 - SMALLEST)
        log_odds = np.log(previous) - np.log1p(-previous)
        scores = (by_answer @ log_odds).reshape(votes.shape) + votes * log_wrong_answers + log_p.values
        posterior, log_likelihood = _normalise(scores)
        log_likelihood += constant + float(table.labels_per_cell @ np.log1p(-previous))
        accuracy = _accuracy(table, by_answer.T @ posterior.ravel(), prior)
        log_p.update(posterior)
        if np.abs(accuracy - previous).max(initial=0.0) < tolerance:
            break
    return _truth(table, posterior, accuracy, log_likelihood)


def dawid_skene(
    annotations: Annotations,
    log_prior: FloatArray | None = None,
    *,
    prior: ConfusionPrior | None = POOLED_ROWS,
    start: FloatArray | None = None,
    learn_prevalence: bool = True,
    max_iterations: int = 200,
    tolerance: float = 1e-6,
) -> Truth:
    """EM for a K×K confusion matrix per (annotator, task), its rows pulled to the pool's by `prior`.

    A cold start collapses now and then, so EM starts from the posterior (N, Kmax) of `one_coin`, or from `start`.
    `log_prior` and `learn_prevalence` as there. All items of a task need the same answers. Ends when no posterior moves
    by `tolerance`.
    """
    table = LabelTable.of(annotations)
    if start is None:
        start = one_coin(annotations, log_prior, tolerance=tolerance).posterior
    posterior = np.ascontiguousarray(start.T)
    log_p = _LogPrior(table, log_prior, posterior if learn_prevalence else None)
    by_item = table.by_item()
    for _ in range(max_iterations):
        previous = posterior
        counts = _confusion_counts(table, by_item, posterior)
        confusion = _confusion(table, counts, prior)
        scores = _confusion_scores(by_item, confusion)
        scores += log_p.values
        posterior, log_likelihood = _normalise(scores)
        log_p.update(posterior)
        if np.abs(posterior - previous).max(initial=0.0) < tolerance:
            break
    right = np.trace(_confusion_counts(table, by_item, posterior), axis1=0, axis2=2)  # where truth and label are one
    accuracy = _accuracy(table, right, POOLED if prior else None)
    return _truth(table, posterior, accuracy, log_likelihood, confusion)


def accuracy_under(table: LabelTable, posterior: FloatArray, prior: AccuracyPrior | None) -> FloatArray:
    """The accuracies (R·T,) that a posterior (Kmax, N) implies: a_r = (Σ_i q_i(l_ir) + s·m) / (n_r + s)."""
    return _accuracy(table, table.sum_over_cells(table.of_own_label(posterior)), prior)


def spread_prior(table: LabelTable, posterior: FloatArray) -> AccuracyPrior:
    """The pull to the pool that fits how much annotators differ under a posterior (Kmax, N), at most `POOLED`'s.

    Beta-binomial maximum likelihood of the labels that are right, in the tasks where the labels are: where some guess
    and others hardly err, the pool says little of either. A stronger pull than `POOLED`'s is not taken from the labels
    of a few annotators.
    """
    seen = table.labels_per_cell > 0
    right, n = table.sum_over_cells(table.of_own_label(posterior))[seen], table.labels_per_cell[seen]
    if len(n) < MIN_TO_SPREAD:
        return POOLED

    def loss(logs: FloatArray) -> float:
        a, b = np.exp(logs)
        return -float(np.sum(betaln(right + a, n - right + b) - betaln(a, b)))

    fitted = np.exp(minimize(loss, np.array([1.0, 0.0]), bounds=[(-3.0, 6.0)] * 2).x)
    return AccuracyPrior(min(POOLED.strength, float(fitted.sum())))


def pooled_accuracy(table: LabelTable, right: FloatArray) -> FloatArray:
    """The share right (T,) of all labels of each task, .5 where it has none."""
    share = np.full(table.n_tasks, 0.5)
    n_right = np.bincount(table.cell_task, right, minlength=table.n_tasks)
    n_labels = np.bincount(table.cell_task, table.labels_per_cell, minlength=table.n_tasks)
    np.divide(n_right, n_labels, out=share, where=n_labels > 0)
    return share


def _accuracy(table: LabelTable, right: FloatArray, prior: AccuracyPrior | None) -> FloatArray:
    pooled = pooled_accuracy(table, right)[table.cell_task]
    if prior is None:
        np.divide(right, table.labels_per_cell, out=pooled, where=table.labels_per_cell > 0)
        return pooled
    mean = pooled if prior.mean is None else np.full_like(pooled, prior.mean)
    return (right + prior.strength * mean) / (table.labels_per_cell + prior.strength)


class _LogPrior:
    """log p_i(y) as (Kmax, N), −inf where y cannot be true: uniform or a model's, and where it is learned besides, how
    common each answer of a task is.

    p_i(y) ∝ p_model(y | x_i) exp(b_ty), with b such that its mean over the items of a task is that of q_i(y). Without a
    model that is the share of each answer.
    """

    def __init__(self, table: LabelTable, log_prior: FloatArray | None, learned_from: FloatArray | None) -> None:
        self._table = table
        self._learned = learned_from is not None
        self._possible = np.where(table.valid, 0.0, -np.inf)
        self._bias = np.zeros((table.n_answers, table.n_tasks))
        self._model: FloatArray | None = None
        self.values = self._possible - np.log(np.maximum(table.answer_counts, 1))
        if log_prior is not None:
            self._model = np.where(np.arange(table.n_answers)[:, None] < table.answer_counts, log_prior.T, -np.inf)
            self.values = self._model + self._possible
        if learned_from is not None:
            self.update(learned_from)

    def update(self, posterior: FloatArray) -> None:
        """A step of b towards equal means, which ends there with EM; without a model it is there at once."""
        if not self._learned:
            return
        wanted = np.log(np.maximum(self._mean(posterior), SMALLEST))
        if self._model is None:
            np.add(self._possible, self._of_items(wanted), out=self.values)
            return
        self._bias += wanted - np.log(np.maximum(self._mean(np.exp(self._shifted())), SMALLEST))
        np.add(self._possible, self._shifted(), out=self.values)

    def _shifted(self) -> FloatArray:
        """log p_model exp(b), normalised. (Kmax, N)"""
        assert self._model is not None
        shifted = self._model + self._of_items(self._bias)
        return np.asarray(shifted - logsumexp(shifted, axis=0))

    def _of_items(self, of_task: FloatArray) -> FloatArray:
        """(Kmax, T) -> (Kmax, N), or (Kmax, 1) where one task has all items."""
        return of_task if self._table.n_tasks == 1 else of_task[:, self._table.item_task]

    def _mean(self, probability: FloatArray) -> FloatArray:
        """Mean over the items of each task. (Kmax, N) -> (Kmax, T)"""
        task, n_tasks = self._table.item_task, self._table.n_tasks
        if n_tasks == 1:
            return np.asarray(probability.mean(axis=1, keepdims=True))
        total = np.stack([np.bincount(task, of_answer, minlength=n_tasks) for of_answer in probability])
        return np.asarray(total / np.maximum(np.bincount(task, minlength=n_tasks), 1))


def _normalise(scores: FloatArray) -> tuple[FloatArray, float]:
    """Softmax over the answers (axis 0), in place, and Σ_i log Σ_y exp(score)."""
    top = scores.max(axis=0)
    scores -= top
    np.exp(scores, out=scores)
    total = scores.sum(axis=0)
    scores /= total
    return scores, float(top.sum() + np.log(total).sum())


def _vote_shares(table: LabelTable) -> FloatArray:
    votes = table.votes()
    total = votes.sum(axis=0)
    return np.asarray(np.where(total > 0, votes / np.maximum(total, 1), table.valid / table.valid.sum(axis=0)))


def _confusion_counts(table: LabelTable, by_item: sparse.csr_array[Any], posterior: FloatArray) -> FloatArray:
    """Expected counts (truth, cell, label); one pass over the labels for all truths is faster than one for each."""
    counts = by_item.T @ np.ascontiguousarray(posterior.T)
    return np.ascontiguousarray(counts.T).reshape(table.n_answers, table.n_cells, table.n_answers)


def _confusion_scores(by_item: sparse.csr_array[Any], confusion: FloatArray) -> FloatArray:
    logs = np.log(confusion).reshape(len(confusion), -1)
    return np.ascontiguousarray((by_item @ np.ascontiguousarray(logs.T)).T)


def _pooled_rows(table: LabelTable, counts: FloatArray) -> FloatArray:
    """The confusion rows of everybody together (truth, task, label), those of unseen answers mostly right."""
    by_task = counts.reshape(table.n_answers, -1, table.n_tasks, table.n_answers)
    total = np.asarray(by_task.sum(axis=1))
    total += np.eye(table.n_answers)[:, None, :] + UNSEEN
    total /= total.sum(axis=2, keepdims=True)
    return total


def _confusion(table: LabelTable, counts: FloatArray, prior: ConfusionPrior | None) -> FloatArray:
    """Rates (truth, cell, label) from expected counts and the pull to the pool's rows."""
    if prior is not None:
        counts = counts + prior.strength * _pooled_rows(table, counts)[:, table.cell_task]
    rates = np.where(table.cell_answers[:, None] > np.arange(table.n_answers), np.maximum(counts, SMALLEST), SMALLEST)
    rates /= rates.sum(axis=2, keepdims=True)
    return rates


def _truth(
    table: LabelTable,
    posterior: FloatArray,
    accuracy: FloatArray,
    log_likelihood: float,
    confusion: FloatArray | None = None,
) -> Truth:
    shape = (table.n_annotators, table.n_tasks)
    if confusion is not None:
        confusion = confusion.transpose(1, 0, 2).reshape(*shape, table.n_answers, table.n_answers)
    return Truth(np.ascontiguousarray(posterior.T), accuracy.reshape(shape), confusion, log_likelihood)
