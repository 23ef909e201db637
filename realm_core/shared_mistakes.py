"""Mistakes that annotators share: on hard items everybody errs at once, and the consensus may be wrong.

Truth inference takes mistakes for independent, given the truth. Then the labels of an item that equal its likeliest
answer are about as many as the rates of its annotators say; hard items spread them further. The share of hard items is
found by the method of moments, from the dispersion of all items with more than one label

    φ = Σ_i (Σ_r [l_ir = y_i] − a_r)² / Σ_i Σ_r a_r (1 − a_r)          y_i = argmax q_i, a_r = π_r(y_i | y_i)

against φ₀, the same for labels drawn from the fitted model and fitted again (parametric bootstrap: the likeliest answer
is chosen by the labels themselves, so φ₀ < 1), and φ_h, that of items whose labels are drawn by chance:

    h = (φ − φ₀) / (φ_h − φ₀)

On a hard item the consensus is wrong with probability 1 − 1/K. Labels alone cannot tell which items these are, and h is
a lower bound: the likeliest answer fits hard items better than the truth does, and items on which all are drawn to the
same wrong answer look easy.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from realm_core.annotations import FloatArray
from realm_core.report_evidence import Evidence
from realm_core.truth_candidates import Candidate

N_DRAWS, ONE_DRAW_ABOVE = 3, 100_000  # labels: of so many, one draw is as good as any
MOST = 0.3  # hard items; of more the moments say little
PULL = 5.0  # labels of the pool in each row of rates
TOLERANCE = 1e-4


def wrong_consensus(evidence: Evidence, candidate: Candidate) -> float:
    """The share of items whose consensus is probably wrong because they are hard, beyond what the posterior says."""
    table = evidence.table
    if not table.compared.any():
        return 0.0
    rates = _rates(evidence)
    observed, by_chance = _dispersion(evidence, rates)
    n_draws = N_DRAWS if len(table.item) <= ONE_DRAW_ABOVE else 1
    expected = float(np.mean([_dispersion_of_draw(evidence, candidate, rates, seed) for seed in range(n_draws)]))
    hard = np.clip((observed - expected) / max(by_chance - expected, 1.0), 0.0, MOST)
    return float(hard * np.mean(1 - 1 / table.answer_counts[table.item[table.compared]]))


def _rates(evidence: Evidence) -> FloatArray | None:
    """π_r(l | y) of each cell, pulled to the pool's rows (R·T, K, K); None: one accuracy per cell."""
    counts, table = evidence.confusion, evidence.table
    if counts is None or not evidence.fixed_answers.all():
        return None
    of_pool = counts.reshape(-1, table.n_tasks, table.n_answers, table.n_answers).sum(axis=0) + np.eye(table.n_answers)
    of_pool /= of_pool.sum(axis=2, keepdims=True)
    pulled = counts + PULL * of_pool[table.cell_task]
    return np.asarray(pulled / pulled.sum(axis=2, keepdims=True))


def _right(evidence: Evidence, rates: FloatArray | None, answer: NDArray[np.intp]) -> FloatArray:
    """How probable it is that each label equals the truth, were it `answer` (N,). (L,)"""
    table = evidence.table
    if rates is None:
        return np.asarray(evidence.accuracy[table.cell])
    own = answer[table.item]
    return np.asarray(rates[table.cell, own, own])


def _dispersion(evidence: Evidence, rates: FloatArray | None) -> tuple[float, float]:
    """φ, and φ_h of the same items."""
    table = evidence.table
    answer = evidence.posterior.argmax(axis=0)
    right = _right(evidence, rates, answer)
    several = table.labels_per_item > 1
    chance = 1 / np.maximum(table.answer_counts[table.item], 1)

    def of_items(values: FloatArray) -> FloatArray:
        return np.asarray(np.bincount(table.item, values, minlength=table.n_items)[several], dtype=np.float64)

    variance = max(float(of_items(right * (1 - right)).sum()), 1e-9)
    observed = float((of_items((table.label == answer[table.item]) - right) ** 2).sum())
    by_chance = float((of_items(right - chance) ** 2).sum() + of_items(chance * (1 - chance)).sum())
    return observed / variance, by_chance / variance


def _dispersion_of_draw(evidence: Evidence, candidate: Candidate, rates: FloatArray | None, seed: int) -> float:
    """φ of labels drawn from the fitted model for the same items and annotators."""
    rng, table, annotations = np.random.default_rng(seed), evidence.table, evidence.annotations
    answer = (rng.random(table.n_items) > np.cumsum(evidence.posterior[:-1], axis=0)).sum(axis=0)
    label = annotations.label.copy()
    label[table.rows] = _draw(evidence, rates, answer, rng)
    drawn = replace(annotations, label=label)
    again = replace(evidence, annotations=drawn, truth=candidate.fit(drawn, evidence.log_p, TOLERANCE))
    return _dispersion(again, _rates(again))[0]


def _draw(
    evidence: Evidence, rates: FloatArray | None, answer: NDArray[np.intp], rng: np.random.Generator
) -> NDArray[Any]:
    """A label of each (item, annotator), given the truth `answer` (N,). (L,)"""
    table, own = evidence.table, answer[evidence.table.item]
    if rates is None:
        other = (own + rng.integers(1, np.maximum(table.answer_counts[table.item], 2))) % table.answer_counts[
            table.item
        ]
        return np.where(rng.random(len(own)) < evidence.accuracy[table.cell], own, other)
    drawn, cumulated, left = np.zeros(len(own), dtype=np.intp), np.zeros(len(own)), rng.random(len(own))
    for label in range(table.n_answers - 1):
        cumulated += rates[table.cell, own, label]
        drawn += left > cumulated
    return drawn
