"""Channels: how an annotator turns the truth into a label, π_r(l | y).

A channel holds one probability per cell (annotator, task) and answers, for each of M labels, how likely that label is
under each possible truth. K may differ from label to label: results have as many columns as the largest K, and what
they say beyond a label's own K means nothing. Its parameters are fp32 leaves that take no weight decay; they learn by
gradient, or by `absorb`, a streaming EM in closed form.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

LOGIT_BOUND = 6.0  # σ(±6) = .9975 and .0025: beyond it a sigmoid hardly moves any more
_PROBABILITY_MARGIN = 1 / (1 + math.exp(LOGIT_BOUND))
PRIOR_STRENGTH = 6.0  # pseudo-labels that pull an annotator towards the pool
OPEN_AT = 0.3  # of the training, when a confusion channel goes from one coin to rows
ROW_STRENGTH = 5.0  # pseudo-labels that pull a confusion row towards the one-coin row
# A cell's running mean looks back over about this many passes of its labels. Shorter memories run after a model that is
# still flat, believe the best annotator too much, and never come back.
MEMORY_PASSES = 1.0


def mixture_log_likelihood(alpha: Tensor, label: Tensor, n_answers: Tensor) -> Tensor:
    """log(w·[l=y] + (1−w)/K) with w = σ(α), for every truth y (paper, Eq. 1). All (M,) -> (M, Kmax)."""
    guess = nn.functional.logsigmoid(-alpha) - n_answers.to(alpha.dtype).log()
    right = torch.logaddexp(nn.functional.logsigmoid(alpha), guess)
    return torch.where(_is_label(label, n_answers), right[:, None], guess[:, None])


def one_coin_log_likelihood(beta: Tensor, label: Tensor, n_answers: Tensor) -> Tensor:
    """log(a if l=y else (1−a)/(K−1)) with a = σ(β), for every truth y. All (M,) -> (M, Kmax)."""
    right = nn.functional.logsigmoid(beta)
    wrong = nn.functional.logsigmoid(-beta) - (n_answers - 1).clamp(min=1).to(beta.dtype).log()
    return torch.where(_is_label(label, n_answers), right[:, None], wrong[:, None])


def _is_label(label: Tensor, n_answers: Tensor) -> Tensor:
    return one_hot(label, int(n_answers.max())).bool()


class SigmoidChannel(nn.Module):
    """A channel with one sigmoid per cell: (annotator, task), or (annotator, any task) where tasks share a column.

    `logit` (R, C) fp32 with C = T or 1; `running_mean` (R, C) is the state of the streaming EM, `label_count` (R, C)
    how many training labels a cell has, `n_answers` (T,) the K_t (the harmonic mean where prompts differ).
    """

    name: str
    logit: nn.Parameter
    running_mean: Tensor
    label_count: Tensor
    n_answers: Tensor

    def __init__(self, probability: Tensor, label_count: Tensor, n_answers: Tensor) -> None:
        """probability (R, C) to start from; label_count (R, C); n_answers (T,)."""
        super().__init__()
        start = probability.float().clamp(_PROBABILITY_MARGIN, 1 - _PROBABILITY_MARGIN)
        self.logit = nn.Parameter(torch.logit(start))
        self.register_buffer("running_mean", start.clone())
        self.register_buffer("label_count", label_count.float())
        self.register_buffer("n_answers", n_answers.float())

    def advance(self, share_done: float) -> None:
        """Told before every step how much of the training is over, 0 to 1."""

    def log_likelihood(self, annotator: Tensor, label: Tensor, task: int, n_answers: Tensor) -> Tensor:
        """log π_r(l | y) of M labels of a task for every truth y. annotator, label, n_answers (M,) -> (M, Kmax)."""
        raise NotImplementedError

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
    def absorb(self, posterior: Tensor, annotator: Tensor, label: Tensor, task: int, n_answers: Tensor) -> None:
        """One step of streaming EM with the labels of a batch.

        posterior (M, Kmax): P(y | labels) of the prompt of each label; n_answers (M,). A cell's running mean moves
        to the batch's mean by the share of its labels that the batch holds, over MEMORY_PASSES; its probability is the
        MAP estimate under a Beta prior whose mean is the pool's (empirical Bayes).
        """
        right = posterior.gather(1, label[:, None]).squeeze(1)
        count = self._responsibility(right, annotator, task, n_answers)
        column = self._column(task)
        zeros = torch.zeros_like(self.label_count[:, column])
        seen = zeros.index_add(0, annotator, torch.ones_like(count))
        total = zeros.index_add(0, annotator, count)
        share = (seen / (MEMORY_PASSES * self.label_count[:, column]).clamp(min=1.0)).clamp(max=1.0)
        mean = self.running_mean[:, column]
        mean += torch.where(seen > 0, share * (total / seen.clamp(min=1.0) - mean), zeros)
        self._set_to_map_estimate(column)

    def _set_to_map_estimate(self, column: int) -> None:
        n, mean = self.label_count[:, column], self.running_mean[:, column]
        pooled = (n * mean).sum() / n.sum().clamp(min=1.0)
        estimate = (n * mean + PRIOR_STRENGTH * pooled) / (n + PRIOR_STRENGTH)
        self.logit[:, column] = torch.logit(estimate.clamp(_PROBABILITY_MARGIN, 1 - _PROBABILITY_MARGIN))

    @torch.no_grad()
    def clamp(self) -> None:
        """Keep gradient steps where a sigmoid still moves."""
        self.logit.clamp_(-LOGIT_BOUND, LOGIT_BOUND)


class ScalarChannel(SigmoidChannel):
    """Eq. 1: knows the answer with probability w = σ(α), else guesses uniformly. Never below chance.

    One w per annotator, whatever the task.
    """

    name = "scalar"

    def log_likelihood(self, annotator: Tensor, label: Tensor, task: int, n_answers: Tensor) -> Tensor:
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

    def log_likelihood(self, annotator: Tensor, label: Tensor, task: int, n_answers: Tensor) -> Tensor:
        return one_coin_log_likelihood(self.logit[annotator, self._column(task)], label, n_answers)

    def accuracy(self) -> Tensor:
        return torch.sigmoid(self.logit.detach())

    @staticmethod
    def probability_of(accuracy: Tensor, n_answers: Tensor) -> Tensor:
        return accuracy

    def _responsibility(self, right: Tensor, annotator: Tensor, task: int, n_answers: Tensor) -> Tensor:
        return right


class ConfusionChannel(OneCoinChannel):
    """A K×K stochastic matrix per annotator and task; row y is π_r(· | y).

    Cold matrices collapse, so the channel answers as a one-coin for the first OPEN_AT of the training; from then on its
    rows are the MAP estimate under a Dirichlet prior of ROW_STRENGTH pseudo-labels, spread like the annotator's
    one-coin row. Learned by `absorb` alone.

    `shares` (R, T, K, K) is the running share of a cell's labels by (truth, label); `log_rows` has the same shape.
    """

    name = "confusion"
    shares: Tensor
    log_rows: Tensor
    rows_open: Tensor

    def __init__(self, probability: Tensor, label_count: Tensor, n_answers: Tensor) -> None:
        super().__init__(probability, label_count, n_answers)
        start = torch.stack([self._one_coin_rows(task) for task in range(len(n_answers))], dim=1)
        self.register_buffer("shares", start / self.n_answers[:, None, None])
        self.register_buffer("log_rows", start.clamp(min=_PROBABILITY_MARGIN).log())
        self.register_buffer("rows_open", torch.tensor(False))

    def _one_coin_rows(self, task: int) -> Tensor:
        """The one-coin's K×K rows of every annotator, zero beyond K_t. (R, K, K)"""
        k, largest = int(self.n_answers[task]), int(self.n_answers.max())
        accuracy = torch.sigmoid(self.logit.detach()[:, task])[:, None, None]
        own = torch.eye(k, device=accuracy.device)
        rows = own * accuracy + (1 - own) * (1 - accuracy) / max(k - 1, 1)
        return nn.functional.pad(rows, (0, largest - k, 0, largest - k))

    def log_likelihood(self, annotator: Tensor, label: Tensor, task: int, n_answers: Tensor) -> Tensor:
        if not self.rows_open:
            return super().log_likelihood(annotator, label, task, n_answers)
        return self.log_rows[annotator, task, : int(n_answers.max()), label]

    def accuracy(self) -> Tensor:
        """Σ_y P(y) π_r(y | y), with P(y) the truths that the annotator met."""
        if not self.rows_open:
            return super().accuracy()
        met = self.shares.sum(dim=3) / self.shares.sum(dim=(2, 3)).clamp(min=_PROBABILITY_MARGIN)[:, :, None]
        return (met * self.log_rows.diagonal(dim1=2, dim2=3).exp()).sum(dim=2)

    @torch.no_grad()
    def advance(self, share_done: float) -> None:
        """Answer by the rows from OPEN_AT on."""
        if self.rows_open or share_done < OPEN_AT:
            return
        self.rows_open.fill_(True)
        for task in range(len(self.n_answers)):
            self._set_rows(task)

    @torch.no_grad()
    def absorb(self, posterior: Tensor, annotator: Tensor, label: Tensor, task: int, n_answers: Tensor) -> None:
        super().absorb(posterior, annotator, label, task, n_answers)
        k, cell_shape = posterior.shape[1], self.shares.shape[2:]
        of_label = torch.zeros(len(label), *cell_shape, device=label.device)
        of_label[torch.arange(len(label)), :k, label] = posterior
        total = torch.zeros_like(self.shares[:, task]).index_add(0, annotator, of_label)
        seen = torch.bincount(annotator, minlength=len(self.logit)).float()
        share = (seen / (MEMORY_PASSES * self.label_count[:, task]).clamp(min=1.0)).clamp(max=1.0)[:, None, None]
        here = self.shares[:, task]
        here += share * (total / seen.clamp(min=1.0)[:, None, None] - here)
        if self.rows_open:
            self._set_rows(task)

    def _set_rows(self, task: int) -> None:
        n = self.label_count[:, task, None, None]
        counts = n * self.shares[:, task] + ROW_STRENGTH * self._one_coin_rows(task)
        rows = counts / counts.sum(dim=2, keepdim=True).clamp(min=_PROBABILITY_MARGIN)
        self.log_rows[:, task] = rows.clamp(min=_PROBABILITY_MARGIN).log()


class PerfectChannel(nn.Module):
    """Every label is the truth: the noisy fine-tuning baseline, which Eq. 1 becomes as w → 1. Nothing to learn."""

    name = "perfect"

    def log_likelihood(self, annotator: Tensor, label: Tensor, task: int, n_answers: Tensor) -> Tensor:
        """0 where l = y, else −∞. (M,) -> (M, Kmax)."""
        is_label = _is_label(label, n_answers)
        return torch.full(is_label.shape, -torch.inf, device=label.device).masked_fill(is_label, 0.0)


Channel = SigmoidChannel | PerfectChannel
CHANNELS: dict[str, type[SigmoidChannel]] = {
    channel.name: channel for channel in (ScalarChannel, PerTaskChannel, OneCoinChannel, ConfusionChannel)
}
