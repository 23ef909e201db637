"""What every family of scorers has in common: p(answer | prompt) from a pretrained model, Eq. 2 of the paper."""

from __future__ import annotations

import math
import warnings
from collections.abc import Collection, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import AutoModel, AutoTokenizer
from transformers.pytorch_utils import Conv1D

from realm_core.annotations import Annotations, FloatArray, Task
from realm_core.base_models import BaseModelUnavailable
from realm_core.config import Precision
from realm_core.scorers.inputs import EncodedPrompt, Inputs, by_size, collate

_READ_TOKENS = 8192  # tokens (with padding) of one forward pass without gradients
_SMALLEST_SCALE = 0.1  # a temperature that is learned as a logarithm cannot start from zero


class Scorer(nn.Module):
    """log p_θ(y | x) over the K answers of a prompt: softmax(scale · logits), −∞ beyond K_i.

    `model` is the pretrained model, in fp32; on a GPU, and where `compute_in` says so, it computes in bf16 (never fp16,
    which T5 does not survive), and the K logits are fp32 again before the softmax. `log_scale` is a learned inverse
    temperature.
    """

    family: ClassVar[str]
    auto_class: ClassVar[Any] = AutoModel
    zero_shot_scales: ClassVar[tuple[float, ...]]  # to choose from, for how far the untrained model is trusted

    def __init__(self, model: Any, tokenizer: Any, max_length: int) -> None:
        super().__init__()
        self.model = model
        self.tokenizer = tokenizer
        self.max_length = max_length
        self.tasks: tuple[Task, ...] = ()
        self.log_scale = nn.Parameter(torch.zeros(()))
        self._precision: Precision | None = None
        self._adapted: list[Any] = []  # in a list, so that the adapters are not counted as weights twice

    @classmethod
    def from_pretrained(cls, base: Path | str, max_length: int) -> Self:
        """The scorer of a pretrained model (safetensors only, none of its code), without answers yet.

        Raises BaseModelUnavailable.
        """
        try:
            model, loading = cls.auto_class.from_pretrained(
                base, use_safetensors=True, trust_remote_code=False, dtype=torch.float32, output_loading_info=True
            )
            tokenizer = AutoTokenizer.from_pretrained(base, trust_remote_code=False)
        except (OSError, ValueError) as error:
            raise BaseModelUnavailable(
                f"The base model {_name_of(base)!r} cannot be loaded: it needs config.json, weights as safetensors and "
                "a tokenizer, of an architecture that transformers knows without code of the model's own."
            ) from error
        if missing := [name for name in loading["missing_keys"] if "pooler" not in name]:
            raise BaseModelUnavailable(f"The weights of {_name_of(base)!r} are incomplete: {missing[0]} is missing.")
        return cls(model, tokenizer, max_length)

    @property
    def pad_token_id(self) -> int:
        return int(self.tokenizer.pad_token_id or 0)  # whatever it is, it is masked

    @property
    def device(self) -> torch.device:
        return self.log_scale.device

    @property
    def precision(self) -> Precision:
        """What the pretrained model computes in."""
        return self._precision or ("bfloat16" if self.device.type == "cuda" else "float32")

    def compute_in(self, precision: Precision) -> None:
        """Compute in this precision from now on, whatever the device."""
        self._precision = precision

    def start_answers(self, tasks: Sequence[Task]) -> None:
        """Learn which answers there are; the scorer then says what the pretrained model says, at scale 1."""
        self.tasks = tuple(tasks)

    @torch.no_grad()
    def start_at(self, scale: float, meaningless: Collection[int] = ()) -> None:
        """Multiply the logits, which sharpens (or flattens) what the scorer says.

        `meaningless` are tasks whose answers' words say nothing; where answers are vectors, theirs stay as they are.
        """
        self.log_scale.fill_(math.log(max(scale, _SMALLEST_SCALE)))

    @property
    def scores_pairs(self) -> bool:
        """Whether `score_pairs` makes a difference and was called, now or when the weights were learned."""
        return False

    def score_pairs(self) -> None:
        """Read each of a prompt's own options together with the prompt. Language models always do."""

    def answer_parameters(self) -> list[nn.Parameter]:
        """What is learned beside the pretrained model."""
        return [self.log_scale]

    def own_tensors(self) -> dict[str, Tensor]:
        """What a model folder holds beside the pretrained model."""
        return {name: tensor for name, tensor in self.state_dict().items() if not name.startswith("model.")}

    def restore_answers(self, tasks: Sequence[Task], tensors: dict[str, Tensor]) -> None:
        """Put back what `own_tensors` gave."""
        self.tasks = tuple(tasks)
        self.log_scale = nn.Parameter(tensors["log_scale"])

    def encode(
        self, prompts: Sequence[str], tasks: Sequence[int], options: Sequence[tuple[str, ...] | None]
    ) -> list[EncodedPrompt]:
        """Prompts as numbers; `options` are their own answers, None where the task's count. Raises UnreadableInput."""
        raise NotImplementedError

    def encode_items(self, annotations: Annotations) -> list[EncodedPrompt]:
        """All prompts of a crowd."""
        options = annotations.options or (None,) * annotations.n_items
        return self.encode(annotations.prompts or (), annotations.item_task.tolist(), options)

    def collate(self, encoded: Sequence[EncodedPrompt]) -> Inputs:
        return collate(encoded, self.pad_token_id).to(self.device)

    def embed_and_score(self, inputs: Inputs) -> tuple[Tensor, Tensor]:
        """An embedding of each prompt (B, D), and the logits of its answers (B, Kmax), both fp32."""
        raise NotImplementedError

    def embed_and_answer(self, inputs: Inputs) -> tuple[Tensor, Tensor]:
        """An embedding of each prompt (B, D), and log p_θ(y | x), −∞ beyond K_i (B, Kmax)."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bfloat16"):
            embedding, logits = self.embed_and_score(inputs)
        return embedding, torch.log_softmax(logits.float().masked_fill(inputs.beyond(), -torch.inf), dim=1)

    def forward(self, inputs: Inputs) -> Tensor:
        """log p_θ(y | x), −∞ beyond K_i. (B, Kmax)"""
        return self.embed_and_answer(inputs)[1]

    @torch.inference_mode()
    def read(self, encoded: Sequence[EncodedPrompt]) -> tuple[NDArray[np.float32], FloatArray]:
        """Embeddings (N, D) and logits (N, Kmax), −∞ beyond K_i, of many prompts, in their order."""
        was_training = self.training
        self.eval()
        embeddings = np.zeros((len(encoded), self.model.config.hidden_size), np.float32)
        scores = np.full((len(encoded), max((one.n_answers for one in encoded), default=0)), -np.inf)
        for rows in by_size(encoded, _READ_TOKENS):
            inputs = self.collate([encoded[row] for row in rows])
            embedding, logits = self.embed_and_score(inputs)
            embeddings[rows] = embedding.cpu().numpy()
            scores[rows, : inputs.width] = logits.masked_fill(inputs.beyond(), -torch.inf).double().cpu().numpy()
        self.train(was_training)
        return embeddings, scores

    def scores_with(self, annotations: Annotations, embeddings: NDArray[np.float32]) -> FloatArray:
        """Logits (N, Kmax) as `read` gives them, were the answers described as `annotations` describe them.

        `embeddings` (N, E) are those that `read` gave. Answers start anew.
        """
        tasks = self.tasks
        self.start_answers(annotations.tasks)
        _, scores = self.read(self.encode_items(annotations))
        self.start_answers(tasks)
        return scores

    def tokens_of(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of texts as they are, without special tokens."""
        if not texts:
            return []
        encoded = self.tokenizer(list(texts), add_special_tokens=False, truncation=False, verbose=False)
        return [list(ids) for ids in encoded["input_ids"]]

    @cached_property
    def special_tokens(self) -> tuple[list[int], list[int]]:
        """What the tokenizer puts before and after a text."""
        bare, whole = self.tokens_of(["A"])[0], list(self.tokenizer("A")["input_ids"])
        start = next(i for i in range(len(whole)) if whole[i : i + len(bare)] == bare)
        return whole[:start], whole[start + len(bare) :]

    def save_memory(self) -> None:
        """Compute activations again in the backward pass instead of keeping them (gradient checkpointing)."""
        self.model.activation_checkpointing_enable({"use_reentrant": False})

    def model_parameters(self) -> list[nn.Parameter]:
        """What is learned of the pretrained model itself, or of its adapters."""
        return [parameter for parameter in self.model.parameters() if parameter.requires_grad]

    def learn_rows(self, n_answers: int) -> None:
        """Learn no more of an output layer than the rows that up to `n_answers` answers are read from."""

    def add_adapters(self, rank: int) -> None:
        """Freeze the pretrained model, and learn W + 2·B·A of this rank in each of its linear layers (LoRA)."""
        from peft import LoraConfig, LoraModel

        config = LoraConfig(
            r=rank,
            lora_alpha=2 * rank,
            target_modules="all-linear",
            fan_in_fan_out=any(isinstance(module, Conv1D) for module in self.model.modules()),
        )
        self._adapted.append(LoraModel(self.model, config, "default"))

    def become_plain(self) -> None:
        """Put adapters and rows that were learned apart back into the model, so that it is one of its family again."""
        while self._adapted:
            with warnings.catch_warnings():  # Flan-T5's embeddings were never tied, whatever its config says
                warnings.filterwarnings("ignore", "Input and output embeddings are no longer tied")
                self.model = self._adapted.pop().merge_and_unload()


def _name_of(base: Path | str) -> str:
    return base.name if isinstance(base, Path) else base
