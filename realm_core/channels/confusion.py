"""The channel of systematic errors: a stochastic matrix per annotator."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from realm_core.channels.cells import (
    PRIOR_STRENGTH,
    PROBABILITY_MARGIN,
    OneCoinChannel,
    ReadPrompts,
    TotalOf,
    alone,
)

OPEN_AT = 0.3  # of the training, when a confusion channel goes from one coin to rows
ROW_STRENGTH = 5.0  # pseudo-labels that pull a confusion row towards the one-coin row


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

    def __init__(
        self, probability: Tensor, label_count: Tensor, n_answers: Tensor, pooling: float = PRIOR_STRENGTH
    ) -> None:
        super().__init__(probability, label_count, n_answers, pooling)
        start = torch.stack([self._one_coin_rows(task) for task in range(len(n_answers))], dim=1)
        self.register_buffer("shares", start / self.n_answers[:, None, None])
        self.register_buffer("log_rows", start.clamp(min=PROBABILITY_MARGIN).log())
        self.register_buffer("rows_open", torch.tensor(False))

    def _one_coin_rows(self, task: int) -> Tensor:
        """The one-coin's K×K rows of every annotator, zero beyond K_t. (R, K, K)"""
        k, largest = int(self.n_answers[task]), int(self.n_answers.max())
        accuracy = torch.sigmoid(self.logit.detach()[:, task])[:, None, None]
        own = torch.eye(k, device=accuracy.device)
        rows = own * accuracy + (1 - own) * (1 - accuracy) / max(k - 1, 1)
        return nn.functional.pad(rows, (0, largest - k, 0, largest - k))

    def log_likelihood(
        self, annotator: Tensor, label: Tensor, task: int, n_answers: Tensor, prompts: ReadPrompts | None = None
    ) -> Tensor:
        if not self.rows_open:
            return super().log_likelihood(annotator, label, task, n_answers)
        return self.log_rows[annotator, task, : int(n_answers.max()), label]

    def accuracy(self) -> Tensor:
        """Σ_y P(y) π_r(y | y), with P(y) the truths that the annotator met."""
        if not self.rows_open:
            return super().accuracy()
        met = self.shares.sum(dim=3) / self.shares.sum(dim=(2, 3)).clamp(min=PROBABILITY_MARGIN)[:, :, None]
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
    def absorb(
        self,
        posterior: Tensor,
        annotator: Tensor,
        label: Tensor,
        task: int,
        n_answers: Tensor,
        total_of: TotalOf = alone,
    ) -> None:
        super().absorb(posterior, annotator, label, task, n_answers, total_of)
        k, cell_shape = posterior.shape[1], self.shares.shape[2:]
        of_label = torch.zeros(len(label), *cell_shape, device=label.device)
        of_label[torch.arange(len(label)), :k, label] = posterior
        total = total_of(torch.zeros_like(self.shares[:, task]).index_add(0, annotator, of_label))
        seen = total_of(torch.bincount(annotator, minlength=len(self.logit)).float())
        share = self._share_of_memory(seen, task)[:, None, None]
        here = self.shares[:, task]
        here += share * (total / seen.clamp(min=1.0)[:, None, None] - here)
        if self.rows_open:
            self._set_rows(task)

    def _set_rows(self, task: int) -> None:
        n = self.label_count[:, task, None, None]
        counts = n * self.shares[:, task] + ROW_STRENGTH * self._one_coin_rows(task)
        rows = counts / counts.sum(dim=2, keepdim=True).clamp(min=PROBABILITY_MARGIN)
        self.log_rows[:, task] = rows.clamp(min=PROBABILITY_MARGIN).log()
