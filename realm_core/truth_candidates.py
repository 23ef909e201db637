"""The ways to infer the truth that a report chooses from, and which of them a crowd's labels can do with."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from scipy.special import log_softmax

from realm_core.aggregation import POOLED_ROWS, ConfusionPrior, Truth, dawid_skene, one_coin
from realm_core.annotations import Annotations, FloatArray
from realm_core.label_table import LabelTable

ChannelChoice = Literal["one_coin", "confusion"]
MAX_CONFUSION_ANSWERS = 20
MAX_RATES_PER_LABEL = 10  # of confusion matrices, so that memory stays linear in the labels
AVERAGED_TOLERANCE = 1e-4  # of posteriors that are averaged, which differ by more than that
PULLS = (2.0, 5.0, 15.0)  # imagined labels of the pool in each row of a confusion matrix; nobody knows the best number
MODEL_WEIGHTS = (0.25, 0.5, 1.0, 2.0)
MAX_SEPARATION = 0.2  # real crowds: .07 at most; matrices go wrong from about .35 on


@dataclass(frozen=True)
class Candidate:
    """A way to infer the truth: a channel, and what is expected before any label is read.

    `shares`: all answers alike, as common as they turn out, or p(y | x)^`model_weight` of a model, shifted to be so
    common. `pull`: how many labels of the pool a row of a confusion matrix counts besides the annotator's own.
    `power`: how sure the posterior is of what it says, 1 where mistakes are independent; see `Truth.tempered`.
    """

    channel: ChannelChoice
    shares: Literal["uniform", "learned", "model"]
    model_weight: float = 0.0
    pull: float = POOLED_ROWS.strength
    power: float = 1.0

    def fit(
        self,
        annotations: Annotations,
        log_p: FloatArray | None,
        tolerance: float = 1e-6,
        start: FloatArray | None = None,
    ) -> Truth:
        """log_p (N, Kmax) of the model; `start` (N, Kmax): where matrices start from, another posterior."""
        learn, log_prior = self.shares != "uniform", self._log_prior(log_p)
        if self.channel == "one_coin":
            truth = one_coin(annotations, log_prior, learn_prevalence=learn, tolerance=tolerance)
        else:
            prior = ConfusionPrior(self.pull)
            truth = dawid_skene(
                annotations, log_prior, prior=prior, start=start, learn_prevalence=learn, tolerance=tolerance
            )
        return truth.tempered(self.power)

    def _log_prior(self, log_p: FloatArray | None) -> FloatArray | None:
        """model_weight · log p, normalised: a logarithmic opinion pool with the shares of the answers."""
        if self.shares != "model" or log_p is None:
            return None
        return np.asarray(log_softmax(np.where(np.isfinite(log_p), self.model_weight * log_p, -np.inf), axis=1))

    def posterior(self, annotations: Annotations, log_p: FloatArray | None) -> FloatArray:
        """q_i(y), averaged over the pulls that a confusion matrix may have. (N, Kmax)"""
        if self.channel == "one_coin":
            return self.fit(annotations, log_p).posterior
        start = one_coin(annotations, self._log_prior(log_p)).posterior
        fitted = [replace(self, pull=pull).fit(annotations, log_p, AVERAGED_TOLERANCE, start) for pull in PULLS]
        return np.asarray(np.mean([truth.posterior for truth in fitted], axis=0))

    def __str__(self) -> str:
        habits = {"one_coin": "how often each annotator is right", "confusion": "what each annotator mistakes for what"}
        besides = {"uniform": "", "learned": " and how common each answer is", "model": " and the text"}
        return habits[self.channel] + besides[self.shares]


# From the fewest parameters to the most. Matrices with uniform shares are missing: they make up for a rare answer by
# renaming it, predict labels as well as the truth does, and get a third of the items wrong.
WITHOUT_MODEL = (Candidate("one_coin", "uniform"), Candidate("one_coin", "learned"), Candidate("confusion", "learned"))
CHANNELS: tuple[ChannelChoice, ...] = ("one_coin", "confusion")
WITH_MODEL = tuple(Candidate(channel, "model", weight) for weight in MODEL_WEIGHTS for channel in CHANNELS)


def candidates_for(annotations: Annotations, log_p: FloatArray | None) -> tuple[Candidate, ...]:
    """From the simplest to the richest, those that these labels can do with.

    A model has to do better than labels alone. Where by the model the crowd is worse than chance it does not: labels
    alone are the mirror image of what it says, and explain themselves as well.
    """
    table, first_coin = LabelTable.of(annotations), one_coin(annotations, log_p)
    candidates: tuple[Candidate, ...] = WITHOUT_MODEL
    if log_p is not None:
        candidates = (*WITHOUT_MODEL, *WITH_MODEL) if _better_than_chance(table, first_coin) else WITH_MODEL
    elif table.group_sizes().max(initial=0) < 3:
        return WITHOUT_MODEL[:1]
    if not table.compared.any():  # so no weight of the model can be tried
        candidates = tuple(one for one in candidates if one.model_weight in (0, 1))
    if affords_confusion(annotations) and not _see_different_answers(table, first_coin):
        return candidates
    return tuple(one for one in candidates if one.channel == "one_coin")


def affords_confusion(annotations: Annotations) -> bool:
    """Whether K×K rates for each (annotator, task) do not dwarf the labels, and answers are the same everywhere."""
    k = max((len(task.answers) for task in annotations.tasks), default=0)
    rates = annotations.n_annotators * len(annotations.tasks) * k**2
    return (
        annotations.options is None
        and k <= MAX_CONFUSION_ANSWERS
        and rates <= MAX_RATES_PER_LABEL * annotations.n_labels
    )


def _better_than_chance(table: LabelTable, truth: Truth) -> bool:
    """Whether labels are right more often than answers drawn by lot would be."""
    right = table.of_own_label(np.ascontiguousarray(truth.posterior.T))
    return bool(right.sum() > (1 / table.answer_counts[table.item]).sum())


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
