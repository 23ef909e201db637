"""Load a fine-tuned model and answer prompts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from realm_core.annotations import FloatArray, Task
from realm_core.channels import PerfectChannel, PromptChannel, ReadPrompts, SigmoidChannel
from realm_core.checkpoint import FineTuned, load_model
from realm_core.config import Precision
from realm_core.scorers.inputs import EncodedPrompt, UnreadableInput, by_size
from realm_core.scorers.packing import Packed, can_pack


class InvalidInput(ValueError):
    """An input that the model cannot answer; the message says why, for the user."""


@dataclass(frozen=True)
class PredictInput:
    """A prompt, its task where the model knows several, and its options where the task has no answers of its own."""

    prompt: str
    task: str | None = None
    options: tuple[str, ...] | None = None


@dataclass(frozen=True)
class EncodedInput:
    """An input as the scorer reads it, and the answers that it may get."""

    prompt: EncodedPrompt
    answers: tuple[str, ...]

    @property
    def size(self) -> int:
        """Tokens that go through the model."""
        return self.prompt.size


@dataclass(frozen=True, eq=False)
class Prediction:
    """Probabilities (K,) of the answers, in the order of the task or of the options.

    `n_tokens` counts those of the whole prompt; `embedding` (D,) is what the model made of it.
    """

    answers: tuple[str, ...]
    probabilities: FloatArray
    n_tokens: int
    truncated: bool
    embedding: NDArray[np.float32] | None = None


class Predictor:
    """A fine-tuned model, ready to answer. One thread may encode while another predicts what was encoded.

    `pads`: whether in a batch of inputs of different lengths the shorter ones cost as much as the longest.
    """

    def __init__(self, model: FineTuned) -> None:
        self._model = model
        self._task_number = {task.name: number for number, task in enumerate(model.tasks)}
        self._annotator_number = {name: number for number, name in enumerate(model.annotators)}
        self.pads = not isinstance(model.scorer.model, Packed)

    @classmethod
    def load(cls, folder: Path, *, threads: int | None = None, precision: Precision = "float32") -> Predictor:
        """Read a model folder; `threads` caps the CPU threads of this whole process.

        In bfloat16 the pretrained model's weights take half the memory and go through the CPU's bf16 units, where it
        has any; answers' vectors and the softmax stay fp32. Probabilities move by about .01.
        """
        if threads is not None:
            torch.set_num_threads(threads)
        model = load_model(folder)
        model.scorer.to("cuda" if torch.cuda.is_available() else "cpu")
        model.scorer.model.to(getattr(torch, precision))
        if model.scorer.family == "encoder" and can_pack(model.scorer.model):
            model.scorer.model = Packed(model.scorer.model)
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
        task = self.tasks[self._task_of(item.task)]
        if item.options is not None and task.answers:
            raise InvalidInput("This model answers with its own labels; it takes no options.")
        if item.options is None and not task.answers:
            raise InvalidInput(f"Task {task.name!r} has no answers of its own: send the prompt's `options`.")
        if item.options is not None and not all(option.strip() for option in item.options or ("",)):
            raise InvalidInput("`options` needs at least one text, and none of them empty.")
        if item.options is not None and len(set(item.options)) < len(item.options):
            raise InvalidInput("`options` names the same text twice.")

    def _task_of(self, name: str | None) -> int:
        if name is None and len(self.tasks) == 1:
            return 0
        if name not in self._task_number:
            known = ", ".join(repr(task.name) for task in self.tasks[:20])
            raise InvalidInput(f"There is no task {name!r}; this model knows {known}.")
        return self._task_number[name]

    def count_tokens(self, item: PredictInput) -> int:
        """Tokens of the whole prompt, before it is cut to max_length. Raises InvalidInput."""
        return self.encode(item).prompt.n_tokens

    def encode(self, item: PredictInput) -> EncodedInput:
        """What `predict_encoded` reads of an input; the part that needs no forward pass. Raises InvalidInput."""
        self.check(item)
        task = self._task_of(item.task)
        try:
            (encoded,) = self._model.scorer.encode([item.prompt], [task], [item.options])
        except UnreadableInput as error:
            raise InvalidInput(str(error)) from error
        return EncodedInput(encoded, item.options or self.tasks[task].answers)

    def predict(self, items: Sequence[PredictInput], batch_tokens: int = 16384) -> list[Prediction]:
        """One prediction per input, in their order. Raises InvalidInput for the first input that `check` refuses."""
        return self.predict_encoded([self.encode(item) for item in items], batch_tokens)

    def predict_encoded(self, inputs: Sequence[EncodedInput], batch_tokens: int = 16384) -> list[Prediction]:
        """Predictions in the inputs' order; batches hold like lengths, at most `batch_tokens` with what is padded."""
        predictions: dict[int, Prediction] = {}
        for rows in by_size([one.prompt for one in inputs], batch_tokens, padded=self.pads):
            embeddings, probabilities = self._read([inputs[row].prompt for row in rows])
            for row, z, p in zip(rows, embeddings, probabilities, strict=True):
                prompt, answers = inputs[row].prompt, inputs[row].answers
                predictions[row] = Prediction(answers, p[: len(answers)], prompt.n_tokens, prompt.truncated, z)
        return [predictions[row] for row in range(len(inputs))]

    @torch.inference_mode()
    def _read(self, prompts: list[EncodedPrompt]) -> tuple[NDArray[np.float32], FloatArray]:
        scorer = self._model.scorer
        embedding, log_p = scorer.embed_and_answer(scorer.collate(prompts))
        return np.asarray(embedding.float().cpu()), np.asarray(log_p.double().exp().cpu())

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
        counts = torch.full((n_answers,), n_answers)
        with torch.inference_mode():
            log_channel = channel.log_likelihood(
                who, labels, self._task_of(task), counts, _repeated(channel, prediction)
            )
        return np.asarray(log_channel.double().exp()) @ prediction.probabilities


def _repeated(channel: SigmoidChannel, prediction: Prediction) -> ReadPrompts | None:
    """What the prompt of a prediction is about, for one label after the other."""
    if not isinstance(channel, PromptChannel) or prediction.embedding is None:
        return None
    z = channel.read(torch.from_numpy(prediction.embedding)[None])
    return ReadPrompts(z, torch.zeros(len(prediction.answers), dtype=torch.long))
