"""Which truth inference fits a crowd, told by how well it predicts labels that it has not seen. No gold is read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import softmax

from realm_core.aggregation import UNIT, Truth, accuracy_under, dawid_skene, tempered
from realm_core.annotations import Annotations, FloatArray
from realm_core.label_table import LabelTable
from realm_core.truth_candidates import Candidate, candidates_for
from realm_core.truth_trials import Tried

NOBODY_TO_COMPARE = (
    "All labels count alike: no three annotators share prompts, directly or through others, so nothing shows which of "
    "them are right more often."
)


TEXT_DOES_NOT_HELP = (
    "The model's own answers count with weight 0: that they help to guess hidden labels may be chance, so the text is "
    "left out."
)


@dataclass(frozen=True, eq=False)
class Choice:
    """The truth that was inferred, the simplest of the candidates that it comes from, and why, for any reader.

    `model_weight` is the mean weight of the model's answers, None without a model.
    """

    truth: Truth
    candidate: Candidate
    why: str
    model_weight: float | None = None


def best_truth(annotations: Annotations, log_p: FloatArray | None = None) -> Choice:
    """What all candidates say together that predict left-out labels within a standard error of the best: (Π q)^(1/n),
    as sure as they are on average.

    The standard error is that of the paired difference to the best, by item. Candidates that the labels cannot tell
    apart count alike: no tie decides a whole set.

    `log_p` (N, Kmax) is a model's log p(y | x), held fixed. How much it counts is tried out like all else. A text may
    predict the annotators' mistakes and not the truth, so it has to help beyond chance, or it is left out.
    """
    candidates = candidates_for(annotations, log_p)
    if len(candidates) == 1:
        return Choice(candidates[0].fit(annotations, log_p), candidates[0], NOBODY_TO_COMPARE)
    tried = Tried.of(annotations, log_p, candidates)
    if log_p is not None and not tried.text_helps():
        alone = best_truth(annotations)
        return replace(alone, why=f"{TEXT_DOES_NOT_HELP} {alone.why}", model_weight=0.0)
    used = (tried if log_p is None else tried.only("model")).near_best()
    pooled = _pooled([replace(one, power=1.0).posterior(annotations, log_p) for one in used])
    posterior = tempered(pooled, float(np.mean([one.power for one in used])))
    weight = None if log_p is None else float(np.mean([one.model_weight for one in used]))
    return Choice(truth_under(annotations, posterior), used[0], _why(tried, used), weight)


def _pooled(posteriors: Sequence[FloatArray]) -> FloatArray:
    """The logarithmic opinion pool: the geometric mean of posteriors (N, Kmax), normalised."""
    if len(posteriors) == 1:
        return posteriors[0]
    logs = np.mean([np.log(np.maximum(one, np.finfo(np.float64).tiny)) for one in posteriors], axis=0)
    return np.asarray(softmax(np.where(posteriors[0] > 0, logs, -np.inf), axis=1))


def truth_under(annotations: Annotations, posterior: FloatArray) -> Truth:
    """A posterior (N, Kmax), and how accurate annotators are by it: (Σ_i q_i(l_ir) + m) / (n_r + 1) with the pool's m.

    The pool counts as one label: on ten real crowds that came nearest to the share right by gold, and no pull, or the
    pull that fits how much annotators differ, came less near.
    """
    table, answers_first = LabelTable.of(annotations), np.ascontiguousarray(posterior.T)
    accuracy = accuracy_under(table, answers_first, UNIT)
    return Truth(posterior, accuracy.reshape(table.n_annotators, table.n_tasks), None, float("nan"))


def _why(tried: Tried, used: Sequence[Candidate]) -> str:
    """In words for any reader: `exp` of a mean log-likelihood is the chance given to a typical label."""
    ways = list(dict.fromkeys(map(str, used)))
    chosen = " and by ".join(f"“{way}”" for way in ways)
    chances: dict[str, float] = {}
    for one, chance in zip(tried.candidates, np.exp(tried.scores.mean(axis=1)), strict=True):
        chances[str(one)] = max(chances.get(str(one), 0.0), float(chance))
    guesses = "; ".join(f"{chance:.1%} by “{way}”" for way, chance in chances.items())
    return (
        f"Labels were weighed by {chosen}{', half and half' if len(used) == len(ways) == 2 else ''}. To choose, some "
        f"labels were hidden and had to be guessed from the rest. The chance that each way gave to a typical hidden "
        f"label (more is better, and near-equal ways are averaged): {guesses}.{_why_so_sure(used)}"
    )


def _why_so_sure(used: Sequence[Candidate]) -> str:
    weights, powers = ([getattr(one, name) for one in used] for name in ("model_weight", "power"))
    words = ""
    if used[0].shares == "model":
        words += f" The model's own answers count with weight {_range(weights)} (1: as they are; 0: not at all)."
    if min(powers) < 1:
        words += (
            " Annotators err together more often than by chance. So the probabilities of the answers were made less "
            f"sure, to the power of {_range(powers)}, with which they guessed hidden labels best."
        )
    return words


def _range(values: Sequence[float]) -> str:
    return " to ".join(f"{value:g}" for value in sorted({min(values), max(values)}))


def renamed_by_words(annotations: Annotations, log_prior: FloatArray, truth: Truth) -> Truth:
    """Dawid–Skene from `truth` or from the labels alone, whichever explains labels and words better.

    Matrices explain labels of a renamed truth (everybody's y is another's y + 1) as well as those of the truth, so that
    between such modes only `log_prior` (N, Kmax), a model's log p(y | x), decides. One accuracy per annotator is not
    so fair: where wrong answers go to one place, it prefers the mode that has fewer of them, whatever the words say.
    """
    starts = (truth.posterior, None)
    return max(
        (dawid_skene(annotations, log_prior, start=start, learn_prevalence=False) for start in starts),
        key=lambda t: t.log_likelihood,
    )
