"""The figures a manager reads: how reliable each annotator is, and which answer of each item is right.

All of them follow from one posterior q_i(y): truth inference with the model's p(y | x) held fixed. An annotator's
accuracy is how many of their own labels are expected to be right, a_r = (Σ_i q_i(l_ir) + m) / (n_r + 1), where the
pool's accuracy m counts as one more label, whatever the channel. Its interval is that of the rate behind it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from realm_core.aggregation import pooled_accuracy
from realm_core.agreement import pairs_of_cells
from realm_core.annotations import Annotations, FloatArray
from realm_core.annotator_pairs import PairRows, annotator_pairs
from realm_core.crowd_figures import crowd_figures
from realm_core.drift import drift
from realm_core.flags import MIN_LABELS, BoolArray, Findings, always_same, below_chance, guessers, swaps
from realm_core.intervals import Accuracies, accuracies_of_cells, accuracies_over_tasks
from realm_core.left_out import worth
from realm_core.report_evidence import Evidence
from realm_core.report_summary import summarize
from realm_core.shared_mistakes import wrong_consensus
from realm_core.truth_choice import best_truth

AccuracyMethod = Literal["cross_fitted", "in_sample"]


@dataclass(frozen=True)
class Estimate:
    """A figure with its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class AnnotatorRow:
    """One annotator on one task, or over all of them (`task` None). Figures are None where they cannot be told.

    `detail` is JSON: of one task the `label_counts`, the `confusion` (K×K expected counts, rows = probable truth) and
    the figures behind the flags `swaps` and `always`; over all tasks those behind `drift`. With one task both rows have
    everything.
    """

    annotator: int
    task: int | None
    n: int
    accuracy: Estimate | None
    accuracy_method: AccuracyMethod
    model_accuracy: float | None
    expertise: Estimate | None
    agreement: float | None
    flags: tuple[str, ...]
    detail: dict[str, Any]


@dataclass(frozen=True, eq=False)
class ItemRows:
    """Every item: its likeliest answer, how likely that is, and what one more label would gain.

    `label`, `probability`, `relabel_gain` (N,), `posterior` (N, Kmax); what the model alone says: `model_probability`
    (N,) of `label`, `model_posterior` (N, Kmax), None without one.
    """

    label: NDArray[np.intp]
    probability: FloatArray
    model_probability: FloatArray | None
    relabel_gain: FloatArray
    posterior: FloatArray
    model_posterior: FloatArray | None


@dataclass(frozen=True, eq=False)
class Report:
    """What a job found out: a row for each annotator over all tasks and, after it, one for each task; `summary` is
    JSON, and so are `figures`, which are too many for it."""

    annotators: tuple[AnnotatorRow, ...]
    items: ItemRows
    pairs: PairRows
    summary: dict[str, Any]
    figures: dict[str, Any]


def build_report(
    annotations: Annotations,
    log_p: FloatArray | None,
    *,
    cross_fitted: bool,
    trained_accuracy: FloatArray | None,
    plain_log_p: FloatArray | None = None,
) -> Report:
    """The report of a job.

    `log_p` (N, Kmax): the model's log p(y | x), None without a model; `cross_fitted`: it comes from models that had not
    seen the item. `trained_accuracy` (R, T): what the channel learned in training. `plain_log_p` (N, Kmax): the same
    model trained on the labels as they are, to compare with.
    """
    choice = best_truth(annotations, log_p)
    evidence = Evidence(annotations, log_p, choice.truth, model_counts=choice.candidate.shares == "model")
    wrong = wrong_consensus(evidence, choice.candidate)
    method: AccuracyMethod = "cross_fitted" if cross_fitted and log_p is not None else "in_sample"
    return Report(
        annotators=tuple(_annotator_rows(evidence, trained_accuracy, method, wrong)),
        items=_item_rows(evidence),
        pairs=annotator_pairs(evidence),
        summary=summarize(evidence, choice, cross_fitted=cross_fitted, wrong_consensus=wrong),
        figures=crowd_figures(evidence, choice.candidate) | worth(evidence, choice.candidate, plain_log_p),
    )


