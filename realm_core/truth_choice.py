"""Which truth inference fits a crowd, told by how well it predicts labels that it has not seen. No gold is read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from realm_core.aggregation import Truth, dawid_skene, one_coin
from realm_core.annotations import Annotations, FloatArray
from realm_core.label_table import LabelTable

ChannelChoice = Literal["one_coin", "confusion"]
N_FOLDS = 5
ONE_FOLD_ABOVE = 200_000  # labels: a fifth of so many is enough to tell the candidates apart
MAX_CONFUSION_ANSWERS = 20
MAX_SEPARATION = 0.2  # real crowds: .07 at most; matrices go wrong from about .35 on
LEAST_LIKELIHOOD = 1e-6  # of one label, so that no single surprise decides


@dataclass(frozen=True)
class Candidate:
    """A channel, and whether the share of each answer is learned or uniform."""

    channel: ChannelChoice
    learn_prevalence: bool

    def fit(self, annotations: Annotations, log_prior: FloatArray | None, tolerance: float = 1e-6) -> Truth:
        method = one_coin if self.channel == "one_coin" else dawid_skene
        return method(annotations, log_prior, learn_prevalence=self.learn_prevalence, tolerance=tolerance)

    def __str__(self) -> str:
        return f"{self.channel}, {'learned' if self.learn_prevalence else 'uniform'} share of answers"


# From the fewest assumptions to the most: a learned share feeds back into what it is learned from.
CANDIDATES = (
    Candidate("one_coin", False),
    Candidate("confusion", False),
    Candidate("one_coin", True),
    Candidate("confusion", True),
)


@dataclass(frozen=True, eq=False)
class Choice:
    """The truth inference that was chosen, its result, and a sentence that says why."""

    truth: Truth
    channel: ChannelChoice
    learn_prevalence: bool
    why: str


def best_truth(annotations: Annotations, log_prior: FloatArray | None = None) -> Choice:
    """The simplest candidate that predicts left-out labels within a standard error of the best one.

    Five folds of labels; a label's predictive likelihood is Σ_y q_i(y) π_r(l | y) with q and π from the other folds.
    The standard error is that of the paired difference to the best, by item. With a model's `log_prior` (N, Kmax) the
    share of each answer is not learned. Confusion matrices are tried where their rates are no more than the labels.
    """
    candidates = [c for c in CANDIDATES if log_prior is None or not c.learn_prevalence]
    if not affords_confusion(annotations) or _see_different_answers(annotations, log_prior):
        candidates = [c for c in candidates if c.channel == "one_coin"]
    scored = _predictable(annotations, log_prior)
    if not scored.any():
        return _choice(annotations, log_prior, CANDIDATES[0], "no item has a second label to predict")
    folds = _folds(annotations.n_labels, scored)
    scores = np.stack([_predictive(annotations, log_prior, candidate, folds) for candidate in candidates])
    chosen = _simplest_near_best(scores, annotations.item[np.concatenate(folds)])
    means = ", ".join(f"{mean:.4f} ({c})" for mean, c in zip(scores.mean(axis=1), candidates, strict=True))
    return _choice(annotations, log_prior, candidates[chosen], f"log-likelihood of left-out labels: {means}")


def affords_confusion(annotations: Annotations) -> bool:
    """Whether K×K rates for each (annotator, task) are no more than the labels, and answers are the same everywhere."""
    k = max((len(task.answers) for task in annotations.tasks), default=0)
    rates = annotations.n_annotators * len(annotations.tasks) * k**2
    return annotations.options is None and k <= MAX_CONFUSION_ANSWERS and rates <= annotations.n_labels


def _see_different_answers(annotations: Annotations, log_prior: FloatArray | None) -> bool:
    """Whether each annotator saw only some of the answers, as when prompts come sorted and in batches.

    A confusion matrix then has rows that no label speaks of, and one batch's answer can be renamed into another's: it
    predicts left-out labels well and has the truth wrong. Measured by Cramér's V² of annotator and probable truth, less
    what it would be by chance: near 0 where prompts are given out at random, 1 where everybody sees one answer.
    """
    table = LabelTable(annotations)
    posterior = one_coin(annotations, log_prior, tolerance=1e-4).posterior
    seen = np.stack([table.sum_over_cells(q[table.item]) for q in posterior.T], axis=1)  # (R·T, K)
    by_task = seen.reshape(-1, table.n_tasks, table.n_answers).sum(axis=0)
    share = by_task / np.maximum(by_task.sum(axis=1, keepdims=True), 1)
    expected = seen.sum(axis=1, keepdims=True) * share[table.cell_task]
    squares = float(((seen - expected) ** 2 / np.maximum(expected, 1e-9)).sum())
    by_chance = int(np.count_nonzero(table.labels_per_cell) - table.n_tasks) * (table.n_answers - 1)
    return squares - by_chance > MAX_SEPARATION * len(table.item) * (table.n_answers - 1)


def _choice(annotations: Annotations, log_prior: FloatArray | None, candidate: Candidate, reason: str) -> Choice:
    truth = candidate.fit(annotations, log_prior)
    return Choice(truth, candidate.channel, candidate.learn_prevalence, f"{candidate}: {reason}.")


def _predictable(annotations: Annotations, log_prior: FloatArray | None) -> NDArray[np.bool_]:
    """Labels of items that something else is known about: another label, or a model's opinion. (L,)"""
    if log_prior is not None:
        return np.ones(annotations.n_labels, dtype=np.bool_)
    return np.bincount(annotations.item, minlength=annotations.n_items)[annotations.item] > 1


