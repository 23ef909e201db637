"""Language models that answer by writing: the prompt, its answers with letters, and which letter comes next.

    the prompt
    A. the first answer's description
    B. the second's
    Answer:

Only the K rows of the output layer that belong to the letters are multiplied: the softmax over them is the softmax over
the vocabulary, renormalised over the answers. As a training loss it differs from cross-entropy over the vocabulary.
Answers that are not one token each are scored as strings, log p(string and end) over the whole vocabulary, softmax over
the strings.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from realm_core.annotations import FloatArray, Task
from realm_core.scorers.answer_tokens import AnswerTokens, letters
from realm_core.scorers.inputs import EncodedPrompt, Inputs, UnreadableInput, pad
from realm_core.scorers.scorer import Scorer

QUESTION = "\nAnswer:"
_LEAST_PROMPT = 8  # tokens that must be left for a prompt


class LanguageModelScorer(Scorer):
    """What sequence-to-sequence and causal models share. `ends_input`: special tokens close what the model reads."""

    zero_shot_scales = (0.1, 0.25, 0.5, 1.0, 2.0)  # of logits, which are the model's own at 1
    letter_rows: nn.Parameter | None  # of the output layer, (n, D), where they are learned apart from it
    context: ClassVar[str]  # what an answer is written after
    forms: ClassVar[tuple[str, ...]]  # how a letter may be written, the likeliest first
    ends_input: ClassVar[bool]

    def __init__(self, model: Any, tokenizer: Any, max_length: int) -> None:
        super().__init__(model, tokenizer, max_length)
        self.answer_tokens = AnswerTokens.find(tokenizer, self.context, self.forms)
        self.register_parameter("letter_rows", None)

    def model_parameters(self) -> list[nn.Parameter]:
        return super().model_parameters() + ([] if self.letter_rows is None else [self.letter_rows])

    def learn_rows(self, n_answers: int) -> None:
        """Of an output layer of its own, learn the letters' rows only: the others get no gradient anyway.

        They need neither gradient nor moments then, three times the layer's size, and do not decay. Everything is
        learned where the layer is the input embedding as well, or where answers are scored as strings.
        """
        head = self.model.get_output_embeddings()
        if head.weight is self.model.get_input_embeddings().weight or not self.answer_tokens.single(n_answers):
            return
        head.weight.requires_grad_(False)
        self.letter_rows = nn.Parameter(head.weight[self._letter_ids(n_answers)].clone())

    @torch.no_grad()
    def become_plain(self) -> None:
        if self.letter_rows is not None:
            weight = self.model.get_output_embeddings().weight
            weight[self._letter_ids(len(self.letter_rows))] = self.letter_rows
            weight.requires_grad_(True)
            self.letter_rows = None
        super().become_plain()

    def _letter_ids(self, n_answers: int) -> list[int]:
        """The tokens of the first letters, where each is one token."""
        return [ids[0] for ids in self.answer_tokens.of(n_answers)]

    def encode(
        self, prompts: Sequence[str], tasks: Sequence[int], options: Sequence[tuple[str, ...] | None]
    ) -> list[EncodedPrompt]:
        before, after = self.special_tokens
        if not self.ends_input:
            after = []
        of_options = iter(self.tokens_of([_list_of(own) for own in options if own is not None]))
        lists = self._lists(self.tasks)
        encoded = []
        for ids, task, own in zip(self.tokens_of(prompts), tasks, options, strict=True):
            answers = self.tasks[task].descriptions if own is None else own
            rest = [*(lists[task] if own is None else next(of_options)), *after]
            room = self._room(len(before) + len(rest), len(answers))
            encoded.append(
                EncodedPrompt(
                    task=task,
                    n_answers=len(answers),
                    token_ids=[*before, *ids[:room], *rest],
                    n_tokens=len(ids),
                    truncated=len(ids) > room,
                    whole_answers=not self.answer_tokens.single(len(answers)),
                )
            )
        return encoded

    @lru_cache(maxsize=2)  # noqa: B019 (as long-lived as the scorer)
    def _lists(self, tasks: tuple[Task, ...]) -> list[list[int]]:
        """The tokens of each task's list of answers."""
        return self.tokens_of([_list_of(task.descriptions) for task in tasks])

    def _room(self, n_fixed: int, n_answers: int) -> int:
        """Tokens that a prompt may have beside the list of its answers."""
        positions = getattr(self.model.config, "max_position_embeddings", None)
        if positions is None:
            return self.max_length
        longest = 1 + max(map(len, self.answer_tokens.of(n_answers)), default=0)
        room = min(self.max_length, int(positions) - n_fixed - longest)
        if room < min(_LEAST_PROMPT, self.max_length):
            raise UnreadableInput(f"The {n_answers} answers have {n_fixed} tokens; the model reads {positions} in all.")
        return room

    def embed_and_score(self, inputs: Inputs) -> tuple[Tensor, Tensor]:
        if inputs.whole_answers:
            embedding, logits = self._score_strings(inputs, *self._strings(inputs.width))
        else:
            embedding, hidden = self._read_letter(inputs)
            logits = self._letter_logits(hidden, inputs.width)
        return embedding.float(), self.log_scale.exp() * logits

    def _read_letter(self, inputs: Inputs) -> tuple[Tensor, Tensor]:
        """An embedding of each prompt (B, D), and the last hidden state from which its letter is read (B, D)."""
        raise NotImplementedError

    def _read_strings(self, inputs: Inputs, strings: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """An embedding (B, D), and the states from which each token of each string is read. strings, mask (K, L);
        -> (B·K, L, D)."""
        raise NotImplementedError

    def _strings(self, n_answers: int) -> tuple[Tensor, Tensor]:
        """The tokens of the answers, each with an end, since one may begin another. (K, L) and its mask."""
        end = self.tokenizer.eos_token_id
        strings = [[*ids, *([] if end is None else [end])] for ids in self.answer_tokens.of(n_answers)]
        ids, mask = pad(strings, self.pad_token_id)
        return ids.to(self.device), mask.to(self.device)

    def _score_strings(self, inputs: Inputs, strings: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Σ log p(token | prompt, tokens before) of each string. (B, K)"""
        embedding, hidden = self._read_strings(inputs, strings, mask)
        log_p = torch.log_softmax(self._rows(hidden, None), dim=-1)
        wanted = strings.repeat(len(inputs), 1)
        of_token = log_p.gather(2, wanted[:, :, None]).squeeze(2) * mask.repeat(len(inputs), 1)
        return embedding, of_token.sum(1).view(len(inputs), -1)

    def _letter_logits(self, hidden: Tensor, n_answers: int) -> Tensor:
        """Logits (fp32) of the first letters. (B, D) -> (B, n)"""
        if self.letter_rows is None:
            return self._rows(hidden, self._letter_ids(n_answers))
        return self._rows(hidden, self._letter_ids(n_answers), self.letter_rows[:n_answers])

    def _rows(self, hidden: Tensor, token_ids: list[int] | None, weight: Tensor | None = None) -> Tensor:
        """Logits (fp32) of some tokens, or of the vocabulary, by these rows (n, D) or the layer's. (…, D) -> (…, n)"""
        head = self.model.get_output_embeddings()
        rows = slice(None) if token_ids is None else torch.tensor(token_ids, device=hidden.device)
        with torch.autocast(hidden.device.type, enabled=False):
            bias = None if getattr(head, "bias", None) is None else head.bias[rows].float()
            return nn.functional.linear(hidden.float(), (head.weight[rows] if weight is None else weight).float(), bias)

    def read(self, encoded: Sequence[EncodedPrompt]) -> tuple[NDArray[np.float32], FloatArray]:
        """As always; embeddings centred and scaled to a mean square of 1, since a language model's all point one
        way."""
        embeddings, scores = super().read(encoded)
        embeddings -= embeddings.mean(axis=0, keepdims=True)
        embeddings /= np.sqrt((embeddings**2).sum(axis=1).mean()) + 1e-12
        return embeddings, scores


def _list_of(answers: Sequence[str]) -> str:
    lines = [f"\n{letters(number)}. {answer}" for number, answer in enumerate(answers)]
    return "".join(lines) + QUESTION
