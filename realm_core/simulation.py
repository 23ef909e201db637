"""Simulated annotators: the paper's noise types and expertise patterns, and the characters of a real crowd.

The numbers of the paper's section 4.1 are not public text. Those here are ours: right with probability ① (.9, .1, .1),
② (.9, .9, .1), ③ (.9, .5, .1), evenly from .9 to .1 for more annotators. The paper's words allow two readings of such a
number, the probability a of being right or the weight w of Eq. 1, related by a = w + (1 − w)/K; `reading` says which is
meant and the result records both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from realm_core.annotations import FloatArray, IntArray

Noise = Literal["uniform", "asymmetric", "systematic"]
Mode = Literal["shared", "exclusive"]
Reading = Literal["accuracy", "weight"]
Pattern = Literal["own", "others", "distance"]

HIGH, LOW = 0.9, 0.1
DISTRIBUTIONS: dict[int, tuple[float, ...]] = {1: (HIGH, LOW, LOW), 2: (HIGH, HIGH, LOW), 3: (HIGH, 0.5, LOW)}
ADJACENT_WEIGHT = 4.0  # asymmetric noise: of the next class, where each other wrong one has 1


@dataclass(frozen=True, eq=False)
class SimulatedLabels:
    """Labels in item order: `item`, `annotator`, `label` (L,), `created_at` (L,) unix seconds or None.

    `accuracy` and `weight` (R, T) are the a and w that each annotator was given, averaged over their labels' K_i; nan
    where an annotator has no label of the task.
    """

    item: IntArray
    annotator: IntArray
    label: IntArray
    accuracy: FloatArray
    weight: FloatArray
    created_at: FloatArray | None = None


def distribution(number: int, n_annotators: int = 3) -> FloatArray:
    """Expertise (R,) of distribution ①, ② or ③; spread evenly from .9 to .1 when there are not three annotators."""
    if n_annotators == len(DISTRIBUTIONS[number]):
        return np.array(DISTRIBUTIONS[number])
    return np.linspace(HIGH, LOW, n_annotators)


def task_pattern(pattern: Pattern, n: int = 3) -> FloatArray:
    """Expertise matrix (n, n) of n annotators by n tasks.

    `own`: .9 on the own task, .1 elsewhere. `others`: .1 on the own, .9 elsewhere. `distance`: from .9 on the own task
    evenly down to .1 on the one before it, round the circle.
    """
    away = (np.arange(n) - np.arange(n)[:, None]) % n
    if pattern == "distance":
        return np.take(np.linspace(HIGH, LOW, n), away)
    on, off = (HIGH, LOW) if pattern == "own" else (LOW, HIGH)
    return np.where(away == 0, on, off).astype(np.float64)


def simulate(
    truth: IntArray,
    n_answers: IntArray,
    *,
    accuracy: FloatArray,
    noise: Noise = "uniform",
    mode: Mode = "shared",
    seed: int,
    reading: Reading = "accuracy",
    item_task: IntArray | None = None,
) -> SimulatedLabels:
    """Labels of R annotators for items with right answers `truth` (N,) among `n_answers` (N,).

    `accuracy` (R,), or (R, T) with `item_task` (N,), is a or w, as `reading` says. `shared`: everyone labels every
    item; `exclusive`: each item has one annotator, split evenly. A wrong label is uniform over the others (`uniform`),
    the next class with 4 times the weight of each other wrong one (`asymmetric`), or (y + 1 + (r mod (K−1))) mod K
    (`systematic`).
    """
    rng = np.random.default_rng(seed)
    given = accuracy[:, None] if accuracy.ndim == 1 else accuracy
    tasks = np.zeros(len(truth), dtype=np.int32) if item_task is None else item_task
    item, annotator = _assign(len(truth), len(given), mode, rng)
    y, k, value = truth[item], n_answers[item], given[annotator, tasks[item]]
    right_rate = value if reading == "accuracy" else value + (1 - value) / k
    wrong = _wrong_label(y, k, annotator, noise, rng)
    label = np.where(rng.random(len(item)) < right_rate, y, wrong).astype(np.int32)
    cells, shape = annotator * given.shape[1] + tasks[item], given.shape
    mean_accuracy = _mean_by_cell(right_rate, cells, shape)
    mean_weight = _mean_by_cell((k * right_rate - 1) / (k - 1), cells, shape)
    return SimulatedLabels(item, annotator, label, mean_accuracy, mean_weight)


def _assign(n_items: int, n_annotators: int, mode: Mode, rng: np.random.Generator) -> tuple[IntArray, IntArray]:
    if mode == "exclusive":
        return np.arange(n_items, dtype=np.int32), (rng.permutation(n_items) % n_annotators).astype(np.int32)
    item = np.repeat(np.arange(n_items, dtype=np.int32), n_annotators)
    return item, np.tile(np.arange(n_annotators, dtype=np.int32), n_items)


def _wrong_label(y: IntArray, k: IntArray, annotator: IntArray, noise: Noise, rng: np.random.Generator) -> IntArray:
    """A label that is not y, for each label. The step from y is 1..K−1."""
    n_wrong = k - 1
    if noise == "systematic":
        step = 1 + annotator % n_wrong
    elif noise == "uniform":
        step = 1 + rng.integers(0, n_wrong)
    else:
        mass = rng.random(len(y)) * (ADJACENT_WEIGHT + n_wrong - 1)
        step = np.where(mass < ADJACENT_WEIGHT, 1, 2 + np.floor(mass - ADJACENT_WEIGHT).astype(np.int64))
    return ((y + step) % k).astype(np.int32)


def _mean_by_cell(values: FloatArray, cells: IntArray, shape: tuple[int, ...]) -> FloatArray:
    size = int(np.prod(shape))
    count = np.bincount(cells, minlength=size)
    total = np.bincount(cells, values, minlength=size)
    with np.errstate(invalid="ignore"):
        return (total / count).reshape(shape).astype(np.float64)


@dataclass(frozen=True, eq=False)
class Behaviour:
    """How one simulated annotator answers: `rates` (K, K), rows = truth; `later` after half of their labels."""

    name: str
    rates: FloatArray
    later: FloatArray | None = None

    @classmethod
    def reliable(cls, n_answers: int, accuracy: float, name: str = "reliable") -> Behaviour:
        """Right with probability `accuracy`, else any other answer; below 1/K: worse than chance."""
        return cls(name, _one_coin_rows(n_answers, accuracy))

    @classmethod
    def guesser(cls, n_answers: int) -> Behaviour:
        return cls("guesser", np.full((n_answers, n_answers), 1 / n_answers))

    @classmethod
    def constant(cls, n_answers: int, label: int) -> Behaviour:
        """Always the same answer."""
        return cls("always the same", np.tile(np.eye(n_answers)[label], (n_answers, 1)))

    @classmethod
    def swapper(cls, n_answers: int, accuracy: float, first: int, second: int) -> Behaviour:
        """Reliable, but takes two answers for each other."""
        rows = _one_coin_rows(n_answers, accuracy)
        rows[[first, second]] = rows[[second, first]]
        return cls("swaps two", rows)

    @classmethod
    def declining(cls, n_answers: int, before: float, after: float) -> Behaviour:
        """Gets worse half-way."""
        return cls("gets worse", _one_coin_rows(n_answers, before), _one_coin_rows(n_answers, after))


def _one_coin_rows(n_answers: int, accuracy: float) -> FloatArray:
    own = np.eye(n_answers)
    rows: FloatArray = own * accuracy + (1 - own) * (1 - accuracy) / (n_answers - 1)
    return rows


def simulate_behaviours(
    truth: IntArray,
    behaviours: Sequence[Behaviour],
    *,
    seed: int,
    labels_per_item: int | None = None,
    begin: float = 1_767_225_600.0,
    seconds_per_label: float = 60.0,
) -> SimulatedLabels:
    """Labels of one task by annotators of the given behaviours, item by item, one label a minute from `begin` on.

    `labels_per_item`: how many annotators, drawn anew, see each item; None: all of them.
    """
    rng = np.random.default_rng(seed)
    n_items, n_annotators = len(truth), len(behaviours)
    per_item = labels_per_item or n_annotators
    chosen = np.argsort(rng.random((n_items, n_annotators)), axis=1)[:, :per_item]
    item, annotator = np.repeat(np.arange(n_items, dtype=np.int32), per_item), chosen.ravel().astype(np.int32)
    rates = np.stack([b.rates for b in behaviours])
    later = np.stack([b.rates if b.later is None else b.later for b in behaviours])
    changed = _second_half(annotator, n_annotators)
    row = np.where(changed[:, None], later[annotator, truth[item]], rates[annotator, truth[item]])
    label = (rng.random((len(item), 1)) > np.cumsum(row, axis=1)[:, :-1]).sum(axis=1).astype(np.int32)
    accuracy = _mean_by_cell(row[np.arange(len(row)), truth[item]], annotator, (n_annotators, 1))
    k = rates.shape[1]
    created_at = begin + seconds_per_label * np.arange(len(item), dtype=np.float64)
    return SimulatedLabels(item, annotator, label, accuracy, (k * accuracy - 1) / (k - 1), created_at)


def _second_half(annotator: IntArray, n_annotators: int) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Whether each label is in the second half of its annotator's labels, which are in order of time. (L,)"""
    order = np.argsort(annotator, kind="stable")
    counts = np.bincount(annotator, minlength=n_annotators)
    rank = np.empty(len(annotator), dtype=np.int64)
    rank[order] = np.arange(len(annotator)) - np.repeat(np.cumsum(counts) - counts, counts)
    return rank >= counts[annotator] / 2
