"""The sequence-to-sequence family (T5, Flan-T5): the answer is read at the decoder's first position."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers import AutoModelForSeq2SeqLM

from realm_core.scorers.inputs import Inputs
from realm_core.scorers.language_model import LanguageModelScorer


class Seq2SeqScorer(LanguageModelScorer):
    """One decoder position, and the K rows of the output layer. The embedding is the mean of the encoder's states."""

    family = "seq2seq"
    auto_class = AutoModelForSeq2SeqLM
    context = ""
    forms = ("{}",)
    ends_input = True

    def _read_letter(self, inputs: Inputs) -> tuple[Tensor, Tensor]:
        embedding, states = self._encode(inputs)
        start = torch.full((len(inputs), 1), self.model.config.decoder_start_token_id, device=self.device)
        return embedding, self._decode(start, states, inputs.attention_mask)[:, 0]

    def _read_strings(self, inputs: Inputs, strings: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        embedding, states = self._encode(inputs)
        start = torch.full((len(strings), 1), self.model.config.decoder_start_token_id, device=self.device)
        before = torch.cat([start, strings[:, :-1]], dim=1).repeat(len(inputs), 1)
        n = len(strings)
        return embedding, self._decode(
            before, states.repeat_interleave(n, 0), inputs.attention_mask.repeat_interleave(n, 0)
        )

    def _encode(self, inputs: Inputs) -> tuple[Tensor, Tensor]:
        encoder = self.model.get_encoder()
        states = encoder(input_ids=inputs.input_ids, attention_mask=inputs.attention_mask).last_hidden_state
        mask = inputs.attention_mask.unsqueeze(-1).float()
        return nn.functional.normalize((states.float() * mask).sum(1) / mask.sum(1), dim=1), states

    def _decode(self, decoder_ids: Tensor, states: Tensor, attention_mask: Tensor) -> Tensor:
        hidden: Tensor = self.model.get_decoder()(
            input_ids=decoder_ids,
            encoder_hidden_states=states,
            encoder_attention_mask=attention_mask,
            use_cache=False,
        ).last_hidden_state
        # T5 with tied embeddings, unlike T5 1.1 and Flan-T5, scales what goes into its output layer.
        scaled = getattr(self.model.config, "scale_decoder_outputs", False)
        return hidden * self.model.config.d_model**-0.5 if scaled else hidden
