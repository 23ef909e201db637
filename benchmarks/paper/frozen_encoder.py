"""An encoder that is read once: embeddings from a file, and only what stands behind them is trained.

Every text counts as one token, whose embedding is looked up; the scorer is the product's in all else, so that channels,
losses and the training loop are the same as in fine-tuning. Fixed answers are learned vectors, as ever; where prompts
have options of their own, one matrix M, the identity at first, stands for the fine-tuning: s·⟨M z(x), z(option)⟩.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from realm_core.annotations import Task
from realm_core.scorers.encoder import EncoderScorer
from realm_core.scorers.inputs import Inputs

_READ_AT_ONCE = 2048


class TextEmbeddings:
    """z of each text, (n, D) and normalised, by the pretrained encoder; those of whole sets are kept in `folder`."""

    def __init__(self, base: Path | str, max_length: int, folder: Path) -> None:
        self._base, self._max_length, self._folder = base, max_length, folder
        self._row: dict[str, int] = {}
        self.table: NDArray[np.float32] = np.zeros((0, 0), np.float32)

    def rows(self, texts: Sequence[str]) -> list[int]:
        """Where texts are in the table. Those that are in no set, such as a task's name, are embedded when needed."""
        if new := [text for text in dict.fromkeys(texts) if text not in self._row]:
            self._append(new, self._read(new))
        return [self._row[text] for text in texts]

    def learn(self, texts: Sequence[str]) -> None:
        """Embed texts, or find in the folder what these very texts were embedded to."""
        unique = list(dict.fromkeys(texts))
        digest = hashlib.sha256("\0".join((str(self._base), str(self._max_length), *unique)).encode()).hexdigest()
        file = self._folder / f"{digest[:16]}.npy"
        if not file.is_file():
            self._folder.mkdir(parents=True, exist_ok=True)
            partial = file.with_suffix(f".{os.getpid()}.part.npy")
            np.save(partial, self._read(unique))
            os.replace(partial, file)
        self._append(unique, np.load(file))

    def _append(self, texts: list[str], embeddings: NDArray[np.float32]) -> None:
        start = len(self.table)
        self._row |= {text: start + index for index, text in enumerate(texts)}
        self.table = np.concatenate([self.table, embeddings]) if start else embeddings

    @cached_property
    def _encoder(self) -> EncoderScorer:
        scorer = EncoderScorer.from_pretrained(self._base, self._max_length)
        scorer.start_answers([Task("text", ("any",))])
        return scorer

    def _read(self, texts: list[str]) -> NDArray[np.float32]:
        scorer = self._encoder
        parts = []
        for start in range(0, len(texts), _READ_AT_ONCE):
            some = texts[start : start + _READ_AT_ONCE]
            parts.append(scorer.read(scorer.encode(some, [0] * len(some), [None] * len(some)))[0])
        return np.concatenate(parts)


class _LookUp(nn.Module):
    """The matrix M over looked-up embeddings, in the place of a pretrained model."""

    def __init__(self, embeddings: TextEmbeddings) -> None:
        super().__init__()
        self.embeddings = embeddings
        size = embeddings.table.shape[1]
        self.matrix = nn.Parameter(torch.eye(size))
        self.config = SimpleNamespace(hidden_size=size, max_position_embeddings=1)

    def look_up(self, rows: Tensor) -> Tensor:
        return torch.from_numpy(self.embeddings.table)[rows.cpu()].to(rows.device)


class FrozenScorer(EncoderScorer):
    """An EncoderScorer whose embeddings do not change."""

    def __init__(self, embeddings: TextEmbeddings) -> None:
        super().__init__(_LookUp(embeddings), SimpleNamespace(pad_token_id=0, model_max_length=1), 1)

    def _cut(self, texts: Sequence[str], *, keep_end: bool = False) -> list[tuple[list[int], int, bool]]:
        return [([row], 1, False) for row in self.model.embeddings.rows(texts)]

    def pooled(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        return torch.as_tensor(self.model.look_up(input_ids[:, 0]))

    def embed_and_score(self, inputs: Inputs) -> tuple[Tensor, Tensor]:
        if inputs.option_ids is None or inputs.option_mask is None:
            return super().embed_and_score(inputs)
        embedding = self.pooled(inputs.input_ids, inputs.attention_mask)
        options = self.pooled(inputs.option_ids, inputs.option_mask)
        row, column = (~inputs.beyond()).nonzero(as_tuple=True)
        scores = ((embedding @ self.model.matrix.T)[row] * options).sum(1)
        nothing = torch.zeros_like(inputs.beyond(), dtype=torch.float32)
        return embedding, nothing.index_put((row, column), self.log_scale.exp() * scores)
