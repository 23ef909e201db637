"""The report: figures by hand and in simulation, its rows, its summary."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pytest

from realm_core.agreement import krippendorff_alpha
from realm_core.annotations import Annotations, Task
from realm_core.label_table import LabelTable
from realm_core.reliability import AnnotatorRow, Report, build_report
from realm_core.simulation import Behaviour, simulate, task_pattern
from tests.realm_core.crowds import behaving_crowd, calibrated_crowd, imperfect_log_p, one_coin_crowd


def _report(annotations: Annotations, log_p: Any = None, trained: Any = None) -> Report:
    return build_report(annotations, log_p, cross_fitted=log_p is not None, trained_accuracy=trained)


def _over_tasks(report: Report) -> list[AnnotatorRow]:
    return [row for row in report.annotators if row.task is None]


def _by_hand(votes: list[list[int | None]], n_answers: int) -> Annotations:
    """votes[annotator][item]"""
    given = [(i, r, vote) for r, of_one in enumerate(votes) for i, vote in enumerate(of_one) if vote is not None]
    item, annotator, label = (np.array(column, dtype=np.int32) for column in zip(*given, strict=True))
    n_items = len(votes[0])
    return Annotations(
        tasks=(Task("t", tuple(f"answer {k}" for k in range(n_answers))),),
        annotators=tuple(f"annotator {r}" for r in range(len(votes))),
        item_ids=tuple(f"item {i}" for i in range(n_items)),
        item_task=np.zeros(n_items, dtype=np.int32),
        item=item,
        annotator=annotator,
        label=label,
    )


def test_krippendorffs_own_example() -> None:
    """Krippendorff 2011, Computing Krippendorff's alpha-reliability, example C: nominal data with missing values."""
    no = None
    votes = [
        [1, 2, 3, 3, 2, 1, 4, 1, 2, no, no, no],
        [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, no, 3],
        [no, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, no],
        [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, no],
    ]
    assert krippendorff_alpha(LabelTable(_by_hand(votes, 6))).value == pytest.approx(0.743, abs=0.0005)


def test_alpha_of_several_tasks_does_not_count_that_their_answers_differ() -> None:
    crowd = _by_hand([[0, 1, 2, 3, 0, 2], [0, 0, 2, 2, 1, 3], [1, 1, 3, 2, 0, 2]], 4)
    both = replace(
        crowd,
        tasks=(Task("first", ("a", "b")), Task("second", ("c", "d"))),
        item_task=np.array([0, 0, 1, 1, 0, 1], dtype=np.int32),
        label=crowd.label % 2,
    )
    chance = (2 * 5 * 4 + 2 * 6 * 3) / (9 * 8) / 2  # five to four in the first task, six to three in the second
    assert krippendorff_alpha(LabelTable(both)).value == pytest.approx(1 - (2 / 3) / chance)
    assert krippendorff_alpha(LabelTable(crowd)).value == pytest.approx(1 / 7)  # as one task it looks better


def test_agreement_is_the_share_of_equal_pairs_on_shared_prompts() -> None:
    crowd = _by_hand([[0, 0, 0, 0, 0, 0], [0, 0, 1, 1, 0, None], [0, 1, 1, 0, None, None]], 2)
    first, second, third = (row.agreement for row in _over_tasks(_report(crowd)))
    assert first == pytest.approx((3 + 2) / (5 + 4))
    assert second == pytest.approx((3 + 2) / (5 + 4))
    assert third is None  # four labels are too few
    assert _report(crowd).summary["agreement"] == pytest.approx((3 + 2 + 2) / (5 + 4 + 4))


def test_accuracy_is_what_annotators_got_right() -> None:
    accuracy = [0.95, 0.85, 0.75, 0.65, 0.55, 0.45]
    crowd = one_coin_crowd(accuracy, n_items=800, n_answers=4, seed=1, per_item=4)
    for row, true in zip(_over_tasks(_report(crowd)), accuracy, strict=True):
        assert row.accuracy is not None
        assert row.accuracy.value == pytest.approx(true, abs=0.06)
        assert row.accuracy.low < row.accuracy.value < row.accuracy.high
        assert row.accuracy_method == "in_sample"


def test_expertise_is_accuracy_beyond_chance() -> None:
    crowd = one_coin_crowd([0.9, 0.7, 0.1], n_items=200, n_answers=3, seed=2)
    for row in _over_tasks(_report(crowd, imperfect_log_p(crowd, 1))):
        assert row.accuracy is not None
        assert row.expertise is not None
        for end in ("value", "low", "high"):
            assert getattr(row.expertise, end) == pytest.approx((3 * getattr(row.accuracy, end) - 1) / 2)
        assert row.accuracy_method == "cross_fitted"


def test_where_answers_differ_in_number_expertise_is_a_mean_over_the_labels() -> None:
    crowd = one_coin_crowd([0.8] * 4, n_items=60, n_answers=2, seed=3)
    crowd = replace(crowd, options=tuple(("w", "x", "y", "z") if i < 20 else None for i in range(60)))
    row = _over_tasks(_report(crowd))[0]
    assert row.accuracy is not None
    assert row.expertise is not None
    a = row.accuracy.value
    assert row.expertise.value == pytest.approx((20 * (4 * a - 1) / 3 + 40 * (2 * a - 1)) / 60)
    assert row.detail["confusion"] is None  # the first answer of one prompt is not that of another


