"""The likelihoods against slow loops, each other, and the gradient that the posterior promises."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from realm_core.channels import PerfectChannel
from realm_core.objective import (
    joint_log_likelihood,
    joint_posterior,
    marginal_log_likelihood,
    marginal_posterior,
)


def example(seed: int, labels_per_prompt: list[int], k: int) -> tuple[Tensor, Tensor, Tensor]:
    """log_p (B, K), log_channel (M, K), prompt (M,) at random, in double."""
    generator = torch.Generator().manual_seed(seed)
    prompt = torch.repeat_interleave(torch.arange(len(labels_per_prompt)), torch.tensor(labels_per_prompt))
    log_p = torch.log_softmax(torch.randn(len(labels_per_prompt), k, generator=generator, dtype=torch.float64), 1)
    log_channel = torch.log(torch.rand(len(prompt), k, generator=generator, dtype=torch.float64) + 1e-3)
    return log_p, log_channel, prompt


SHAPES = st.tuples(st.integers(0, 999), st.lists(st.integers(0, 4), min_size=1, max_size=5), st.integers(2, 5))


@given(SHAPES)
def test_likelihoods_equal_slow_loops(shape: tuple[int, list[int], int]) -> None:
    log_p, log_channel, prompt = example(*shape)
    joint, marginal = (
        joint_log_likelihood(log_p, log_channel, prompt),
        marginal_log_likelihood(log_p, log_channel, prompt),
    )
    for i in range(len(log_p)):
        own = [m for m in range(len(prompt)) if prompt[m] == i]
        terms = [
            math.exp(log_p[i, y]) * math.prod(math.exp(log_channel[m, y]) for m in own) for y in range(log_p.shape[1])
        ]
        assert joint[i].item() == pytest.approx(math.log(sum(terms)))
        for m in own:
            mixture = sum(math.exp(log_p[i, y] + log_channel[m, y]) for y in range(log_p.shape[1]))
            assert marginal[m].item() == pytest.approx(math.log(mixture))


@given(st.integers(0, 999), st.integers(1, 6), st.integers(2, 5))
def test_marginal_equals_joint_with_one_label_per_prompt(seed: int, n_prompts: int, k: int) -> None:
    log_p, log_channel, prompt = example(seed, [1] * n_prompts, k)
    torch.testing.assert_close(
        joint_log_likelihood(log_p, log_channel, prompt), marginal_log_likelihood(log_p, log_channel, prompt)
    )
    torch.testing.assert_close(
        joint_posterior(log_p, log_channel, prompt), marginal_posterior(log_p, log_channel, prompt)
    )


def test_the_gradient_on_the_logits_is_posterior_minus_model() -> None:
    log_p, log_channel, prompt = example(3, [3, 1, 2], 4)
    logits = log_p.clone().requires_grad_()
    joint_log_likelihood(torch.log_softmax(logits, 1), log_channel, prompt).sum().backward()
    posterior = torch.stack([joint_posterior(log_p, log_channel, prompt)[prompt == i][0] for i in range(3)])
    torch.testing.assert_close(logits.grad, posterior - log_p.exp())


def test_with_perfect_annotators_the_loss_is_cross_entropy() -> None:
    log_p, _, prompt = example(5, [2, 1], 3)
    labels = torch.tensor([0, 2, 1])
    log_channel = PerfectChannel().log_likelihood(labels, labels, 0, torch.tensor([3, 3, 3])).double()
    loss = -marginal_log_likelihood(log_p, log_channel, prompt)
    torch.testing.assert_close(loss, torch.nn.functional.nll_loss(log_p[prompt], labels, reduction="none"))


def test_a_prompt_without_labels_keeps_the_model_s_word() -> None:
    log_p, log_channel, prompt = example(7, [0, 2], 3)
    assert joint_log_likelihood(log_p, log_channel, prompt)[0].item() == pytest.approx(0.0, abs=1e-12)
