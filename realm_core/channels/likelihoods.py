"""How likely each label is under each possible truth, for annotators of whom one number is known."""

from __future__ import annotations

from torch import Tensor, logaddexp, nn, where
from torch.nn.functional import one_hot


def mixture_log_likelihood(alpha: Tensor, label: Tensor, n_answers: Tensor) -> Tensor:
    """log(w·[l=y] + (1−w)/K) with w = σ(α), for every truth y (paper, Eq. 1). All (M,) -> (M, Kmax)."""
    guess = nn.functional.logsigmoid(-alpha) - n_answers.to(alpha.dtype).log()
    right = logaddexp(nn.functional.logsigmoid(alpha), guess)
    return where(is_label(label, n_answers), right[:, None], guess[:, None])


def one_coin_log_likelihood(beta: Tensor, label: Tensor, n_answers: Tensor) -> Tensor:
    """log(a if l=y else (1−a)/(K−1)) with a = σ(β), for every truth y. All (M,) -> (M, Kmax)."""
    right = nn.functional.logsigmoid(beta)
    wrong = nn.functional.logsigmoid(-beta) - (n_answers - 1).clamp(min=1).to(beta.dtype).log()
    return where(is_label(label, n_answers), right[:, None], wrong[:, None])


def is_label(label: Tensor, n_answers: Tensor) -> Tensor:
    """Where a column is the label. (M,) -> (M, Kmax)"""
    return one_hot(label, int(n_answers.max())).bool()