@dataclass(frozen=True, eq=False)
class _Findings:
    """What the tests found: `always` and `swaps` for each (annotator, task), `drift` for each annotator."""

    always: Findings
    swaps: Findings
    drift: Findings

    def of_cell(self, evidence: Evidence, cell: int) -> dict[str, Any]:
        """The details of one annotator on one task."""
        task = cell % evidence.table.n_tasks
        k = evidence.table.task_answers[task]
        counts = evidence.confusion
        has_confusion = counts is not None and evidence.fixed_answers[task]
        return {
            "confusion": counts[cell, :k, :k].round(4).tolist() if counts is not None and has_confusion else None,
            "label_counts": evidence.label_counts[cell, :k].tolist(),
            "swaps": self.swaps.detail.get(cell),
            "always": self.always.detail.get(cell),
            "drift": self.drift.detail.get(cell) if evidence.table.n_tasks == 1 else None,
        }

    def over_tasks(self, evidence: Evidence, annotator: int) -> dict[str, Any]:
        """The details of one annotator on everything; counts of several tasks do not add up."""
        if evidence.table.n_tasks == 1:
            return self.of_cell(evidence, annotator)
        nothing = dict.fromkeys(("confusion", "label_counts", "swaps", "always"))
        return {**nothing, "drift": self.drift.detail.get(annotator)}


@dataclass(frozen=True, eq=False)
class _Figures:
    """The figures of many rows, all arrays (rows,)."""

    n: NDArray[np.intp]
    accuracies: Accuracies
    trained: FloatArray | None
    pairs: FloatArray
    equal: FloatArray
    flags: dict[str, BoolArray]

    def row(
        self, index: int, annotator: int, task: int | None, method: AccuracyMethod, detail: dict[str, Any]
    ) -> AnnotatorRow:
        known = self.n[index] >= MIN_LABELS
        compared = known and self.accuracies.n[index] >= MIN_LABELS
        return AnnotatorRow(
            annotator=annotator,
            task=task,
            n=int(self.n[index]),
            accuracy=self._accuracy(index) if compared else None,
            accuracy_method=method,
            model_accuracy=float(self.trained[index]) if known and self.trained is not None else None,
            expertise=self._expertise(index) if compared else None,
            agreement=float(self.equal[index] / self.pairs[index]) if known and self.pairs[index] else None,
            flags=tuple(name for name, flagged in self.flags.items() if flagged[index]),
            detail=detail,
        )

    def _accuracy(self, index: int) -> Estimate:
        rows = self.accuracies
        return Estimate(float(rows.value[index]), float(rows.low[index]), float(rows.high[index]))

    def _expertise(self, index: int) -> Estimate:
        rows, accuracy = self.accuracies, self._accuracy(index)
        ends = (accuracy.value, accuracy.low, accuracy.high)
        return Estimate(*(float(rows.slope[index] * a - rows.offset[index]) for a in ends))


def _annotator_rows(
    evidence: Evidence, trained_accuracy: FloatArray | None, method: AccuracyMethod, wrong: float
) -> Iterator[AnnotatorRow]:
    found = _find(evidence)
    cells = _figures_of_cells(evidence, found, trained_accuracy, wrong)
    totals = _figures_over_tasks(evidence, found, cells)
    n_tasks = evidence.table.n_tasks
    for annotator in range(evidence.table.n_annotators):
        yield totals.row(annotator, annotator, None, method, found.over_tasks(evidence, annotator))
        for task in range(n_tasks):
            cell = annotator * n_tasks + task
            if cells.n[cell]:
                yield cells.row(cell, annotator, task, method, found.of_cell(evidence, cell))