def _folds(n_labels: int, scored: NDArray[np.bool_]) -> list[NDArray[np.intp]]:
    """Label rows of each fold to leave out; the same every time."""
    fold = np.random.default_rng(0).integers(0, N_FOLDS, n_labels)
    n_folds = N_FOLDS if n_labels <= ONE_FOLD_ABOVE else 1
    return [np.flatnonzero((fold == index) & scored) for index in range(n_folds)]


def _predictive(
    annotations: Annotations, log_prior: FloatArray | None, candidate: Candidate, folds: list[NDArray[np.intp]]
) -> FloatArray:
    """Log-likelihood of each left-out label, fold after fold."""
    parts = []
    for left_out in folds:
        kept = np.ones(annotations.n_labels, dtype=np.bool_)
        kept[left_out] = False
        truth = candidate.fit(annotations.select_labels(kept), log_prior, tolerance=1e-4)
        parts.append(predictive_likelihood(annotations.select_labels(left_out), truth))
    return np.log(np.maximum(np.concatenate(parts), LEAST_LIKELIHOOD))


def predictive_likelihood(annotations: Annotations, truth: Truth) -> FloatArray:
    """Σ_y q_i(y) π_r(l | y) of each label, with q and π of `truth`, which has not seen these labels. (L,)"""
    task = annotations.item_task[annotations.item]
    posterior = truth.posterior[annotations.item]
    if truth.confusion is not None:
        rates = truth.confusion[annotations.annotator, task, :, annotations.label]
        return np.asarray((posterior * rates).sum(axis=1))
    accuracy = truth.accuracy[annotations.annotator, task]
    own = posterior[np.arange(annotations.n_labels), annotations.label]
    wrong = (1 - accuracy) / np.maximum(annotations.answer_counts[annotations.item] - 1, 1)
    return np.asarray(own * accuracy + (1 - own) * wrong)


def _simplest_near_best(scores: FloatArray, item: NDArray[np.int32]) -> int:
    """The first row of `scores` (candidates, labels) whose mean is within a standard error of the best mean."""
    best = int(scores.mean(axis=1).argmax())
    for index, own in enumerate(scores):
        loss = scores[best] - own
        by_item = np.bincount(item, loss - loss.mean())
        if loss.mean() <= np.sqrt(np.sum(by_item**2)) / len(item):
            return index
    return best
