"""A model of Flan-T5-small's shape with random weights, read by the answers' rows or by the whole vocabulary."""

from __future__ import annotations

from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from torch import Tensor
from transformers import PreTrainedTokenizerFast, T5Config, T5ForConditionalGeneration

from benchmarks.speed.texts import WORDS
from realm_core.scorers.inputs import Inputs
from realm_core.scorers.seq2seq import Seq2SeqScorer

_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_VOCABULARY = 32128


def random_flan_t5(max_length: int) -> Seq2SeqScorer:
    """Its scorer, without answers yet."""
    torch.manual_seed(0)
    config = T5Config(  # type: ignore[call-arg]
        vocab_size=_VOCABULARY,
        d_model=512,
        d_kv=64,
        d_ff=1024,
        num_layers=8,
        num_decoder_layers=8,
        num_heads=6,
        feed_forward_proj="gated-gelu",
        tie_word_embeddings=False,
        decoder_start_token_id=0,
        dropout_rate=0.0,
    )
    return Seq2SeqScorer(T5ForConditionalGeneration(config), _tokenizer(), max_length)


def _tokenizer() -> Any:
    """Like T5's: ▁A is one piece."""
    words = sorted({*WORDS, *_LETTERS, "Answer:", *(f"{letter}." for letter in _LETTERS)})
    pieces = ["<pad>", "</s>", "<unk>", "▁", *_LETTERS, ".", ":", *(f"▁{word}" for word in words)]
    tokenizer = Tokenizer(models.Unigram([(piece, -1.0) for piece in pieces], unk_id=2))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    special = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special)  # type: ignore[no-untyped-call]


class FullVocabulary(Seq2SeqScorer):
    """The same model and first position, with log p over the whole vocabulary, of which the answers' are taken."""

    def __init__(self, other: Seq2SeqScorer) -> None:
        super().__init__(other.model, other.tokenizer, other.max_length)
        self.start_answers(other.tasks)

    def forward(self, inputs: Inputs) -> Tensor:
        """Not renormalised: what cross-entropy over the vocabulary learns from. (B, K)"""
        _, hidden = self._read_letter(inputs)
        log_p = torch.log_softmax(self._rows(hidden, None), dim=1)
        return log_p[:, [ids[0] for ids in self.answer_tokens.of(inputs.width)]]
