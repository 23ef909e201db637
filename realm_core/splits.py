"""Splits of the items by prompt text, so that copies of a prompt never straddle."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from realm_core.annotations import Annotations


def fold_of_prompts(annotations: Annotations, folds: int, seed: int) -> NDArray[np.int64]:
    """The fold of every item (N,), by prompt text, so that copies of a prompt never straddle."""
    prompts = annotations.prompts if annotations.prompts is not None else annotations.item_ids
    group_of: dict[str, int] = {}
    groups = np.array([group_of.setdefault(prompt, len(group_of)) for prompt in prompts], dtype=np.int64)
    return (np.random.default_rng(seed).permutation(len(group_of)) % folds)[groups]


def split_items(
    annotations: Annotations, held_out_fraction: float, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Labelled items to train on and to hold out, by prompt text. Without a held-out part, both are all of them."""
    labelled = np.bincount(annotations.item, minlength=annotations.n_items) > 0
    folds = round(1 / held_out_fraction) if held_out_fraction else 1
    fold = fold_of_prompts(annotations, folds, seed)
    train, held_out = np.flatnonzero(labelled & (fold != 0)), np.flatnonzero(labelled & (fold == 0))
    if not len(train) or not len(held_out):
        everything = np.flatnonzero(labelled)
        return everything, everything
    return train, held_out
