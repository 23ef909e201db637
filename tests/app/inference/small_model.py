"""A small random BERT with MiniLM's tokenizer, saved as a job saves its model."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import AutoTokenizer, BertConfig, BertModel

from realm_core.annotations import Task
from realm_core.base_models import locate
from realm_core.channels import OneCoinChannel
from realm_core.checkpoint import FineTuned, save_model
from realm_core.scorers.encoder import EncoderScorer

TASKS = (Task("mood", ("negative", "neutral", "positive")), Task("topic", ("sports", "arts")))
MAX_LENGTH = 64


def save_small_model(folder: Path) -> Path:
    """Two tasks, and two annotators of whom the second errs at the second task."""
    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(locate("minilm"))
    config = BertConfig(
        vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64
    )
    scorer = EncoderScorer(BertModel(config, add_pooling_layer=False), tokenizer, MAX_LENGTH).eval()
    scorer.start_answers(TASKS)
    scorer.start_at(20.0)
    n_answers = torch.tensor([len(task.answers) for task in TASKS])
    channel = OneCoinChannel(torch.tensor([[0.9, 0.9], [0.1, 0.2]]), torch.ones(2, 2), n_answers)
    model = FineTuned(scorer, channel, TASKS, ("ann_1", "ann_2"))
    return save_model(folder, model, {})
