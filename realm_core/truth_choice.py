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
    """A channel, and where the share of each answer comes from: all the same, learned, or the model's p(y | x)."""

    channel: ChannelChoice
    shares: Literal["uniform", "learned", "model"]

    def fit(self, annotations: Annotations, log_prior: FloatArray | None, tolerance: float = 1e-6) -> Truth:
        method = one_coin if self.channel == "one_coin" else dawid_skene
        return method(annotations, log_prior, learn_prevalence=self.shares == "learned", tolerance=tolerance)

    def __str__(self) -> str:
        shares = "" if self.shares == "model" else f" with {self.shares} shares of answers"
        return f"{'one accuracy' if self.channel == 'one_coin' else 'a confusion matrix'} per annotator{shares}"


# From the fewest parameters to the most. Matrices with uniform shares are missing: they make up for a rare answer by
# renaming it, predict labels as well as the truth does, and get a third of the items wrong.
WITHOUT_MODEL = (Candidate("one_coin", "uniform"), Candidate("one_coin", "learned"), Candidate("confusion", "learned"))
WITH_MODEL = (Candidate("one_coin", "model"), Candidate("confusion", "model"))


@dataclass(frozen=True, eq=False)
class Choice:
    """The truth inference that was chosen, its result, and a sentence that says why."""

    truth: Truth
    candidate: Candidate
    why: str


def best_truth(annotations: Annotations, log_prior: FloatArray | None = None) -> Choice:
    """Truth inference by the simplest candidate that predicts left-out labels within a standard error of the best one.

    Five folds of labels; a label's predictive likelihood is Σ_y q_i(y) π_r(l | y) with q and π from the other folds.
    The standard error is that of the paired difference to the best, by item. `log_prior` (N, Kmax) is a model's
    log p(y | x), held fixed; where there is nothing to compare by, everybody is taken for equally good at the start.
    """
    candidates: tuple[Candidate, ...] = WITHOUT_MODEL if log_prior is None else WITH_MODEL
    table = LabelTable(annotations)
    if log_prior is None and table.group_sizes().max(initial=0) < 3:
        why = "no three annotators are connected by shared prompts, so labels cannot tell which of them are right"
        return _choice(annotations, log_prior, candidates[0], why)
    if not affords_confusion(annotations) or _see_different_answers(table, one_coin(annotations, log_prior)):
        candidates = tuple(c for c in candidates if c.channel == "one_coin")
    folds = _folds(table, everything=log_prior is not None)
    scores = np.stack([_predictive(annotations, log_prior, candidate, folds) for candidate in candidates])
    chosen = _simplest_near_best(scores, annotations.item[np.concatenate(folds)])
    means = ", ".join(f"{mean:.4f} for {c}" for mean, c in zip(scores.mean(axis=1), candidates, strict=True))
    return _choice(annotations, log_prior, candidates[chosen], f"the log-likelihood of left-out labels is {means}")


def affords_confusion(annotations: Annotations) -> bool:
    """Whether K×K rates for each (annotator, task) are no more than the labels, and answers are the same everywhere."""
    k = max((len(task.answers) for task in annotations.tasks), default=0)
    rates = annotations.n_annotators * len(annotations.tasks) * k**2
    return annotations.options is None and k <= MAX_CONFUSION_ANSWERS and rates <= annotations.n_labels


def _see_different_answers(table: LabelTable, truth: Truth) -> bool:
    """Whether each annotator saw only some of the answers, as when prompts come sorted and in batches.

    A confusion matrix then has rows that no label speaks of, and one batch's answer can be renamed into another's: it
    predicts left-out labels well and has the truth wrong. Measured by Cramér's V² of annotator and probable truth, less
    what it would be by chance: near 0 where prompts are given out at random, 1 where everybody sees one answer.
    """
    seen = np.stack([table.sum_over_cells(q[table.item]) for q in truth.posterior.T], axis=1)  # (R·T, K)
    by_task = seen.reshape(-1, table.n_tasks, table.n_answers).sum(axis=0)
    share = by_task / np.maximum(by_task.sum(axis=1, keepdims=True), 1)
    expected = seen.sum(axis=1, keepdims=True) * share[table.cell_task]
    squares = float(((seen - expected) ** 2 / np.maximum(expected, 1e-9)).sum())
    by_chance = int(np.count_nonzero(table.labels_per_cell) - table.n_tasks) * (table.n_answers - 1)
    return squares - by_chance > MAX_SEPARATION * len(table.item) * (table.n_answers - 1)


def _choice(annotations: Annotations, log_prior: FloatArray | None, candidate: Candidate, reason: str) -> Choice:
    truth = candidate.fit(annotations, log_prior)
    return Choice(truth, candidate, f"The labels were combined by {candidate}: {reason}.")


def _folds(table: LabelTable, *, everything: bool) -> list[NDArray[np.intp]]:
    """Rows of labels to leave out in turn, the same every time: all of them, or those of items with another label."""
    scored = everything | (table.labels_per_item[table.item] > 1)
    n_labels = len(table.item)
    fold = np.random.default_rng(0).integers(0, N_FOLDS, n_labels)
    n_folds = N_FOLDS if n_labels <= ONE_FOLD_ABOVE else 1
    return [table.rows[(fold == index) & scored] for index in range(n_folds)]


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
