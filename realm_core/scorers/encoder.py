"""The encoder family (MiniLM, BERT): p(answer | prompt) from the prompt's embedding and one vector per answer.

The answer vectors start from the embeddings of the answers' descriptions, so that the untrained scorer already answers
by the meaning of the words; they are then learned.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import AutoModel, AutoTokenizer

from realm_core.annotations import Task
from realm_core.batching import by_length, pad

START_SCALE = 20.0  # of the cosine between prompt and answer, as in the pretraining of sentence encoders
_EMBED_TOKENS = 8192  # tokens (with padding) of one forward pass without gradients


class EncoderScorer(nn.Module):
    """logits_k = ⟨z(x), A_k⟩ + b_k with z the normalised mean of the last hidden states, over the K_t answers (Eq. 2).

    `answers` holds one (K_t, D) matrix per task and `biases` one (K_t,) vector.
    """

    family = "encoder"

    def __init__(self, encoder: Any, tokenizer: Any, max_length: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.tokenizer = tokenizer
        self.max_length = min(max_length, encoder.config.max_position_embeddings)
        self.answers = nn.ParameterList()
        self.biases = nn.ParameterList()

    @property
    def pad_token_id(self) -> int:
        return int(self.tokenizer.pad_token_id)

    @classmethod
    def from_pretrained(cls, base: Path | str, max_length: int) -> EncoderScorer:
        """The scorer of a pretrained encoder (safetensors only, none of its code), without answers yet."""
        encoder = AutoModel.from_pretrained(base, use_safetensors=True, trust_remote_code=False, dtype=torch.float32)
        tokenizer = AutoTokenizer.from_pretrained(base, trust_remote_code=False)
        return cls(encoder, tokenizer, max_length)

    def start_answers(self, tasks: Sequence[Task]) -> None:
        """Let the answer vectors be START_SCALE times the embeddings of the descriptions."""
        for task in tasks:
            embeddings = torch.from_numpy(self.embed(self.tokenize(task.descriptions)))
            self.answers.append(nn.Parameter(START_SCALE * embeddings))
            self.biases.append(nn.Parameter(torch.zeros(len(embeddings))))

    def rescale_answers(self, scale: float) -> None:
        """Multiply the answer vectors, which sharpens (or flattens) what the scorer says."""
        with torch.no_grad():
            for answers in self.answers:
                answers *= scale

    def tokenize(self, prompts: Sequence[str]) -> list[list[int]]:
        """Token ids of each prompt, cut at the end to max_length."""
        encoded = self.tokenizer(list(prompts), truncation=True, max_length=self.max_length)
        return [list(ids) for ids in encoded["input_ids"]]

    def count_tokens(self, prompt: str) -> int:
        """Tokens of a prompt before it is cut."""
        return len(self.tokenizer(prompt, truncation=False, verbose=False)["input_ids"])

    def pooled(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """z(x), the normalised mean over a prompt's tokens. (B, S) -> (B, D) fp32."""
        hidden = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state.float()
        mask = attention_mask.unsqueeze(-1).float()
        return nn.functional.normalize((hidden * mask).sum(1) / mask.sum(1), dim=1)

    def forward(self, input_ids: Tensor, attention_mask: Tensor, task: int) -> Tensor:
        """log p_θ(y | x) over the task's answers. (B, S) -> (B, K)."""
        with torch.autocast(input_ids.device.type, torch.bfloat16, enabled=input_ids.device.type == "cuda"):
            embedding = self.pooled(input_ids, attention_mask)
        return self.answer(embedding.float(), task)

    def answer(self, embedding: Tensor, task: int) -> Tensor:
        """log p(y | z) of embeddings. (B, D) -> (B, K)."""
        return torch.log_softmax(embedding @ self.answers[task].T + self.biases[task], dim=1)

    @torch.inference_mode()
    def embed(self, token_ids: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        """z of many prompts, length-sorted inside, order kept. (N, D)"""
        was_training = self.training
        self.eval()
        out = np.zeros((len(token_ids), self.encoder.config.hidden_size), np.float32)
        for rows in by_length([0] * len(token_ids), token_ids, _EMBED_TOKENS):
            input_ids, mask = pad([token_ids[row] for row in rows], self.pad_token_id)
            device = next(self.parameters()).device
            out[rows] = self.pooled(input_ids.to(device), mask.to(device)).cpu().numpy()
        self.train(was_training)
        return out
