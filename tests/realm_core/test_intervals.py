"""Standard errors against the curvature of the likelihood, and intervals against simulated truth."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.special import expit, logit

from realm_core import intervals
from realm_core.aggregation import POOLED, one_coin, pooled_accuracy
from realm_core.annotations import Annotations, FloatArray
from realm_core.intervals import standard_errors, wilson
from realm_core.label_table import LabelTable
from realm_core.reliability import build_report
from tests.realm_core.crowds import calibrated_crowd, one_coin_crowd


def _log_posterior(annotations: Annotations, log_p: FloatArray | None, beta: FloatArray, mean: FloatArray) -> float:
    """log Σ_y p Π π of all items plus the log of the Beta prior, as a function of logit a (R,); one task."""
    k = int(annotations.answer_counts.max())
    a = expit(beta)
    scores = np.full((annotations.n_items, k), -np.log(k)) if log_p is None else log_p.copy()
    wrong = np.log((1 - a) / (k - 1))
    for item, r, label in zip(annotations.item, annotations.annotator, annotations.label, strict=True):
        scores[item] += wrong[r]
        scores[item, label] += np.log(a[r]) - wrong[r]
    prior = POOLED.strength * (mean * np.log(a) + (1 - mean) * np.log(1 - a))
    return float(np.logaddexp.reduce(scores, axis=1).sum() + prior.sum())


@pytest.mark.parametrize(("k", "with_model", "per_item"), [(2, False, 3), (3, True, 2), (4, False, None), (3, True, 1)])
def test_standard_errors_are_the_curvature_of_the_likelihood(k: int, with_model: bool, per_item: int | None) -> None:
    crowd, log_p = calibrated_crowd(
        [0.9, 0.8, 0.7, 0.6], n_items=60, n_answers=k, concentration=0.4, seed=k, per_item=per_item
    )
    model = log_p if with_model else None
    truth = one_coin(crowd, model, max_iterations=5000, tolerance=1e-12)
    table = LabelTable(crowd)
    posterior, a = np.ascontiguousarray(truth.posterior.T), truth.accuracy[:, 0]
    mean = pooled_accuracy(table, table.sum_over_cells(table.of_own_label(posterior)))[table.cell_task]
    beta, step, n = logit(a), 1e-3, len(a)
    curvature = np.zeros((n, n))
    for r in range(n):
        for s in range(n):
            for sign_r, sign_s in itertools.product((1, -1), repeat=2):
                corner = beta + step * (sign_r * np.eye(n)[r] + sign_s * np.eye(n)[s])
                curvature[r, s] -= sign_r * sign_s * _log_posterior(crowd, model, corner, mean) / (4 * step**2)
    expected = np.sqrt(np.diag(np.linalg.inv(curvature)))
    np.testing.assert_allclose(standard_errors(table, posterior, a, POOLED.strength), expected, rtol=2e-3)


def test_of_a_large_crowd_pairs_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    crowd = one_coin_crowd(np.linspace(0.5, 0.95, 40), n_items=400, n_answers=3, seed=1, per_item=4)
    truth, table = one_coin(crowd), LabelTable(crowd)
    arguments = (table, np.ascontiguousarray(truth.posterior.T), truth.accuracy[:, 0], POOLED.strength)
    exact = standard_errors(*arguments)
    monkeypatch.setattr(intervals, "MAX_EXACT_CELLS", 0)
    np.testing.assert_allclose(standard_errors(*arguments), exact, rtol=0.02)


def test_those_who_are_only_known_together_get_wider_intervals() -> None:
    """Three annotators of the same prompts: what one is believed to be depends on what the others are."""
    crowd = one_coin_crowd([0.8, 0.75, 0.7], n_items=500, n_answers=2, seed=2)
    truth, table = one_coin(crowd), LabelTable(crowd)
    posterior, a = np.ascontiguousarray(truth.posterior.T), truth.accuracy[:, 0]
    own = table.of_own_label(posterior)
    alone = (table.labels_per_cell + POOLED.strength) * a * (1 - a) - table.sum_over_cells(own * (1 - own))
    wider = standard_errors(table, posterior, a, POOLED.strength) * np.sqrt(alone)
    assert (wider > 1.02).all()
    assert wider.max() > 1.1


def _coverage(seeds: range, lowest: float, crowd: tuple[int, int, int, int, float]) -> float:
    n_annotators, n_items, n_answers, per_item, concentration = crowd
    covered: list[bool] = []
    for seed in seeds:
        accuracy = np.random.default_rng(seed).uniform(lowest, 0.95, n_annotators)
        annotations, log_p = calibrated_crowd(
            accuracy,
            n_items=n_items,
            n_answers=n_answers,
            per_item=per_item,
            concentration=concentration,
            seed=seed,
        )
        model = log_p if concentration < 10 else None
        report = build_report(annotations, model, cross_fitted=True, trained_accuracy=None)
        covered += [
            row.accuracy.low <= accuracy[row.annotator] <= row.accuracy.high
            for row in report.annotators
            if row.task is None and row.accuracy is not None
        ]
    return float(np.mean(covered))


# Annotators, items, answers, labels per item, concentration of p: 100 makes it uniform and stands for "no model".
CROWDS = [
    pytest.param((10, 300, 3, 3, 100.0), id="no model"),
    pytest.param((20, 250, 2, 4, 100.0), id="two answers"),
    pytest.param((5, 500, 4, 1, 0.15), id="one label each"),
    pytest.param((8, 300, 3, 2, 0.4), id="model and overlap"),
]


@pytest.mark.parametrize("crowd", CROWDS)
def test_95_percent_intervals_cover_the_truth(crowd: tuple[int, int, int, int, float]) -> None:
    assert 0.88 <= _coverage(range(8), 0.5, crowd) <= 1.0


@pytest.mark.slow
@pytest.mark.parametrize("crowd", CROWDS)
def test_95_percent_intervals_cover_90_to_98_percent(crowd: tuple[int, int, int, int, float]) -> None:
    assert 0.90 <= _coverage(range(100, 180), 0.4, crowd) <= 0.98


def test_wilsons_interval() -> None:
    assert wilson(0.5, 100) == pytest.approx((0.4038, 0.5962), abs=1e-4)
    assert wilson(None, 0) == (None, None)
