"""One run: simulate a crowd, let a method learn from it, score the model on questions that it has not seen.

All methods of a setting get the same prompts, the same simulated labels, the same pretrained start, steps, batches,
learning rates and rule for the step that is kept (likelihood of held-out annotations). What differs is what they make
of the labels. Training is the product's own: `prepare` and `fit`.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.paper.question_sets import Questions, QuestionSet, annotations_of
from benchmarks.paper.settings import Method, Setting
from realm_core.aggregation import dawid_skene, majority_vote
from realm_core.annotations import Annotations, FloatArray, IntArray, Task
from realm_core.channels import PerfectChannel
from realm_core.config import Hyperparameters, TrainingConfig
from realm_core.preparation import prepare
from realm_core.scorers.scorer import Scorer
from realm_core.simulation import Reading, simulate
from realm_core.training import FitEvents, fit, predict_log_p

EVALUATIONS = 5
NO_TIME_LIMIT = 1e9


@dataclass(frozen=True)
class Conditions:
    """What all runs of a results folder have in common."""

    model: str
    frozen: bool
    steps: int
    batch_size: int
    prompts: int
    max_length: int
    reading: Reading


@dataclass(frozen=True)
class Run:
    """Accuracy over all test questions and by set, the channel and what it believed, and accuracy by step."""

    accuracy: float
    by_dataset: dict[str, float]
    channel: str
    believed: list[list[float]] | None
    curve: list[tuple[int, float]]
    seconds: float


def run_once(
    sets: Sequence[QuestionSet],
    setting: Setting,
    method: Method,
    seed: int,
    conditions: Conditions,
    load: Callable[[], Scorer],
) -> Run:
    """Train one method in one setting with one seed."""
    begin = time.process_time()
    train = [(one.task, one.train.first(conditions.prompts // len(sets))) for one in sets]
    test = [(one.task, one.test) for one in sets]
    annotations = _labels_for(method, train, setting, seed, conditions.reading)
    config = _config(method, setting, seed, conditions)
    scorer = load()
    scorer.to("cuda" if torch.cuda.is_available() else "cpu")
    start = prepare(scorer, annotations, config)
    channel = start.channel.to(scorer.device)
    curve: list[tuple[int, float]] = []

    def on_metrics(step: int, values: dict[str, Any]) -> None:
        if setting.curve and "held_out_log_likelihood" in values:
            curve.append((step, float(np.mean(_right(scorer, test)))))
            scorer.train()

    with tempfile.TemporaryDirectory() as work:
        fit(
            scorer,
            channel,
            start.annotations,
            start.plan,
            seed=seed,
            work=Path(work),
            events=FitEvents(progress=lambda *_: None, metrics=on_metrics, checkpoint=lambda *_: None),
            checkpoint_seconds=NO_TIME_LIMIT,
        )
    right = _right(scorer, test)
    ends = np.cumsum([len(questions) for _, questions in test])[:-1]
    by_dataset = {one.name: float(np.mean(r)) for one, r in zip(sets, np.split(right, ends), strict=True)}
    believed = None if isinstance(channel, PerfectChannel) else channel.accuracy().tolist()
    seconds = time.process_time() - begin
    return Run(float(np.mean(right)), by_dataset, channel.name, believed, curve, round(seconds, 2))


def _config(method: Method, setting: Setting, seed: int, conditions: Conditions) -> TrainingConfig:
    return TrainingConfig(
        method="realm" if method in ("paper", "default") else "supervised",
        seed=seed,
        hyperparameters=Hyperparameters(
            preset="paper" if method == "paper" else "default",
            max_steps=conditions.steps,
            batch_size=conditions.batch_size,
            max_length=conditions.max_length,
            expertise_learning_rate=setting.expertise_learning_rate or "auto",
            evaluations=EVALUATIONS,
            patience=EVALUATIONS + 1,
            time_budget_seconds=NO_TIME_LIMIT,
        ),
    )


def _right(scorer: Scorer, test: Sequence[tuple[Task, Questions]]) -> FloatArray:
    """1 where the scorer's answer is right. (N,)"""
    log_p = predict_log_p(scorer, annotations_of(test))
    truth = np.concatenate([questions.truth for _, questions in test])
    return np.asarray(log_p.argmax(axis=1) == truth, dtype=np.float64)


def _labels_for(
    method: Method, train: Sequence[tuple[Task, Questions]], setting: Setting, seed: int, reading: Reading
) -> Annotations:
    """What the method learns from: gold, the simulated labels, or one label per prompt that they were made into."""
    truth = np.concatenate([questions.truth for _, questions in train])
    everything = np.arange(len(truth), dtype=np.int32)
    nobody = np.zeros(len(truth), dtype=np.int32)
    if method == "oracle":
        return annotations_of(train, ["gold"], (everything, nobody, truth))
    crowd = simulated(train, setting, seed, reading)
    if method in ("majority_vote", "dawid_skene"):
        return annotations_of(train, [method], (everything, nobody, _aggregated(method, crowd, seed)))
    return crowd


def simulated(train: Sequence[tuple[Task, Questions]], setting: Setting, seed: int, reading: Reading) -> Annotations:
    """The crowd of a setting."""
    truth = np.concatenate([questions.truth for _, questions in train])
    questions = annotations_of(train)
    labels = simulate(
        truth,
        questions.answer_counts,
        accuracy=setting.expertise,
        noise=setting.noise,
        mode=setting.mode,
        seed=seed,
        reading=reading,
        item_task=questions.item_task,
    )
    annotators = [f"annotator {r + 1}" for r in range(len(setting.expertise))]
    return annotations_of(train, annotators, (labels.item, labels.annotator, labels.label))


def _aggregated(method: Method, crowd: Annotations, seed: int) -> IntArray:
    """One label for each item, options by position, ties drawn. Dawid and Skene (1979) start from votes, no prior."""
    posterior = np.full((crowd.n_items, int(crowd.answer_counts.max())), -np.inf)
    for task in range(len(crowd.tasks)):
        items = np.flatnonzero(crowd.item_task == task).astype(np.int32)
        one = _with_positions(crowd.select_items(items))
        votes = majority_vote(one).posterior
        q = votes if method == "majority_vote" else dawid_skene(one, prior=None, start=votes).posterior
        posterior[items, : q.shape[1]] = q
    tie_break = np.random.default_rng(seed).random(posterior.shape) * 1e-9
    return np.asarray((posterior + tie_break).argmax(axis=1), dtype=np.int32)


def _with_positions(crowd: Annotations) -> Annotations:
    """The items of one task, with A, B, … in place of options of their own."""
    letters = tuple("ABCDEFGH"[: int(crowd.answer_counts.max())])
    return Annotations(
        tasks=(Task("letters", letters),),
        annotators=crowd.annotators,
        item_ids=crowd.item_ids,
        item_task=np.zeros_like(crowd.item_task),
        item=crowd.item,
        annotator=crowd.annotator,
        label=crowd.label,
    )
