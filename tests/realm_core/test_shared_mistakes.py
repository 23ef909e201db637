"""Hard items, on which everybody errs at once: they are noticed, and nobody is said to be known too well."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from realm_core.annotations import Annotations
from realm_core.reliability import Report, build_report
from realm_core.report_evidence import Evidence
from realm_core.shared_mistakes import wrong_consensus
from realm_core.truth_choice import best_truth
from tests.realm_core.crowds import one_coin_crowd

ACCURACY = np.linspace(0.65, 0.95, 15)


def _crowd(n_answers: int, share_hard: float, seed: int = 0) -> Annotations:
    """A share of the items gets labels by chance, whoever gives them."""
    crowd = one_coin_crowd(ACCURACY, n_items=500, n_answers=n_answers, seed=seed, per_item=10)
    rng = np.random.default_rng(seed)
    hard = rng.random(crowd.n_items) < share_hard
    by_chance = rng.integers(0, n_answers, crowd.n_labels)
    return replace(crowd, label=np.where(hard[crowd.item], by_chance, crowd.label).astype(np.int32))


def _wrong_consensus(crowd: Annotations) -> float:
    choice = best_truth(crowd)
    return wrong_consensus(Evidence(crowd, None, choice.truth), choice.candidate)


@pytest.mark.parametrize("n_answers", [2, 4])
def test_without_hard_items_none_are_found(n_answers: int) -> None:
    assert _wrong_consensus(_crowd(n_answers, 0.0)) < 0.02


@pytest.mark.parametrize("n_answers", [2, 4])
def test_more_hard_items_are_found_where_there_are_more_and_never_more_than_there_are(n_answers: int) -> None:
    shares = (0.0, 0.2, 0.4)
    found = [_wrong_consensus(_crowd(n_answers, share)) for share in shares]
    assert found[0] < found[1] < found[2]
    assert found[2] > 0.02
    assert all(one <= share * (1 - 1 / n_answers) + 0.02 for one, share in zip(found, shares, strict=True))


def test_one_label_each_says_nothing_of_it() -> None:
    assert _wrong_consensus(one_coin_crowd([0.9, 0.8, 0.7], n_items=60, n_answers=2, seed=1, mode="exclusive")) == 0


def _widths(report: Report) -> list[float]:
    return [row.accuracy.high - row.accuracy.low for row in report.annotators if row.task is None and row.accuracy]


def test_intervals_are_wider_where_mistakes_are_shared_and_the_report_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    crowd = _crowd(4, 0.2)
    wider = build_report(crowd, None, cross_fitted=False, trained_accuracy=None)
    monkeypatch.setattr("realm_core.reliability.wrong_consensus", lambda *_: 0.0)
    plain = build_report(crowd, None, cross_fitted=False, trained_accuracy=None)
    assert all(a > b for a, b in zip(_widths(wider), _widths(plain), strict=True))
    assert any("may be wrong together" in note for note in wider.summary["notes"])
    assert not any("may be wrong together" in note for note in plain.summary["notes"])
