"""How sure shares are, and accuracies, whose intervals come from the observed information of the joint likelihood.

With β = logit a for each (annotator, task) and p held fixed, the second derivative of the log posterior is the complete
information less the missing one (Louis 1982):

    I_cc  = (n_c + s) a_c (1 − a_c) − Σ_i q_i(l_ic) (1 − q_i(l_ic))
    I_cc' = − Σ_i ( [l_ic = l_ic'] q_i(l_ic) − q_i(l_ic) q_i(l_ic') )        over the items that both labelled

with s the strength of the Beta prior. The off-diagonal part says that annotators who share items are not known apart
from each other; without it three annotators of the same items would get intervals a fifth too narrow. On the logit
scale an interval is ± 1.96 / √information, and never leaves 0 to 1.

Mistakes that the crowd shares make a share ε of the consensus wrong that no posterior shows (`shared_mistakes`). It
hits ε·n of an annotator's n labels, give or take √(ε·n), and carries the annotator along or does not, we cannot know
which: on the scale of a the variance grows by ε²/2 + ε/(n + s).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse
from scipy.special import expit, logit

from realm_core.aggregation import accuracy_under, spread_prior
from realm_core.annotations import FloatArray
from realm_core.label_table import LabelTable

Z95 = 1.959963984540054
FURTHEST = 1e-4  # an accuracy is held this far from 0 and 1, so that its logit is finite
MAX_EXACT_CELLS = 2000  # the dense inverse of more takes more than seconds
SETTLED = 1e-4  # an item whose likeliest answer is this near to certain hides no information
LEAST_VARIANCE = 0.01  # a (1 − a) of who is nearly always right, where a step on the scale of a is endless in logits
LEAST_SHARE = 0.02  # of the information that is left however strongly annotators depend on each other


def wilson(share: float | None, n: float) -> tuple[float | None, float | None]:
    """95 % interval of a share of n (Wilson 1927)."""
    if share is None or n <= 0:
        return None, None
    middle = (share + Z95**2 / (2 * n)) / (1 + Z95**2 / n)
    half = Z95 / (1 + Z95**2 / n) * float(np.sqrt(max(share * (1 - share), 0) / n + Z95**2 / (4 * n**2)))
    return max(middle - half, 0.0), min(middle + half, 1.0)


@dataclass(frozen=True, eq=False)
class Accuracies:
    """Accuracies of some rows, all arrays (rows,): `value`, the expected share of their own labels that are right, and
    a 95 % interval of the rate behind it: `rate`, which is pulled to the pool as far as annotators resemble each other,
    and the standard error of its logit. The interval holds `value`, too.

    `n` labels inform it; `chance` is the mean of 1/K over them. Expertise, the mean of (K·a − 1)/(K − 1), is
    `slope` · a − `offset`.
    """

    n: FloatArray
    value: FloatArray
    rate: FloatArray
    standard_error: FloatArray
    low: FloatArray
    high: FloatArray
    chance: FloatArray
    slope: FloatArray
    offset: FloatArray

    def expertise(self, accuracy: FloatArray) -> FloatArray:
        return np.asarray(self.slope * accuracy - self.offset)


def accuracies_of_cells(
    table: LabelTable, posterior: FloatArray, accuracy: FloatArray, n: FloatArray, wrong_consensus: float = 0.0
) -> Accuracies:
    """For each (annotator, task): `posterior` (Kmax, N), `accuracy` and the number of informative labels `n` (R·T,).

    `wrong_consensus` is the share ε of items whose likeliest answer is wrong though the posterior does not show it.
    """
    k = table.answer_counts[table.item].astype(np.float64)
    labels = np.maximum(table.labels_per_cell, 1)
    unseen = np.where(table.labels_per_cell > 0, 0.0, 1 / np.maximum(table.cell_answers, 1))
    prior = spread_prior(table, posterior)
    rate = np.clip(accuracy_under(table, posterior, prior), FURTHEST, 1 - FURTHEST)
    shared = wrong_consensus**2 / 2 + wrong_consensus / (table.labels_per_cell + prior.strength)
    logit_scale = np.maximum(rate * (1 - rate), LEAST_VARIANCE)
    return _with_interval(
        n,
        np.clip(accuracy, FURTHEST, 1 - FURTHEST),
        rate,
        np.sqrt(standard_errors(table, posterior, rate, prior.strength) ** 2 + shared / logit_scale**2),
        chance=table.sum_over_cells(1 / k) / labels + unseen,
        slope=table.sum_over_cells(k / (k - 1)) / labels,
        offset=table.sum_over_cells(1 / (k - 1)) / labels,
    )


def accuracies_over_tasks(table: LabelTable, cells: Accuracies) -> Accuracies:
    """For each annotator (R,): means over the tasks, weighted by labels, whose errors are independent."""
    shape = (table.n_annotators, table.n_tasks)
    labels = table.labels_per_cell.reshape(shape)
    total = labels.sum(axis=1, keepdims=True)
    weight = np.where(total > 0, labels / np.maximum(total, 1), 1 / table.n_tasks)

    def mean(values: FloatArray) -> FloatArray:
        return np.asarray((weight * values.reshape(shape)).sum(axis=1))

    value, rate = (np.clip(mean(values), FURTHEST, 1 - FURTHEST) for values in (cells.value, cells.rate))
    deviation = weight * (cells.rate * (1 - cells.rate) * cells.standard_error).reshape(shape)
    standard_error = np.sqrt((deviation**2).sum(axis=1)) / (rate * (1 - rate))
    n = cells.n.reshape(shape).sum(axis=1)
    return _with_interval(n, value, rate, standard_error, mean(cells.chance), mean(cells.slope), mean(cells.offset))


def _with_interval(
    n: FloatArray,
    value: FloatArray,
    rate: FloatArray,
    standard_error: FloatArray,
    chance: FloatArray,
    slope: FloatArray,
    offset: FloatArray,
) -> Accuracies:
    low, high = (expit(logit(rate) + z * standard_error) for z in (-Z95, Z95))
    low, high = np.minimum(low, value), np.maximum(high, value)
    return Accuracies(n, value, rate, standard_error, low, high, chance, slope, offset)


def standard_errors(table: LabelTable, posterior: FloatArray, accuracy: FloatArray, strength: float) -> FloatArray:
    """Standard error of logit a for each cell. `posterior` (Kmax, N), `accuracy` (R·T,) -> (R·T,)."""
    complete = (table.labels_per_cell + strength) * accuracy * (1 - accuracy)
    own = table.of_own_label(posterior)
    alone = np.maximum(complete - table.sum_over_cells(own * (1 - own)), LEAST_SHARE * complete)
    scale = sparse.diags_array(1 / np.sqrt(alone))
    coupling = scale @ _missing_together(table, posterior, own) @ scale
    return np.asarray(np.sqrt(_diagonal_of_inverse(coupling) / alone))


def _missing_together(table: LabelTable, posterior: FloatArray, own: FloatArray) -> sparse.csr_array[Any]:
    """Σ_i Cov_q([l_ic = y], [l_ic' = y]) off the diagonal: information that c and c' miss together. (R·T, R·T)"""
    rows = np.flatnonzero(posterior.max(axis=0)[table.item] < 1 - SETTLED)
    item, cell, q = table.item[rows], table.cell[rows], own[rows]
    answers = table.label[rows] * table.n_items + item
    shape = (table.n_answers * table.n_items, table.n_cells)
    same_answer = sparse.coo_array((np.sqrt(q), (answers, cell)), shape=shape).tocsr()
    same_item = sparse.coo_array((q, (item, cell)), shape=(table.n_items, table.n_cells)).tocsr()
    shared: sparse.csr_array[Any] = (same_answer.T @ same_answer - same_item.T @ same_item).tocsr()
    shared.setdiag(0.0)
    return shared


def _diagonal_of_inverse(coupling: sparse.csr_array[Any]) -> FloatArray:
    """diag((1 − E)⁻¹) of the scaled coupling E, exact for a crowd of moderate size.

    For larger ones 1 / (1 − Σ_c' E_cc'²), which is exact for pairs: it misses what goes round through a third
    annotator, and that is little where thousands share their items.
    """
    if coupling.shape[0] > MAX_EXACT_CELLS:
        squares = np.asarray(coupling.multiply(coupling).sum(axis=1)).ravel()
        return np.asarray(1 / np.maximum(1 - squares, LEAST_SHARE))
    values, vectors = np.linalg.eigh(coupling.toarray())
    return np.asarray(vectors**2 @ (1 / np.maximum(1 - values, LEAST_SHARE)))
