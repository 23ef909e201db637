"""Which truth inference fits a crowd, told by how well it predicts labels that it has not seen. No gold is read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from realm_core.aggregation import (
    POOLED_ROWS,
    ConfusionPrior,
    Truth,
    accuracy_under,
    dawid_skene,
    one_coin,
    spread_prior,
)
from realm_core.annotations import Annotations, FloatArray
from realm_core.label_table import LabelTable

ChannelChoice = Literal["one_coin", "confusion"]
N_FOLDS = 5
ONE_FOLD_ABOVE = 200_000  # labels: a fifth of so many is enough to tell the candidates apart
MAX_CONFUSION_ANSWERS = 20
MAX_RATES_PER_LABEL = 10  # of confusion matrices, so that memory stays linear in the labels
AVERAGED_TOLERANCE = 1e-4  # of posteriors that are averaged, which differ by more than that
PULLS = (2.0, 5.0, 15.0)  # imagined labels of the pool in each row of a confusion matrix; nobody knows the best number
MAX_SEPARATION = 0.2  # real crowds: .07 at most; matrices go wrong from about .35 on
LEAST_LIKELIHOOD = 1e-6  # of one label, so that no single surprise decides


@dataclass(frozen=True)
class Candidate:
    """A channel, where the share of each answer comes from (all the same, learned, or the model's p(y | x)), and how
    many labels of the pool a row of a confusion matrix counts besides the annotator's own."""

    channel: ChannelChoice
    shares: Literal["uniform", "learned", "model"]
    pull: float = POOLED_ROWS.strength

    def fit(
        self,
        annotations: Annotations,
        log_prior: FloatArray | None,
        tolerance: float = 1e-6,
        start: FloatArray | None = None,
    ) -> Truth:
        """`start` (N, Kmax): where confusion matrices start from, another posterior."""
        learn = self.shares == "learned"
        if self.channel == "one_coin":
            return one_coin(annotations, log_prior, learn_prevalence=learn, tolerance=tolerance)
        prior = ConfusionPrior(self.pull)
        return dawid_skene(
            annotations, log_prior, prior=prior, start=start, learn_prevalence=learn, tolerance=tolerance
        )

    def posterior(self, annotations: Annotations, log_prior: FloatArray | None) -> FloatArray:
        """q_i(y), averaged over the pulls that a confusion matrix may have. (N, Kmax)"""
        if self.channel == "one_coin":
            return self.fit(annotations, log_prior).posterior
        start = one_coin(annotations, log_prior).posterior
        fitted = [replace(self, pull=pull).fit(annotations, log_prior, AVERAGED_TOLERANCE, start) for pull in PULLS]
        return np.asarray(np.mean([truth.posterior for truth in fitted], axis=0))

    def __str__(self) -> str:
        habits = {"one_coin": "how often each annotator is right", "confusion": "what each annotator mistakes for what"}
        besides = {"uniform": "", "learned": " and how common each answer is", "model": " and the text"}
        return habits[self.channel] + besides[self.shares]


# From the fewest parameters to the most. Matrices with uniform shares are missing: they make up for a rare answer by
# renaming it, predict labels as well as the truth does, and get a third of the items wrong.
WITHOUT_MODEL = (Candidate("one_coin", "uniform"), Candidate("one_coin", "learned"), Candidate("confusion", "learned"))
WITH_MODEL = (Candidate("one_coin", "model"), Candidate("confusion", "model"))


NOBODY_TO_COMPARE = (
    "All labels count alike: no three annotators share prompts, directly or through others, so nothing shows which of "
    "them are right more often."
)


@dataclass(frozen=True, eq=False)
class Choice:
    """The truth that was inferred, the simplest of the candidates that it comes from, and why, for any reader."""

    truth: Truth
    candidate: Candidate
    why: str


def best_truth(annotations: Annotations, log_prior: FloatArray | None = None) -> Choice:
    """The mean of all candidates that predict left-out labels within a standard error of the best one.

    Five folds of labels; a label's predictive likelihood is Σ_y q_i(y) π_r(l | y) with q and π from the other folds.
    The standard error is that of the paired difference to the best, by item. Candidates that the labels cannot tell
    apart count alike: no tie decides a whole set. `log_prior` (N, Kmax) is a model's log p(y | x), held fixed; where
    there is nothing to compare by, everybody is taken for equally good at the start.
    """
    candidates: tuple[Candidate, ...] = WITHOUT_MODEL if log_prior is None else WITH_MODEL
    table = LabelTable.of(annotations)
    if log_prior is None and table.group_sizes().max(initial=0) < 3:
        return Choice(candidates[0].fit(annotations, None), candidates[0], NOBODY_TO_COMPARE)
    if not affords_confusion(annotations) or _see_different_answers(table, one_coin(annotations, log_prior)):
        candidates = tuple(c for c in candidates if c.channel == "one_coin")
    folds = _folds(table, everything=log_prior is not None)
    scores = np.stack([_predictive(annotations, log_prior, candidate, folds) for candidate in candidates])
    near = _near_best(scores, annotations.item[np.concatenate(folds)])
    used = [candidate for candidate, is_near in zip(candidates, near, strict=True) if is_near]
    posterior = np.asarray(sum(one.posterior(annotations, log_prior) for one in used) / len(used))
    return Choice(_truth_under(table, posterior), used[0], _why(candidates, scores, used))


def _truth_under(table: LabelTable, posterior: FloatArray) -> Truth:
    """The truth of a posterior (N, Kmax) that no single channel made, and how accurate annotators are by it."""
    answers_first = np.ascontiguousarray(posterior.T)
    accuracy = accuracy_under(table, answers_first, spread_prior(table, answers_first))
    return Truth(posterior, accuracy.reshape(table.n_annotators, table.n_tasks), None, float("nan"))


def _why(candidates: Sequence[Candidate], scores: FloatArray, used: Sequence[Candidate]) -> str:
    """In words for any reader: `exp` of a mean log-likelihood is the chance given to a typical label."""
    chosen = " and by ".join(f"“{one}”" for one in used)
    if len(candidates) == 1:
        return f"Labels were weighed by {chosen}."
    chances = zip(candidates, np.exp(scores.mean(axis=1)), strict=True)
    guesses = "; ".join(f"{chance:.1%} by “{one}”" for one, chance in chances)
    return (
        f"Labels were weighed by {chosen}{', half and half' if len(used) == 2 else ''}. To choose, some labels were "
        f"hidden and had to be guessed from the rest. The chance that each way gave to a typical hidden label (more is "
        f"better, and near-equal ways are averaged): {guesses}."
    )


def affords_confusion(annotations: Annotations) -> bool:
    """Whether K×K rates for each (annotator, task) do not dwarf the labels, and answers are the same everywhere."""
    k = max((len(task.answers) for task in annotations.tasks), default=0)
    rates = annotations.n_annotators * len(annotations.tasks) * k**2
    return (
        annotations.options is None
        and k <= MAX_CONFUSION_ANSWERS
        and rates <= MAX_RATES_PER_LABEL * annotations.n_labels
    )


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


def renamed_by_words(annotations: Annotations, log_prior: FloatArray, truth: Truth) -> Truth:
    """Dawid–Skene from `truth` or from the labels alone, whichever explains labels and words better.

    Matrices explain labels of a renamed truth (everybody's y is another's y + 1) as well as those of the truth, so that
    between such modes only `log_prior` (N, Kmax), a model's log p(y | x), decides. One accuracy per annotator is not
    so fair: where wrong answers go to one place, it prefers the mode that has fewer of them, whatever the words say.
    """
    starts = (truth.posterior, None)
    return max((dawid_skene(annotations, log_prior, start=start) for start in starts), key=lambda t: t.log_likelihood)


def predictive_likelihood(
    annotations: Annotations, truth: Truth, label: NDArray[np.integer[Any]] | None = None
) -> FloatArray:
    """Σ_y q_i(y) π_r(l | y) of each label, with q and π of `truth`, which has not seen these labels. (L,)

    `label` (L,) are answers that the annotators could have given instead.
    """
    label = annotations.label if label is None else label
    task = annotations.item_task[annotations.item]
    posterior = truth.posterior[annotations.item]
    if truth.confusion is not None:
        rates = truth.confusion[annotations.annotator, task, :, label]
        return np.asarray((posterior * rates).sum(axis=1))
    accuracy = truth.accuracy[annotations.annotator, task]
    own = posterior[np.arange(annotations.n_labels), label]
    wrong = (1 - accuracy) / np.maximum(annotations.answer_counts[annotations.item] - 1, 1)
    return np.asarray(own * accuracy + (1 - own) * wrong)


def _near_best(scores: FloatArray, item: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Which rows of `scores` (candidates, labels) have a mean within a standard error of the best mean."""
    best = scores[int(scores.mean(axis=1).argmax())]
    losses = best - scores
    spread = [np.sum(np.bincount(item, loss - loss.mean()) ** 2) for loss in losses]
    return np.asarray(losses.mean(axis=1) <= np.sqrt(spread) / max(len(item), 1))
