"""Tiny random models with small tokenizers of their own, in the formats of real ones, and crowds over made-up texts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from realm_core.annotations import Annotations, IntArray, Task
from realm_core.channels import OneCoinChannel
from realm_core.checkpoint import FineTuned, save_model
from realm_core.scorers.encoder import EncoderScorer

CUES = ("invoice", "parcel", "broken", "thanks")
FILLERS = ("the", "a", "my", "was", "is", "please", "about", "and", "it", "today", "again", "very", "so", "with", "you")
ANSWERS = ("billing", "delivery", "defect", "praise")


def save_tiny_bert(folder: Path, *, dropout: float = 0.0) -> Path:
    """A BERT of 2 layers and width 32 that knows the words above, saved as a Hugging Face folder."""
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *CUES, *FILLERS, *ANSWERS]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
    )
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=64,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
    )
    torch.manual_seed(0)
    BertModel(config).save_pretrained(folder)
    fast.save_pretrained(folder)
    return folder


def save_tiny_model(folder: Path, task: Task, annotators: tuple[str, ...]) -> Path:
    """A tiny BERT as if it had been fine-tuned: a model folder of ours, which answers, if not well."""
    scorer = EncoderScorer.from_pretrained(save_tiny_bert(folder / "base"), 64)
    scorer.start_answers((task,))
    accuracy = torch.full((len(annotators), 1), 0.8)
    channel = OneCoinChannel(accuracy, torch.ones_like(accuracy), torch.tensor([len(task.answers)]))
    return save_model(folder / "model", FineTuned(scorer.eval(), channel, (task,), annotators), {})


def make_prompts(truth: IntArray, seed: int) -> tuple[str, ...]:
    """A text per item that holds the cue of its class somewhere among fillers; no two alike."""
    rng = np.random.default_rng(seed)
    prompts: dict[str, None] = {}
    while len(prompts) < len(truth):
        words = list(rng.choice(FILLERS, size=rng.integers(3, 12)))
        words.insert(rng.integers(0, len(words) + 1), CUES[truth[len(prompts)]])
        prompts[" ".join(words)] = None
    return tuple(prompts)


def make_crowd(
    accuracies: tuple[float, ...], n_items: int = 240, seed: int = 0, n_classes: int = 4, systematic: bool = False
) -> tuple[Annotations, IntArray]:
    """Everybody labels every item; a wrong label is any other one alike, or (systematic) always the same one.

    The annotations and the truth (N,).
    """
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, n_classes, n_items).astype(np.int32)
    n_annotators = len(accuracies)
    item = np.repeat(np.arange(n_items, dtype=np.int32), n_annotators)
    annotator = np.tile(np.arange(n_annotators, dtype=np.int32), n_items)
    right = rng.random(len(item)) < np.asarray(accuracies)[annotator]
    offset = 1 + annotator % (n_classes - 1) if systematic else rng.integers(1, n_classes, len(item))
    wrong = (truth[item] + offset) % n_classes
    annotations = Annotations(
        tasks=(Task("topic", ANSWERS[:n_classes]),),
        annotators=tuple(f"annotator {number}" for number in range(n_annotators)),
        item_ids=tuple(str(number) for number in range(n_items)),
        item_task=np.zeros(n_items, dtype=np.int32),
        item=item,
        annotator=annotator,
        label=np.where(right, truth[item], wrong).astype(np.int32),
        prompts=make_prompts(truth, seed),
    )
    return annotations, truth
