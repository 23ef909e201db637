"""Channels with one probability per annotator, or per annotator and task.

K may differ from label to label: results have as many columns as the largest K, and what they say beyond a label's own
K means nothing. Parameters are fp32 leaves that take no weight decay; they learn by gradient, or by `absorb`, a
streaming EM in closed form. Either way under the same prior: an annotator is pulled to the crowd.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from realm_core.channels.likelihoods import mixture_log_likelihood, one_coin_log_likelihood
from realm_core.channels.pooling import expected_probability

LOGIT_BOUND = 6.0  # σ(±6) = .9975 and .0025: beyond it a sigmoid hardly moves any more
PROBABILITY_MARGIN = 1 / (1 + math.exp(LOGIT_BOUND))
PRIOR_STRENGTH = 6.0  # imagined labels that pull an annotator towards what is expected of them
# A cell's running mean looks back over about this many passes of its labels. Shorter memories run after a model that is
# still flat, believe the best annotator too much, and never come back.
MEMORY_PASSES = 1.0


TotalOf = Callable[[Tensor], Tensor]


def alone(values: Tensor) -> Tensor:
    """The total where nobody else has a part of the batch."""
    return values


@dataclass(frozen=True)
class ReadPrompts:
    """What the prompts of some labels are about: `z` (B, D) of each of the B prompts, of unit length, and which of them
    (`prompt`, (M,)) each label belongs to."""

    z: Tensor
    prompt: Tensor


class SigmoidChannel(nn.Module):
    """A channel with one sigmoid per cell: (annotator, task), or (annotator, any task) where tasks share a column.

    `logit` (R, C) fp32 with C = T or 1; `running_mean` (R, C) is the state of the streaming EM, `label_count` (R, C)
    how many training labels a cell has, `n_answers` (T,) the K_t (the harmonic mean where prompts differ). `pooling` is
    the strength S of the Beta prior: S imagined labels that are right as often as `expected_probability` says.
    """

    name: str
    logit: nn.Parameter
    running_mean: Tensor
    label_count: Tensor
    n_answers: Tensor

    def __init__(
        self, probability: Tensor, label_count: Tensor, n_answers: Tensor, pooling: float = PRIOR_STRENGTH
    ) -> None:
        """probability (R, C) to start from; label_count (R, C); n_answers (T,)."""
        super().__init__()
        start = probability.float().clamp(PROBABILITY_MARGIN, 1 - PROBABILITY_MARGIN)
        self.logit = nn.Parameter(torch.logit(start))
        self.register_buffer("running_mean", start.clone())
        self.register_buffer("label_count", label_count.float())
        self.register_buffer("n_answers", n_answers.float())
        self.pooling = pooling

    def advance(self, share_done: float) -> None:
        """Told before every step how much of the training is over, 0 to 1."""

    def log_likelihood(
        self, annotator: Tensor, label: Tensor, task: int, n_answers: Tensor, prompts: ReadPrompts | None = None
    ) -> Tensor:
        """log π_r(l | y) of M labels of a task for every truth y. annotator, label, n_answers (M,) -> (M, Kmax).

        `prompts` is what the labels are about; most channels take no notice of it.
        """
        raise NotImplementedError

    def learning_rates(self, rate: float) -> list[tuple[nn.Parameter, float]]:
        """What gradients move, and how fast when an annotator's logit moves by `rate`."""
        return [(self.logit, rate)]

    def log_prior(self) -> Tensor:
        """log density of the parameters before any label is seen, for learning by gradient; up to a constant.

        S·Σ_c (m_c log σ(β_c) + (1 − m_c) log σ(−β_c)) with m_c the expectation of cell c, held fixed: the same Beta
        prior that `absorb` has.
        """
        if not self.pooling:
            return 0 * self.logit.sum()  # whoever steps along its gradient finds one
        with torch.no_grad():
            expected = expected_probability(torch.sigmoid(self.logit), self.label_count, self.pooling)
        right, wrong = nn.functional.logsigmoid(self.logit), nn.functional.logsigmoid(-self.logit)
        return self.pooling * (expected * right + (1 - expected) * wrong).sum()

    def _column(self, task: int) -> int:
        return task if self.logit.shape[1] > 1 else 0

    def accuracy(self) -> Tensor:
        """Probability of being right of every annotator on every task. (R, T)"""
        raise NotImplementedError

    @staticmethod
    def probability_of(accuracy: Tensor, n_answers: Tensor) -> Tensor:
        """The cells' probability that goes with an accuracy; (R, T), (T,) -> (R, T)."""
        raise NotImplementedError

    def _responsibility(self, right: Tensor, annotator: Tensor, task: int, n_answers: Tensor) -> Tensor:
        """Expected count behind the cell's probability, given P(l is the truth) `right` (M,)."""
        raise NotImplementedError

    @torch.no_grad()
    def absorb(
        self,
        posterior: Tensor,
        annotator: Tensor,
        label: Tensor,
        task: int,
        n_answers: Tensor,
        total_of: TotalOf = alone,
    ) -> None:
        """One step of streaming EM with the labels of a batch.

        posterior (M, Kmax): P(y | labels) of the prompt of each label; n_answers (M,). A cell's running mean moves
        to the batch's mean by the share of its labels that the batch holds, over MEMORY_PASSES; its probability is the
        MAP estimate under the Beta prior. `total_of` adds up counts over processes that each hold a part of the batch.
        """
        right = posterior.gather(1, label[:, None]).squeeze(1)
        count = self._responsibility(right, annotator, task, n_answers)
        column = self._column(task)
        zeros = torch.zeros_like(self.label_count[:, column])
        seen = total_of(zeros.index_add(0, annotator, torch.ones_like(count)))
        total = total_of(zeros.index_add(0, annotator, count))
        share = self._share_of_memory(seen, column)
        mean = self.running_mean[:, column]
        mean += torch.where(seen > 0, share * (total / seen.clamp(min=1.0) - mean), zeros)
        self._set_to_map_estimate(column)

    def _share_of_memory(self, seen: Tensor, column: int) -> Tensor:
        """How large a part `seen` (R,), the labels in a batch, are of those that a running mean is over. (R,)"""
        return (seen / (MEMORY_PASSES * self.label_count[:, column]).clamp(min=1.0)).clamp(max=1.0)

    def _set_to_map_estimate(self, column: int) -> None:
        n, mean = self.label_count[:, column], self.running_mean[:, column]
        expected = expected_probability(self.running_mean, self.label_count, self.pooling)[:, column]
        total = n + self.pooling
        estimate = torch.where(total > 0, (n * mean + self.pooling * expected) / total.clamp(min=1e-9), mean)
        self.logit[:, column] = torch.logit(estimate.clamp(PROBABILITY_MARGIN, 1 - PROBABILITY_MARGIN))

    @torch.no_grad()
    def clamp(self) -> None:
        """Keep gradient steps where a sigmoid still moves."""
        self.logit.clamp_(-LOGIT_BOUND, LOGIT_BOUND)


