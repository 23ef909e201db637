"""Probabilities for the report: nobody is judged by a model that has seen his labels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import log_softmax

from realm_core import cross_fitting
from realm_core.aggregation import one_coin
from realm_core.annotations import Annotations
from realm_core.cross_fitting import (
    ZeroShot,
    calibrate_zero_shot,
    cross_fit,
    fit_head,
    head_log_p,
)
from realm_core.splits import fold_of_prompts, split_items
from tests.realm_core.tiny_models import make_crowd

SCALES = (1.0, 2.0, 5.0, 10.0, 20.0, 40.0)


def embed(truth: np.ndarray, noise: float, seed: int = 0, k: int = 4) -> np.ndarray:
    """Unit vectors around one direction per class. (N, 16)"""
    rng = np.random.default_rng(seed)
    points = np.eye(16)[truth % k] + noise * rng.normal(size=(len(truth), 16))
    return (points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float32)


def zero_shot_without_words(annotations: Annotations) -> ZeroShot:
    log_p = np.full((annotations.n_items, 4), -np.log(4))
    return ZeroShot(log_p, 0.0, one_coin(annotations, log_p))


def test_the_head_is_at_a_stationary_point_of_its_penalised_likelihood() -> None:
    rng = np.random.default_rng(0)
    embeddings, offset = embed(rng.integers(0, 3, 50), 0.3), log_softmax(rng.normal(size=(50, 3)), axis=1)
    targets = rng.dirichlet(np.ones(3), 50)
    head = fit_head(embeddings, offset, targets, penalty=0.5)

    def value(at: np.ndarray) -> float:
        return -float((targets * head_log_p(at, embeddings, offset)).sum()) + 0.25 * float((at[:-1] ** 2).sum())

    for _ in range(20):
        direction = rng.normal(size=head.shape) * 1e-3
        assert value(head + direction) >= value(head) - 1e-6


def test_without_a_penalty_worth_of_data_the_head_keeps_the_zero_shot_word() -> None:
    offset = log_softmax(np.array([[2.0, 0.0], [0.0, 2.0]]), axis=1)
    head = fit_head(np.eye(2, dtype=np.float32), offset, np.exp(offset), penalty=1e6)
    np.testing.assert_allclose(head_log_p(head, np.eye(2, dtype=np.float32), offset), offset, atol=1e-4)


def test_nobody_is_judged_by_a_head_that_saw_the_prompt(monkeypatch: pytest.MonkeyPatch) -> None:
    annotations, truth = make_crowd((0.9, 0.8), n_items=60)
    embeddings, zero_shot = embed(truth, 0.2), zero_shot_without_words(annotations)
    fold = fold_of_prompts(annotations, 3, seed=0)
    seen: list[set[bytes]] = []
    real_fit = cross_fitting.fit_head

    def spy(train: np.ndarray, *rest: object) -> np.ndarray:
        seen.append({row.tobytes() for row in train})
        return real_fit(train, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(cross_fitting, "fit_head", spy)
    cross_fit(annotations, embeddings, zero_shot, 3, seed=0)
    for index, train in enumerate(seen):
        held_out = {row.tobytes() for row in embeddings[fold == index % 3]}
        assert train
        assert not train & held_out


def test_a_cross_fitted_head_finds_what_the_embeddings_hold() -> None:
    annotations, truth = make_crowd((0.9, 0.3, 0.3), n_items=800)
    log_p = cross_fit(annotations, embed(truth, 0.25), zero_shot_without_words(annotations), 5, seed=0)
    np.testing.assert_allclose(np.exp(log_p).sum(axis=1), 1)
    assert np.mean(log_p.argmax(axis=1) == truth) > 0.8
    inferred = one_coin(annotations, log_p)
    np.testing.assert_allclose(inferred.accuracy.ravel(), [0.9, 0.3, 0.3], atol=0.05)


def test_where_most_are_worse_than_chance_the_words_tell_the_truth_from_its_mirror() -> None:
    annotations, truth = make_crowd((0.9, 0.1, 0.1), n_items=600, n_classes=2)
    cosines = np.einsum("nd,kd->nk", embed(truth, 0.9, k=2), np.eye(16)[:2])
    said = np.mean(cosines.argmax(axis=1) == truth)
    assert 0.6 < said < 0.85  # the words are far from sure
    zero_shot = calibrate_zero_shot(annotations, cosines, SCALES)
    assert zero_shot.scale > 0
    np.testing.assert_allclose(zero_shot.truth.accuracy.ravel(), [0.9, 0.1, 0.1], atol=0.06)


def test_words_that_mean_nothing_are_not_believed() -> None:
    annotations, _ = make_crowd((0.9, 0.8, 0.7), n_items=300)
    cosines = np.random.default_rng(5).uniform(-1, 1, size=(300, 4))
    assert calibrate_zero_shot(annotations, cosines, SCALES).scale <= 1


def test_items_with_options_of_their_own_keep_what_the_words_say() -> None:
    annotations, truth = make_crowd((0.9, 0.8, 0.7), n_items=200)
    own = np.arange(200) % 4 == 0
    annotations = replace(annotations, options=tuple(("w", "x", "y", "z") if one else None for one in own))
    scores = np.random.default_rng(5).uniform(-1, 1, size=(200, 4))
    zero_shot = calibrate_zero_shot(annotations, scores, (1.0,))
    log_p = cross_fit(annotations, embed(truth, 0.2), zero_shot, 5, seed=0)
    np.testing.assert_array_equal(log_p[own], zero_shot.log_p[own])
    assert np.mean(log_p[~own].argmax(axis=1) == truth[~own]) > 0.9


def test_copies_of_a_prompt_never_straddle_a_split() -> None:
    annotations, _ = make_crowd((0.9,), n_items=90)
    assert annotations.prompts is not None
    copied = replace(annotations, prompts=tuple(annotations.prompts[item // 3] for item in range(90)))
    fold = fold_of_prompts(copied, 4, seed=0)
    assert all(len(set(fold[start : start + 3])) == 1 for start in range(0, 90, 3))
    train, held_out = split_items(copied, 0.2, seed=0)
    assert not {item // 3 for item in train} & {item // 3 for item in held_out}
    assert sorted([*train, *held_out]) == list(range(90))
    assert 9 <= len(held_out) <= 30


def test_a_split_that_would_leave_a_side_empty_uses_all_for_both() -> None:
    annotations, _ = make_crowd((0.9,), n_items=1)
    train, held_out = split_items(annotations, 0.1, seed=0)
    assert train.tolist() == held_out.tolist() == [0]
