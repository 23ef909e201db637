"""What is expected of an annotator on a task before their labels there are read: empirical Bayes, in two stages."""

from __future__ import annotations

import torch
from torch import Tensor

_MARGIN = 1e-3  # expectations stay this far from 0 and 1


def expected_probability(mean: Tensor, count: Tensor, strength: float) -> Tensor:
    """The prior mean of every cell (annotator, task), from all other cells. mean, count (R, C) -> (R, C).

    A cell is expected to be like the pool on its task, shifted on the logit scale by how much better or worse than the
    pool its annotator is on the *other* tasks; that shift is itself pulled to none by `strength` imagined labels:

        logit m_rt = logit c_t + δ_r,   δ_r = logit((Σ_s n_rs x_rs + S·c_r) / (Σ_s n_rs + S)) − logit c_r,   s ≠ t

    with x the cells' means, c_t their mean over annotators, and c_r the mean of c_s over the annotator's other labels.
    So an annotator with few labels of a task is taken for what they are elsewhere, and one with few labels anywhere for
    the pool. With one task it is the pool's mean.
    """
    pool = (count * mean).sum(0) / count.sum(0).clamp(min=1.0)
    overall = (count * mean).sum() / count.sum().clamp(min=1.0)
    pool = torch.where(count.sum(0) > 0, pool, overall).clamp(_MARGIN, 1 - _MARGIN)
    elsewhere = count.sum(1, keepdim=True) - count
    seen = (count * mean).sum(1, keepdim=True) - count * mean
    of_pool = (count * pool).sum(1, keepdim=True) - count * pool
    like_pool = torch.where(elsewhere > 0, of_pool / elsewhere.clamp(min=1.0), pool)
    own = (seen + strength * like_pool) / (elsewhere + strength).clamp(min=_MARGIN)
    own = torch.where(elsewhere + strength > 0, own, like_pool)
    shift = torch.logit(own.clamp(_MARGIN, 1 - _MARGIN)) - torch.logit(like_pool.clamp(_MARGIN, 1 - _MARGIN))
    return torch.sigmoid(torch.logit(pool) + shift)
