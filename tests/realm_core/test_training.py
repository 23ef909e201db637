"""fit(): exact grouping, which weights decay, resume, recovery of a crowd, and no mirrored model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from realm_core import checkpoint
from realm_core.annotations import Annotations
from realm_core.batching import PromptBatches
from realm_core.channels import CHANNELS, Channel, PerfectChannel, SigmoidChannel
from realm_core.config import Hyperparameters, Plan, TrainingConfig, resolve
from realm_core.preparation import NotIdentifiable
from realm_core.run import refuse_mirrored
from realm_core.scorers.encoder import EncoderScorer
from realm_core.training import Diverged, FitEvents, FitState, fit, make_optimizer, predict_log_p, train_step
from tests.realm_core.tiny_models import make_crowd


def make_plan(annotations: Annotations, **asked: Any) -> Plan:
    values: dict[str, Any] = {"learning_rate": 3e-3, "answer_learning_rate": 3e-2, "n_epochs": 8, **asked}
    return resolve(
        TrainingConfig(hyperparameters=Hyperparameters(**values)),
        n_prompts=annotations.n_items,
        n_tasks=1,
        on_gpu=False,
    )[0]


def make_scorer(base: Path, annotations: Annotations) -> EncoderScorer:
    scorer = EncoderScorer.from_pretrained(base, 32)
    scorer.start_answers(annotations.tasks)
    return scorer


def make_channel(annotations: Annotations, start: float = 0.7, name: str = "one_coin") -> SigmoidChannel:
    counts = np.bincount(annotations.annotator, minlength=annotations.n_annotators)[:, None]
    n_answers = torch.tensor([len(annotations.tasks[0].answers)])
    return CHANNELS[name](torch.full((annotations.n_annotators, 1), start), torch.from_numpy(counts), n_answers)


class Log:
    """Keeps what fit() tells."""

    def __init__(self) -> None:
        self.steps: list[int] = []
        self.metrics: list[tuple[int, dict[str, Any]]] = []
        self.checkpoints: list[Path] = []

    def events(self) -> FitEvents:
        return FitEvents(
            progress=lambda step, total, done: self.steps.append(step),
            metrics=lambda step, values: self.metrics.append((step, values)),
            checkpoint=lambda folder, step, metrics: self.checkpoints.append(folder),
        )


def fit_quietly(
    scorer: EncoderScorer, channel: Channel, annotations: Annotations, plan: Plan, work: Path, **options: Any
) -> FitState:
    return fit(scorer, channel, annotations, plan, seed=1, work=work, events=Log().events(), **options)


def accuracy_on(scorer: EncoderScorer, annotations: Annotations, truth: np.ndarray) -> float:
    return float(np.mean(predict_log_p(scorer, annotations).argmax(axis=1) == truth))


def gradients(scorer: EncoderScorer) -> dict[str, torch.Tensor]:
    return {name: p.grad.clone() for name, p in scorer.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("likelihood", ["marginal", "joint"])
def test_one_forward_pass_per_prompt_gives_the_gradients_of_one_per_label(tiny_bert: Path, likelihood: str) -> None:
    annotations, _ = make_crowd((0.9, 0.6, 0.4), n_items=12)
    scorer, channel = make_scorer(tiny_bert, annotations).train(), make_channel(annotations)
    batches = PromptBatches(annotations, scorer.encode_items(annotations), scorer.collate)
    batch = batches.batch(np.arange(12))
    log_p = scorer(batch.inputs)
    log_channel = channel.log_likelihood(batch.annotator, batch.label, 0, batch.n_answers)
    if likelihood == "marginal":
        loss = -torch.logsumexp(log_p[batch.prompt] + log_channel, 1).sum()
    else:
        loss = -sum(torch.logsumexp(log_p[i] + log_channel[batch.prompt == i].sum(0), 0) for i in range(12))
    (loss / len(batch.label)).backward()
    grouped = gradients(scorer)

    scorer.zero_grad()
    repeated = batch.prompt
    items = batch.prompt.tolist()
    log_p = scorer(scorer.collate([scorer.encode_items(annotations)[item] for item in items]))  # one row per label
    if likelihood == "marginal":
        loss = -torch.logsumexp(log_p + log_channel.detach(), 1).sum()
    else:  # the mean of equal rows is the row
        rows = torch.stack([log_p[repeated == i].mean(0) for i in range(12)])
        totals = torch.stack([log_channel.detach()[repeated == i].sum(0) for i in range(12)])
        loss = -torch.logsumexp(rows + totals, 1).sum()
    (loss / len(batch.label)).backward()
    for name, gradient in gradients(scorer).items():
        torch.testing.assert_close(gradient, grouped[name], atol=1e-6, rtol=0, msg=name)


def test_micro_batches_make_the_step_of_one_batch(tiny_bert: Path) -> None:
    annotations, _ = make_crowd((0.9, 0.6), n_items=16)
    annotations = annotations.select_labels(np.arange(annotations.n_labels) % 5 != 0)  # uneven numbers of labels
    weights = []
    for cuts in (1, 4):
        scorer, channel = (
            make_scorer(tiny_bert, annotations).train(),
            make_channel(annotations, 0.5, "scalar"),
        )
        plan = make_plan(annotations, likelihood="marginal", channel="scalar", expertise_update="gradient")
        batches = PromptBatches(annotations, scorer.encode_items(annotations), scorer.collate)
        optimizer = make_optimizer(scorer, channel, plan)
        loss = train_step(
            scorer, channel, optimizer, [batches.batch(part) for part in np.split(np.arange(16), cuts)], plan
        )
        weights.append((loss, checkpoint.weights_of(scorer, channel)))
    assert weights[0][0] == pytest.approx(weights[1][0], rel=1e-5)
    torch.testing.assert_close(weights[0][1]["channel.logit"], weights[1][1]["channel.logit"])


def test_weight_decay_touches_the_encoder_s_matrices_and_never_the_expertise(tiny_bert: Path) -> None:
    annotations, _ = make_crowd((0.9, 0.6), n_items=8)
    scorer, channel = make_scorer(tiny_bert, annotations), make_channel(annotations)
    plan = make_plan(annotations, weight_decay=0.5, expertise_update="gradient")
    optimizer = make_optimizer(scorer, channel, plan)
    decayed = {id(p) for group in optimizer.param_groups if group["weight_decay"] for p in group["params"]}
    assert id(channel.logit) not in decayed
    assert not decayed & {id(p) for p in scorer.answer_parameters()}
    assert decayed == {id(p) for p in scorer.model.parameters() if p.ndim > 1}
    before = channel.logit.detach().clone()
    for p in [*scorer.parameters(), channel.logit]:
        p.grad = torch.zeros_like(p)
    optimizer.step()
    torch.testing.assert_close(channel.logit.detach(), before)
    assert len(optimizer.param_groups[-1]["params"]) == 1
    assert optimizer.param_groups[-1]["params"][0] is channel.logit


def test_em_leaves_the_expertise_out_of_the_optimizer(tiny_bert: Path) -> None:
    annotations, _ = make_crowd((0.9, 0.6), n_items=8)
    scorer, channel = make_scorer(tiny_bert, annotations), make_channel(annotations)
    optimizer = make_optimizer(scorer, channel, make_plan(annotations, expertise_update="em"))
    assert all(p is not channel.logit for group in optimizer.param_groups for p in group["params"])


@pytest.mark.parametrize("expertise_update", ["gradient", "em"])
def test_a_resumed_run_equals_an_unbroken_one_bit_for_bit(
    tiny_bert_with_dropout: Path, tmp_path: Path, expertise_update: str
) -> None:
    annotations, _ = make_crowd((0.9, 0.5), n_items=64)
    plan = make_plan(annotations, n_epochs=6, batch_size=16, expertise_update=expertise_update, evaluations=4)
    log = Log()
    scorer, channel = make_scorer(tiny_bert_with_dropout, annotations), make_channel(annotations)
    every_step = {"work": tmp_path, "events": log.events(), "checkpoint_seconds": 0.0}
    state = fit(scorer, channel, annotations, plan, seed=1, **every_step)  # type: ignore[arg-type]
    unbroken = checkpoint.weights_of(scorer, channel)
    assert len(log.checkpoints) == state.step > 8
    for resume_from in (log.checkpoints[4], log.checkpoints[7]):
        scorer, channel = make_scorer(tiny_bert_with_dropout, annotations), make_channel(annotations)
        again = fit_quietly(scorer, channel, annotations, plan, tmp_path / "again", resume_from=resume_from)
        assert (again.step, again.best_step, again.history) == (state.step, state.best_step, state.history)
        for name, tensor in checkpoint.weights_of(scorer, channel).items():
            assert torch.equal(tensor, unbroken[name]), name


def test_a_crowd_is_recovered_and_beats_noisy_fine_tuning(tiny_bert: Path, tmp_path: Path) -> None:
    annotations, truth = make_crowd((0.9, 0.3, 0.3), n_items=1000)
    plan = make_plan(annotations, n_epochs=5)
    scorer, channel = make_scorer(tiny_bert, annotations), make_channel(annotations)
    fit_quietly(scorer, channel, annotations, plan, tmp_path)
    noisy = make_scorer(tiny_bert, annotations)
    fit_quietly(noisy, PerfectChannel(), annotations, replace(plan, likelihood="marginal"), tmp_path)
    np.testing.assert_allclose(channel.accuracy().squeeze(1), [0.9, 0.3, 0.3], atol=0.05)
    ours, theirs = accuracy_on(scorer, annotations, truth), accuracy_on(noisy, annotations, truth)
    assert ours > 0.98
    assert ours > theirs


def test_the_paper_s_preset_tells_an_expert_from_guessers(tiny_bert: Path, tmp_path: Path) -> None:
    annotations, _ = make_crowd((0.9, 0.3, 0.3), n_items=600)
    plan = make_plan(annotations, preset="paper", n_epochs=5)
    assert (plan.channel, plan.likelihood, plan.expertise_update) == ("scalar", "marginal", "gradient")
    scorer, channel = make_scorer(tiny_bert, annotations), make_channel(annotations, 0.5, "scalar")
    fit_quietly(scorer, channel, annotations, plan, tmp_path)
    expert, *guessers = channel.accuracy().squeeze(1).tolist()
    assert expert > 0.85
    assert max(guessers) < 0.4


def test_a_below_chance_annotator_is_learned_to_be_below_chance(tiny_bert: Path, tmp_path: Path) -> None:
    annotations, _ = make_crowd((0.9, 0.8, 0.05), n_items=400)
    scorer, channel = make_scorer(tiny_bert, annotations), make_channel(annotations)
    fit_quietly(scorer, channel, annotations, make_plan(annotations), tmp_path)
    assert channel.accuracy()[2, 0] < 0.1


def test_staged_confusion_unmasks_systematic_errors(tiny_bert: Path, tmp_path: Path) -> None:
    annotations, truth = make_crowd((0.9, 0.1, 0.1), n_items=800, systematic=True)
    scorer, channel = make_scorer(tiny_bert, annotations), make_channel(annotations, name="confusion")
    fit_quietly(scorer, channel, annotations, make_plan(annotations, channel="confusion"), tmp_path)
    assert accuracy_on(scorer, annotations, truth) > 0.95
    np.testing.assert_allclose(channel.accuracy().squeeze(1), [0.9, 0.1, 0.1], atol=0.05)


def test_a_start_below_chance_does_not_ship_a_flipped_model(tiny_bert: Path, tmp_path: Path) -> None:
    annotations, truth = make_crowd((0.9, 0.8), n_items=300, n_classes=2)
    scorer, channel = make_scorer(tiny_bert, annotations), make_channel(annotations, start=0.1)
    fit_quietly(scorer, channel, annotations, make_plan(annotations), tmp_path)
    assert accuracy_on(scorer, annotations, truth) < 0.5  # it did learn the mirror image…
    after = channel.accuracy().double().numpy()
    with pytest.raises(NotIdentifiable, match="upside down"):  # …and is not kept
        refuse_mirrored(annotations, np.full((2, 1), 0.7), after)
    with pytest.raises(NotIdentifiable, match=r"better than chance, where .* it is worse"):
        refuse_mirrored(annotations, np.array([[0.3], [0.1]]), np.array([[0.7], [0.9]]))
    for start, end in (((0.7, 0.7), (0.8, 0.9)), ((0.52, 0.51), (0.48, 0.49)), ((0.9, 0.05), (0.8, 0.5))):
        refuse_mirrored(annotations, np.array([start]).T, np.array([end]).T)  # better, guessers, none below chance


def test_a_loss_that_is_no_number_ends_the_run(tiny_bert: Path, tmp_path: Path) -> None:
    annotations, _ = make_crowd((0.9,), n_items=32)
    scorer, channel = make_scorer(tiny_bert, annotations), make_channel(annotations)
    with torch.no_grad():
        scorer.answers[0].fill_(float("nan"))
    with pytest.raises(Diverged, match="learning_rate"):
        fit_quietly(scorer, channel, annotations, make_plan(annotations), tmp_path)


def test_the_time_budget_ends_a_run_early(tiny_bert: Path, tmp_path: Path) -> None:
    annotations, _ = make_crowd((0.9, 0.6), n_items=200)
    scorer, channel = make_scorer(tiny_bert, annotations), make_channel(annotations)
    plan = make_plan(annotations, max_steps=100_000, time_budget_seconds=0.5, patience=1000)
    state = fit_quietly(scorer, channel, annotations, plan, tmp_path)
    assert 0 < state.step < 5_000
    assert state.elapsed_seconds >= 0.5
