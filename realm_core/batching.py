"""Batches of prompts: one forward pass per prompt whatever its number of labels, one task, like lengths together.

Grouping the labels of a prompt is exact, since the likelihood depends on the prompt only through p_θ(y | x); equal
lengths leave little padding to compute.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from realm_core.annotations import Annotations, IntArray

BATCHES_PER_POOL = 50  # batches are cut from pools of so many, sorted by length: random enough, and hardly padded


@dataclass(frozen=True)
class Batch:
    """B prompts of one task and their M labels.

    `input_ids`, `attention_mask` (B, S); `prompt` (M,) is the row of each label's prompt; `annotator`, `label` (M,).
    """

    task: int
    input_ids: Tensor
    attention_mask: Tensor
    prompt: Tensor
    annotator: Tensor
    label: Tensor


def pad(token_ids: Sequence[Sequence[int]], pad_token_id: int) -> tuple[Tensor, Tensor]:
    """Token lists as input_ids and attention_mask (B, longest)."""
    width = max(len(ids) for ids in token_ids)
    input_ids = torch.full((len(token_ids), width), pad_token_id)
    attention_mask = torch.zeros((len(token_ids), width), dtype=torch.long)
    for row, ids in enumerate(token_ids):
        input_ids[row, : len(ids)] = torch.tensor(ids)
        attention_mask[row, : len(ids)] = 1
    return input_ids, attention_mask


def by_length(tasks: Sequence[int], token_ids: Sequence[Sequence[int]], budget: int) -> list[list[int]]:
    """Rows of one task and of like length, longest first, at most `budget` padded tokens together."""
    order = sorted(range(len(tasks)), key=lambda row: (tasks[row], -len(token_ids[row])))
    batches: list[list[int]] = []
    for row in order:
        first = batches[-1][0] if batches else row
        if not batches or tasks[first] != tasks[row] or (len(batches[-1]) + 1) * len(token_ids[first]) > budget:
            batches.append([])
        batches[-1].append(row)
    return batches


class PromptBatches:
    """Cuts the items of an Annotations into batches; `token_ids` has the tokens of every item's prompt."""

    def __init__(
        self, annotations: Annotations, token_ids: Sequence[Sequence[int]], pad_token_id: int, device: torch.device
    ) -> None:
        self._annotations = annotations
        self._token_ids = token_ids
        self._pad_token_id = pad_token_id
        self._device = device
        self._lengths = np.array([len(ids) for ids in token_ids], dtype=np.int64)
        self._rows = np.argsort(annotations.item, kind="stable")
        self._first_row = np.searchsorted(annotations.item[self._rows], np.arange(annotations.n_items + 1))

    def batch(self, items: IntArray | NDArray[np.int64]) -> Batch:
        """The batch of these items, all of one task."""
        rows = [self._rows[self._first_row[item] : self._first_row[item + 1]] for item in items]
        labels = np.concatenate(rows)
        prompt = np.repeat(np.arange(len(items)), [len(of_item) for of_item in rows])
        input_ids, attention_mask = pad([self._token_ids[item] for item in items], self._pad_token_id)
        return Batch(
            task=int(self._annotations.item_task[items[0]]),
            input_ids=input_ids.to(self._device),
            attention_mask=attention_mask.to(self._device),
            prompt=torch.from_numpy(prompt).to(self._device),
            annotator=torch.from_numpy(self._annotations.annotator[labels].astype(np.int64)).to(self._device),
            label=torch.from_numpy(self._annotations.label[labels].astype(np.int64)).to(self._device),
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
            batches = list(self.sorted_by_length(shuffled[start : start + pool_size], batch_size))
            for index in rng.permutation(len(batches)):
                yield batches[index]

    def sorted_by_length(self, items: NDArray[np.int64], batch_size: int) -> Iterator[NDArray[np.int64]]:
        """Each item once, in batches of one task and of like length."""
        tasks = self._annotations.item_task[items]
        ordered = items[np.lexsort((self._lengths[items], tasks))]
        borders = np.flatnonzero(np.diff(self._annotations.item_task[ordered])) + 1
        for of_task in np.split(ordered, borders):
            for start in range(0, len(of_task), batch_size):
                yield of_task[start : start + batch_size]
