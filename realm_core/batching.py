"""Batches of prompts: one forward pass per prompt whatever its number of labels, one task, like lengths together.

Grouping the labels of a prompt is exact, since the likelihood depends on the prompt only through p_θ(y | x); equal
lengths leave little padding to compute.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from realm_core.annotations import Annotations, IntArray
from realm_core.scorers.inputs import EncodedPrompt, Inputs
from realm_core.team import ALONE, Team

BATCHES_PER_POOL = 50  # batches are cut from pools of so many, sorted by length: random enough, and hardly padded


@dataclass(frozen=True)
class Batch:
    """B prompts of one group and their M labels.

    `prompt` (M,) is the row of each label's prompt, `n_answers` (M,) its K; `annotator`, `label` (M,). `z` (B, D) is
    what each prompt is about, where the channel wants to know. `known` (B,): the truth where it is, else UNKNOWN.
    """

    inputs: Inputs
    prompt: Tensor
    n_answers: Tensor
    annotator: Tensor
    label: Tensor
    z: Tensor | None = None
    known: Tensor | None = None

    @property
    def task(self) -> int:
        return self.inputs.task


class PromptBatches:
    """Cuts the items of an Annotations into batches.

    `encoded` has every item's prompt, `collate` makes tensors; `z` (N, D), or None, says what every prompt is about.
    """

    def __init__(
        self,
        annotations: Annotations,
        encoded: Sequence[EncodedPrompt],
        collate: Callable[[Sequence[EncodedPrompt]], Inputs],
        z: NDArray[np.float32] | None = None,
    ) -> None:
        self._annotations = annotations
        self._encoded = encoded
        self._collate = collate
        self._z = z
        self._sizes = np.array([one.size for one in encoded], dtype=np.int64)
        groups = sorted({one.group for one in encoded})
        self._group = np.array([groups.index(one.group) for one in encoded], dtype=np.int64)
        self._rows = np.argsort(annotations.item, kind="stable")
        self._first_row = np.searchsorted(annotations.item[self._rows], np.arange(annotations.n_items + 1))

    def batch(self, items: IntArray | NDArray[np.int64], team: Team = ALONE) -> Batch:
        """The batch of these items, all of one group, or this process's share of it.

        Who gets nothing reads the first prompt, without labels, which adds nothing to any loss.
        """
        mine = team.share(items)
        return self._batch(mine, self._rows_of(mine)) if len(mine) else self._batch(items[:1], [self._rows[:0]])

    def _rows_of(self, items: IntArray | NDArray[np.int64]) -> list[NDArray[np.int64]]:
        return [self._rows[self._first_row[item] : self._first_row[item + 1]] for item in items]

    def _batch(self, items: IntArray | NDArray[np.int64], rows: list[NDArray[np.int64]]) -> Batch:
        labels = np.concatenate(rows)
        inputs = self._collate([self._encoded[item] for item in items])
        device = inputs.n_answers.device
        known = self._annotations.known if len(labels) else None  # nothing may come from who has no label
        prompt = torch.from_numpy(np.repeat(np.arange(len(items)), [len(of_item) for of_item in rows])).to(device)
        return Batch(
            inputs=inputs,
            prompt=prompt,
            n_answers=inputs.n_answers[prompt],
            annotator=torch.from_numpy(self._annotations.annotator[labels].astype(np.int64)).to(device),
            label=torch.from_numpy(self._annotations.label[labels].astype(np.int64)).to(device),
            z=None if self._z is None else torch.from_numpy(self._z[items]).to(device),
            known=None if known is None else torch.from_numpy(known[items].astype(np.int64)).to(device),
        )

    def endless(self, items: NDArray[np.int64], batch_size: int, seed: int) -> Iterator[NDArray[np.int64]]:
        """Batches of item numbers, epoch after epoch, each epoch in a new order that only depends on the seed."""
        epoch = 0
        while True:
            rng = np.random.default_rng((seed, epoch))
            yield from self._one_epoch(items, batch_size, rng)
            epoch += 1

    def _one_epoch(
        self, items: NDArray[np.int64], batch_size: int, rng: np.random.Generator
    ) -> Iterator[NDArray[np.int64]]:
        shuffled = rng.permutation(items)
        pool_size = batch_size * BATCHES_PER_POOL
        for start in range(0, len(shuffled), pool_size):
            batches = list(self.sorted_by_size(shuffled[start : start + pool_size], batch_size))
            for index in rng.permutation(len(batches)):
                yield batches[index]

    def sorted_by_size(self, items: NDArray[np.int64], batch_size: int) -> Iterator[NDArray[np.int64]]:
        """Each item once, in batches of one group and of like size."""
        ordered = items[np.lexsort((self._sizes[items], self._group[items]))]
        borders = np.flatnonzero(np.diff(self._group[ordered])) + 1
        for of_group in np.split(ordered, borders):
            for start in range(0, len(of_group), batch_size):
                yield of_group[start : start + batch_size]
