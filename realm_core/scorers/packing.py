"""Texts of different lengths through an encoder without computing their padding.

The texts of a batch are laid one after another into rows that are about as long as the longest of them, and attention
is kept within each text. Positions count from each text's own start, so every text gets the hidden states that it has
alone, up to rounding (Krell, Kosec, Perez, Fitzgibbon, "Efficient sequence packing without cross-contamination", 2021).
Measured with MiniLM in fp32 on one CPU thread, 31 questions of 5 to 30 tokens: .75 of the time with padding.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers.modeling_outputs import BaseModelOutput

ROW_TOKENS = 64  # a row has at least so many: with more texts to a row less of it stays empty
_PACKABLE = ("bert",)  # encoders whose positions are told from outside, and whose attention takes any mask


def can_pack(model: Any) -> bool:
    """Whether `Packed` gives what `model` gives. On a CPU only: on a GPU a mask costs the fast attention kernels."""
    config = model.config
    on_cpu = next(model.parameters()).device.type == "cpu"
    return on_cpu and config.model_type in _PACKABLE and config._attn_implementation == "sdpa"


class Packed(nn.Module):
    """A pretrained encoder, called as before: (B, S) tokens padded on the right in, (B, S, D) hidden states out.

    Those of padding are zero. For inference alone.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        self.config = model.config

    def forward(self, *, input_ids: Tensor, attention_mask: Tensor) -> BaseModelOutput:
        if bool(attention_mask.all()):
            unpadded: BaseModelOutput = self.model(input_ids=input_ids, attention_mask=attention_mask)
            return unpadded
        n_texts, longest = input_ids.shape
        starts, n_rows, width = lay_out(attention_mask.sum(1).tolist())
        taken = attention_mask.bool()
        column = torch.arange(longest).expand(n_texts, longest)
        place = (torch.tensor(starts)[:, None] + column)[taken]  # of each token in the rows, one after another
        ids = input_ids.new_zeros(n_rows * width).index_put((place,), input_ids[taken])
        positions = torch.zeros_like(ids).index_put((place,), column[taken])
        text = torch.full_like(ids, -1).index_put((place,), torch.arange(n_texts)[:, None].expand_as(column)[taken])
        text = text.view(n_rows, 1, width)
        hidden = self.model(
            input_ids=ids.view(n_rows, width),
            position_ids=positions.view(n_rows, width),
            attention_mask=text[:, :, :, None] == text[:, :, None, :],  # what is empty sees what is empty: no row of −∞
        ).last_hidden_state.flatten(0, 1)
        padded = hidden.new_zeros((n_texts, longest, hidden.shape[1]))
        padded[taken] = hidden[place]
        return BaseModelOutput(last_hidden_state=padded)


def lay_out(lengths: Sequence[int]) -> tuple[list[int], int, int]:
    """Where each text starts, counted over all rows, how many rows there are, and how wide they are.

    First fit, the longest first: each goes into the first row that has room.
    """
    width = max(*lengths, min(ROW_TOKENS, sum(lengths)))
    used: list[int] = []
    starts = [0] * len(lengths)
    for text in sorted(range(len(lengths)), key=lambda text: -lengths[text]):
        row = next((row for row, n in enumerate(used) if n + lengths[text] <= width), len(used))
        if row == len(used):
            used.append(0)
        starts[text] = row * width + used[row]
        used[row] += lengths[text]
    return starts, len(used), width
