"""The causal family (Llama, Qwen, GPT): the answer is read at the prompt's last position.

Prompts are padded on the right and read at their own last token. A causal model never looks to the right, so padding
changes nothing, and positions need no correction as they do with padding on the left.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM

from realm_core.scorers.inputs import Inputs
from realm_core.scorers.language_model import QUESTION, LanguageModelScorer


class CausalScorer(LanguageModelScorer):
    """The last hidden state, and the K rows of the output layer. The embedding is that state."""

    family = "causal"
    auto_class = AutoModelForCausalLM
    context = QUESTION
    forms = (" {}", "{}")
    ends_input = False

    def _read_letter(self, inputs: Inputs) -> tuple[Tensor, Tensor]:
        hidden = self._states(inputs.input_ids, inputs.attention_mask)
        last = hidden[torch.arange(len(inputs), device=self.device), inputs.attention_mask.sum(1) - 1]
        return nn.functional.normalize(last.float(), dim=1), last

    def _read_strings(self, inputs: Inputs, strings: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        n, longest = strings.shape
        length = inputs.attention_mask.sum(1).repeat_interleave(n)  # (B·K,)
        input_ids = nn.functional.pad(inputs.input_ids, (0, longest)).repeat_interleave(n, 0)
        places = length[:, None] + torch.arange(longest, device=self.device)
        input_ids = input_ids.scatter(1, places, strings.repeat(len(inputs), 1))
        lengths = length + mask.sum(1).repeat(len(inputs))
        attention_mask = (torch.arange(input_ids.shape[1], device=self.device) < lengths[:, None]).long()
        hidden = self._states(input_ids, attention_mask)
        read_at = (places - 1)[:, :, None].expand(-1, -1, hidden.shape[2])
        of_strings = hidden.gather(1, read_at)
        return nn.functional.normalize(of_strings[::n, 0].float(), dim=1), of_strings

    def _states(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        states: Tensor = self.model.base_model(
            input_ids=input_ids, attention_mask=attention_mask, use_cache=False
        ).last_hidden_state
        return states
