"""Coverage: what is counted, and that a sample of gold is not taken for the rate."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest

from benchmarks import coverage
from benchmarks.coverage import SIMULATED, beta_of_rates, outside, real_coverage, simulated_coverage
from tests.realm_core.crowds import one_coin_crowd


def test_intervals_of_simulated_crowds_cover_the_accuracy() -> None:
    found = simulated_coverage(SIMULATED[0], range(6))
    assert found.intervals == 60
    assert 0.85 <= found.coverage <= 1.0


def test_the_distribution_of_rates_is_found_from_counts() -> None:
    rng = np.random.default_rng(0)
    n = np.full(3000, 30.0)
    a, b = beta_of_rates(rng.binomial(30, rng.beta(8, 2, 3000)).astype(float), n)
    assert a == pytest.approx(8, rel=0.15)
    assert b == pytest.approx(2, rel=0.15)


def test_intervals_that_cover_95_percent_of_the_rates_are_said_to_do_so_however_few_labels_have_gold() -> None:
    """Five labels: the share right is 1 for many, which no interval below 1 contains, while their rates are inside."""
    rng = np.random.default_rng(1)
    rate = rng.beta(18, 2, 2000)
    n = np.full(2000, 5.0)
    right = rng.binomial(5, rate).astype(float)
    low, high = np.quantile(rate, [0.025, 0.975])
    below, above = outside(np.full(2000, low), np.full(2000, high), right, n)
    assert below + above == pytest.approx(0.05, abs=0.02)
    assert np.mean((low <= right / n) & (right / n <= high)) < 0.7


def test_intervals_that_lie_too_high_are_found_on_that_side() -> None:
    n = np.full(50, 200.0)
    below, above = outside(np.full(50, 0.9), np.full(50, 0.99), n * 0.7, n)
    assert below > 0.95
    assert above < 0.01


def test_real_crowds_are_compared_with_their_gold() -> None:
    crowd = one_coin_crowd(np.linspace(0.55, 0.95, 12), n_items=200, n_answers=2, seed=2, per_item=5)
    found = real_coverage("some", crowd)
    assert found is not None
    assert found.intervals == 12
    assert found.of_rate == pytest.approx(1 - found.below - found.above)
    assert found.of_rate > 0.8
    assert real_coverage("two only", one_coin_crowd([0.8, 0.7], n_items=50, n_answers=2, seed=3)) is None


def test_json_is_one_document(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["coverage", "--no-real", "--seeds", "1", "--json"])
    coverage.main()
    document = json.loads(capsys.readouterr().out)
    assert [one["name"] for one in document["simulated"]] == [crowd.name for crowd in SIMULATED]
    assert document["real"] == []
