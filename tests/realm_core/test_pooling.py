"""Hierarchical pooling of the expertise matrix: a cell with few labels is taken for its annotator elsewhere."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from realm_core.channels import CHANNELS, PerTaskChannel, SigmoidChannel
from realm_core.channels.pooling import expected_probability
from realm_core.objective import marginal_log_likelihood


def test_with_one_task_an_annotator_is_expected_to_be_like_the_pool() -> None:
    mean, count = torch.tensor([[0.9], [0.3]]), torch.tensor([[30.0], [10.0]])
    torch.testing.assert_close(expected_probability(mean, count, 6.0), torch.full((2, 1), 0.75))


def test_it_equals_the_formula_cell_by_cell() -> None:
    generator = torch.Generator().manual_seed(0)
    mean, count = torch.rand(4, 3, generator=generator), torch.randint(1, 50, (4, 3), generator=generator).float()
    strength = 6.0
    expected = expected_probability(mean, count, strength)
    crowd = [float((count[:, t] * mean[:, t]).sum() / count[:, t].sum()) for t in range(3)]
    for r in range(4):
        for t in range(3):
            others = [s for s in range(3) if s != t]
            n = sum(float(count[r, s]) for s in others)
            right = sum(float(count[r, s] * mean[r, s]) for s in others)
            like = sum(float(count[r, s]) * crowd[s] for s in others) / n
            own = (right + strength * like) / (n + strength)
            score = np.log(crowd[t] / (1 - crowd[t])) + np.log(own / (1 - own)) - np.log(like / (1 - like))
            assert expected[r, t].item() == pytest.approx(1 / (1 + np.exp(-score)), abs=1e-5)


def test_who_has_no_label_anywhere_is_the_pool_and_who_has_none_here_is_as_elsewhere() -> None:
    mean = torch.tensor([[0.5, 0.5], [0.95, 0.5], [0.6, 0.6]])
    count = torch.tensor([[0.0, 0.0], [500.0, 0.0], [500.0, 500.0]])
    expected = expected_probability(mean, count, 6.0)
    assert expected[0].tolist() == pytest.approx([0.775, 0.6])
    assert expected[1, 1] > 0.85  # far above the crowd on the other task
    assert expected[2, 1] < 0.6
    assert torch.isfinite(expected_probability(mean, count, 0.0)).all()
    assert torch.isfinite(expected_probability(torch.full((1, 1), 0.5), torch.zeros(1, 1), 0.0)).all()


def crowd_with_small_cells(seed: int) -> tuple[torch.Tensor, torch.Tensor, list[tuple[torch.Tensor, ...]]]:
    """30 annotators, known w per task, 60 labels each of task 0 and 3 each of task 1, where an annotator is about as
    good. w (R, T), counts (R, T), and for each task (posterior, annotator, label) of 4 answers with the truth known."""
    rng = np.random.default_rng(seed)
    base = rng.normal(0.0, 2.0, 30)
    w = 1 / (1 + np.exp(-(base[:, None] + rng.normal(0, 0.3, (30, 2)))))
    batches, counts = [], np.array([60, 3])
    for task, n in enumerate(counts):
        who = np.repeat(np.arange(30), n)
        truth = rng.integers(0, 4, len(who))
        label = np.where(rng.random(len(who)) < w[who, task], truth, rng.integers(0, 4, len(who)))
        batches.append((torch.eye(4)[truth], torch.from_numpy(who), torch.from_numpy(label)))
    return torch.from_numpy(w).float(), torch.from_numpy(np.tile(counts, (30, 1))).float(), batches


def learn(channel: SigmoidChannel, batches: list[tuple[torch.Tensor, ...]], how: str) -> SigmoidChannel:
    """60 rounds of EM with all labels, or 300 steps of gradient with its prior."""
    optimizer = torch.optim.Adam([channel.logit], lr=0.05)
    for _ in range(60 if how == "em" else 300):
        loss = -channel.log_prior()
        for task, (truth, who, label) in enumerate(batches):
            four = torch.full_like(label, 4)
            if how == "em":
                channel.absorb(truth, who, label, task, four)
            log_channel = channel.log_likelihood(who, label, task, four)
            loss = loss - marginal_log_likelihood(truth.log(), log_channel, torch.arange(len(who))).sum()
        if how == "gradient":
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            channel.clamp()
    return channel


@pytest.mark.parametrize("how", ["em", "gradient"])
def test_small_cells_starve_without_pooling_and_do_not_with_it(how: str) -> None:
    w, count, batches = crowd_with_small_cells(0)
    errors = {}
    for strength in (0.0, 6.0):
        channel = PerTaskChannel(torch.full((30, 2), 0.5), count, torch.tensor([4.0, 4.0]), strength)
        found = torch.sigmoid(learn(channel, batches, how).logit.detach())
        errors[strength] = ((found - w) ** 2).mean(0).sqrt().tolist()
    assert errors[0.0][1] > 0.2  # three labels tell nearly nothing
    assert errors[6.0][1] < 0.6 * errors[0.0][1]
    assert errors[6.0][0] < errors[0.0][0] + 0.015  # cells with many labels keep what they say


def test_gradient_and_em_end_at_the_same_estimate() -> None:
    _, count, batches = crowd_with_small_cells(1)
    ends = [
        learn(PerTaskChannel(torch.full((30, 2), 0.5), count, torch.tensor([4.0, 4.0])), batches, how).logit.detach()
        for how in ("em", "gradient")
    ]
    torch.testing.assert_close(torch.sigmoid(ends[0]), torch.sigmoid(ends[1]), atol=0.03, rtol=0)


@pytest.mark.parametrize("name", sorted(CHANNELS))
def test_the_prior_of_gradients_is_that_of_em(name: str) -> None:
    """Without labels, both leave everybody where they are expected."""
    channel = CHANNELS[name](torch.tensor([[0.8], [0.2]]), torch.tensor([[9.0], [1.0]]), torch.tensor([3.0]), 4.0)
    (gradient,) = torch.autograd.grad(channel.log_prior(), channel.logit)
    expected = expected_probability(torch.sigmoid(channel.logit.detach()), channel.label_count, 4.0)
    torch.testing.assert_close(gradient, 4.0 * (expected - torch.sigmoid(channel.logit.detach())))
