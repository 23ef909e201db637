"""Krippendorff's alpha of a crowd's labels, with an interval by bootstrap over prompts."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from realm_core.agreement import Alpha, alphas, expected_disagreement

# Prompts are dealt by number into so many groups, so that drawing them anew costs the same for any dataset. A prime, so
# that tasks that take turns are spread over all groups.
N_GROUPS = 499
N_DRAWS = 1000
_SEED = 0


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
    counts = answers.astype(np.float64)
    value = float(alphas(differing.sum(), expected_disagreement(counts.sum(axis=0))))
    if np.isnan(value):
        return Alpha(None, None, None, n_items)
    filled = counts.sum(axis=1) > 0
    differing, counts = differing[filled], counts[filled]
    n_groups = len(differing)
    drawn = np.random.default_rng(seed).multinomial(n_groups, np.full(n_groups, 1 / n_groups), N_DRAWS)
    weights = drawn.astype(np.float64)
    of_draws = alphas(weights @ differing, expected_disagreement(weights @ counts))
    of_draws = of_draws[~np.isnan(of_draws)]
    if n_groups < 2 or not len(of_draws):
        return Alpha(value, None, None, n_items)
    low, high = np.quantile(of_draws, [0.025, 0.975])
    return Alpha(value, float(low), float(high), n_items)
