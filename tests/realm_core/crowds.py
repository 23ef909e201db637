"""Small crowds for tests of truth inference and of the report."""

from __future__ import annotations

from typing import Any

import numpy as np

from realm_core.annotations import Annotations, FloatArray, Task
from realm_core.simulation import Behaviour, SimulatedLabels, simulate, simulate_behaviours


def annotations_of(
    labels: SimulatedLabels, truth: np.ndarray[Any, Any], n_answers: int, n_annotators: int
) -> Annotations:
    """One task, gold everywhere."""
    return Annotations(
        tasks=(Task("kind", tuple(f"answer {index}" for index in range(n_answers))),),
        annotators=tuple(f"annotator {index}" for index in range(n_annotators)),
        item_ids=tuple(f"item {index}" for index in range(len(truth))),
        item_task=np.zeros(len(truth), dtype=np.int32),
        item=labels.item,
        annotator=labels.annotator,
        label=labels.label,
        created_at=labels.created_at,
        gold=truth.astype(np.int32),
    )


def one_coin_crowd(
    accuracy: list[float] | FloatArray,
    *,
    n_items: int,
    n_answers: int,
    seed: int,
    per_item: int | None = None,
    **how: Any,
) -> Annotations:
    """Annotators with one accuracy each; `per_item` of them, drawn anew, label each item."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, n_answers, n_items).astype(np.int32)
    labels = simulate(
        truth, np.full(n_items, n_answers, dtype=np.int32), accuracy=np.array(accuracy), seed=seed + 1, **how
    )
    crowd = annotations_of(labels, truth, n_answers, len(accuracy))
    if per_item is None:
        return crowd
    rank = np.argsort(np.argsort(rng.random((n_items, len(accuracy))), axis=1), axis=1)
    return crowd.select_labels(rank[crowd.item, crowd.annotator] < per_item)


def behaving_crowd(behaviours: list[Behaviour], *, n_items: int, seed: int, per_item: int | None = None) -> Annotations:
    """Annotators of given behaviours, in order of time, classes equally frequent."""
    n_answers = len(behaviours[0].rates)
    truth = np.random.default_rng(seed).integers(0, n_answers, n_items).astype(np.int32)
    labels = simulate_behaviours(truth, behaviours, seed=seed, labels_per_item=per_item)
    return annotations_of(labels, truth, n_answers, len(behaviours))


def calibrated_crowd(
    accuracy: list[float] | FloatArray,
    *,
    n_items: int,
    n_answers: int,
    concentration: float,
    seed: int,
    per_item: int | None = None,
) -> tuple[Annotations, FloatArray]:
    """The truth is drawn from a model's p(y | x), so log p (N, K) is calibrated."""
    rng = np.random.default_rng(seed)
    p = rng.dirichlet(np.full(n_answers, concentration), n_items)
    truth = (rng.random((n_items, 1)) > np.cumsum(p, axis=1)[:, :-1]).sum(axis=1).astype(np.int32)
    counts = np.full(n_items, n_answers, dtype=np.int32)
    labels = simulate(truth, counts, accuracy=np.array(accuracy), seed=seed + 1)
    crowd = annotations_of(labels, truth, n_answers, len(accuracy))
    if per_item is not None:
        rank = np.argsort(np.argsort(rng.random((n_items, len(accuracy))), axis=1), axis=1)
        crowd = crowd.select_labels(rank[crowd.item, crowd.annotator] < per_item)
    return crowd, np.log(np.maximum(p, 1e-12))


def imperfect_log_p(annotations: Annotations, seed: int, strength: float = 2.0) -> FloatArray:
    """A model that is right more often than not, and surer than it should be."""
    assert annotations.gold is not None
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(annotations.n_items, int(annotations.answer_counts.max())))
    logits[np.arange(annotations.n_items), annotations.gold] += strength
    logits *= 1.3
    return np.asarray(logits - np.log(np.exp(logits).sum(axis=1, keepdims=True)))
