"""Simulated annotators do what their description says."""

from __future__ import annotations

import numpy as np
import pytest

from realm_core.simulation import (
    Behaviour,
    SimulatedLabels,
    distribution,
    simulate,
    simulate_behaviours,
    task_pattern,
)

N = 30_000


def _truth(k: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, k, N).astype(np.int32)


def _simulate(k: int, accuracy: list[float], **options: object) -> tuple[np.ndarray, SimulatedLabels]:
    truth = _truth(k)
    counts = np.full(N, k, dtype=np.int32)
    return truth, simulate(truth, counts, accuracy=np.array(accuracy), seed=7, **options)  # type: ignore[arg-type]


def _share_right(truth: np.ndarray, labels: SimulatedLabels, r: int) -> float:
    own = labels.annotator == r
    return float((labels.label[own] == truth[labels.item[own]]).mean())


@pytest.mark.parametrize("noise", ["uniform", "asymmetric", "systematic"])
@pytest.mark.parametrize("k", [2, 3, 5])
def test_every_noise_type_keeps_the_accuracy_that_was_asked_for(noise: str, k: int) -> None:
    truth, labels = _simulate(k, [0.9, 0.5, 0.1], noise=noise)
    shares = [_share_right(truth, labels, r) for r in range(3)]
    assert shares == pytest.approx([0.9, 0.5, 0.1], abs=0.012)
    assert labels.label.min() >= 0
    assert labels.label.max() < k


def test_the_other_reading_takes_the_number_as_the_weight_of_eq_1() -> None:
    truth, labels = _simulate(4, [0.9, 0.1], reading="weight")
    assert _share_right(truth, labels, 1) == pytest.approx(0.1 + 0.9 / 4, abs=0.01)
    np.testing.assert_allclose(labels.weight[:, 0], [0.9, 0.1])
    np.testing.assert_allclose(labels.accuracy[:, 0], [0.925, 0.325])


def test_both_readings_are_recorded_when_the_number_is_an_accuracy() -> None:
    _, labels = _simulate(4, [0.9, 0.1])
    np.testing.assert_allclose(labels.accuracy[:, 0], [0.9, 0.1])
    np.testing.assert_allclose(labels.weight[:, 0], [(4 * 0.9 - 1) / 3, (4 * 0.1 - 1) / 3])


def test_uniform_errors_are_spread_evenly() -> None:
    truth, labels = _simulate(4, [0.1])
    step = (labels.label - truth[labels.item]) % 4
    np.testing.assert_allclose(np.bincount(step, minlength=4) / N, [0.1, 0.3, 0.3, 0.3], atol=0.01)


def test_asymmetric_errors_favour_the_next_class_four_to_one() -> None:
    truth, labels = _simulate(4, [0.1], noise="asymmetric")
    step = (labels.label - truth[labels.item]) % 4
    np.testing.assert_allclose(np.bincount(step, minlength=4) / N, [0.1, 0.6, 0.15, 0.15], atol=0.01)


def test_systematic_errors_are_told_by_truth_and_annotator() -> None:
    truth, labels = _simulate(4, [0.1] * 5, noise="systematic")
    step = (labels.label - truth[labels.item]) % 4
    for r in range(5):
        wrong = (labels.annotator == r) & (step > 0)
        assert set(step[wrong]) == {1 + r % 3}


def test_shared_means_everyone_labels_everything() -> None:
    _, labels = _simulate(3, [0.9, 0.5, 0.1])
    assert len(labels.label) == 3 * N
    assert len(set(zip(labels.item, labels.annotator, strict=True))) == 3 * N


def test_exclusive_means_one_annotator_for_each_prompt_split_evenly() -> None:
    _, labels = _simulate(3, [0.9, 0.5, 0.1], mode="exclusive")
    np.testing.assert_array_equal(np.sort(labels.item), np.arange(N))
    assert np.bincount(labels.annotator).tolist() == [N / 3] * 3


