"""What is wrong with an annotator: each flag a test, all annotators tested at a false discovery rate of 5 %.

Every test compares with what the rest of the crowd does on the same items, so that nobody is accused for having got the
hard items, the rare class or the later batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special  # not stats, which takes a second of CPU to import

from realm_core.annotations import FloatArray
from realm_core.intervals import Accuracies
from realm_core.label_table import LabelTable

BoolArray = NDArray[np.bool_]
FALSE_DISCOVERY_RATE = 0.05
SET_ASIDE = 0.5  # hypotheses with larger p-values need no correction
MIN_LABELS = 5
MIN_LABELS_TO_GUESS = 30
CHANCE_MARGIN = 0.1
SAME_SHARE, POOL_SHARE = 0.95, 0.8


def discoveries(p_values: FloatArray) -> BoolArray:
    """Which hypotheses to reject at the false discovery rate (Benjamini and Hochberg 1995); nan: not tested.

    Those with p > ½ are set aside and the others doubled, which keeps the rate (Ellis, Pecanka and Goeman 2020) and
    spares a guesser from being judged by how many others are far from guessing.
    """
    tested = np.flatnonzero(p_values <= SET_ASIDE)
    order = tested[np.argsort(p_values[tested])]
    allowed = FALSE_DISCOVERY_RATE * SET_ASIDE * np.arange(1, len(order) + 1) / max(len(order), 1)
    passed = np.flatnonzero(p_values[order] <= allowed)
    rejected = np.zeros(len(p_values), dtype=np.bool_)
    if len(passed):
        rejected[order[: passed[-1] + 1]] = True
    return rejected


def below_chance(rows: Accuracies) -> BoolArray:
    """The whole interval is below 1/K."""
    z = (special.logit(rows.rate) - special.logit(rows.chance)) / rows.standard_error
    p_values = np.where(rows.n >= MIN_LABELS, special.ndtr(z), np.nan)
    return discoveries(p_values) & (rows.high < rows.chance)


def guessers(rows: Accuracies) -> BoolArray:
    """The whole interval is within .1 of chance (two one-sided tests of equivalence), from 30 labels on."""
    floor, ceiling = np.maximum(rows.chance - CHANCE_MARGIN, 1e-9), rows.chance + CHANCE_MARGIN
    above_floor = (special.logit(rows.rate) - special.logit(floor)) / rows.standard_error
    below_ceiling = (special.logit(ceiling) - special.logit(rows.rate)) / rows.standard_error
    p_values = special.ndtr(-np.minimum(above_floor, below_ceiling))
    p_values = np.where(rows.n >= MIN_LABELS_TO_GUESS, p_values, np.nan)
    return discoveries(p_values) & (rows.low > floor) & (rows.high < ceiling)


@dataclass(frozen=True, eq=False)
class Findings:
    """A flag for some rows, with the figures that it rests on for each flagged row."""

    flagged: BoolArray
    detail: dict[int, dict[str, Any]]

    @classmethod
    def none(cls, n_rows: int) -> Findings:
        return cls(np.zeros(n_rows, dtype=np.bool_), {})

    def only(self, rows: BoolArray) -> Findings:
        """Those in `rows` (mask)."""
        return Findings(self.flagged & rows, {row: found for row, found in self.detail.items() if rows[row]})


def always_same(
    table: LabelTable, label_counts: NDArray[np.intp], posterior: FloatArray, *, has_model: bool
) -> Findings:
    """At least 95 % one label, of which the pool gives under 80 %, and which is not just what their items are.

    How often it would be right is q_i(label) by `posterior` (Kmax, N), or the pool's share of it on items of which
    nothing else is known. `label_counts` (R·T, K).
    """
    label, count = label_counts.argmax(axis=1), label_counts.max(axis=1)
    n = label_counts.sum(axis=1)
    of_pool = label_counts.reshape(-1, table.n_tasks, table.n_answers).sum(axis=0)
    pool_share = (of_pool / np.maximum(of_pool.sum(axis=1, keepdims=True), 1))[table.cell_task, label]
    known = has_model | table.compared
    right = np.where(known, posterior[label[table.cell], table.item], pool_share[table.cell])
    expected = np.clip(table.sum_over_cells(right) / np.maximum(n, 1), 0, 1)
    p_values = np.where(n >= MIN_LABELS, special.bdtrc(count - 1, n, expected), np.nan)
    flagged = discoveries(p_values) & (count >= SAME_SHARE * n) & (pool_share < POOL_SHARE)
    share = count / np.maximum(n, 1)
    detail = {int(c): {"label": int(label[c]), "share": float(share[c])} for c in np.flatnonzero(flagged)}
    return Findings(flagged, detail)


def swaps(table: LabelTable, confusion: FloatArray) -> Findings:
    """Takes one answer k for another l: `confusion` (R·T, K, K), expected counts with rows = truth.

    The rate of l where k is true must exceed, surely, one half or twice what the rest of the pool does at this
    annotator's rate of errors; and how often the annotator says l where neither is true (with two answers: where l is),
    so that who guesses or always says l is not said to swap.
    """
    k = table.n_answers
    n = confusion.sum(axis=2, keepdims=True)  # (R·T, K, 1)
    threshold = np.maximum(_swap_threshold(table, confusion), _elsewhere(table, confusion))
    testable = (n >= MIN_LABELS) & ~np.eye(k, dtype=np.bool_)
    p_of_pair = np.where(testable, special.betainc(confusion + 0.5, n - confusion + 0.5, np.minimum(threshold, 1)), 1)
    p_of_pair = p_of_pair.reshape(len(confusion), -1)
    worst = p_of_pair.argmin(axis=1)
    n_pairs = testable.reshape(len(confusion), -1).sum(axis=1)
    p_values = np.where(n_pairs > 0, np.minimum(p_of_pair.min(axis=1) * n_pairs, 1.0), np.nan)
    flagged = discoveries(p_values)
    detail = {}
    for cell in np.flatnonzero(flagged):
        true, given = divmod(int(worst[cell]), k)
        count, total = confusion[cell, true, given], n[cell, true, 0]
        low = float(special.betaincinv(count + 0.5, total - count + 0.5, 0.025))
        detail[int(cell)] = {"true": true, "given": given, "rate": float(count / total), "low": low}
    return Findings(flagged, detail)


def _swap_threshold(table: LabelTable, confusion: FloatArray) -> FloatArray:
    """One half, or twice the rate of the others in the task scaled to the own rate of errors; never below theirs.

    (R·T, K, K)
    """
    k = table.n_answers
    by_task = confusion.reshape(-1, table.n_tasks, k, k)
    others = (by_task.sum(axis=0) - by_task).reshape(-1, k, k)
    others_rate = others / np.maximum(others.sum(axis=2, keepdims=True), 1e-9)
    more_errors = np.maximum(_error_rate(confusion) / np.maximum(_error_rate(others), 1e-9), 1)
    return np.asarray(np.maximum(np.minimum(0.5, 2 * others_rate * more_errors[:, None, None]), others_rate))


def _error_rate(confusion: FloatArray) -> FloatArray:
    total = confusion.sum(axis=(1, 2))
    right = np.trace(confusion, axis1=1, axis2=2)
    return np.where(total > 0, 1 - right / np.maximum(total, 1e-9), 0.0)


def _elsewhere(table: LabelTable, confusion: FloatArray) -> FloatArray:
    """Upper bound of the rate of l where neither k nor l is true; with two answers, where l is. (R·T, K, K)"""
    right = np.diagonal(confusion, axis1=1, axis2=2)[:, None, :]
    n = confusion.sum(axis=2)
    of_given = n[:, None, :]
    given = confusion.sum(axis=1)[:, None, :] - confusion - right
    total = n.sum(axis=1)[:, None, None] - n[:, :, None] - of_given
    two_answers = (table.cell_answers == 2)[:, None, None]
    given = np.maximum(np.where(two_answers, right, given), 0.0)
    total = np.where(two_answers, of_given, total)
    return np.asarray(special.betaincinv(given + 0.5, np.maximum(total - given, 0.0) + 0.5, 0.975))
