"""The channel of plain fine-tuning."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from realm_core.channels.cells import ReadPrompts
from realm_core.channels.likelihoods import is_label


class PerfectChannel(nn.Module):
    """Every label is the truth: the noisy fine-tuning baseline, which Eq. 1 becomes as w → 1. Nothing to learn."""

    name = "perfect"

    def log_likelihood(
        self, annotator: Tensor, label: Tensor, task: int, n_answers: Tensor, prompts: ReadPrompts | None = None
    ) -> Tensor:
        """0 where l = y, else −∞. (M,) -> (M, Kmax)."""
        same = is_label(label, n_answers)
        return torch.full(same.shape, -torch.inf, device=label.device).masked_fill(same, 0.0)
