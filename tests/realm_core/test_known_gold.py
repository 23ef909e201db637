"""Gold that is used: fixed in the posterior, learned from, and never scored by."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from realm_core.aggregation import dawid_skene, one_coin
from realm_core.annotations import UNKNOWN, Annotations
from realm_core.batching import PromptBatches
from realm_core.config import Hyperparameters, TrainingConfig
from realm_core.known_gold import use_gold
from realm_core.objective import joint_log_likelihood, marginal_log_likelihood, only_known
from realm_core.preparation import NotIdentifiable
from realm_core.run import Outcome, run
from realm_core.scorers.families import load_scorer
from realm_core.truth_choice import best_truth
from tests.realm_core.test_run import Recorder
from tests.realm_core.tiny_models import make_crowd


def crowd_with_gold(accuracies: tuple[float, ...], n_items: int = 200, share: float = 0.5) -> Annotations:
    """Gold for the first items; `truth` is what gold would be for all."""
    annotations, truth = make_crowd(accuracies, n_items)
    gold = truth.copy()
    gold[round(share * n_items) :] = UNKNOWN
    return replace(annotations, gold=gold)


def known_rows(annotations: Annotations) -> np.ndarray:
    assert annotations.known is not None
    return np.flatnonzero(annotations.known != UNKNOWN)


def test_gold_is_known_or_scored_and_copies_of_a_prompt_are_on_one_side() -> None:
    annotations = crowd_with_gold((0.9,), 100, share=0.5)
    twice = replace(annotations, prompts=tuple(f"prompt {item // 2}" for item in range(100)))
    split = use_gold(twice, seed=3)
    assert split.known is not None
    assert split.gold is not None
    known, scored = split.known != UNKNOWN, split.gold != UNKNOWN
    assert not (known & scored).any()
    np.testing.assert_array_equal(np.where(known, split.known, split.gold), twice.gold)
    assert (known.sum(), scored.sum()) == (40, 10)
    np.testing.assert_array_equal(known[::2], known[1::2])
    kept = split.select_items(np.array([7, 3]))
    np.testing.assert_array_equal(kept.known, split.known[[7, 3]])


def test_truth_inference_keeps_to_what_is_known_and_learns_from_it_who_is_wrong() -> None:
    """Everybody is wrong in the same way; nothing but gold can tell."""
    crowd, truth = make_crowd((0.15, 0.2, 0.2), 300, n_classes=2)
    gold = truth.copy()
    gold[100:] = UNKNOWN
    known = use_gold(replace(crowd, gold=gold), seed=0)
    rows = known_rows(known)
    for infer in (one_coin, dawid_skene, best_truth):
        result = infer(known)
        posterior = result.truth.posterior if infer is best_truth else result.posterior  # type: ignore[union-attr]
        np.testing.assert_allclose(posterior[rows, truth[rows]], 1)
        np.testing.assert_allclose(posterior.sum(axis=1), 1)
        assert np.mean(posterior[100:].argmax(axis=1) == truth[100:]) > 0.85, infer
    assert np.mean(one_coin(crowd).posterior[100:].argmax(axis=1) == truth[100:]) < 0.15


def test_the_likelihood_of_a_known_truth_is_that_of_the_model_and_each_label_under_it() -> None:
    torch.manual_seed(0)
    log_p = torch.log_softmax(torch.randn(3, 4), 1)
    log_p[1, 3] = -torch.inf  # three answers only
    log_channel = torch.log_softmax(torch.randn(5, 4), 1)
    prompt, known = torch.tensor([0, 0, 1, 2, 2]), torch.tensor([2, 1, UNKNOWN])
    joint = joint_log_likelihood(only_known(log_p, known), log_channel, prompt)
    marginal = marginal_log_likelihood(only_known(log_p, known), log_channel, prompt)
    for b, g in ((0, 2), (1, 1)):
        labels = [m for m in range(5) if prompt[m] == b]
        under = [float(log_channel[m, g]) for m in labels]
        assert float(joint[b]) == pytest.approx(float(log_p[b, g]) + sum(under), abs=1e-5)
        for m, one in zip(labels, under, strict=True):
            assert float(marginal[m]) == pytest.approx(float(log_p[b, g]) + one, abs=1e-5)
    free = joint_log_likelihood(log_p, log_channel, prompt)
    assert float(joint[2]) == pytest.approx(float(free[2]))


def test_a_batch_knows_the_truth_of_its_prompts_but_not_of_one_without_labels(tiny_bert: Path) -> None:
    annotations = use_gold(crowd_with_gold((0.9,), 20), seed=0)
    assert annotations.known is not None
    scorer = load_scorer(tiny_bert, 32)
    scorer.start_answers(annotations.tasks)
    items = np.array([3, 1, 15])
    batches = PromptBatches(annotations, scorer.encode_items(annotations), scorer.collate)
    known = batches.batch(items).known
    assert known is not None
    assert known.tolist() == annotations.known[items].tolist()
    nobody = annotations.select_labels(np.array([], dtype=np.int64))
    assert PromptBatches(nobody, scorer.encode_items(nobody), scorer.collate).batch(items).known is None


def job(annotations: Annotations, base: Path | None, work: Path, method: str, n_epochs: float = 3) -> Outcome:
    config = TrainingConfig(
        method=method,  # type: ignore[arg-type]
        hyperparameters=Hyperparameters(
            use_gold=True, learning_rate=3e-3, answer_learning_rate=3e-2, n_epochs=n_epochs
        ),
        seed=1,
        threads=1,
    )
    return run(annotations, config, base=base, work=work, observer=Recorder())


@pytest.mark.parametrize("method", ["realm", "supervised", "aggregation"])
def test_a_job_that_uses_gold_is_scored_by_the_rest_of_it(method: str, tiny_bert: Path, tmp_path: Path) -> None:
    annotations = crowd_with_gold((0.7, 0.5), 100)
    outcome = job(annotations, None if method == "aggregation" else tiny_bert, tmp_path, method)
    used = use_gold(annotations, 1)
    rows = known_rows(used)
    assert used.known is not None
    assert outcome.report.summary["gold"]["n"] == 50 - len(rows) == 10
    np.testing.assert_allclose(outcome.report.items.posterior[rows, used.known[rows]], 1)
    assert outcome.report.items.relabel_gain[rows].max() == 0
    model = outcome.report.items.model_posterior
    assert (model is None) == (method == "aggregation")
    if model is not None:
        assert model[rows].max(axis=1).min() < 0.999  # what the model says is its own


def test_a_model_learns_from_gold_what_its_crowd_hides(tiny_bert: Path, tmp_path: Path) -> None:
    """Annotators who guess teach nothing; gold does."""
    from realm_core.predictor import PredictInput, Predictor

    annotations = crowd_with_gold((0.25, 0.25), 400, share=0.9)
    outcome = job(annotations, tiny_bert, tmp_path, "realm", n_epochs=15)
    assert outcome.model is not None
    assert annotations.gold is not None
    _, truth = make_crowd((0.25, 0.25), 400)
    prompts = (annotations.prompts or ())[360:]
    said = Predictor.load(outcome.model).predict([PredictInput(prompt) for prompt in prompts])
    assert np.mean([one.probabilities.argmax() for one in said] == truth[360:]) > 0.9


def test_a_job_without_gold_to_use_is_refused(tmp_path: Path) -> None:
    annotations, _ = make_crowd((0.9, 0.8), 20)
    with pytest.raises(NotIdentifiable, match="no prompt has gold"):
        job(annotations, None, tmp_path, "aggregation")