def test_too_few_labels_have_no_figures() -> None:
    crowd = one_coin_crowd([0.8] * 4, n_items=100, n_answers=2, seed=4)
    crowd = crowd.select_labels((crowd.annotator > 0) | (crowd.item < 4))
    row = _over_tasks(_report(crowd, trained=np.full((4, 1), 0.8)))[0]
    assert (row.n, row.flags) == (4, ("too_few_labels",))
    assert (row.accuracy, row.expertise, row.agreement, row.model_accuracy) == (None, None, None, None)


def test_without_a_model_accuracy_needs_three_annotators_who_share_prompts() -> None:
    alone = one_coin_crowd([0.9, 0.6, 0.6], n_items=300, n_answers=3, seed=5, mode="exclusive")
    two = one_coin_crowd([0.9, 0.6], n_items=300, n_answers=3, seed=6)
    for crowd in (alone, two):
        rows = _over_tasks(_report(crowd))
        assert [row.accuracy for row in rows] == [None] * len(rows)
        assert all("swaps" not in row.flags and "drift" not in row.flags for row in rows)
        assert all(row.accuracy is not None for row in _over_tasks(_report(crowd, imperfect_log_p(crowd, 1))))


def test_model_accuracy_is_that_of_training_averaged_over_their_prompts() -> None:
    crowd = _two_tasks()
    trained = np.array([[0.9, 0.5], [0.8, 0.6], [0.7, 0.7], [0.6, 0.8]])
    row = _over_tasks(_report(crowd, trained=trained))[0]
    n = np.bincount(crowd.item_task[crowd.item[crowd.annotator == 0]], minlength=2)
    assert row.model_accuracy == pytest.approx((0.9 * n[0] + 0.5 * n[1]) / n.sum())


def _two_tasks() -> Annotations:
    """Three annotators who are good at one of two tasks each (the third at none)."""
    rng = np.random.default_rng(7)
    task, k = (rng.random(900) < 0.4).astype(np.int32), np.array([4, 2])
    truth = (rng.integers(0, 4, 900) % k[task]).astype(np.int32)
    expertise = np.vstack([task_pattern("own", 2), [0.85, 0.9], [0.9, 0.85]])
    labels = simulate(truth, k[task].astype(np.int32), accuracy=expertise, item_task=task, seed=8)
    return Annotations(
        tasks=(Task("four", ("a", "b", "c", "d")), Task("two", ("yes", "no"))),
        annotators=("first", "second", "third", "fourth"),
        item_ids=tuple(str(i) for i in range(900)),
        item_task=task,
        item=labels.item,
        annotator=labels.annotator,
        label=labels.label,
        gold=truth,
    )


def test_each_task_has_its_own_row_and_all_of_them_one() -> None:
    report = _report(_two_tasks())
    assert [(row.annotator, row.task) for row in report.annotators[:6]] == [
        (0, None), (0, 0), (0, 1), (1, None), (1, 0), (1, 1)
    ]  # fmt: skip
    total, four, two = report.annotators[:3]
    assert total.accuracy is not None
    assert four.accuracy is not None
    assert two.accuracy is not None
    assert (four.accuracy.value, two.accuracy.value) == pytest.approx((0.9, 0.1), abs=0.05)
    assert total.n == four.n + two.n
    assert total.accuracy.value == pytest.approx((four.n * four.accuracy.value + two.n * two.accuracy.value) / total.n)
    assert "below_chance" in two.flags
    assert "below_chance" not in four.flags + total.flags
    assert (len(four.detail["label_counts"]), len(two.detail["label_counts"])) == (4, 2)
    assert total.detail["confusion"] is None


def test_confusion_counts_labels_by_probable_truth() -> None:
    crowd = behaving_crowd([Behaviour.reliable(3, 0.95)] * 4 + [Behaviour.swapper(3, 0.95, 0, 1)], n_items=300, seed=9)
    row = _over_tasks(_report(crowd))[4]
    counts = np.array(row.detail["confusion"])
    assert counts.sum() == pytest.approx(300, abs=0.01)
    np.testing.assert_allclose(counts.sum(axis=0), row.detail["label_counts"], atol=0.01)
    assert counts[0, 1] / counts[0].sum() == pytest.approx(0.95, abs=0.05)


def test_items_carry_what_is_known_of_each() -> None:
    crowd, log_p = calibrated_crowd([0.9, 0.8, 0.7], n_items=300, n_answers=3, concentration=0.4, seed=10)
    items = _report(crowd, log_p).items
    np.testing.assert_allclose(items.posterior.sum(axis=1), 1)
    np.testing.assert_allclose(items.posterior[np.arange(300), items.label], items.probability)
    assert items.model_probability is not None
    np.testing.assert_allclose(items.model_probability, np.exp(log_p)[np.arange(300), items.label])
    assert (items.label == crowd.gold).mean() == pytest.approx(items.probability.mean(), abs=0.04)
    assert _report(crowd).items.model_posterior is None