class ScalarChannel(SigmoidChannel):
    """Eq. 1: knows the answer with probability w = σ(α), else guesses uniformly. Never below chance.

    One w per annotator, whatever the task.
    """

    name = "scalar"

    def log_likelihood(
        self, annotator: Tensor, label: Tensor, task: int, n_answers: Tensor, prompts: ReadPrompts | None = None
    ) -> Tensor:
        return mixture_log_likelihood(self.logit[annotator, self._column(task)], label, n_answers)

    def accuracy(self) -> Tensor:
        expertise = torch.sigmoid(self.logit.detach())
        return expertise + (1 - expertise) / self.n_answers

    @staticmethod
    def probability_of(accuracy: Tensor, n_answers: Tensor) -> Tensor:
        return ((n_answers * accuracy - 1) / (n_answers - 1).clamp(min=1)).clamp(0, 1)

    def _responsibility(self, right: Tensor, annotator: Tensor, task: int, n_answers: Tensor) -> Tensor:
        expertise = torch.sigmoid(self.logit[annotator, self._column(task)])
        return right * expertise / (expertise + (1 - expertise) / n_answers)


class PerTaskChannel(ScalarChannel):
    """Eq. 4: the same with an expertise matrix, one w per annotator and task."""

    name = "per_task"


class OneCoinChannel(SigmoidChannel):
    """Right with probability a = σ(β) per task, else any wrong answer alike. Can go below chance."""

    name = "one_coin"

    def log_likelihood(
        self, annotator: Tensor, label: Tensor, task: int, n_answers: Tensor, prompts: ReadPrompts | None = None
    ) -> Tensor:
        return one_coin_log_likelihood(self.logit[annotator, self._column(task)], label, n_answers)

    def accuracy(self) -> Tensor:
        return torch.sigmoid(self.logit.detach())

    @staticmethod
    def probability_of(accuracy: Tensor, n_answers: Tensor) -> Tensor:
        return accuracy

    def _responsibility(self, right: Tensor, annotator: Tensor, task: int, n_answers: Tensor) -> Tensor:
        return right
