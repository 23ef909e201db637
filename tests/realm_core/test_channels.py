"""Channels against slow loops, finite differences, their limits, and each other."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from realm_core.channels import (
    CHANNELS,
    ConfusionChannel,
    OneCoinChannel,
    PerfectChannel,
    PerTaskChannel,
    ScalarChannel,
    mixture_log_likelihood,
    one_coin_log_likelihood,
)

ANSWERS = st.integers(2, 7)


def every(k: int, count: int) -> torch.Tensor:
    """The same K for so many labels."""
    return torch.full((count,), k)


@given(k=ANSWERS, w=st.floats(0.001, 0.999), label=st.integers(0, 6))
def test_eq_1_is_the_one_coin_with_another_name_for_its_parameter(k: int, w: float, label: int) -> None:
    a = w + (1 - w) / k
    labels = torch.tensor([label % k])
    mixture = mixture_log_likelihood(torch.logit(torch.tensor([w], dtype=torch.float64)), labels, every(k, 1))
    one_coin = one_coin_log_likelihood(torch.logit(torch.tensor([a], dtype=torch.float64)), labels, every(k, 1))
    torch.testing.assert_close(mixture, one_coin)
    assert (k * a - 1) / (k - 1) == pytest.approx(w)


@given(
    cells=st.lists(st.tuples(st.integers(1, 7), st.floats(-6, 6), st.integers(0, 6)), min_size=1, max_size=6),
)
def test_channels_equal_a_slow_loop_whatever_k_each_prompt_has(cells: list[tuple[int, float, int]]) -> None:
    n_answers = torch.tensor([k for k, _, _ in cells])
    labels = torch.tensor([label % k for k, _, label in cells])
    parameter = torch.tensor([logit for _, logit, _ in cells], dtype=torch.float64)
    mixture = mixture_log_likelihood(parameter, labels, n_answers)
    one_coin = one_coin_log_likelihood(parameter, labels, n_answers)
    who = torch.zeros(len(cells), dtype=torch.long)
    perfect = PerfectChannel().log_likelihood(who, labels, 0, n_answers)
    assert mixture.shape == one_coin.shape == perfect.shape == (len(cells), max(k for k, _, _ in cells))
    for m, (k, logit, _) in enumerate(cells):
        p = 1 / (1 + math.exp(-logit))
        for y in range(k):
            same = labels[m].item() == y
            assert mixture[m, y].exp().item() == pytest.approx(p * same + (1 - p) / k)
            assert one_coin[m, y].exp().item() == pytest.approx(p if same else (1 - p) / (k - 1))
            assert perfect[m, y].exp().item() == same


def test_the_cells_of_a_channel_are_used_with_each_prompt_s_own_k() -> None:
    channel = ScalarChannel(torch.tensor([[0.6], [0.2]]), torch.ones(2, 1), torch.tensor([2.5]))
    who, label, n_answers = torch.tensor([0, 1, 0]), torch.tensor([1, 0, 3]), torch.tensor([2, 3, 4])
    log_channel = channel.log_likelihood(who, label, 0, n_answers)
    for m, (w, k) in enumerate([(0.6, 2), (0.2, 3), (0.6, 4)]):
        expected = [w * (y == label[m].item()) + (1 - w) / k for y in range(k)]
        assert log_channel[m, :k].exp().tolist() == pytest.approx(expected)
    sure = torch.zeros(3, 4).scatter(1, label[:, None], 1.0)
    channel.absorb(sure, who, label, 0, n_answers)
    known = [w / (w + (1 - w) / k) for w, k in [(0.6, 2), (0.6, 4)]]
    assert channel.running_mean[0, 0] == pytest.approx(sum(known) / 2)


@pytest.mark.parametrize("log_likelihood", [mixture_log_likelihood, one_coin_log_likelihood])
def test_gradients_equal_finite_differences(log_likelihood: object) -> None:
    parameter = torch.tensor([-5.0, -0.5, 0.0, 3.0], dtype=torch.float64, requires_grad=True)
    labels = torch.tensor([0, 1, 2, 1])
    assert torch.autograd.gradcheck(lambda logit: log_likelihood(logit, labels, every(3, 4)), (parameter,))  # type: ignore[operator]


@pytest.mark.parametrize("name", sorted(CHANNELS))
def test_every_channel_is_a_distribution_over_labels(name: str) -> None:
    channel = CHANNELS[name](torch.tensor([[0.2], [0.9]]), torch.ones(2, 1), torch.tensor([4]))
    channel.advance(1.0)
    labels = torch.arange(4)
    for annotator in (0, 1):
        log_channel = channel.log_likelihood(torch.full((4,), annotator), labels, 0, every(4, 4))
        torch.testing.assert_close(log_channel.exp().sum(0), torch.ones(4))


def test_an_expert_channel_becomes_the_perfect_one() -> None:
    labels = torch.tensor([0, 2])
    expert = mixture_log_likelihood(torch.full((2,), 40.0), labels, every(3, 2))
    perfect = PerfectChannel().log_likelihood(torch.zeros(2, dtype=torch.long), labels, 0, every(3, 2))
    torch.testing.assert_close(expert.exp(), perfect.exp())


def test_a_guesser_tells_nothing() -> None:
    guess = mixture_log_likelihood(torch.tensor([-40.0]), torch.tensor([1]), every(4, 1))
    torch.testing.assert_close(guess, torch.full((1, 4), -math.log(4)))


def test_scalar_shares_one_expertise_among_tasks_and_per_task_has_a_matrix() -> None:
    scalar = ScalarChannel(torch.tensor([[0.9]]), torch.ones(1, 1), torch.tensor([3, 3]))
    matrix = PerTaskChannel(torch.tensor([[0.9, 0.1]]), torch.ones(1, 2), torch.tensor([3, 3]))
    who, label = torch.tensor([0]), torch.tensor([0])
    torch.testing.assert_close(
        scalar.log_likelihood(who, label, 0, every(3, len(who))),
        scalar.log_likelihood(who, label, 1, every(3, len(who))),
    )
    torch.testing.assert_close(
        matrix.log_likelihood(who, label, 0, every(3, len(who))),
        scalar.log_likelihood(who, label, 0, every(3, len(who))),
    )
    assert (
        matrix.log_likelihood(who, label, 1, every(3, len(who)))[0, 0]
        < matrix.log_likelihood(who, label, 0, every(3, len(who)))[0, 0]
    )


def test_accuracy_is_not_expertise() -> None:
    scalar = ScalarChannel(torch.tensor([[0.6]]), torch.ones(1, 1), torch.tensor([4]))
    one_coin = OneCoinChannel(torch.tensor([[0.7]]), torch.ones(1, 1), torch.tensor([4]))
    assert scalar.accuracy().item() == pytest.approx(0.6 + 0.4 / 4)
    assert one_coin.accuracy().item() == pytest.approx(0.7)
    expertise = ScalarChannel.probability_of(torch.tensor([[0.7]]), torch.tensor([4]))
    assert expertise.item() == pytest.approx((4 * 0.7 - 1) / 3)


def test_streaming_em_on_all_labels_is_the_map_estimate() -> None:
    channel = OneCoinChannel(torch.full((2, 1), 0.7), torch.tensor([[4.0], [2.0]]), torch.tensor([2]))
    posterior = torch.tensor([[0.9, 0.1]] * 4 + [[0.2, 0.8]] * 2)
    annotator, label = torch.tensor([0, 0, 0, 0, 1, 1]), torch.tensor([0, 0, 0, 1, 0, 0])
    channel.absorb(posterior, annotator, label, 0, every(2, 6))
    mean_0, mean_1 = (0.9 * 3 + 0.1) / 4, 0.2
    pooled = (4 * mean_0 + 2 * mean_1) / 6
    expected = [(4 * mean_0 + 6 * pooled) / 10, (2 * mean_1 + 6 * pooled) / 8]
    torch.testing.assert_close(channel.accuracy().squeeze(1), torch.tensor(expected))


def test_streaming_em_leaves_annotators_without_labels_where_their_mean_was() -> None:
    channel = OneCoinChannel(torch.tensor([[0.9], [0.3]]), torch.tensor([[100.0], [100.0]]), torch.tensor([2]))
    channel.absorb(torch.tensor([[1.0, 0.0]]), torch.tensor([0]), torch.tensor([0]), 0, every(2, 1))
    assert channel.running_mean[1, 0] == pytest.approx(0.3)
    assert channel.running_mean[0, 0] == pytest.approx(0.9 + (1 / 100) * 0.1)


def test_streaming_em_of_eq_1_counts_only_labels_that_were_not_guessed() -> None:
    channel = ScalarChannel(torch.tensor([[0.5]]), torch.tensor([[1.0]]), torch.tensor([2]))
    channel.absorb(torch.tensor([[1.0, 0.0]]), torch.tensor([0]), torch.tensor([0]), 0, every(2, 1))
    assert channel.running_mean[0, 0] == pytest.approx(0.5 / (0.5 + 0.5 / 2))


def test_only_the_one_coin_goes_below_chance() -> None:
    posterior, who, wrong = torch.tensor([[1.0, 0.0]] * 50), torch.zeros(50, dtype=torch.long), torch.ones(50).long()
    one_coin = OneCoinChannel(torch.tensor([[0.7]]), torch.tensor([[50.0]]), torch.tensor([2]))
    scalar = ScalarChannel(torch.tensor([[0.7]]), torch.tensor([[50.0]]), torch.tensor([2]))
    for channel in (one_coin, scalar):
        channel.absorb(posterior, who, wrong, 0, every(2, 50))
    assert one_coin.accuracy().item() < 0.01
    assert scalar.accuracy().item() == pytest.approx(0.5, abs=0.01)


def confusion_channel() -> ConfusionChannel:
    """Two annotators of 100 labels each, on a task with 3 answers and one with 2."""
    return ConfusionChannel(torch.full((2, 2), 0.7), torch.full((2, 2), 100.0), torch.tensor([3, 2]))


def test_a_confusion_channel_answers_as_one_coin_until_its_rows_open() -> None:
    channel, one_coin = confusion_channel(), OneCoinChannel(torch.full((2, 2), 0.7), torch.ones(2, 2), torch.ones(2))
    who, label = torch.tensor([0, 1, 1]), torch.tensor([0, 1, 2])
    channel.advance(0.29)
    torch.testing.assert_close(
        channel.log_likelihood(who, label, 0, every(3, len(who))),
        one_coin.log_likelihood(who, label, 0, every(3, len(who))),
    )
    channel.absorb(torch.eye(3)[[1] * 3], who, torch.tensor([0, 0, 0]), 0, every(3, 3))
    before = channel.log_likelihood(who, label, 0, every(3, len(who)))
    channel.advance(0.3)
    assert not torch.allclose(channel.log_likelihood(who, label, 0, every(3, len(who))), before)


def test_rows_are_the_map_estimate_from_all_labels() -> None:
    channel = ConfusionChannel(torch.tensor([[0.7]]), torch.tensor([[6.0]]), torch.tensor([2]))
    posterior = torch.tensor([[0.9, 0.1]] * 4 + [[0.2, 0.8]] * 2)
    label = torch.tensor([0, 0, 1, 1, 0, 0])
    channel.absorb(posterior, torch.zeros(6, dtype=torch.long), label, 0, every(2, 6))
    channel.advance(1.0)
    a = torch.sigmoid(channel.logit).item()
    counts = torch.zeros(2, 2)
    for m in range(6):
        for y in range(2):
            counts[y, label[m]] += posterior[m, y]
    expected = counts + 5 * torch.tensor([[a, 1 - a], [1 - a, a]])
    expected /= expected.sum(1, keepdim=True)
    torch.testing.assert_close(channel.log_rows[0, 0].exp(), expected)


def test_a_confusion_channel_learns_a_swap_that_one_coin_cannot_tell() -> None:
    channel = confusion_channel()
    channel.advance(1.0)
    truth = torch.arange(300) % 3
    swapped = torch.tensor([1, 0, 2])[truth]
    for _ in range(3):
        channel.absorb(torch.eye(3)[truth], torch.zeros(300, dtype=torch.long), swapped, 0, every(3, 300))
    rows = channel.log_rows[0, 0].exp()
    assert rows[0, 1] > 0.9
    assert rows[1, 0] > 0.9
    assert rows[2, 2] > 0.9
    assert channel.accuracy()[0, 0] == pytest.approx(1 / 3, abs=0.05)
    torch.testing.assert_close(
        channel.log_rows[1, 0].exp(), torch.full((3, 3), 0.15) + 0.55 * torch.eye(3), atol=0.01, rtol=0
    )