def test_relabel_gain_is_the_expected_rise_by_one_more_label() -> None:
    crowd = one_coin_crowd([0.8, 0.7, 0.6], n_items=40, n_answers=3, seed=11, per_item=2)
    report = _report(crowd)
    q = report.items.posterior
    pool = float(q[crowd.item, crowd.label].mean())
    for item in range(40):
        expected = -float((q[item] ** 2).sum())
        for label in range(3):
            joint = [q[item, y] * (pool if y == label else (1 - pool) / 2) for y in range(3)]
            expected += sum(joint) * sum((p / sum(joint)) ** 2 for p in joint)
        assert report.items.relabel_gain[item] == pytest.approx(expected, abs=1e-9)
    sure, open_ = report.items.probability.argmax(), report.items.probability.argmin()
    assert report.items.relabel_gain[open_] > report.items.relabel_gain[sure]


def test_gold_only_scores_and_ties_count_by_their_chance() -> None:
    crowd = replace(_by_hand([[0, 0, 1], [0, 1, 1]], 2), gold=np.array([0, 0, 0], dtype=np.int32))
    gold = _report(crowd).summary["gold"]
    assert (gold["n"], gold["majority_accuracy"], gold["model_accuracy"]) == (3, 0.5, None)
    other = replace(crowd, gold=np.array([1, -1, 0], dtype=np.int32))
    assert _report(other).summary["gold"]["n"] == 2
    assert _report(replace(crowd, gold=None)).summary["gold"] is None
    np.testing.assert_array_equal(_report(crowd).items.posterior, _report(other).items.posterior)


def test_the_summary_compares_with_truth_inference_without_the_model() -> None:
    crowd = one_coin_crowd([0.9, 0.6, 0.6, 0.5], n_items=400, n_answers=3, seed=12)
    summary = _report(crowd, imperfect_log_p(crowd, 2)).summary
    assert summary["gold"]["posterior_accuracy"] > summary["baselines"]["dawid_skene"]["gold_accuracy"]
    assert summary["baselines"]["dawid_skene"]["gold_accuracy"] > summary["baselines"]["majority_vote"]["gold_accuracy"]
    assert summary["expected_accuracy"] == pytest.approx(summary["gold"]["posterior_accuracy"], abs=0.05)
    assert (summary["n_items"], summary["n_labels"], summary["n_annotators"]) == (400, 1600, 4)


def test_everything_that_is_stored_is_json() -> None:
    report = _report(_two_tasks())
    for document in (report.summary, *(asdict(row) for row in report.annotators)):
        json.dumps(document, allow_nan=False)


@pytest.mark.parametrize(
    ("crowd", "with_model", "said"),
    [
        (one_coin_crowd([0.8], n_items=30, n_answers=2, seed=1), False, "one annotator only"),
        (one_coin_crowd([0.8], n_items=300, n_answers=2, seed=1), True, "the model's reading of the text alone"),
        (
            one_coin_crowd([0.8] * 3, n_items=30, n_answers=2, seed=1, mode="exclusive"),
            False,
            "No prompt has labels of two",
        ),
        (one_coin_crowd([0.8] * 2, n_items=30, n_answers=2, seed=1), False, "two annotators only"),
        (one_coin_crowd([0.8] * 3, n_items=30, n_answers=2, seed=1), False, "no times"),
        (one_coin_crowd([0.8] * 3, n_items=30, n_answers=2, seed=1), False, "without a model or gold"),
    ],
)
def test_notes_say_what_cannot_be_told(crowd: Annotations, with_model: bool, said: str) -> None:
    notes = _report(crowd, imperfect_log_p(crowd, 1) if with_model else None).summary["notes"]
    assert any(said in note for note in notes)


def test_notes_say_when_groups_cannot_be_compared_and_intervals_are_too_narrow() -> None:
    crowd = one_coin_crowd([0.8] * 6, n_items=60, n_answers=2, seed=13)
    split = crowd.select_labels((crowd.annotator < 3) == (crowd.item < 30))
    assert any("fall into 2 groups" in note for note in _report(split).summary["notes"])
    report = build_report(crowd, imperfect_log_p(crowd, 1), cross_fitted=False, trained_accuracy=None)
    assert any("too narrow" in note for note in report.summary["notes"])
    assert {row.accuracy_method for row in report.annotators} == {"in_sample"}


def test_annotators_and_items_without_labels_are_there() -> None:
    crowd = one_coin_crowd([0.8] * 4, n_items=50, n_answers=2, seed=14)
    crowd = crowd.select_labels((crowd.annotator > 0) & (crowd.item > 0))
    report = _report(crowd)
    assert _over_tasks(report)[0].n == 0
    assert report.items.posterior[0].tolist() == pytest.approx([0.5, 0.5], abs=0.1)
    assert any("1 prompts have no label" in note for note in report.summary["notes"])
