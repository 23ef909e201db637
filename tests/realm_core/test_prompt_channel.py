"""Expertise that depends on the prompt: a slow loop, its limits, finite differences, and a crowd that has it."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file

from realm_core.annotations import Annotations
from realm_core.channels import PerTaskChannel, PromptChannel, ReadPrompts, ScalarChannel
from realm_core.channels import prompt as prompt_module
from realm_core.config import Hyperparameters, TrainingConfig
from realm_core.predictor import PredictInput, Predictor
from realm_core.run import run
from tests.realm_core.test_run import Recorder
from tests.realm_core.tiny_models import FILLERS, make_crowd

R, B, D = 3, 4, 5


def make_channel(d: int = D, n_tasks: int = 1) -> PromptChannel:
    """Random skills of R annotators."""
    channel = PromptChannel(
        torch.tensor([[0.2], [0.5], [0.9]]),
        torch.full((R, 1), 50.0),
        torch.full((n_tasks,), 3.0),
        z_size=d,
        embedding_size=7,
    )
    with torch.no_grad():
        channel.skill.copy_(torch.randn(R, d, generator=torch.Generator().manual_seed(0)))
    return channel


def labels_of_some() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, ReadPrompts]:
    """Labels of prompts with 3, 2, 4 and 3 answers; annotator, label, K, prompts."""
    generator = torch.Generator().manual_seed(1)
    prompt = torch.tensor([0, 0, 1, 2, 3, 3, 3])
    annotator, label = torch.tensor([0, 1, 2, 0, 0, 1, 2]), torch.tensor([2, 0, 1, 3, 0, 1, 2])
    n_answers = torch.tensor([3, 2, 4, 3])[prompt]
    return annotator, label, n_answers, ReadPrompts(torch.randn(B, D, generator=generator), prompt)


@pytest.mark.parametrize("dense_annotators", [0, 512])
def test_it_equals_a_slow_loop_by_product_and_by_gather(dense_annotators: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prompt_module, "DENSE_ANNOTATORS", dense_annotators)
    channel = make_channel()
    annotator, label, n_answers, prompts = labels_of_some()
    ours = channel.log_likelihood(annotator, label, 0, n_answers, prompts)
    assert ours.shape == (7, 4)
    for m in range(7):
        z = prompts.z[prompts.prompt[m]]
        score = channel.logit[annotator[m], 0].item() + sum(
            float(z[d]) * channel.skill[annotator[m], d].item() for d in range(D)
        )
        w, k = 1 / (1 + math.exp(-score)), int(n_answers[m])
        for y in range(k):
            expected = w * (y == label[m].item()) + (1 - w) / k
            assert ours[m, y].exp().item() == pytest.approx(expected, rel=1e-4)


def test_gradients_equal_finite_differences_and_stop_before_z() -> None:
    channel = make_channel().double()
    annotator, label, n_answers, prompts = labels_of_some()
    z = prompts.z.double().requires_grad_()

    def objective(logit: torch.Tensor, skill: torch.Tensor) -> torch.Tensor:
        parameters = {"logit": logit, "skill": skill}
        arguments = (annotator, label, 0, n_answers, ReadPrompts(z, prompts.prompt))
        return torch.func.functional_call(channel, parameters, arguments)  # type: ignore[no-any-return]

    channel.forward = channel.log_likelihood  # type: ignore[method-assign]
    assert torch.autograd.gradcheck(objective, (channel.logit, channel.skill))
    objective(channel.logit, channel.skill).exp()[:, 0].sum().backward()
    assert channel.skill.grad is not None
    assert z.grad is None


def test_with_a_constant_embedding_it_is_scalar_and_with_one_hot_ones_per_task() -> None:
    annotator, label, n_answers, prompts = labels_of_some()
    ones = ReadPrompts(torch.ones(B, 1), prompts.prompt)
    channel = make_channel(1)
    scalar = ScalarChannel(torch.sigmoid(channel.logit + channel.skill), torch.ones(R, 1), torch.tensor([3.0]))
    torch.testing.assert_close(
        channel.log_likelihood(annotator, label, 0, n_answers, ones),
        scalar.log_likelihood(annotator, label, 0, n_answers),
    )
    channel = make_channel(2, n_tasks=2)
    cells = torch.sigmoid(channel.logit + channel.skill)
    per_task = PerTaskChannel(cells, torch.ones(R, 2), torch.tensor([3.0, 3.0]))
    for task in (0, 1):
        one_hot = ReadPrompts(torch.eye(2)[[task] * B], prompts.prompt)
        torch.testing.assert_close(
            channel.log_likelihood(annotator, label, task, n_answers, one_hot),
            per_task.log_likelihood(annotator, label, task, n_answers),
        )


def test_it_starts_as_the_scalar_channel() -> None:
    annotator, label, n_answers, prompts = labels_of_some()
    start = torch.tensor([[0.2], [0.5], [0.9]])
    channel = PromptChannel(start, torch.ones(R, 1), torch.tensor([3.0]), z_size=D, embedding_size=7)
    scalar = ScalarChannel(start, torch.ones(R, 1), torch.tensor([3.0]))
    torch.testing.assert_close(
        channel.log_likelihood(annotator, label, 0, n_answers, prompts),
        scalar.log_likelihood(annotator, label, 0, n_answers),
    )
    torch.testing.assert_close(channel.accuracy(), scalar.accuracy())


def test_it_is_reported_as_the_mean_over_the_prompts_that_an_annotator_labelled() -> None:
    channel = make_channel(n_tasks=2)
    annotator, _, n_answers, prompts = labels_of_some()
    task = torch.tensor([0, 0, 1, 0, 1, 1, 1])
    channel.settle(annotator, task, n_answers, prompts)
    for r in range(R):
        for t in (0, 1):
            rows = [m for m in range(7) if annotator[m] == r and task[m] == t]
            w = [torch.sigmoid(channel.weight_logit(annotator, prompts))[m].item() for m in rows]
            right = [one + (1 - one) / int(n_answers[m]) for one, m in zip(w, rows, strict=True)]
            bias = torch.sigmoid(channel.logit[r, 0]).item()
            expected = np.mean(right) if rows else bias + (1 - bias) / 3
            assert channel.accuracy()[r, t].item() == pytest.approx(expected, abs=1e-6)


def test_skills_are_pulled_to_zero_by_their_prior_alone() -> None:
    channel = make_channel()
    before = channel.log_prior().item()
    with torch.no_grad():
        channel.skill.zero_()
    assert channel.log_prior().item() > before


def test_em_is_refused_since_it_has_no_closed_form() -> None:
    with pytest.raises(ValidationError, match="`gradient` only: EM has no closed form"):
        Hyperparameters(channel="prompt", expertise_update="em")


TOPICS = ("today", "please")  # a word that each prompt of the topic has


def crowd_of_specialists(n_items: int, seed: int = 0) -> Annotations:
    """Two annotators who know one topic each (.95 right) and guess at the other, and one who is .8 right anywhere."""
    annotations, truth = make_crowd((0.9, 0.9, 0.8), n_items, seed)
    rng = np.random.default_rng(seed + 1)
    topic = rng.integers(0, 2, n_items)
    others = [word for word in FILLERS if word not in TOPICS]
    prompts = tuple(
        " ".join([*(rng.choice(others) if word in TOPICS else word for word in prompt.split()), *[TOPICS[t]] * 3])
        for prompt, t in zip(annotations.prompts or (), topic, strict=True)
    )
    accuracy = np.array([[0.95, 0.25], [0.25, 0.95], [0.8, 0.8]])[annotations.annotator, topic[annotations.item]]
    right = rng.random(annotations.n_labels) < accuracy
    wrong = (truth[annotations.item] + rng.integers(1, 4, annotations.n_labels)) % 4
    label = np.where(right, truth[annotations.item], wrong).astype(np.int32)
    return replace(annotations, prompts=prompts, label=label)


@pytest.mark.parametrize("likelihood", [pytest.param("marginal", marks=pytest.mark.slow), "joint"])
def test_specialists_are_found_in_a_whole_job(likelihood: str, tiny_bert: Path, tmp_path: Path) -> None:
    annotations = crowd_of_specialists(1500)
    config = TrainingConfig(
        hyperparameters=Hyperparameters(
            channel="prompt",
            likelihood=likelihood,
            learning_rate=3e-3,
            answer_learning_rate=3e-2,
            n_epochs=8,  # type: ignore[arg-type]
        ),
        seed=1,
        threads=1,
    )
    observer = Recorder()
    outcome = run(annotations, config, base=tiny_bert, work=tmp_path, observer=observer)
    assert observer.reasons["expertise_update"]["value"] == "gradient"
    rows = {row.annotator: row.model_accuracy for row in outcome.report.annotators if row.task is None}
    for annotator, accuracy in enumerate((0.6, 0.6, 0.8)):  # over both topics
        assert rows[annotator] == pytest.approx(accuracy, abs=0.08)
    assert outcome.model is not None
    predictor = Predictor.load(outcome.model)
    inputs = [PredictInput(f"my invoice was so {word} {word} {word}") for word in TOPICS]
    said = [
        [predictor.as_annotator(one, f"annotator {r}", None)[0] for one in predictor.predict(inputs)] for r in range(3)
    ]
    assert said[0][0] > 0.8
    assert said[0][1] < 0.5
    assert said[1][0] < 0.5
    assert said[1][1] > 0.8
    assert abs(said[2][0] - said[2][1]) < 0.2


class Killed(Exception):
    """The end of a process in mid-training."""


class KilledAtCheckpoint(Recorder):
    """Keeps the fifth checkpoint, and is killed there."""

    folders: list[Path]

    def __init__(self) -> None:
        super().__init__()
        self.folders = []

    def checkpoint(self, folder: Path, step: int, metrics: dict[str, Any]) -> None:
        self.folders.append(folder)
        if len(self.folders) == 5:
            raise Killed


def test_a_job_that_is_killed_goes_on_from_its_checkpoint_to_the_same_skills(tiny_bert: Path, tmp_path: Path) -> None:
    annotations = crowd_of_specialists(160)
    asked = Hyperparameters(
        channel="prompt",
        learning_rate=3e-3,
        answer_learning_rate=3e-2,
        max_steps=24,
        held_out_fraction=0,  # so that a late step is the best
        cross_fit_folds=0,
    )

    def trained(
        name: str, observer: Recorder, resume_from: Path | None = None, checkpoint_seconds: float = 1e9
    ) -> dict[str, torch.Tensor]:
        config = TrainingConfig(hyperparameters=asked, seed=1, threads=1, checkpoint_seconds=checkpoint_seconds)
        outcome = run(
            annotations,
            config,
            base=tiny_bert,
            work=tmp_path / name,
            observer=observer,
            resume_from=resume_from,
        )
        assert outcome.model is not None
        return load_file(outcome.model / "realm.safetensors")

    killed = KilledAtCheckpoint()
    with pytest.raises(Killed):
        trained("killed", killed, checkpoint_seconds=0.0)
    whole, resumed = trained("whole", Recorder()), trained("resumed", Recorder(), killed.folders[-1])
    assert whole["channel.skill"].abs().max() > 0
    for name, tensor in whole.items():
        assert torch.equal(tensor, resumed[name]), name


def test_it_cannot_answer_without_prompts() -> None:
    channel = make_channel()
    who = torch.tensor([0])
    with pytest.raises(ValueError, match="told what the prompts are"):
        channel.log_likelihood(who, who, 0, torch.tensor([3]))
