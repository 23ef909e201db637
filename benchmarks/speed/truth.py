"""Row 13: Dawid–Skene and one coin, against Crowd-Kit with the same iterations."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from crowdkit.aggregation import DawidSkene, OneCoinDawidSkene

from benchmarks.speed.crowd import make_crowd
from benchmarks.speed.ratio import Ratio, faster_by, in_turns
from benchmarks.speed.size import Size
from realm_core.aggregation import dawid_skene, majority_vote, one_coin
from realm_core.annotations import Annotations, FloatArray

_N_ANNOTATORS = 200
_ITERATIONS = 10


def rows(wanted: set[int], size: Size) -> Iterator[Ratio]:
    """Row 13."""
    if 13 not in wanted:
        return
    n = size.annotations
    annotations = make_crowd(n // size.per_item, size.per_item, _N_ANNOTATORS).annotations()
    frame = pd.DataFrame({"task": annotations.item, "worker": annotations.annotator, "label": annotations.label})
    for name, ours, theirs in (
        ("Dawid–Skene", _dawid_skene, DawidSkene),
        ("one coin", _one_coin, OneCoinDawidSkene),
    ):
        mine, reference = _Timed(partial(ours, annotations)), _Timed(partial(_proba, theirs, frame))
        times = in_turns(mine.seconds, reference.seconds, size.rounds)
        note = f"posteriors differ by {np.abs(mine.result - reference.result).max():.0e} at most"
        yield Ratio(13, f"{name} on {n:,} labels, against Crowd-Kit", faster_by(15), *times, "s", note)


class _Timed:
    """Remembers what a piece of work made."""

    def __init__(self, work: Callable[[], FloatArray]) -> None:
        self._work = work
        self.result: FloatArray = np.zeros(())

    def seconds(self) -> float:
        started = time.perf_counter()
        self.result = self._work()
        return time.perf_counter() - started


def _proba(kind: Any, frame: pd.DataFrame) -> FloatArray:
    tool = kind(n_iter=_ITERATIONS, tol=-1)
    with warnings.catch_warnings(action="ignore"):  # what pandas deprecates is not ours to mend
        return np.asarray(tool.fit_predict_proba(frame).sort_index().sort_index(axis=1))


def _dawid_skene(annotations: Annotations) -> FloatArray:
    """From the votes and by maximum likelihood, as Crowd-Kit does it."""
    start = majority_vote(annotations).posterior
    return dawid_skene(annotations, prior=None, start=start, max_iterations=_ITERATIONS, tolerance=0).posterior


def _one_coin(annotations: Annotations) -> FloatArray:
    start = majority_vote(annotations).accuracy
    found = one_coin(
        annotations, prior=None, start=start, learn_prevalence=True, max_iterations=_ITERATIONS, tolerance=0
    )
    return found.posterior
