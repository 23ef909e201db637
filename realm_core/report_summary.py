"""The report in a few numbers and sentences: agreement, baselines, gold where it is given, what cannot be told."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from realm_core.aggregation import dawid_skene, majority_vote
from realm_core.agreement import krippendorff_alpha, pairs_of_cells
from realm_core.annotations import UNKNOWN, Annotations, FloatArray
from realm_core.report_evidence import Evidence
from realm_core.truth_candidates import affords_confusion
from realm_core.truth_choice import Choice

WORTH_A_NOTE = 0.01  # of the prompts
SAME = 1e-9  # answers whose probabilities differ by less are tied


def summarize(
    evidence: Evidence, choice: Choice, *, cross_fitted: bool, wrong_consensus: float = 0.0
) -> dict[str, Any]:
    """JSON: sizes, expected accuracy of the cleaned labels, agreement, baselines, gold, notes."""
    annotations, log_p = evidence.annotations, evidence.log_p
    pairs, equal = (float(counts.sum()) for counts in pairs_of_cells(evidence.table))
    posterior = choice.truth.posterior
    votes = majority_vote(annotations).posterior
    model = None if log_p is None else np.exp(log_p)
    alpha = krippendorff_alpha(evidence.table)
    return {
        "n_items": annotations.n_items,
        "n_labels": annotations.n_labels,
        "n_annotators": annotations.n_annotators,
        "expected_accuracy": _mean(posterior.max(axis=1)),
        "agreement": equal / pairs if pairs else None,
        "krippendorff_alpha": alpha.value,
        "krippendorff_alpha_low": alpha.low,
        "krippendorff_alpha_high": alpha.high,
        "channel": choice.candidate.channel,
        "model_weight": choice.model_weight,
        "posterior_power": choice.candidate.power,
        "baselines": {
            "majority_vote": _baseline(annotations, votes, posterior),
            "dawid_skene": _baseline(annotations, _dawid_skene(annotations), posterior),
        },
        "gold": _gold(annotations, posterior, votes, model),
        "notes": [*_notes(evidence, cross_fitted=cross_fitted), *_note_on_mistakes(wrong_consensus), choice.why],
    }


def _mean(values: FloatArray) -> float | None:
    return float(values.mean()) if len(values) else None


def _dawid_skene(annotations: Annotations) -> FloatArray | None:
    return dawid_skene(annotations).posterior if affords_confusion(annotations) else None


def _baseline(annotations: Annotations, other: FloatArray | None, posterior: FloatArray) -> dict[str, Any] | None:
    """What truth inference without the model says of the same items."""
    if other is None:
        return None
    return {
        "expected_accuracy": _mean(other.max(axis=1)),
        "same_as_report": _mean(_share_right(other, posterior.argmax(axis=1))),
        "gold_accuracy": _against_gold(annotations, other),
    }


def _share_right(posterior: FloatArray, label: NDArray[Any]) -> FloatArray:
    """1 where `label` (N,) is the likeliest answer, 1/m where it is one of m that tie for it, else 0. (N,)"""
    likeliest = posterior >= posterior.max(axis=1, keepdims=True) - SAME
    return np.asarray(likeliest[np.arange(len(label)), label] / likeliest.sum(axis=1))


def _against_gold(annotations: Annotations, posterior: FloatArray | None) -> float | None:
    if annotations.gold is None or posterior is None:
        return None
    known = np.flatnonzero(annotations.gold != UNKNOWN)
    return _mean(_share_right(posterior[known], annotations.gold[known]))


def _gold(
    annotations: Annotations, posterior: FloatArray, votes: FloatArray, model: FloatArray | None
) -> dict[str, Any] | None:
    """Shares that are right among the items with gold; ties count by their chance."""
    n = 0 if annotations.gold is None else int((annotations.gold != UNKNOWN).sum())
    if n == 0:
        return None
    return {
        "n": n,
        "posterior_accuracy": _against_gold(annotations, posterior),
        "majority_accuracy": _against_gold(annotations, votes),
        "model_accuracy": _against_gold(annotations, model),
    }


def _notes(evidence: Evidence, *, cross_fitted: bool) -> Iterator[str]:
    """Sentences about what these labels cannot tell."""
    annotations, has_model = evidence.annotations, evidence.model_counts
    present = np.unique(annotations.annotator)
    per_item = np.bincount(annotations.item, minlength=annotations.n_items)
    base = "the model's reading of the text alone" if has_model else "nothing, as no model's reading of the text counts"
    if len(present) == 1:
        yield f"There is one annotator only: with nobody to compare with, their accuracy rests on {base}."
    elif per_item.max(initial=0) <= 1:
        yield f"No prompt has labels of two annotators: how reliable each is rests on {base}."
    elif len(present) == 2 and not has_model:
        yield "There are two annotators only: where they differ, labels alone cannot tell who is right."
    else:
        yield from _note_on_groups(evidence)
    if (per_item == 0).any():
        yield f"{int((per_item == 0).sum()):,} prompts have no label."
    if not has_model:
        yield "Whether most annotators are wrong in the same way cannot be told without a model or gold labels."
    elif not cross_fitted:
        yield "The model had seen the labels that it judges here: the intervals are too narrow."
    if annotations.created_at is None or not np.isfinite(annotations.created_at).any():
        yield "The labels have no times, so changes of accuracy over time were not looked for."


def _note_on_mistakes(wrong_consensus: float) -> Iterator[str]:
    """Hard prompts, on which all err together."""
    if wrong_consensus >= WORTH_A_NOTE:
        yield (
            f"Some prompts split the annotators more than chance would: on about {wrong_consensus:.0%} of the prompts "
            "most of them may be wrong together, which no label shows. The intervals are wider for it."
        )


def _note_on_groups(evidence: Evidence) -> Iterator[str]:
    """Annotators who share no prompts, directly or through others, cannot be compared."""
    n_groups = len(np.unique(evidence.table.groups()[np.unique(evidence.annotations.annotator)]))
    if n_groups > 1:
        yield f"The annotators fall into {n_groups:,} groups that share no prompts and cannot be compared."