def test_items_with_different_numbers_of_answers_stay_within_their_own() -> None:
    counts = np.random.default_rng(3).integers(2, 6, N).astype(np.int32)
    truth = (np.random.default_rng(4).integers(0, 60, N) % counts).astype(np.int32)
    for noise in ("uniform", "asymmetric", "systematic"):
        labels = simulate(truth, counts, accuracy=np.array([0.2, 0.7]), noise=noise, seed=1)  # type: ignore[arg-type]
        assert (labels.label < counts[labels.item]).all()
        assert _share_right(truth, labels, 0) == pytest.approx(0.2, abs=0.01)


def test_an_expertise_matrix_is_read_task_by_task() -> None:
    truth, task = _truth(4), np.arange(N, dtype=np.int32) % 3
    expertise = task_pattern("distance")
    labels = simulate(truth, np.full(N, 4, dtype=np.int32), accuracy=expertise, item_task=task, seed=2)
    np.testing.assert_allclose(labels.accuracy, expertise)
    own = (labels.annotator == 1) & (task[labels.item] == 0)
    assert (labels.label[own] == truth[labels.item[own]]).mean() == pytest.approx(0.1, abs=0.015)


def test_the_same_seed_gives_the_same_labels() -> None:
    assert (_simulate(4, [0.5])[1].label == _simulate(4, [0.5])[1].label).all()


def test_the_three_distributions_and_their_spread() -> None:
    assert distribution(1).tolist() == [0.9, 0.1, 0.1]
    assert distribution(2).tolist() == [0.9, 0.9, 0.1]
    assert distribution(3).tolist() == [0.9, 0.5, 0.1]
    np.testing.assert_allclose(distribution(1, 5), [0.9, 0.7, 0.5, 0.3, 0.1])


def test_the_three_task_patterns() -> None:
    assert task_pattern("own").tolist() == [[0.9, 0.1, 0.1], [0.1, 0.9, 0.1], [0.1, 0.1, 0.9]]
    assert task_pattern("others").tolist() == [[0.1, 0.9, 0.9], [0.9, 0.1, 0.9], [0.9, 0.9, 0.1]]
    np.testing.assert_allclose(task_pattern("distance"), [[0.9, 0.5, 0.1], [0.1, 0.9, 0.5], [0.5, 0.1, 0.9]])


def _confusion(truth: np.ndarray, labels: SimulatedLabels, r: int, k: int, rows: slice = slice(None)) -> np.ndarray:
    own = np.flatnonzero(labels.annotator == r)[rows]
    counts = np.zeros((k, k))
    np.add.at(counts, (truth[labels.item[own]], labels.label[own]), 1)
    return counts / counts.sum(axis=1, keepdims=True)


def test_behaviours_answer_with_their_rates() -> None:
    truth = _truth(4)
    crowd = [
        Behaviour.reliable(4, 0.9),
        Behaviour.guesser(4),
        Behaviour.constant(4, 2),
        Behaviour.swapper(4, 0.85, 0, 3),
        Behaviour.reliable(4, 0.1),
        Behaviour.declining(4, 0.9, 0.3),
    ]
    labels = simulate_behaviours(truth, crowd, seed=3)
    for r, behaviour in enumerate(crowd[:5]):
        np.testing.assert_allclose(_confusion(truth, labels, r, 4), behaviour.rates, atol=0.02)
    assert np.diag(_confusion(truth, labels, 5, 4, slice(None, N // 2))) == pytest.approx([0.9] * 4, abs=0.02)
    assert np.diag(_confusion(truth, labels, 5, 4, slice(N // 2, None))) == pytest.approx([0.3] * 4, abs=0.02)
    np.testing.assert_allclose(labels.accuracy[:, 0], [0.9, 0.25, 0.25, 0.45, 0.1, 0.6], atol=0.01)


def test_a_part_of_the_crowd_sees_each_item_and_time_only_goes_forward() -> None:
    labels = simulate_behaviours(_truth(3), [Behaviour.guesser(3)] * 8, seed=3, labels_per_item=3)
    assert np.bincount(labels.item).tolist() == [3] * N
    assert len(set(zip(labels.item, labels.annotator, strict=True))) == 3 * N
    assert labels.created_at is not None
    assert (np.diff(labels.created_at) > 0).all()
