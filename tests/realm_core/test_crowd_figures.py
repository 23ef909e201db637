"""Figures about everybody: certainty, agreement on each answer, what all confuse, and whether it was worth it."""

from __future__ import annotations

import numpy as np
import pytest

from realm_core.agreement import krippendorff_alpha, label_alphas
from realm_core.annotations import Annotations, FloatArray, Task
from realm_core.label_table import LabelTable
from realm_core.reliability import build_report

K = 3


def crowd(seed: int, n_items: int = 400, *, everybody_confuses: float = 0.0, bad: int = 0) -> Annotations:
    """Six people, each label right 90 % of the time; all take 0 for 1 at a rate; the first `bad` of them guess."""
    draw = np.random.default_rng(seed)
    truth = draw.integers(K, size=n_items)
    item = np.repeat(np.arange(n_items, dtype=np.int32), 4)
    annotator = np.concatenate([draw.choice(6, 4, replace=False) for _ in range(n_items)]).astype(np.int32)
    right = draw.random(len(item)) < np.where(annotator < bad, 1 / K, 0.9)
    label = np.where(right, truth[item], (truth[item] + draw.integers(1, K, len(item))) % K)
    label[(truth[item] == 0) & (draw.random(len(item)) < everybody_confuses)] = 1
    return Annotations(
        tasks=(Task("t", ("no", "maybe", "yes")),),
        annotators=tuple("abcdef"),
        item_ids=tuple(map(str, range(n_items))),
        item_task=np.zeros(n_items, np.int32),
        item=item,
        annotator=annotator,
        label=label.astype(np.int32),
        gold=truth.astype(np.int32),
    )


def model_of(annotations: Annotations) -> FloatArray:
    """A model that says 80 % and is right 80 % of the time."""
    assert annotations.gold is not None
    draw = np.random.default_rng(9)
    wrong = draw.random(annotations.n_items) < 0.2
    favourite = np.where(wrong, (annotations.gold + draw.integers(1, K, annotations.n_items)) % K, annotations.gold)
    return np.asarray(np.log(np.where(np.arange(K) == favourite[:, None], 0.8, 0.1)))


def test_the_interval_of_alpha_holds_its_value_over_new_crowds() -> None:
    alphas = [krippendorff_alpha(LabelTable(crowd(seed))) for seed in range(40)]
    centre = float(np.mean([alpha.value for alpha in alphas if alpha.value is not None]))
    held = [alpha.low <= centre <= alpha.high for alpha in alphas if alpha.low is not None and alpha.high is not None]
    assert len(held) == 40
    assert sum(held) >= 34  # 38 are expected


def test_with_two_answers_each_has_the_alpha_of_both() -> None:
    annotations = crowd(1)
    two = Annotations(
        **{
            **annotations.__dict__,
            "label": np.minimum(annotations.label, 1),
            "tasks": (Task("t", ("a", "b")),),
            "gold": None,
        }
    )
    table = LabelTable(two)
    whole = krippendorff_alpha(table).value
    assert [one["alpha"] for one in label_alphas(table, np.array([True]))] == pytest.approx([whole, whole])


def test_the_certainty_counts_every_item_once() -> None:
    report = build_report(crowd(2), None, cross_fitted=False, trained_accuracy=None)
    bins = report.figures["certainty"]
    assert sum(one["n_items"] for one in bins) == 400
    sure = int((report.items.probability >= 0.95).sum())
    assert bins[-1]["n_items"] == sure > 100


def test_what_everybody_confuses_is_told_from_what_some_do() -> None:
    annotations = crowd(3, everybody_confuses=0.3)
    report = build_report(annotations, model_of(annotations), cross_fitted=True, trained_accuracy=None)
    everybody = [
        (one["probable_answer"], one["answer"]) for one in report.figures["confused_answers"] if one["everybody"]
    ]
    assert everybody == [(0, 1)]
    annotations = crowd(3, bad=2)
    report = build_report(annotations, model_of(annotations), cross_fitted=True, trained_accuracy=None)
    assert [one for one in report.figures["confused_answers"] if one["everybody"]] == []


def test_hidden_labels_are_likelier_to_who_knows_the_people() -> None:
    annotations = crowd(4, bad=3)
    log_p = model_of(annotations)
    report = build_report(annotations, log_p, cross_fitted=True, trained_accuracy=None, plain_log_p=log_p)
    by_method = {one["method"]: one for one in report.figures["comparison"]}
    assert set(by_method) == {"realm", "majority_vote", "dawid_skene", "plain_fine_tuning"}
    assert by_method["realm"]["difference"] == 0
    for other in ("majority_vote", "plain_fine_tuning"):
        assert by_method[other]["difference_high"] < 0, other  # surely worse
    assert len({one["n"] for one in by_method.values()}) == 1


def test_what_was_promised_comes_true() -> None:
    annotations = crowd(5, 1500)
    figures = build_report(annotations, model_of(annotations), cross_fitted=True, trained_accuracy=None).figures
    for name in ("calibration", "gold_calibration"):
        well_filled = [one for one in figures[name] if one["n"] >= 100]
        assert len(well_filled) >= 1
        for one in well_filled:
            assert one["observed"] == pytest.approx(one["predicted"], abs=0.06)


def test_too_little_to_hide_compares_nothing() -> None:
    figures = build_report(crowd(6, 10), None, cross_fitted=False, trained_accuracy=None).figures
    assert (figures["comparison"], figures["calibration"], figures["gold_calibration"]) == ([], [], [])
