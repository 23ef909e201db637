"""Runs, one after another or in several processes: who makes them holds the sets and the pretrained model.

Only the process that asked writes results, so that runs never wait for each other's files.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.paper.frozen_encoder import FrozenScorer, TextEmbeddings
from benchmarks.paper.question_sets import QuestionSet
from benchmarks.paper.settings import Method, Setting
from benchmarks.paper.training_runs import Conditions, Run, run_once
from realm_core.annotations import FloatArray
from realm_core.base_models import locate
from realm_core.scorers.families import load_scorer
from realm_core.scorers.inputs import EncodedPrompt
from realm_core.scorers.scorer import Scorer

Sets = dict[str, QuestionSet]
Readings = tuple[NDArray[np.float32], FloatArray]


@dataclass(frozen=True)
class Wanted:
    """One run to make."""

    setting: Setting
    method: Method
    seed: int


@dataclass(frozen=True)
class Made:
    """A run, and how long it took on the clock."""

    wanted: Wanted
    run: Run
    seconds: float


class Runner:
    """Makes runs, each from the model as it was before training. `folder`: where embeddings are kept."""

    def __init__(self, sets: Sets, conditions: Conditions, folder: Path) -> None:
        self._sets, self._conditions = sets, conditions
        self._load = _frozen(sets, conditions, folder) if conditions.frozen else ReadOnce(conditions)

    def make(self, wanted: Wanted) -> Made:
        began = time.monotonic()
        sets = [self._sets[name] for name in wanted.setting.datasets]
        run = run_once(sets, wanted.setting, wanted.method, wanted.seed, self._conditions, self._load)
        return Made(wanted, run, time.monotonic() - began)


class ReadOnce:
    """Loads a model for each run. What it says of a set's prompts before training is the same in all runs, so it is
    computed in the first and remembered."""

    def __init__(self, conditions: Conditions) -> None:
        self._base, self._max_length = locate(conditions.model), conditions.max_length
        self._known: dict[bytes, Readings] = {}

    def __call__(self) -> Scorer:
        scorer = load_scorer(self._base, self._max_length)
        read = scorer.read

        def remembered(encoded: Sequence[EncodedPrompt]) -> Readings:
            key = hashlib.sha256(repr((scorer.tasks, encoded)).encode()).digest()
            if key not in self._known:
                self._known[key] = read(encoded)
            embeddings, scores = self._known[key]
            return embeddings.copy(), scores.copy()

        scorer.read = remembered  # type: ignore[method-assign]
        return scorer


def _frozen(sets: Sets, conditions: Conditions, folder: Path) -> Callable[[], Scorer]:
    embeddings = TextEmbeddings(locate(conditions.model), conditions.max_length, folder)
    for one in sets.values():
        embeddings.learn(_texts(one, conditions))
    return partial(FrozenScorer, embeddings)


def _texts(one: QuestionSet, conditions: Conditions) -> list[str]:
    """Everything of a set that the encoder reads."""
    parts = (one.train.first(conditions.prompts), one.test)
    options = [option for part in parts for own in part.options for option in own or ()]
    return [*one.task.descriptions, *parts[0].prompts, *parts[1].prompts, *options]


def make_runs(
    wanted: Sequence[Wanted], sets: Sets, conditions: Conditions, folder: Path, processes: int
) -> Iterator[Made]:
    """The runs, in about the order in which they are wanted, by so many processes of one thread each.

    With one process all is done in this one, with as many threads as torch takes.
    """
    if processes == 1:
        yield from map(Runner(sets, conditions, folder).make, wanted)
        return
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):  # read when a process starts
        os.environ.setdefault(name, "1")
    arguments = (sets, conditions, folder)
    with ProcessPoolExecutor(processes, get_context("spawn"), _start_process, arguments) as pool:
        if conditions.frozen:
            list(pool.map(_embed, sets))
        futures = [pool.submit(_make, one) for one in wanted]
        try:
            for future in as_completed(futures):
                yield future.result()
        finally:
            pool.shutdown(cancel_futures=True)


_arguments: tuple[Sets, Conditions, Path]  # of this process
_runner: Runner | None = None


def _start_process(*arguments: object) -> None:
    global _arguments
    _arguments = arguments  # type: ignore[assignment]
    torch.set_num_threads(1)


def _embed(name: str) -> None:
    sets, conditions, folder = _arguments
    _frozen({name: sets[name]}, conditions, folder)


def _make(wanted: Wanted) -> Made:
    global _runner
    _runner = _runner or Runner(*_arguments)
    return _runner.make(wanted)
