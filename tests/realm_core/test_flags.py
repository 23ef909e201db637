"""Every kind of annotator is named, and nobody else is."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from realm_core.annotations import Annotations, Task
from realm_core.flags import discoveries
from realm_core.reliability import AnnotatorRow, build_report
from realm_core.simulation import Behaviour
from tests.realm_core.crowds import behaving_crowd, imperfect_log_p, one_coin_crowd

SEEDS = range(6)
GOOD = [Behaviour.reliable(4, a) for a in (0.95, 0.9, 0.9, 0.85, 0.85, 0.8, 0.75, 0.7)]
BAD = {
    "guesser": Behaviour.guesser(4),
    "always_same": Behaviour.constant(4, 1),
    "swaps": Behaviour.swapper(4, 0.9, 0, 2),
    "below_chance": Behaviour.reliable(4, 0.05),
    "drift": Behaviour.declining(4, 0.95, 0.4),
}


def _rows(crowd: Annotations, seed: int, *, with_model: bool) -> list[AnnotatorRow]:
    log_p = imperfect_log_p(crowd, seed) if with_model else None
    report = build_report(crowd, log_p, cross_fitted=True, trained_accuracy=None)
    return [row for row in report.annotators if row.task is None]


@pytest.mark.parametrize("with_model", [False, True])
def test_a_crowd_of_all_kinds_is_diagnosed(with_model: bool) -> None:
    found: Counter[str] = Counter()
    accused = 0
    for seed in SEEDS:
        crowd = behaving_crowd([*GOOD, *BAD.values()], n_items=1600, seed=seed, per_item=4)
        rows = _rows(crowd, seed, with_model=with_model)
        accused += sum(bool(row.flags) for row in rows[: len(GOOD)])
        found.update(flag for flag, row in zip(BAD, rows[len(GOOD) :], strict=True) if flag in row.flags)
    assert found == {flag: len(SEEDS) for flag in BAD}
    assert accused <= 1  # of 48: one flag in twenty may be wrong


@pytest.mark.parametrize("with_model", [False, True])
def test_reliable_annotators_are_not_accused(with_model: bool) -> None:
    accused = 0
    for seed in SEEDS:
        crowd = behaving_crowd(GOOD * 2, n_items=600, seed=100 + seed, per_item=4)
        accused += sum(bool(row.flags) for row in _rows(crowd, seed, with_model=with_model))
    assert accused <= 1  # of 96


def _ordinal(error: float) -> Behaviour:
    """Errs by one step of a scale of four, as all do, more often upwards."""
    rates = np.diag(np.full(4, 1 - error))
    rates[0, 1] = rates[3, 2] = error
    rates[[1, 2], [2, 3]], rates[[1, 2], [0, 1]] = 0.7 * error, 0.3 * error
    return Behaviour("one step beside", rates)


def test_neighbours_on_a_scale_that_everybody_confuses_are_not_swaps_and_who_answers_always_the_same_is_named() -> None:
    accused = 0
    for seed in SEEDS:
        errors = np.random.default_rng(seed).uniform(0.1, 0.5, 20)
        crowd = [_ordinal(error) for error in errors]
        rows = _rows(
            behaving_crowd([*crowd, BAD["always_same"]], n_items=500, seed=seed, per_item=6), seed, with_model=False
        )
        accused += sum(bool(row.flags) for row in rows[:-1])
        assert "always_same" in rows[-1].flags
        assert "swaps" not in rows[-1].flags
    assert accused <= 6  # of 120: one in twenty


def test_a_swap_is_named_with_its_rate() -> None:
    crowd = behaving_crowd([*GOOD, BAD["swaps"]], n_items=800, seed=1, per_item=4)
    swap = _rows(crowd, 1, with_model=False)[-1].detail["swaps"]
    assert (swap["true"], swap["given"]) in {(0, 2), (2, 0)}
    assert swap["low"] < 0.9 < swap["rate"] + 0.1
    assert swap["low"] > 0.5


def test_a_change_is_dated_with_before_and_after() -> None:
    crowd = behaving_crowd([*GOOD, BAD["drift"]], n_items=800, seed=2, per_item=4)
    assert crowd.created_at is not None
    change = _rows(crowd, 2, with_model=False)[-1].detail["drift"]
    share_of_time = (change["at"] - crowd.created_at[0]) / (crowd.created_at[-1] - crowd.created_at[0])
    assert share_of_time == pytest.approx(0.5, abs=0.05)
    assert (change["before"], change["after"]) == pytest.approx((0.95, 0.4), abs=0.08)


def test_a_constant_answer_is_named_with_its_share() -> None:
    crowd = behaving_crowd([*GOOD, BAD["always_same"]], n_items=300, seed=3, per_item=4)
    assert _rows(crowd, 3, with_model=False)[-1].detail["always"] == {"label": 1, "share": 1.0}


def test_without_times_nothing_is_said_about_change() -> None:
    crowd = behaving_crowd([*GOOD, BAD["drift"]], n_items=800, seed=2, per_item=4)
    assert "drift" not in _rows(replace(crowd, created_at=None), 2, with_model=False)[-1].flags
    same_time = replace(crowd, created_at=np.full(crowd.n_labels, 1e9))
    assert "drift" not in _rows(same_time, 2, with_model=False)[-1].flags
    assert crowd.created_at is not None
    crowd.created_at[::3] = np.nan
    assert "drift" in _rows(crowd, 2, with_model=False)[-1].flags


def test_prompts_that_get_harder_for_everybody_are_nobodys_fault() -> None:
    accused = 0
    for seed in SEEDS:
        crowd = one_coin_crowd(np.linspace(0.7, 0.95, 12), n_items=800, n_answers=4, seed=seed, per_item=4)
        assert crowd.gold is not None
        rng = np.random.default_rng(seed)
        hard = rng.random(800) < np.linspace(0, 0.6, 800)
        spoiled = hard[crowd.item] & (rng.random(crowd.n_labels) < 0.35)
        label = np.where(spoiled, (crowd.gold[crowd.item] + 1 + rng.integers(0, 3, crowd.n_labels)) % 4, crowd.label)
        crowd = replace(crowd, label=label.astype(np.int32), created_at=1e9 + 60.0 * crowd.item.astype(np.float64))
        accused += sum("drift" in row.flags for row in _rows(crowd, seed, with_model=False))
    assert accused <= 1  # of 72


def test_who_got_prompts_of_one_kind_and_answers_them_right_is_not_always_the_same() -> None:
    crowd = one_coin_crowd([0.97] * 5, n_items=600, n_answers=3, seed=5)
    assert crowd.gold is not None
    crowd = crowd.select_labels((crowd.annotator > 0) | (crowd.gold[crowd.item] == 2))
    row = _rows(crowd, 5, with_model=False)[0]
    assert max(row.detail["label_counts"]) > 0.95 * row.n
    assert row.flags == ()


def test_what_everybody_takes_for_another_answer_is_nobodys_swap() -> None:
    rates = np.array([[0.9, 0.05, 0.05], [0.05, 0.6, 0.35], [0.05, 0.05, 0.9]])
    crowd = behaving_crowd([Behaviour("misled", rates)] * 8, n_items=600, seed=6, per_item=5)
    assert not [row.flags for row in _rows(crowd, 6, with_model=True) if "swaps" in row.flags]


def test_two_answers_swapped_are_worse_than_chance() -> None:
    good = [Behaviour.reliable(2, a) for a in (0.9, 0.85, 0.8, 0.8)]
    crowd = behaving_crowd([*good, Behaviour.swapper(2, 0.9, 0, 1), Behaviour.constant(2, 0)], n_items=400, seed=7)
    *_, swapper, constant = _rows(crowd, 7, with_model=False)
    assert {"below_chance", "swaps"} <= set(swapper.flags)
    assert "always_same" in constant.flags
    assert "swaps" not in constant.flags


def test_a_swap_in_a_task_of_two_answers_is_seen_beside_a_task_of_four() -> None:
    four = behaving_crowd([Behaviour.reliable(4, 0.9)] * 5, n_items=200, seed=8)
    two = behaving_crowd([Behaviour.reliable(2, 0.9)] * 4 + [Behaviour.swapper(2, 0.9, 0, 1)], n_items=200, seed=9)
    both = Annotations(
        tasks=(Task("four", ("a", "b", "c", "d")), Task("two", ("yes", "no"))),
        annotators=four.annotators,
        item_ids=tuple(str(i) for i in range(400)),
        item_task=np.repeat(np.arange(2, dtype=np.int32), 200),
        item=np.concatenate([four.item, two.item + 200]),
        annotator=np.concatenate([four.annotator, two.annotator]),
        label=np.concatenate([four.label, two.label]),
    )
    report = build_report(both, None, cross_fitted=False, trained_accuracy=None)
    swapping = {(row.annotator, row.task) for row in report.annotators if "swaps" in row.flags}
    assert swapping == {(4, None), (4, 1)}


def test_discoveries_follow_benjamini_and_hochberg() -> None:
    p_values = np.array([0.001, 0.006, 0.029, 0.2, np.nan, 0.04, 0.9, 0.011])
    tested = sorted(p for p in p_values if p <= 0.5)
    largest = max((2 * p for rank, p in enumerate(tested, 1) if 2 * p <= 0.05 * rank / len(tested)), default=0.0)
    assert discoveries(p_values).tolist() == [bool(2 * p <= largest) for p in p_values]
    assert discoveries(p_values).sum() == 3
    assert not discoveries(np.array([np.nan, 0.6])).any()


def test_the_share_of_false_flags_is_held() -> None:
    """Half of the hypotheses are true; of those rejected, one in twenty at most, on average."""
    rng = np.random.default_rng(8)
    shares = []
    for _ in range(300):
        p_values = np.concatenate([rng.random(50), rng.beta(0.1, 10, 50)])
        rejected = discoveries(p_values)
        shares.append(rejected[:50].sum() / max(rejected.sum(), 1))
    assert np.mean(shares) <= 0.05
