"""Likelihood of the labels of B prompts under a model and a channel, and the posterior over the truth.

Shapes: `log_p` (B, K) is log p_θ(y | x); `log_channel` (M, K) is log π_r(l | y) of each of the M labels; `prompt` (M,)
says to which of the B prompts a label belongs. All in fp32, all in log space.
"""

from __future__ import annotations

import torch
from torch import Tensor

from realm_core.annotations import UNKNOWN


def marginal_log_likelihood(log_p: Tensor, log_channel: Tensor, prompt: Tensor) -> Tensor:
    """log Σ_y p_θ(y|x) π_r(l|y) of each label, as if each had a truth of its own (paper, Eq. 3 and 4). (M,)"""
    return torch.logsumexp(log_p[prompt] + log_channel, dim=1)


def joint_log_likelihood(log_p: Tensor, log_channel: Tensor, prompt: Tensor) -> Tensor:
    """log Σ_y p_θ(y|x) Π_r π_r(l_r|y) of each prompt: its labels answer one question. (B,)"""
    return torch.logsumexp(log_p.index_add(0, prompt, log_channel), dim=1)


def only_known(log_p: Tensor, known: Tensor | None) -> Tensor:
    """log p_θ(y|x) with −∞ for answers that are known to be wrong; `known` (B,) is the truth, or UNKNOWN. (B, K)

    The likelihoods below then are log p_θ(g|x) + Σ_r log π_r(l_r|g): the model learns the known truth g, and the
    channel what annotators make of it.
    """
    if known is None:
        return log_p
    answers = torch.arange(log_p.shape[1], device=log_p.device)
    return log_p.masked_fill((known != UNKNOWN)[:, None] & (known[:, None] != answers), -torch.inf)


def marginal_posterior(log_p: Tensor, log_channel: Tensor, prompt: Tensor) -> Tensor:
    """P(y | x, l) given each label alone. (M, K)"""
    return torch.softmax(log_p[prompt] + log_channel, dim=1)


def joint_posterior(log_p: Tensor, log_channel: Tensor, prompt: Tensor) -> Tensor:
    """P(y | x, all labels of the prompt), repeated for each of its labels. (M, K)

    With q the posterior, the gradient of the joint log likelihood on the logits is q − p_θ.
    """
    return torch.softmax(log_p.index_add(0, prompt, log_channel), dim=1)[prompt]
