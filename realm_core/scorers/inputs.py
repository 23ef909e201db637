"""A prompt as numbers, the same for training and for predicting, and many of them as tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import numpy as np
import torch
from torch import Tensor


class UnreadableInput(ValueError):
    """A scorer cannot read a prompt with its answers; the message is for the user."""


@dataclass(frozen=True)
class EncodedPrompt:
    """What a scorer reads of one prompt.

    `n_tokens` counts the tokens of the whole prompt, `truncated` says that not all of them are in `token_ids`.
    `option_ids` are the tokens of the prompt's own options where the scorer embeds them one by one; `whole_answers`
    says that answers are scored as strings of several tokens.
    """

    task: int
    n_answers: int
    token_ids: list[int]
    n_tokens: int
    truncated: bool
    option_ids: tuple[list[int], ...] | None = None
    whole_answers: bool = False

    @property
    def group(self) -> tuple[int, bool, bool]:
        """Prompts of one group may share a batch."""
        return self.task, self.option_ids is not None, self.whole_answers

    @property
    def size(self) -> int:
        """Tokens that go through the model."""
        if self.option_ids is not None:
            return len(self.token_ids) + sum(map(len, self.option_ids))
        return len(self.token_ids) * (self.n_answers if self.whole_answers else 1)


@dataclass(frozen=True)
class Inputs:
    """B prompts of one group. `input_ids`, `attention_mask` (B, S), padded on the right; `n_answers` (B,) is K_i.

    `option_ids`, `option_mask` (ΣK_i, S'): the options of all prompts, one after another. `width` is the largest K_i.
    """

    task: int
    width: int
    n_answers: Tensor
    input_ids: Tensor
    attention_mask: Tensor
    option_ids: Tensor | None = None
    option_mask: Tensor | None = None
    whole_answers: bool = False

    def __len__(self) -> int:
        return len(self.n_answers)

    def to(self, device: torch.device) -> Inputs:
        tensors = {name: value for name, value in vars(self).items() if isinstance(value, Tensor)}
        moved: dict[str, Any] = {name: tensor.to(device) for name, tensor in tensors.items()}
        return replace(self, **moved)

    def beyond(self) -> Tensor:
        """Where a column is no answer of the prompt. (B, width)"""
        return torch.arange(self.width, device=self.n_answers.device) >= self.n_answers[:, None]


def collate(encoded: Sequence[EncodedPrompt], pad_token_id: int) -> Inputs:
    """Prompts of one group as tensors."""
    input_ids, attention_mask = pad([one.token_ids for one in encoded], pad_token_id)
    option_ids = option_mask = None
    if encoded[0].option_ids is not None:
        option_ids, option_mask = pad([ids for one in encoded for ids in one.option_ids or ()], pad_token_id)
    counts = [one.n_answers for one in encoded]
    return Inputs(
        task=encoded[0].task,
        width=max(counts),
        n_answers=torch.tensor(counts),
        input_ids=input_ids,
        attention_mask=attention_mask,
        option_ids=option_ids,
        option_mask=option_mask,
        whole_answers=encoded[0].whole_answers,
    )


def pad(token_ids: Sequence[Sequence[int]], pad_token_id: int) -> tuple[Tensor, Tensor]:
    """Token lists as input_ids and attention_mask (B, longest)."""
    lengths = np.array([len(ids) for ids in token_ids])
    there = np.arange(lengths.max()) < lengths[:, None]
    input_ids = np.full(there.shape, pad_token_id, dtype=np.int64)
    input_ids[there] = list(chain.from_iterable(token_ids))
    return torch.from_numpy(input_ids), torch.from_numpy(there.astype(np.int64))


def by_size(encoded: Sequence[EncodedPrompt], budget: int, *, padded: bool = True) -> list[list[int]]:
    """Rows of one group and of like size, largest first, at most `budget` tokens together.

    With `padded`, every row of a batch counts as many tokens as the longest.
    """
    order = sorted(range(len(encoded)), key=lambda row: (encoded[row].group, -encoded[row].size))
    batches: list[list[int]] = []
    group, tokens = None, 0
    for row in order:
        one = encoded[row]
        size = encoded[batches[-1][0]].size if padded and group == one.group else one.size
        tokens += size
        if group != one.group or tokens > budget:
            batches.append([])
            group, tokens = one.group, one.size
        batches[-1].append(row)
    return batches
