"""Tiny random language models in the formats of real ones, each with a small tokenizer like its family's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
    T5Config,
    T5ForConditionalGeneration,
)

from realm_core.scorers.answer_tokens import letters
from tests.realm_core.tiny_models import ANSWERS, CUES, FILLERS

WORDS = (*CUES, *FILLERS, *ANSWERS, "Answer")
UPPER = tuple("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
LOWER = tuple("abcdefghijklmnopqrstuvwxyz")


def unigram_tokenizer() -> Any:
    """Like T5's sentencepiece model: ▁A is one piece, a lower-case letter alone is ▁ and the letter."""
    pieces = [
        "<pad>",
        "</s>",
        "<unk>",
        "▁",
        *UPPER,
        *LOWER,
        ".",
        ":",
        *(f"▁{word}" for word in (*WORDS, *UPPER) if len(word) > 1 or word in UPPER),
    ]
    tokenizer = Tokenizer(models.Unigram([(piece, -1.0) for piece in pieces], unk_id=2))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>")


def byte_tokenizer() -> Any:
    """Like GPT-2's and Qwen's: byte-level BPE in which "A" and " A" are different tokens; no padding token."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=700,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus(), trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|endoftext|>")


def llama_tokenizer() -> Any:
    """Like Llama's: BPE over ▁, and a first token <s>."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="first")
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<unk>", AddedToken("<s>"), AddedToken("</s>")],
        initial_alphabet=["\n", ".", ":", "▁", *UPPER, *LOWER],
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus(), trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>")


def corpus() -> list[str]:
    return [f"it {word} {word}" for word in WORDS for _ in range(3)] + [
        f"x: {letter}" for letter in UPPER for _ in range(9)
    ]


def save_tiny(folder: Path, model: Any, tokenizer: Any) -> Path:
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def save_tiny_t5(folder: Path, *, tied: bool = False) -> Path:
    """Untied embeddings and gated activations as in Flan-T5, or tied ones as in the first T5."""
    tokenizer = unigram_tokenizer()
    config = T5Config(
        vocab_size=len(tokenizer),
        d_model=32,
        d_kv=8,
        d_ff=64,
        num_layers=2,
        num_heads=4,
        dropout_rate=0.0,
        feed_forward_proj="relu" if tied else "gated-gelu",
        tie_word_embeddings=tied,
        decoder_start_token_id=0,
        pad_token_id=0,
        eos_token_id=1,
    )
    torch.manual_seed(0)
    model = T5ForConditionalGeneration(config)
    if not tied:
        model.lm_head.weight = torch.nn.Parameter(torch.randn(len(tokenizer), 32) * 0.1)
    return save_tiny(folder, model, tokenizer)


def save_tiny_gpt2(folder: Path) -> Path:
    tokenizer = byte_tokenizer()
    config = GPT2Config(
        vocab_size=len(tokenizer), n_positions=256, n_embd=32, n_layer=2, n_head=4, resid_pdrop=0, embd_pdrop=0,
        attn_pdrop=0, bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    torch.manual_seed(0)
    return save_tiny(folder, GPT2LMHeadModel(config), tokenizer)


def save_tiny_llama(folder: Path) -> Path:
    tokenizer = llama_tokenizer()
    torch.manual_seed(0)
    config = LlamaConfig(**_decoder(len(tokenizer)), bos_token_id=1, eos_token_id=2)
    return save_tiny(folder, LlamaForCausalLM(config), tokenizer)


def save_tiny_qwen2(folder: Path) -> Path:
    tokenizer = byte_tokenizer()
    torch.manual_seed(0)
    config = Qwen2Config(**_decoder(len(tokenizer)), tie_word_embeddings=True, bos_token_id=0, eos_token_id=0)
    return save_tiny(folder, Qwen2ForCausalLM(config), tokenizer)


def _decoder(vocab_size: int) -> dict[str, Any]:
    return {
        "vocab_size": vocab_size,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 256,
    }


def many_answers(count: int) -> tuple[str, ...]:
    """Texts of answers, so many that letters run out."""
    return tuple(f"{ANSWERS[number % 4]} {letters(number)}" for number in range(count))
