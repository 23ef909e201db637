"""Truth inference against slow loops, hand-made cases, Crowd-Kit and simulated truth."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from realm_core.aggregation import (
    POOLED,
    SMALLEST,
    AccuracyPrior,
    ConfusionPrior,
    Truth,
    dawid_skene,
    majority_vote,
    one_coin,
)
from realm_core.annotations import Annotations, FloatArray, Task
from realm_core.simulation import simulate
from tests.realm_core.crowds import annotations_of, imperfect_log_p, one_coin_crowd

SLOW_ITERATIONS = 7


def _tiny(seed: int, *, options: bool = False, n_items: int = 12) -> Annotations:
    """Two tasks (3 and 2 answers), five annotators, some items without labels, some with their own options."""
    rng = np.random.default_rng(seed)
    item_task = rng.integers(0, 2, n_items).astype(np.int32)
    given = [(i, r) for i in range(n_items) for r in range(5) if rng.random() < 0.6]
    own = tuple(("p", "q", "r", "s") if options and i % 3 == 0 else None for i in range(n_items))
    k = [4 if own[i] else (3, 2)[item_task[i]] for i in range(n_items)]
    item, annotator = (np.array(column, dtype=np.int32) for column in zip(*given, strict=True))
    return Annotations(
        tasks=(Task("three", ("a", "b", "c")), Task("two", ("yes", "no"))),
        annotators=tuple("vwxyz"),
        item_ids=tuple(str(i) for i in range(n_items)),
        item_task=item_task,
        item=item,
        annotator=annotator,
        label=np.array([rng.integers(0, k[i]) for i in item], dtype=np.int32),
        options=own if options else None,
    )


def _log_prior(annotations: Annotations, seed: int) -> FloatArray:
    counts = annotations.answer_counts
    p = np.random.default_rng(seed).dirichlet(np.ones(counts.max()), annotations.n_items)
    p *= np.arange(counts.max()) < counts[:, None]
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(p / p.sum(axis=1, keepdims=True)))


def _slow_posterior(
    annotations: Annotations, log_prior: FloatArray | None, rate: Any
) -> tuple[list[list[float]], float]:
    """rate(annotator, task, K, truth, label) -> probability. Posterior rows and log-likelihood, by plain loops."""
    k = annotations.answer_counts
    posterior, total = [], 0.0
    for i in range(annotations.n_items):
        weights = []
        for y in range(k[i]):
            weight = 1 / k[i] if log_prior is None else math.exp(log_prior[i, y])
            for item, r, label in zip(annotations.item, annotations.annotator, annotations.label, strict=True):
                if item == i:
                    weight *= rate(r, annotations.item_task[i], k[i], y, label)
            weights.append(weight)
        total += math.log(sum(weights))
        posterior.append([w / sum(weights) for w in weights] + [0.0] * (k.max() - k[i]))
    return posterior, total


def _slow_one_coin(annotations: Annotations, log_prior: FloatArray | None, prior: AccuracyPrior | None) -> Truth:
    shape = (annotations.n_annotators, len(annotations.tasks))
    accuracy = np.full(shape, 0.7)
    for _ in range(SLOW_ITERATIONS):
        at = np.clip(accuracy, SMALLEST, 1 - SMALLEST)

        def rate(r: int, t: int, k: int, y: int, label: int, at: FloatArray = at) -> float:
            return float(at[r, t] if y == label else (1 - at[r, t]) / (k - 1))

        posterior, log_likelihood = _slow_posterior(annotations, log_prior, rate)
        right, n = np.zeros(shape), np.zeros(shape)
        for i, r, label in zip(annotations.item, annotations.annotator, annotations.label, strict=True):
            right[r, annotations.item_task[i]] += posterior[i][label]
            n[r, annotations.item_task[i]] += 1
        pooled = np.tile(right.sum(axis=0) / n.sum(axis=0), (shape[0], 1))
        if prior is None:
            accuracy = np.where(n > 0, right / np.maximum(n, 1), pooled)
        else:
            mean = pooled if prior.mean is None else prior.mean
            accuracy = (right + prior.strength * mean) / (n + prior.strength)
    return Truth(np.array(posterior), accuracy, None, log_likelihood)


@pytest.mark.parametrize("prior", [None, POOLED, AccuracyPrior(3.0, 0.8)])
@pytest.mark.parametrize("has_model", [False, True])
@pytest.mark.parametrize("options", [False, True])
def test_one_coin_equals_the_slow_loop(prior: AccuracyPrior | None, has_model: bool, options: bool) -> None:
    annotations = _tiny(3, options=options)
    log_prior = _log_prior(annotations, 4) if has_model else None
    slow = _slow_one_coin(annotations, log_prior, prior)
    fast = one_coin(annotations, log_prior, prior=prior, max_iterations=SLOW_ITERATIONS, tolerance=0)
    np.testing.assert_allclose(fast.posterior, slow.posterior, atol=1e-12)
    np.testing.assert_allclose(fast.accuracy, slow.accuracy, atol=1e-12)
    assert fast.log_likelihood == pytest.approx(slow.log_likelihood, abs=1e-10)


@pytest.mark.parametrize("prior", [None, ConfusionPrior(5.0)])
def test_dawid_skene_equals_the_slow_loop(prior: ConfusionPrior | None) -> None:
    annotations = replace(_tiny(5), item_task=np.zeros(12, dtype=np.int32), tasks=(Task("t", ("a", "b", "c")),))
    start = majority_vote(annotations).posterior
    posterior, shape = start, (5, 3, 3)
    for _ in range(SLOW_ITERATIONS):
        counts = np.zeros(shape)
        for i, r, label in zip(annotations.item, annotations.annotator, annotations.label, strict=True):
            counts[r, :, label] += posterior[i]
        share = np.maximum(posterior.mean(axis=0), 1e-10)
        if prior is not None:
            pool = counts.sum(axis=0) + np.eye(3) + 0.1
            counts += prior.strength * pool / pool.sum(axis=1, keepdims=True)
        rows = np.maximum(counts, 1e-10)
        rows /= rows.sum(axis=2, keepdims=True)
        log_prior = np.log(np.tile(share, (12, 1)))
        slow, log_likelihood = _slow_posterior(
            annotations, log_prior, lambda r, t, k, y, label, at=rows: at[r, y, label]
        )
        posterior = np.array(slow)
    fast = dawid_skene(annotations, prior=prior, start=start, max_iterations=SLOW_ITERATIONS, tolerance=0)
    np.testing.assert_allclose(fast.posterior, posterior, atol=1e-9)
    assert fast.log_likelihood == pytest.approx(log_likelihood, abs=1e-7)
    assert fast.confusion is not None
    np.testing.assert_allclose(fast.confusion[:, 0], rows, atol=1e-9)


def _share_right(truth: Truth, crowd: Annotations) -> float:
    return float((truth.posterior.argmax(axis=1) == crowd.gold).mean())


def test_majority_vote_is_the_share_of_votes() -> None:
    annotations = Annotations(
        tasks=(Task("t", ("a", "b", "c")),),
        annotators=("x", "y", "z"),
        item_ids=("1", "2"),
        item_task=np.zeros(2, dtype=np.int32),
        item=np.array([0, 0, 0], dtype=np.int32),
        annotator=np.array([0, 1, 2], dtype=np.int32),
        label=np.array([0, 0, 2], dtype=np.int32),
    )
    votes = majority_vote(annotations)
    np.testing.assert_allclose(votes.posterior, [[2 / 3, 0, 1 / 3], [1 / 3, 1 / 3, 1 / 3]])
    np.testing.assert_allclose(votes.accuracy[:, 0], [2 / 3, 2 / 3, 1 / 3])


def test_a_crowd_that_always_agrees_is_believed() -> None:
    crowd = one_coin_crowd([1.0, 1.0, 1.0], n_items=50, n_answers=3, seed=1)
    for truth in (one_coin(crowd), dawid_skene(crowd)):
        assert (truth.posterior.argmax(axis=1) == crowd.gold).all()
        assert (truth.accuracy > 0.99).all()


def test_em_never_lowers_the_likelihood() -> None:
    crowd = one_coin_crowd([0.8, 0.6, 0.5, 0.3], n_items=60, n_answers=3, seed=2)
    start = majority_vote(crowd).posterior
    coin = [one_coin(crowd, prior=None, max_iterations=n, tolerance=0).log_likelihood for n in range(1, 30)]
    rows = [dawid_skene(crowd, prior=None, start=start, max_iterations=n, tolerance=0) for n in range(1, 30)]
    assert (np.diff(coin) >= -1e-9).all()
    assert (np.diff([truth.log_likelihood for truth in rows]) >= -1e-9).all()


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), has_model=st.booleans())
def test_posteriors_are_distributions_over_the_own_answers(seed: int, has_model: bool) -> None:
    annotations = _tiny(seed, options=True)
    log_prior = _log_prior(annotations, seed) if has_model else None
    for truth in (majority_vote(annotations), one_coin(annotations, log_prior)):
        np.testing.assert_allclose(truth.posterior.sum(axis=1), 1)
        beyond = np.arange(truth.posterior.shape[1]) >= annotations.answer_counts[:, None]
        assert (truth.posterior[beyond] == 0).all()
        assert ((truth.accuracy >= 0) & (truth.accuracy <= 1)).all()


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_names_and_order_do_not_matter(seed: int) -> None:
    """Other numbers for annotators, items, answers and rows give the same result under those numbers."""
    annotations = _tiny(seed)
    rng = np.random.default_rng(seed)
    people, items = rng.permutation(5), rng.permutation(12)
    answers = np.array([rng.permutation(3), [*rng.permutation(2), 2]])
    rows = rng.permutation(annotations.n_labels)
    item_task = np.empty_like(annotations.item_task)
    item_task[items] = annotations.item_task
    task = annotations.item_task[annotations.item]
    shuffled = replace(
        annotations,
        item_task=item_task,
        item=items[annotations.item][rows].astype(np.int32),
        annotator=people[annotations.annotator][rows].astype(np.int32),
        label=answers[task, annotations.label][rows].astype(np.int32),
    )
    for method in (one_coin, dawid_skene):
        before, after = method(annotations), method(shuffled)
        columns = answers[annotations.item_task]
        same = np.take_along_axis(after.posterior[items], columns, axis=1)
        np.testing.assert_allclose(same, before.posterior, atol=1e-6)
        np.testing.assert_allclose(after.accuracy[people], before.accuracy, atol=1e-6)


def test_a_reliable_minority_is_found_among_guessers() -> None:
    accuracy = [0.9, 0.8, 0.3, 0.3, 0.3]
    crowd = one_coin_crowd(accuracy, n_items=2000, n_answers=4, seed=3)
    np.testing.assert_allclose(one_coin(crowd).accuracy[:, 0], accuracy, atol=0.05)


def test_who_is_below_chance_stays_below_chance_and_far_from_the_pool() -> None:
    crowd = one_coin_crowd([0.85] * 6 + [0.05], n_items=400, n_answers=3, seed=4)
    accuracy = one_coin(crowd).accuracy[:, 0]
    assert accuracy[6] == pytest.approx(0.05, abs=0.03)
    few = replace(crowd, annotator=np.where((crowd.annotator == 6) & (crowd.item >= 30), 5, crowd.annotator))
    assert one_coin(few).accuracy[6, 0] < 1 / 3


def test_few_labels_are_pulled_to_the_pool() -> None:
    crowd = one_coin_crowd([0.8] * 5 + [1.0], n_items=300, n_answers=2, seed=5)
    few = crowd.select_labels((crowd.annotator < 5) | (crowd.item < 2))
    assert one_coin(few, prior=None).accuracy[5, 0] > 0.95
    assert one_coin(few).accuracy[5, 0] == pytest.approx((2 + 6 * 0.8) / 8, abs=0.06)


def test_an_annotator_without_labels_gets_the_accuracy_of_the_pool() -> None:
    crowd = one_coin_crowd([0.8, 0.8, 0.8], n_items=300, n_answers=2, seed=6)
    more = replace(crowd, annotators=(*crowd.annotators, "nobody"))
    for truth in (one_coin(more), dawid_skene(more), majority_vote(more), one_coin(more, prior=None)):
        assert truth.accuracy[3, 0] == pytest.approx(truth.accuracy[:3, 0].mean(), abs=0.02)


def test_items_with_one_answer_say_nothing_about_annotators() -> None:
    crowd = one_coin_crowd([0.8, 0.7, 0.6], n_items=100, n_answers=2, seed=7)
    n = crowd.n_items
    more = replace(
        crowd,
        item_ids=(*crowd.item_ids, "only one"),
        item_task=np.append(crowd.item_task, 0).astype(np.int32),
        options=(*[None] * n, ("the only answer",)),
        item=np.append(crowd.item, n).astype(np.int32),
        annotator=np.append(crowd.annotator, 0).astype(np.int32),
        label=np.append(crowd.label, 0).astype(np.int32),
    )
    np.testing.assert_allclose(one_coin(more).accuracy, one_coin(crowd).accuracy)
    assert one_coin(more).posterior[n].tolist() == [1.0, 0.0]
    assert one_coin(more).log_likelihood == pytest.approx(one_coin(crowd).log_likelihood)


def test_a_model_tells_right_from_flipped() -> None:
    """Where most are worse than chance the labels alone point the wrong way; a weak model turns them round."""
    crowd = one_coin_crowd([0.9, 0.1, 0.1], n_items=600, n_answers=2, seed=8)
    assert crowd.gold is not None
    p = np.full((600, 2), 0.35)
    p[np.arange(600), crowd.gold] = 0.65
    helped = one_coin(crowd, np.log(p), start=np.array([[0.6], [0.4], [0.4]]))
    assert _share_right(one_coin(crowd), crowd) < 0.2
    assert _share_right(helped, crowd) > 0.9


def test_confusion_learns_systematic_errors_that_one_coin_cannot() -> None:
    crowd = one_coin_crowd([0.7, 0.5, 0.45, 0.4], n_items=1500, n_answers=4, seed=9, noise="systematic")
    right = {
        method: (method(crowd).posterior.argmax(axis=1) == crowd.gold).mean() for method in (one_coin, dawid_skene)
    }
    assert right[dawid_skene] > right[one_coin] + 0.02
    confusion = dawid_skene(crowd).confusion
    assert confusion is not None
    np.testing.assert_allclose(confusion[1, 0][np.arange(4), (np.arange(4) + 2) % 4], 0.5, atol=0.1)


def test_the_share_of_answers_can_be_learned() -> None:
    truth = (np.random.default_rng(10).random(4000) < 0.1).astype(np.int32)
    labels = simulate(truth, np.full(4000, 2, dtype=np.int32), accuracy=np.array([0.75, 0.7, 0.65]), seed=10)
    crowd = annotations_of(labels, truth, n_answers=2, n_annotators=3)
    learned, uniform = (one_coin(crowd, learn_prevalence=learn) for learn in (True, False))
    assert learned.posterior[:, 1].mean() == pytest.approx(0.1, abs=0.04)
    assert _share_right(learned, crowd) > _share_right(uniform, crowd) + 0.05


def test_nothing_underflows_with_thousands_of_labels_on_one_item() -> None:
    crowd = one_coin_crowd([0.6] * 3000, n_items=3, n_answers=3, seed=11)
    for truth in (one_coin(crowd), dawid_skene(crowd, max_iterations=5)):
        assert np.isfinite(truth.log_likelihood)
        assert (truth.posterior.argmax(axis=1) == crowd.gold).all()


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::PendingDeprecationWarning")
class TestAgainstCrowdKit:
    """Equal iterations, priors off: the same posterior."""

    @pytest.fixture
    def frame(self) -> tuple[Annotations, Any]:
        pytest.importorskip("crowdkit.aggregation")
        import pandas as pd

        crowd = one_coin_crowd([0.9, 0.7, 0.6, 0.5, 0.3], n_items=80, n_answers=3, seed=12, per_item=4)
        return crowd, pd.DataFrame({"task": crowd.item, "worker": crowd.annotator, "label": crowd.label})

    def test_majority_vote(self, frame: tuple[Annotations, Any]) -> None:
        from crowdkit.aggregation import MajorityVote

        theirs = MajorityVote().fit_predict_proba(frame[1]).sort_index().sort_index(axis=1)
        np.testing.assert_allclose(majority_vote(frame[0]).posterior, theirs, atol=1e-12)

    def test_dawid_skene(self, frame: tuple[Annotations, Any]) -> None:
        from crowdkit.aggregation import DawidSkene

        theirs = DawidSkene(n_iter=10, tol=-1).fit_predict_proba(frame[1]).sort_index().sort_index(axis=1)
        start = majority_vote(frame[0]).posterior
        ours = dawid_skene(frame[0], prior=None, start=start, max_iterations=10, tolerance=0)
        np.testing.assert_allclose(ours.posterior, theirs, atol=1e-8)

    def test_one_coin(self, frame: tuple[Annotations, Any]) -> None:
        from crowdkit.aggregation import OneCoinDawidSkene

        theirs = OneCoinDawidSkene(n_iter=10, tol=-1).fit_predict_proba(frame[1]).sort_index().sort_index(axis=1)
        start = majority_vote(frame[0]).accuracy
        ours = one_coin(frame[0], prior=None, start=start, learn_prevalence=True, max_iterations=10, tolerance=0)
        np.testing.assert_allclose(ours.posterior, theirs, atol=1e-8)


def test_no_items_give_an_empty_posterior() -> None:
    crowd = one_coin_crowd([0.8, 0.7], n_items=5, n_answers=2, seed=13)
    assert one_coin(crowd.select_items(np.zeros(0, dtype=np.int32))).posterior.shape[0] == 0


@pytest.mark.parametrize("confusion", [False, True])
def test_with_a_model_how_common_answers_are_is_learned_besides(confusion: bool) -> None:
    """p_i(y) ∝ p_model(y | x_i) exp(b_y), and its mean over the items is that of the posterior: against a loop."""
    crowd = one_coin_crowd([0.9, 0.8, 0.7, 0.6], n_items=80, n_answers=3, seed=21, per_item=3)
    log_p = imperfect_log_p(crowd, 22)
    infer = dawid_skene if confusion else one_coin
    truth = infer(crowd, log_p, learn_prevalence=True, max_iterations=3000, tolerance=1e-12)
    rates = truth.confusion
    if rates is None:
        a = truth.accuracy[:, :, None, None]
        rates = np.where(np.eye(3, dtype=bool), a, (1 - a) / 2)
    bias, posterior = np.zeros(3), truth.posterior
    for _ in range(500):
        prior = np.exp(log_p + bias)
        prior /= prior.sum(axis=1, keepdims=True)
        bias += np.log(posterior.mean(axis=0)) - np.log(prior.mean(axis=0))
    for item in range(crowd.n_items):
        of_truth = prior[item].copy()
        for row in np.flatnonzero(crowd.item == item):
            of_truth *= rates[crowd.annotator[row], 0, :, crowd.label[row]]
        np.testing.assert_allclose(posterior[item], of_truth / of_truth.sum(), atol=1e-5)
