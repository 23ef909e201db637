"""The choice of a channel by left-out labels, without gold."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from realm_core.aggregation import Truth, dawid_skene, one_coin
from realm_core.annotations import Annotations
from realm_core.simulation import Behaviour, simulate_behaviours
from realm_core.truth_candidates import WITHOUT_MODEL, affords_confusion
from realm_core.truth_choice import best_truth, renamed_by_words, truth_under
from realm_core.truth_trials import Tried, predictive_likelihood
from tests.realm_core.crowds import annotations_of, behaving_crowd, imperfect_log_p, one_coin_crowd


def _share_right(truth: Truth, crowd: Annotations) -> float:
    return float((truth.posterior.argmax(axis=1) == crowd.gold).mean())


def _asymmetric(n_answers: int) -> Behaviour:
    """Right about the first answer, half of the time about the others, which are taken for the next."""
    rates = np.eye(n_answers) * 0.5 + np.roll(np.eye(n_answers), 1, axis=1) * 0.5
    rates[0] = 0.05 / (n_answers - 1)
    rates[0, 0] = 0.95
    return Behaviour("asymmetric", rates)


@pytest.mark.parametrize("with_model", [False, True])
def test_annotators_who_err_alike_on_all_answers_get_one_coin(with_model: bool) -> None:
    crowd = one_coin_crowd([0.9, 0.8, 0.8, 0.7, 0.6, 0.4], n_items=500, n_answers=4, seed=1, per_item=4)
    choice = best_truth(crowd, imperfect_log_p(crowd, 2) if with_model else None)
    assert choice.candidate.channel == "one_coin"
    assert choice.why.startswith("Labels were weighed by “how often each annotator is right")
    assert "some labels were hidden and had to be guessed from the rest" in choice.why
    assert "likelihood" not in choice.why


@pytest.mark.parametrize("with_model", [False, True])
def test_annotators_who_mistake_certain_answers_get_confusion(with_model: bool) -> None:
    crowd = behaving_crowd([_asymmetric(3)] * 3 + [Behaviour.reliable(3, 0.85)] * 3, n_items=600, seed=3)
    log_p = imperfect_log_p(crowd, 4) if with_model else None
    choice = best_truth(crowd, log_p)
    assert choice.candidate.channel == "confusion"
    assert _share_right(choice.truth, crowd) >= _share_right(one_coin(crowd, log_p), crowd)


def test_a_rare_answer_makes_its_share_worth_learning() -> None:
    truth = (np.random.default_rng(5).random(3000) < 0.08).astype(np.int32)
    people = [Behaviour.reliable(2, a) for a in (0.8, 0.75, 0.75, 0.7, 0.65)]
    labels = simulate_behaviours(truth, people, seed=5, labels_per_item=3)
    crowd = annotations_of(labels, truth, 2, 5)
    choice = best_truth(crowd)
    assert choice.candidate.shares == "learned"
    assert _share_right(choice.truth, crowd) > _share_right(one_coin(crowd), crowd) + 0.03


def test_sorted_batches_do_not_rename_the_answers() -> None:
    """Annotators who each saw only some answers: matrices predict labels better and have the truth wrong."""
    rng = np.random.default_rng(6)
    truth = np.sort(rng.integers(0, 4, 800)).astype(np.int32)
    accuracy = rng.uniform(0.65, 0.95, 12)
    team = (np.arange(800) * 12 // 800)[:, None] + np.arange(4)
    item, annotator = np.repeat(np.arange(800, dtype=np.int32), 4), (team.ravel() % 12).astype(np.int32)
    wrong = (truth[item] + rng.integers(1, 4, len(item))) % 4
    label = np.where(rng.random(len(item)) < accuracy[annotator], truth[item], wrong).astype(np.int32)
    some = one_coin_crowd(accuracy, n_items=800, n_answers=4, seed=0)
    crowd = replace(some, item=item, annotator=annotator, label=label, gold=truth, created_at=None)
    assert _share_right(dawid_skene(crowd), crowd) < 0.8
    choice = best_truth(crowd)
    assert choice.candidate.channel == "one_coin"
    assert _share_right(choice.truth, crowd) > 0.95


@pytest.mark.parametrize("how", [{"mode": "exclusive"}, {"per_item": 2}])
def test_without_three_who_can_be_compared_nobody_is_believed_more(how: dict[str, Any]) -> None:
    crowd = one_coin_crowd([0.9, 0.6], n_items=200, n_answers=3, seed=7, **how)
    choice = best_truth(crowd)
    assert choice.candidate.channel == "one_coin"
    assert choice.candidate.shares == "uniform"
    assert np.ptp(choice.truth.accuracy) < 1e-6
    assert choice.why.startswith("All labels count alike: no three annotators share prompts")


def test_ways_that_labels_cannot_tell_apart_are_pooled() -> None:
    crowd = one_coin_crowd([0.9, 0.8, 0.7, 0.7, 0.6], n_items=150, n_answers=3, seed=12, per_item=4)
    choice, tried = best_truth(crowd), Tried.of(crowd, None, WITHOUT_MODEL)
    near = tried.near_best()
    assert [(one.channel, one.shares) for one in near] == [("one_coin", "uniform"), ("one_coin", "learned")]
    assert choice.why.count("% by “") == 3
    assert "half and half" in choice.why
    power = np.mean([one.power for one in near])
    first, second = (replace(one, power=1.0).posterior(crowd, None) for one in near)
    product = (first * second) ** (power / 2)
    np.testing.assert_allclose(choice.truth.posterior, product / product.sum(axis=1, keepdims=True), atol=1e-9)


def test_a_text_that_says_nothing_is_left_out() -> None:
    crowd = one_coin_crowd([0.9, 0.8, 0.7, 0.7, 0.6], n_items=200, n_answers=3, seed=13, per_item=3)
    log_p = np.log(np.random.default_rng(1).dirichlet(np.ones(3), 200))
    with_text, alone = best_truth(crowd, log_p), best_truth(crowd)
    np.testing.assert_array_equal(with_text.truth.posterior, alone.truth.posterior)
    assert (with_text.model_weight, alone.model_weight) == (0.0, None)
    assert with_text.why.startswith("The model's own answers count with weight 0")


def test_a_text_that_tells_the_truth_counts_and_adds_right_labels() -> None:
    crowd = one_coin_crowd([0.8, 0.7, 0.7, 0.6], n_items=300, n_answers=3, seed=14, per_item=2)
    choice, alone = best_truth(crowd, imperfect_log_p(crowd, 2)), best_truth(crowd)
    assert choice.model_weight is not None
    assert choice.model_weight > 0
    assert "The model's own answers count with weight" in choice.why
    assert _share_right(choice.truth, crowd) > _share_right(alone.truth, crowd) + 0.03


def test_where_all_err_together_the_truth_is_less_sure_and_more_honest() -> None:
    """A fifth of the items gets labels by chance: gold is likelier by the tempered posterior."""
    crowd = one_coin_crowd(np.linspace(0.65, 0.95, 12), n_items=300, n_answers=2, seed=15, per_item=9)
    rng = np.random.default_rng(15)
    hard = rng.random(300) < 0.2
    label = np.where(hard[crowd.item], rng.integers(0, 2, crowd.n_labels), crowd.label).astype(np.int32)
    choice = best_truth(replace(crowd, label=label))
    sure = replace(choice.candidate, power=1.0).fit(replace(crowd, label=label), None)
    assert choice.candidate.power < 0.8
    assert "err together" in choice.why

    def of_gold(truth: Truth) -> float:
        assert crowd.gold is not None
        return float(np.log(truth.posterior[np.arange(300), crowd.gold]).mean())

    assert of_gold(choice.truth) > of_gold(sure) + 0.05


def test_tempering_by_hand() -> None:
    truth = Truth(np.array([[0.8, 0.2], [1.0, 0.0]]), np.zeros((1, 1)), None, 0.0).tempered(0.5)
    np.testing.assert_allclose(truth.posterior, [[2 / 3, 1 / 3], [1, 0]])


def test_accuracy_is_the_share_expected_to_be_right_with_the_pool_as_one_more_label() -> None:
    crowd = one_coin_crowd([0.9, 0.8, 0.6], n_items=50, n_answers=3, seed=16)
    posterior = np.random.default_rng(16).dirichlet(np.ones(3), 50)
    own = posterior[crowd.item, crowd.label]
    expected = np.array([(own[crowd.annotator == r].sum() + own.mean()) / 51 for r in range(3)])
    np.testing.assert_allclose(truth_under(crowd, posterior).accuracy[:, 0], expected)


def test_many_more_rates_than_labels_are_not_fitted() -> None:
    crowd = one_coin_crowd([0.8] * 250, n_items=100, n_answers=5, seed=8, per_item=5)
    assert not affords_confusion(crowd)
    assert affords_confusion(one_coin_crowd([0.8] * 5, n_items=100, n_answers=5, seed=8))


def test_prompts_with_their_own_options_have_no_confusion() -> None:
    crowd = one_coin_crowd([0.8] * 5, n_items=100, n_answers=3, seed=9)
    assert not affords_confusion(replace(crowd, options=(("x", "y", "z"), *[None] * 99)))


def test_the_choice_is_the_same_every_time() -> None:
    crowd = one_coin_crowd([0.9, 0.7, 0.6], n_items=100, n_answers=3, seed=10)
    assert best_truth(crowd).why == best_truth(crowd).why


def test_predictive_likelihood_of_a_label_by_hand() -> None:
    crowd = one_coin_crowd([0.8, 0.8], n_items=1, n_answers=3, seed=11)
    crowd = replace(crowd, label=np.array([0, 2], dtype=np.int32))
    posterior, confusion = np.array([[0.5, 0.3, 0.2]]), np.full((2, 1, 3, 3), 0.1) + 0.7 * np.eye(3)
    coins = predictive_likelihood(crowd, Truth(posterior, np.array([[0.8], [0.6]]), None, 0.0))
    np.testing.assert_allclose(coins, [0.5 * 0.8 + 0.5 * 0.1, 0.2 * 0.6 + 0.8 * 0.2])
    rows = predictive_likelihood(crowd, Truth(posterior, np.array([[0.8], [0.6]]), confusion, 0.0))
    np.testing.assert_allclose(rows, [0.5 * 0.8 + 0.5 * 0.1, 0.2 * 0.8 + 0.8 * 0.1])


@pytest.mark.parametrize("shift", [0, 1, 2])
def test_words_decide_between_truths_that_explain_labels_alike(shift: int) -> None:
    crowd = one_coin_crowd([0.9, 0.1, 0.1], n_items=500, n_answers=3, seed=1, noise="systematic")
    assert crowd.gold is not None
    log_p = imperfect_log_p(crowd, seed=2, strength=0.5)
    assert (log_p.argmax(axis=1) == crowd.gold).mean() < 0.6
    renamed = np.eye(3)[(crowd.gold + shift) % 3]
    start = replace(one_coin(crowd, log_p), posterior=renamed)
    assert _share_right(renamed_by_words(crowd, log_p, start), crowd) > 0.9
