"""How well ways to infer the truth predict labels that they have not seen. No gold is read.

A label's predictive likelihood is Σ_y q_i(y) π_r(l | y) with q and π from the other folds.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from realm_core.aggregation import Truth
from realm_core.annotations import Annotations, FloatArray
from realm_core.label_table import LabelTable
from realm_core.truth_candidates import Candidate

N_FOLDS = 5
ONE_FOLD_ABOVE = 200_000  # labels: a fifth of so many is enough to tell the candidates apart
POWERS = tuple(tenth / 10 for tenth in range(10, 0, -1))
TEXT_LEVEL = 0.05  # how often a text that says nothing is believed
LEAST_LIKELIHOOD = 1e-6  # of one label, so that no single surprise decides


@dataclass(frozen=True, eq=False)
class Tried:
    """Candidates, the log-likelihoods (candidates, labels) of labels that were left out, and the labels' items."""

    candidates: tuple[Candidate, ...]
    scores: FloatArray
    item: NDArray[np.int32]

    @classmethod
    def of(
        cls,
        annotations: Annotations,
        log_p: FloatArray | None,
        candidates: tuple[Candidate, ...],
    ) -> Tried:
        """Score each by labels in five folds, of all items where a model can guess them, else of those that another
        annotator labelled too."""
        folds = _folds(LabelTable.of(annotations), everything=log_p is not None)
        tried = [_fitting_power(annotations, log_p, candidate, folds) for candidate in candidates]
        fitted, scores = zip(*tried, strict=True)
        return cls(fitted, np.stack(scores), annotations.item[np.concatenate(folds)])

    def only(self, *shares: str) -> Tried:
        """Those whose shares come from there."""
        chosen = np.array([one.shares in shares for one in self.candidates], dtype=np.bool_)
        kept = tuple(one for one, is_chosen in zip(self.candidates, chosen, strict=True) if is_chosen)
        return Tried(kept, self.scores[chosen], self.item)

    def text_helps(self) -> bool:
        """Whether the best of the ways that read the text is better than the best that does not, at a level of 5 % for
        as many attempts as there are ways (Bonferroni)."""
        alone, reading = self.only("uniform", "learned"), self.only("model")
        if not alone.candidates:
            return True
        gain = reading.best - alone.best
        level = TEXT_LEVEL / len(reading.candidates)
        return bool(gain.mean() > -ndtri(level) * _standard_error(gain, self.item))

    @property
    def best(self) -> FloatArray:
        """The log-likelihoods by the best candidate."""
        return np.asarray(self.scores[self.scores.mean(axis=1).argmax()])

    def near_best(self) -> list[Candidate]:
        """The candidates whose mean is within a standard error of the best one's."""
        losses = [self.best - score for score in self.scores]
        return [
            one
            for one, loss in zip(self.candidates, losses, strict=True)
            if loss.mean() <= _standard_error(loss, self.item)
        ]


def _standard_error(values: FloatArray, item: NDArray[np.int32]) -> float:
    """Of the mean of values of labels; those of one item vary together."""
    by_item = np.bincount(item, values - values.mean())
    return float(np.sqrt((by_item**2).sum())) / max(len(values), 1)


def _folds(table: LabelTable, *, everything: bool) -> list[NDArray[np.intp]]:
    """Rows of labels to leave out in turn, the same every time: all of them, or those of items with another label."""
    scored = everything | table.compared
    n_labels = len(table.item)
    fold = np.random.default_rng(0).integers(0, N_FOLDS, n_labels)
    n_folds = N_FOLDS if n_labels <= ONE_FOLD_ABOVE else 1
    return [table.rows[(fold == index) & scored] for index in range(n_folds)]


def _fitting_power(
    annotations: Annotations, log_p: FloatArray | None, candidate: Candidate, folds: list[NDArray[np.intp]]
) -> tuple[Candidate, FloatArray]:
    """The candidate as sure as predicts left-out labels best, and the log-likelihood of each, fold after fold.

    On hard items annotators err together. Who takes their labels for independent is too sure of the truth, and is
    surprised by the labels that were left out.
    """
    powers = POWERS if LabelTable.of(annotations).compared.any() else POWERS[:1]  # one label shows no common error
    parts: list[list[FloatArray]] = [[] for _ in powers]
    for left_out in folds:
        kept = np.ones(annotations.n_labels, dtype=np.bool_)
        kept[left_out] = False
        truth = candidate.fit(annotations.select_labels(kept), log_p, tolerance=1e-4)
        hidden = annotations.select_labels(left_out)
        for part, power in zip(parts, powers, strict=True):
            part.append(predictive_likelihood(hidden, truth.tempered(power)))
    scores = [np.log(np.maximum(np.concatenate(part), LEAST_LIKELIHOOD)) for part in parts]
    best = int(np.argmax([score.mean() for score in scores]))
    return replace(candidate, power=powers[best]), scores[best]


def predictive_likelihood(
    annotations: Annotations, truth: Truth, label: NDArray[np.integer[Any]] | None = None
) -> FloatArray:
    """Σ_y q_i(y) π_r(l | y) of each label, with q and π of `truth`, which has not seen these labels. (L,)

    `label` (L,) are answers that the annotators could have given instead.
    """
    label = annotations.label if label is None else label
    task = annotations.item_task[annotations.item]
    posterior = truth.posterior[annotations.item]
    if truth.confusion is not None:
        rates = truth.confusion[annotations.annotator, task, :, label]
        return np.asarray((posterior * rates).sum(axis=1))
    accuracy = truth.accuracy[annotations.annotator, task]
    own = posterior[np.arange(annotations.n_labels), label]
    wrong = (1 - accuracy) / np.maximum(annotations.answer_counts[annotations.item] - 1, 1)
    return np.asarray(own * accuracy + (1 - own) * wrong)
