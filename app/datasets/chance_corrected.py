"""Krippendorff's alpha of a crowd's labels, with an interval by bootstrap over prompts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Prompts are dealt by number into so many groups, so that drawing them anew costs the same for any dataset. A prime, so
# that tasks that take turns are spread over all groups.
N_GROUPS = 499
N_DRAWS = 1000
_SEED = 0


@dataclass(frozen=True)
class Alpha:
    """1 is perfect agreement, 0 what chance gives. `n_items` have several labels; None where nothing can be told."""

    value: float | None
    low: float | None
    high: float | None
    n_items: int


def krippendorff_alpha(
    differing: NDArray[np.float64], answers: NDArray[np.int64], n_items: int, *, seed: int = _SEED
) -> Alpha:
    """α = 1 − D_o / D_e for nominal labels (Krippendorff 2004, Content Analysis), 95 % interval by bootstrap.

    Over groups g of the prompts that have several labels: `differing` (G,) holds Σ_i d_i / (n_i − 1), where d_i counts
    the ordered pairs of unequal labels of prompt i; `answers` (G, K) how often each answer was given.

        D_o = Σ_g differing_g / n      D_e = (n² − Σ_k n_k²) / (n (n − 1))      n_k = Σ_g answers_gk,  n = Σ_k n_k

    Whole groups are drawn with replacement (Efron & Tibshirani 1993, percentile interval); of few prompts, each is a
    group of its own.
    """
    value = float(_alphas(differing.sum(keepdims=True), answers.sum(axis=0, keepdims=True))[0])
    if np.isnan(value):
        return Alpha(None, None, None, n_items)
    filled = answers.sum(axis=1) > 0
    differing, answers = differing[filled], answers[filled]
    n_groups = len(differing)
    drawn = np.random.default_rng(seed).multinomial(n_groups, np.full(n_groups, 1 / n_groups), N_DRAWS)
    weights = drawn.astype(np.float64)
    alphas = _alphas(weights @ differing, weights @ answers.astype(np.float64))
    alphas = alphas[~np.isnan(alphas)]
    if n_groups < 2 or not len(alphas):
        return Alpha(value, None, None, n_items)
    low, high = np.quantile(alphas, [0.025, 0.975])
    return Alpha(value, float(low), float(high), n_items)


def _alphas(differing: NDArray[np.float64], answers: NDArray[Any]) -> NDArray[np.float64]:
    """α of each draw: `differing` (B,), `answers` (B, K); nan where all labels are the same. (B,)"""
    counts = answers.astype(np.float64)
    n = counts.sum(axis=1)
    expected = (n**2 - (counts**2).sum(axis=1)) / np.maximum(n - 1, 1)  # n · D_e
    with np.errstate(divide="ignore", invalid="ignore"):
        alphas: NDArray[np.float64] = np.where(expected > 0, 1 - differing / expected, np.nan)
    return alphas
