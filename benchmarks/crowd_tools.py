"""Truth inference by others and by us, behind one signature: annotations in, an Inferred out.

Others get the labels as they want them (a data frame of names) and their own defaults, with one exception: MACE runs
once instead of ten times, because every restart of Crowd-Kit 1.4.2 draws the same start and gives the same result.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from crowdkit.aggregation import GLAD, MACE, DawidSkene, MajorityVote, OneCoinDawidSkene
from numpy.typing import NDArray

from realm_core.annotations import Annotations, FloatArray
from realm_core.base_models import MINILM, locate
from realm_core.cross_fitting import ZeroShot, calibrate_zero_shot, cross_fit
from realm_core.truth_choice import best_truth

MAX_LENGTH = 256  # tokens of a prompt that the encoder reads
FOLDS = 5


@dataclass(frozen=True, eq=False)
class Inferred:
    """What a tool concluded: how much speaks for each answer (N, Kmax), and how good each annotator is (R,).

    `own_label` (N,) is the label that the tool itself prints, where it prints one; ties make it differ from `answers`.
    """

    answers: FloatArray
    accuracy: FloatArray
    own_label: NDArray[np.intp] | None = None


Tool = Callable[[Annotations], Inferred]


def _crowd_kit(make: Callable[[], Any]) -> Tool:
    """A tool of Crowd-Kit; an annotator's accuracy is the mean probability of their own labels."""

    def infer(annotations: Annotations) -> Inferred:
        frame = pd.DataFrame(
            {"task": annotations.item, "worker": annotations.annotator, "label": annotations.label}
        ).astype("int64")
        tool = make()
        with warnings.catch_warnings(action="ignore"):  # what pandas deprecates is not ours to mend
            probabilities = tool.fit_predict_proba(frame)
        answers = _spread(annotations, probabilities)
        own = getattr(tool, "labels_", None)
        own_label = answers.argmax(axis=1)
        if own is not None:
            own_label[own.index.to_numpy()] = own.to_numpy()
        return Inferred(answers, _accuracy_under(annotations, answers), own_label)

    return infer


def _spread(annotations: Annotations, probabilities: pd.DataFrame) -> FloatArray:
    """A frame of some items and answers as (N, Kmax); an item without labels gets the same for all answers."""
    shape = (annotations.n_items, int(annotations.answer_counts.max()))
    answers = np.full(shape, 1 / shape[1])
    items = probabilities.index.to_numpy()
    answers[items] = 0.0
    answers[np.ix_(items, probabilities.columns.to_numpy())] = probabilities.fillna(0.0).to_numpy()
    return answers


def _accuracy_under(annotations: Annotations, answers: FloatArray) -> FloatArray:
    right = answers[annotations.item, annotations.label]
    n_labels = np.bincount(annotations.annotator, minlength=annotations.n_annotators)
    total = np.bincount(annotations.annotator, right, minlength=annotations.n_annotators)
    return np.asarray(np.where(n_labels > 0, total / np.maximum(n_labels, 1), np.nan))


PEERS: dict[str, Tool] = {
    "majority_vote": _crowd_kit(MajorityVote),
    "dawid_skene": _crowd_kit(DawidSkene),
    "one_coin": _crowd_kit(OneCoinDawidSkene),
    "glad": _crowd_kit(GLAD),
    "mace": _crowd_kit(lambda: MACE(n_restarts=1)),
}


def ours(annotations: Annotations, log_p: FloatArray | None = None) -> Inferred:
    """What the service's report says, of labels alone or with a model's log p(y | x) (N, Kmax)."""
    truth = best_truth(annotations, log_p).truth
    return Inferred(truth.posterior, truth.accuracy[:, 0])


def crowdlab(annotations: Annotations, log_p: FloatArray) -> Inferred:
    """cleanlab's CROWDLAB, given the same cross-validated probabilities that ours gets."""
    from cleanlab.multiannotator import get_label_quality_multiannotator

    wide = np.full((annotations.n_items, annotations.n_annotators), np.nan)
    wide[annotations.item, annotations.annotator] = annotations.label
    items, annotators = (np.flatnonzero(~np.isnan(wide).all(axis=axis)) for axis in (1, 0))
    with warnings.catch_warnings(action="ignore"):
        result = get_label_quality_multiannotator(
            wide[np.ix_(items, annotators)], np.exp(log_p)[items], return_detailed_quality=False, verbose=False
        )
    answers = np.full_like(log_p, 1 / log_p.shape[1])
    own_label = np.zeros(annotations.n_items, dtype=np.intp)
    own_label[items] = result["label_quality"]["consensus_label"].to_numpy()
    answers[items] = np.eye(log_p.shape[1])[own_label[items]]
    accuracy = np.full(annotations.n_annotators, np.nan)
    accuracy[annotators] = result["annotator_stats"].sort_index()["annotator_quality"].to_numpy()
    return Inferred(answers, accuracy, own_label)


class TextReader:
    """Reads the prompts of a set once, with the frozen MiniLM; then gives log p(y | x) for any choice of its labels."""

    def __init__(self, annotations: Annotations) -> None:
        from realm_core.scorers.families import load_scorer

        scorer = load_scorer(locate(MINILM), MAX_LENGTH)
        scorer.start_answers(annotations.tasks)
        self._embeddings, self._scores = scorer.read(scorer.encode_items(annotations))
        self._scales = scorer.zero_shot_scales

    def log_p(self, annotations: Annotations, seed: int = 0) -> FloatArray:
        """Zero-shot answers and a linear head that has not seen the fold. (N, Kmax)"""
        zero_shot: ZeroShot = calibrate_zero_shot(annotations, self._scores, self._scales)
        return cross_fit(annotations, self._embeddings, zero_shot, FOLDS, seed)
