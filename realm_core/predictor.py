"""Load a fine-tuned model and answer prompts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from realm_core.annotations import FloatArray, Task
from realm_core.batching import by_length, pad
from realm_core.channels import PerfectChannel
from realm_core.checkpoint import FineTuned, load_model


class InvalidInput(ValueError):
    """An input that the model cannot answer; the message says why, for the user."""


@dataclass(frozen=True)
class PredictInput:
    """A prompt, and its task where the model knows several."""

    prompt: str
    task: str | None = None
    options: tuple[str, ...] | None = None


@dataclass(frozen=True)
class EncodedInput:
    """An input as numbers: its task and its tokens, cut to max_length. `n_tokens` counts those of the whole prompt."""

    task: int
    token_ids: list[int]
    n_tokens: int

    @property
    def truncated(self) -> bool:
        return self.n_tokens > len(self.token_ids)


@dataclass(frozen=True, eq=False)
class Prediction:
    """Probabilities (K,) of the answers, in the task's order. `n_tokens` counts those of the whole prompt."""

    answers: tuple[str, ...]
    probabilities: FloatArray
    n_tokens: int
    truncated: bool


class Predictor:
    """A fine-tuned model, ready to answer. One thread may encode while another predicts what was encoded."""

    def __init__(self, model: FineTuned) -> None:
        self._model = model
        self._task_number = {task.name: number for number, task in enumerate(model.tasks)}
        self._annotator_number = {name: number for number, name in enumerate(model.annotators)}

    @classmethod
    def load(cls, folder: Path, *, threads: int | None = None) -> Predictor:
        """Read a model folder; `threads` caps the CPU threads of this whole process."""
        if threads is not None:
            torch.set_num_threads(threads)
        model = load_model(folder)
        model.scorer.to("cuda" if torch.cuda.is_available() else "cpu")
        return cls(model)

    @property
    def tasks(self) -> tuple[Task, ...]:
        return self._model.tasks

    @property
    def annotators(self) -> tuple[str, ...]:
        return self._model.annotators

    @property
    def max_length(self) -> int:
        """Tokens of a prompt that the model reads."""
        return int(self._model.scorer.max_length)

    @property
    def n_bytes(self) -> int:
        """Memory of the weights."""
        return sum(weight.numel() * weight.element_size() for weight in self._model.scorer.parameters())

    def check(self, item: PredictInput) -> None:
        """Raises InvalidInput unless `predict` can answer this input."""
        if not item.prompt.strip():
            raise InvalidInput("The prompt is empty.")
        if item.options is not None:
            raise InvalidInput("This model answers with its own labels; it takes no options.")
        self._task_of(item.task)

    def _task_of(self, name: str | None) -> int:
        if name is None and len(self.tasks) == 1:
            return 0
        if name not in self._task_number:
            known = ", ".join(repr(task.name) for task in self.tasks[:20])
            raise InvalidInput(f"There is no task {name!r}; this model knows {known}.")
        return self._task_number[name]

    def count_tokens(self, item: PredictInput) -> int:
        """Tokens of the whole prompt, before it is cut to max_length."""
        return self._model.scorer.count_tokens(item.prompt)

    def encode(self, item: PredictInput) -> EncodedInput:
        """What `predict_encoded` reads of an input; the part that needs no forward pass. Raises InvalidInput."""
        self.check(item)
        token_ids = self._model.scorer.tokenize([item.prompt])[0]
        return EncodedInput(self._task_of(item.task), token_ids, self.count_tokens(item))

    def predict(self, items: Sequence[PredictInput], batch_tokens: int = 16384) -> list[Prediction]:
        """One prediction per input, in their order. Raises InvalidInput for the first input that `check` refuses."""
        return self.predict_encoded([self.encode(item) for item in items], batch_tokens)

    def predict_encoded(self, inputs: Sequence[EncodedInput], batch_tokens: int = 16384) -> list[Prediction]:
        """Predictions in the inputs' order; batches hold like lengths, at most `batch_tokens` with padding."""
        predictions: dict[int, Prediction] = {}
        for rows in by_length([one.task for one in inputs], [one.token_ids for one in inputs], batch_tokens):
            task = inputs[rows[0]].task
            probabilities = self._probabilities([inputs[row].token_ids for row in rows], task)
            for row, of_row in zip(rows, probabilities, strict=True):
                one = inputs[row]
                predictions[row] = Prediction(self.tasks[task].answers, of_row, one.n_tokens, one.truncated)
        return [predictions[row] for row in range(len(inputs))]

    @torch.inference_mode()
    def _probabilities(self, token_ids: list[list[int]], task: int) -> FloatArray:
        scorer = self._model.scorer
        device = next(scorer.parameters()).device
        input_ids, attention_mask = pad(token_ids, scorer.pad_token_id)
        log_p = scorer(input_ids.to(device), attention_mask.to(device), task)
        return np.asarray(log_p.double().exp().cpu())

    def as_annotator(self, prediction: Prediction, annotator: str, task: str | None) -> FloatArray:
        """P(label | prompt, annotator) = Σ_y p_θ(y) π_r(label | y), what that annotator would have said. (K,)

        Raises InvalidInput for an annotator whom the model does not know, or when it learned none.
        """
        channel = self._model.channel
        if isinstance(channel, PerfectChannel):
            raise InvalidInput("This model was fine-tuned without annotators.")
        if annotator not in self._annotator_number:
            raise InvalidInput(f"This model knows no annotator {annotator!r}.")
        n_answers = len(prediction.answers)
        labels = torch.arange(n_answers)
        who = torch.full((n_answers,), self._annotator_number[annotator])
        with torch.inference_mode():
            log_channel = channel.log_likelihood(who, labels, self._task_of(task), n_answers)
        return np.asarray(log_channel.double().exp()) @ prediction.probabilities
