"""Gold that a job may use, and gold that it is scored by: never the same prompts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from realm_core.annotations import UNKNOWN, Annotations
from realm_core.splits import fold_of_prompts

ONE_IN = 5  # prompts with gold are held out to be scored


def use_gold(annotations: Annotations, seed: int) -> Annotations:
    """The same annotations with four fifths of the gold as known truth, by prompt text, and the rest as gold.

    Without gold they stay as they are.
    """
    if annotations.gold is None:
        return annotations
    with_gold = np.flatnonzero(annotations.gold != UNKNOWN)
    held_out = np.zeros(annotations.n_items, dtype=np.bool_)
    held_out[with_gold] = fold_of_prompts(annotations.select_items(with_gold), ONE_IN, seed) == 0
    return replace(
        annotations,
        gold=np.where(held_out, annotations.gold, UNKNOWN).astype(np.int32),
        known=np.where(held_out, UNKNOWN, annotations.gold).astype(np.int32),
    )


def relabelled(annotations: Annotations) -> Annotations:
    """The same annotations, all labels of prompts with a known truth being that truth: for who takes labels for it."""
    if annotations.known is None:
        return annotations
    truth = annotations.known[annotations.item]
    return replace(annotations, label=np.where(truth == UNKNOWN, annotations.label, truth).astype(np.int32))