def _find(evidence: Evidence) -> _Findings:
    table, confusion = evidence.table, evidence.confusion
    comparable = evidence.informative >= MIN_LABELS
    always = always_same(table, evidence.label_counts, evidence.posterior, has_model=evidence.model_counts)
    swapped = Findings.none(table.n_cells) if confusion is None else swaps(table, confusion).only(comparable)
    return _Findings(
        always=always,
        swaps=swapped.only(~always.flagged),  # who says the same to everything takes nothing for anything
        drift=drift(table, table.of_own_label(evidence.posterior), evidence.accuracy, evidence.created_at).only(
            np.logical_or.reduce(comparable.reshape(-1, table.n_tasks), axis=1)
        ),
    )


def _figures_of_cells(
    evidence: Evidence, found: _Findings, trained_accuracy: FloatArray | None, wrong: float
) -> _Figures:
    table = evidence.table
    accuracies = accuracies_of_cells(table, evidence.posterior, evidence.accuracy, evidence.informative, wrong)
    pairs, equal = pairs_of_cells(table)
    trained = None if trained_accuracy is None else np.asarray(trained_accuracy).ravel()
    drifted = found.drift.flagged if table.n_tasks == 1 else np.zeros(table.n_cells, dtype=np.bool_)
    flags = _flags(evidence.n, accuracies, found.always.flagged, found.swaps.flagged, drifted)
    return _Figures(evidence.n, accuracies, trained, pairs, equal, flags)


def _figures_over_tasks(evidence: Evidence, found: _Findings, cells: _Figures) -> _Figures:
    """The same for each annotator on everything; who always says the same or swaps in one task carries the flag."""
    shape = (evidence.table.n_annotators, evidence.table.n_tasks)
    n, pairs, equal = (counts.reshape(shape).sum(axis=1) for counts in (cells.n, cells.pairs, cells.equal))
    trained = cells.trained
    if trained is not None:
        trained = (trained * cells.n).reshape(shape).sum(axis=1) / np.maximum(n, 1)
    accuracies = accuracies_over_tasks(evidence.table, cells.accuracies)
    always, swapped = (np.logical_or.reduce(one.flagged.reshape(shape), axis=1) for one in (found.always, found.swaps))
    return _Figures(n, accuracies, trained, pairs, equal, _flags(n, accuracies, always, swapped, found.drift.flagged))


def _flags(
    n: NDArray[np.intp], accuracies: Accuracies, always: BoolArray, swapped: BoolArray, drifted: BoolArray
) -> dict[str, BoolArray]:
    return {
        "too_few_labels": n < MIN_LABELS,
        "below_chance": below_chance(accuracies),
        "guesser": guessers(accuracies),
        "always_same": always,
        "swaps": swapped,
        "drift": drifted,
    }


def _item_rows(evidence: Evidence) -> ItemRows:
    posterior = evidence.truth.posterior
    label = posterior.argmax(axis=1)
    own = (np.arange(len(label)), label)
    model = None if evidence.log_p is None else np.exp(evidence.log_p)
    return ItemRows(
        label=label,
        probability=posterior[own],
        model_probability=None if model is None else model[own],
        relabel_gain=relabel_gain(evidence),
        posterior=posterior,
        model_posterior=model,
    )


def relabel_gain(evidence: Evidence) -> FloatArray:
    """By how much one more label is expected to raise the probability of an answer drawn from the posterior. (N,)

    Σ_l (Σ_y (q(y) π(l|y))²) / π(l) − Σ_y q(y)², with π the one-coin channel of an annotator as accurate as the pool in
    the task, and π(l) = Σ_y q(y) π(l|y).
    """
    table, q = evidence.table, evidence.posterior
    right = table.sum_over_cells(table.of_own_label(q))
    a = pooled_accuracy(table, right)[table.item_task]
    wrong = (1 - a) / np.maximum(table.answer_counts - 1, 1)
    certainty = (q**2).sum(axis=0)
    of_label = q * a + (1 - q) * wrong
    after = ((q * a) ** 2 + (certainty - q**2) * wrong**2) / np.where(of_label > 0, of_label, 1)
    gain = np.where(table.valid, after, 0.0).sum(axis=0) - certainty
    return np.where(table.answer_counts > 1, np.maximum(gain, 0.0), 0.0)
