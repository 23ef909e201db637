"""The encoder family (MiniLM, BERT): p(answer | prompt) from the embeddings of prompt and answers.

Fixed answers of a task are vectors that start from the embeddings of their descriptions and are then learned; options
of a prompt are embedded with the encoder that embeds the prompt. Either way the untrained scorer already answers by the
meaning of the words.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from realm_core.annotations import Annotations, FloatArray, Task
from realm_core.scorers.inputs import EncodedPrompt, Inputs, pad
from realm_core.scorers.scorer import Scorer


class EncoderScorer(Scorer):
    """With z the normalised mean of the last hidden states:

    answers of a task    logits_k = ⟨z(x), A_k⟩ + b_k, with A (K_t, D) and b (K_t,) in `answers` and `biases`
    options of a prompt  logits_k = exp(log_scale) · ⟨z(x), z(option_k)⟩
    as pairs             logits_k = ⟨z(x, option_k), v⟩, prompt and option read as one text

    Cosines keep what the pretrained encoder knows of words that go together. Pairs start from nothing (v (D,) is zero)
    and read K texts as long as the prompt, but order counts in them: cos(a, b) = cos(b, a).
    """

    family = "encoder"
    pair_vector: nn.Parameter | None  # v, where options are scored as pairs
    zero_shot_scales = (1.0, 2.0, 5.0, 10.0, 20.0, 40.0)  # of cosines; sentence encoders are pretrained with 20

    def __init__(self, model: Any, tokenizer: Any, max_length: int) -> None:
        super().__init__(model, tokenizer, max_length)
        self.max_length = min(max_length, model.config.max_position_embeddings, tokenizer.model_max_length)
        self.answers = nn.ParameterList()
        self.biases = nn.ParameterList()
        self.register_parameter("pair_vector", None)

    def start_answers(self, tasks: Sequence[Task]) -> None:
        super().start_answers(tasks)
        embeddings = [self._embed(task.descriptions) for task in tasks]
        self.answers = nn.ParameterList(embeddings)
        self.biases = nn.ParameterList(torch.zeros(len(of_task), device=self.device) for of_task in embeddings)

    @torch.no_grad()
    def _embed(self, texts: Sequence[str]) -> Tensor:
        """z of a few texts. (n, D)"""
        if not texts:
            return torch.zeros((0, self.model.config.hidden_size), device=self.device)
        was_training = self.training
        self.eval()
        input_ids, mask = pad([ids for ids, _, _ in self._cut(texts)], self.pad_token_id)
        embeddings = self.pooled(input_ids.to(self.device), mask.to(self.device))
        self.train(was_training)
        return embeddings

    @torch.no_grad()
    def start_at(self, scale: float, meaningless: Collection[int] = ()) -> None:
        super().start_at(max(scale, self.zero_shot_scales[0]))
        for task, answers in enumerate(self.answers):
            answers *= 1.0 if task in meaningless else scale

    def scores_with(self, annotations: Annotations, embeddings: NDArray[np.float32]) -> FloatArray:
        if any(own is not None for own in annotations.options or ()):
            return super().scores_with(annotations, embeddings)
        scores = np.full((annotations.n_items, int(annotations.answer_counts.max(initial=0))), -np.inf)
        for number in np.unique(annotations.item_task):
            rows, task = np.flatnonzero(annotations.item_task == number), annotations.tasks[number]
            scores[rows, : len(task.answers)] = embeddings[rows] @ self._embed(task.descriptions).cpu().numpy().T
        return scores

    @property
    def scores_pairs(self) -> bool:
        return self.pair_vector is not None

    def score_pairs(self) -> None:
        if self.pair_vector is None:
            self.pair_vector = nn.Parameter(torch.zeros(self.model.config.hidden_size, device=self.device))

    def answer_parameters(self) -> list[nn.Parameter]:
        pairs = [] if self.pair_vector is None else [self.pair_vector]
        return [self.log_scale, *pairs, *self.answers, *self.biases]

    def restore_answers(self, tasks: Sequence[Task], tensors: dict[str, Tensor]) -> None:
        super().restore_answers(tasks, tensors)
        self.pair_vector = nn.Parameter(tensors["pair_vector"]) if "pair_vector" in tensors else None
        self.answers = nn.ParameterList(tensors[f"answers.{task}"] for task in range(len(tasks)))
        self.biases = nn.ParameterList(tensors[f"biases.{task}"] for task in range(len(tasks)))

    def encode(
        self, prompts: Sequence[str], tasks: Sequence[int], options: Sequence[tuple[str, ...] | None]
    ) -> list[EncodedPrompt]:
        of_options = iter(self._options(prompts, options))
        encoded = []
        for (ids, n_tokens, truncated), task, own in zip(self._cut(prompts), tasks, options, strict=True):
            cut = None if own is None else [next(of_options) for _ in own]
            with_option_cut = self.pair_vector is not None and any(is_cut for _, _, is_cut in cut or ())
            encoded.append(
                EncodedPrompt(
                    task=task,
                    n_answers=len(self.tasks[task].answers) if own is None else len(own),
                    token_ids=ids,
                    n_tokens=n_tokens,
                    truncated=truncated or with_option_cut,
                    option_ids=None if cut is None else tuple(ids_of_option for ids_of_option, _, _ in cut),
                )
            )
        return encoded

    def _options(
        self, prompts: Sequence[str], options: Sequence[tuple[str, ...] | None]
    ) -> list[tuple[list[int], int, bool]]:
        """The options of all prompts, one after another; as pairs each ends the prompt, whose start is cut."""
        pairs = [(prompt, option) for prompt, own in zip(prompts, options, strict=True) for option in own or ()]
        if self.pair_vector is None:
            return self._cut([option for _, option in pairs])
        return self._cut([f"{prompt}\n{option}" for prompt, option in pairs], keep_end=True)

    def _cut(self, texts: Sequence[str], *, keep_end: bool = False) -> list[tuple[list[int], int, bool]]:
        """Token ids cut to max_length, how many there were, and whether some are gone, at the end or the start."""
        before, after = self.special_tokens
        room = self.max_length - len(before) - len(after)
        kept = slice(-room, None) if keep_end else slice(room)
        return [
            ([*before, *ids[kept], *after], len(before) + len(ids) + len(after), len(ids) > room)
            for ids in self.tokens_of(texts)
        ]

    def pooled(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """z, the normalised mean over a text's tokens. (B, S) -> (B, D) fp32."""
        hidden = self.model(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state.float()
        mask = attention_mask.unsqueeze(-1).float()
        return nn.functional.normalize((hidden * mask).sum(1) / mask.sum(1), dim=1)

    def embed_and_score(self, inputs: Inputs) -> tuple[Tensor, Tensor]:
        embedding = self.pooled(inputs.input_ids, inputs.attention_mask)
        with torch.autocast(self.device.type, enabled=False):
            if inputs.option_ids is None or inputs.option_mask is None:
                return embedding, embedding @ self.answers[inputs.task].T + self.biases[inputs.task]
        options = self.pooled(inputs.option_ids, inputs.option_mask)
        row, column = (~inputs.beyond()).nonzero(as_tuple=True)
        nothing = torch.zeros_like(inputs.beyond(), dtype=torch.float32)
        with torch.autocast(self.device.type, enabled=False):
            if self.pair_vector is None:
                scores = self.log_scale.exp() * (embedding[row] * options).sum(1)
            else:
                scores = options @ self.pair_vector
        return embedding, nothing.index_put((row, column), scores)
