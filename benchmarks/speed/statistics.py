"""Row 5: counting labels, majorities and confusions, against numpy's bincount of arrays in memory."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from app.datasets.statistics import CrowdLabels, statistics_of, sums_of
from benchmarks.speed.crowd import ANSWERS, Crowd, make_crowd
from benchmarks.speed.ratio import Ratio, at_most, in_turns
from benchmarks.speed.size import Size
from realm_core.aggregation import Truth
from realm_core.annotations import FloatArray
from realm_core.label_table import LabelTable
from realm_core.report_evidence import Evidence

_N_ANNOTATORS = 200


def rows(wanted: set[int], size: Size) -> Iterator[Ratio]:
    """Row 5."""
    if 5 not in wanted:
        return
    n = size.many_annotations
    crowd = make_crowd(n // size.per_item, size.per_item, _N_ANNOTATORS)
    ours, reference = _Ours(crowd), _Bincount(crowd)
    assert np.array_equal(ours.confusion(), reference.confusion())
    times = in_turns(ours.seconds, reference.seconds, size.rounds)
    name = f"statistics of {n:,} labels (counts, majority, confusion), against numpy's bincount"
    yield Ratio(5, name, at_most(3), *times, "s", "CPU seconds: both use one thread")


class _Ours:
    """What the service does when a version is made, and what a report's counts are made of."""

    def __init__(self, crowd: Crowd) -> None:
        order = np.argsort(crowd.item, kind="stable")
        self._annotations = crowd.annotations().select_labels(order)
        self._crowd = CrowdLabels(
            annotator_keys=np.arange(self._annotations.n_annotators),
            item_task=self._annotations.item_task,
            item_has_options=np.zeros(len(crowd.truth), np.bool_),
            item=self._annotations.item,
            annotator=self._annotations.annotator,
            label=self._annotations.label.astype(np.int16),
        )

    def seconds(self) -> float:
        """Of a crowd of which nothing has been counted yet."""
        self._annotations, crowd = replace(self._annotations), replace(self._crowd)
        started = time.process_time()
        statistics_of(sums_of(crowd), [("default", ANSWERS)], lambda keys: [str(key) for key in keys])
        self.confusion()
        return time.process_time() - started

    def confusion(self) -> FloatArray:
        """How often each annotator said l where the majority says y. (R, K, K)"""
        majority = LabelTable.of(self._annotations).votes().argmax(axis=0)
        as_truth = Truth(np.eye(len(ANSWERS))[majority], np.zeros(0), None, np.nan)
        found = Evidence(self._annotations, None, as_truth).confusion
        assert found is not None
        return found


class _Bincount:
    """The same counts as short as numpy has them."""

    def __init__(self, crowd: Crowd) -> None:
        order = np.argsort(crowd.item, kind="stable")
        self._item, self._annotator, self._label = crowd.item[order], crowd.annotator[order], crowd.label[order]
        self._n_items, self._n_annotators = len(crowd.truth), crowd.n_annotators

    def seconds(self) -> float:
        started = time.process_time()
        np.bincount(self._item, minlength=self._n_items)
        np.bincount(self._annotator, minlength=self._n_annotators)
        self.confusion()
        return time.process_time() - started

    def confusion(self) -> FloatArray:
        k = len(ANSWERS)
        votes = np.bincount(self._item.astype(np.int64) * k + self._label, minlength=self._n_items * k)
        majority = votes.reshape(-1, k).argmax(axis=1)[self._item]
        cell = (self._annotator.astype(np.int64) * k + majority) * k + self._label
        return np.bincount(cell, minlength=self._n_annotators * k * k).reshape(-1, k, k).astype(np.float64)
