"""Everything that a training run depends on, validated and frozen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt, model_validator

Auto = Literal["auto"]
MethodType = Literal["realm", "supervised", "aggregation"]
ChannelName = Literal["scalar", "per_task", "prompt", "one_coin", "confusion"]
LikelihoodName = Literal["marginal", "joint"]
ExpertiseUpdate = Literal["gradient", "em"]
Precision = Literal["float32", "bfloat16"]


class Hyperparameters(BaseModel):
    """What a user may set; "auto" is resolved by `resolve` before training and shown with its reason."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    preset: Literal["default", "paper"] = Field(
        "default",
        description="`paper`: channel scalar (per_task for several tasks), marginal likelihood, expertise learned by "
        "gradient. `default`: what wins on our benchmarks.",
    )
    channel: ChannelName | Auto = Field(
        "auto",
        description="How an annotator turns the truth y into a label l. `scalar` (Eq. 1): w·[l=y] + (1−w)/K, w = σ(α). "
        "`per_task` (Eq. 4): the same with one w per annotator and task. "
        "`prompt` (Eq. 5): the same with w = σ(b_r + ⟨z(x), u_r⟩), z the prompt's embedding, centred and of unit "
        "length, b and u learned by gradient, u from zero under a prior N(0, 2²): for who is good on some topics only. "
        "`one_coin`: a if l=y else (1−a)/(K−1), a = σ(β) per task; can go below chance. `confusion`: a K×K "
        "stochastic matrix per annotator and task, one_coin for the first 30 % of the steps, then rows pulled to it. "
        "`auto` takes one_coin or confusion, whichever predicts left-out labels better, before any training. Not "
        "compared: scalar and per_task, which are one_coin that cannot go below chance (one_coin has an accuracy per "
        "task already), and prompt, which only a training of its own could judge: ask for it where annotators know "
        "some topics better than others.",
    )
    likelihood: LikelihoodName | Auto = Field(
        "auto",
        description="`marginal` (Eq. 3): Σ_r log Σ_y p(y|x) π_r(l_r|y). `joint`: log Σ_y p(y|x) Π_r π_r(l_r|y).",
    )
    expertise_update: ExpertiseUpdate | Auto = Field(
        "auto", description="`gradient`: AdamW with its own learning rate. `em`: streaming closed form."
    )
    learning_rate: PositiveFloat | Auto = Field(
        "auto",
        description="AdamW learning rate of the language model, or of its adapters. `auto`: 1e-4 for encoders, 3e-4 "
        "for sequence-to-sequence models (T5), 2e-5 for causal ones (Llama, Qwen, GPT), 2e-4 with lora_rank.",
    )
    answer_learning_rate: PositiveFloat | Auto = Field(
        "auto",
        description="AdamW learning rate of what turns the language model's states z into logits of answers. Encoder: "
        "⟨z(x), A_k⟩ + b_k with a vector A_k per answer, or s·cos(z(x), z(option)) for options of the prompt's own. "
        "Language models: s·logit(letter k), read after the prompt and its lettered answers. A, b and s are learned.",
    )
    lora_rank: int = Field(
        0,
        ge=0,
        le=256,
        description="r of LoRA: each linear layer W becomes W + 2·B·A with A r×d, B d×r, and W frozen; merged into W "
        "when the model is saved. 0: fine-tune all weights.",
    )
    option_scoring: Literal["cosine", "pair"] = Field(
        "cosine",
        description="How an encoder scores options of a prompt's own. `cosine`: s·cos(z(x), z(option)), which knows "
        "from the start which words go together. `pair`: ⟨z(x and option, read as one text), v⟩ with v learned from "
        "zero: it can learn what no cosine says, such as which of two comes next, at K times the cost. A fine-tuned "
        "model goes on as it was. Language models read prompt and options together anyway.",
    )
    precision: Precision | Auto = Field(
        "auto",
        description="In what the pretrained model's products are computed while training. `bfloat16` by autocast: "
        "weights, gradients, moments, the channel and the softmax over the answers stay float32. `auto`: bfloat16 on a "
        "GPU, float32 on a CPU, where bfloat16 pays only with units for it (AMX, AVX512-BF16). There is no float16: T5 "
        "overflows in it.",
    )
    gradient_checkpointing: bool = Field(
        False, description="Compute activations twice instead of keeping them: less memory, a third more time."
    )
    expertise_learning_rate: PositiveFloat | Auto = Field("auto", description="AdamW learning rate of the expertise.")
    expertise_pooling: Annotated[float, Field(ge=0, le=1000)] | Auto = Field(
        "auto",
        description="S imagined labels that pull w or a of annotator r on task t to what is expected of them, "
        "(Σ right + S·m_rt) / (n_rt + S) with logit m_rt = logit(crowd's mean on t) + how much better r is than the "
        "crowd on other tasks, itself pulled to 0 by S. `auto`: 6, or 0 with the preset `paper`.",
    )
    weight_decay: float = Field(0.01, ge=0, description="Of the language model; never of the expertise.")
    batch_size: Annotated[int, Field(gt=0, le=4096)] | Auto = Field("auto", description="Prompts per optimiser step.")
    accumulation_steps: int = Field(1, ge=1, le=1024, description="Micro-batches that make up one optimiser step.")
    n_epochs: Annotated[float, Field(gt=0, le=100)] | Auto = Field("auto", description="Passes over the prompts.")
    max_steps: PositiveInt | Auto = Field("auto", description="Optimiser steps; wins over n_epochs.")
    time_budget_seconds: PositiveFloat | Auto = Field("auto", description="Training stops at the step that reaches it.")
    warmup_fraction: float = Field(0.05, ge=0, lt=1)
    max_grad_norm: float = Field(1.0, gt=0)
    max_length: int = Field(
        256,
        ge=8,
        le=8192,
        description="Tokens of a prompt; longer ones are cut at the end. The list of answers that a "
        "sequence-to-sequence or causal model reads comes on top.",
    )
    use_gold: bool = Field(
        False,
        description="Take gold for known: q_i(y) = [y = gold_i] in training and report, for four fifths of the prompts "
        "with gold, drawn by text. The report is scored by the rest. False: gold is only scored against.",
    )
    held_out_fraction: float = Field(
        0.1,
        ge=0,
        le=0.5,
        description="Share of prompts whose annotations (and known gold) select the checkpoint.",
    )
    evaluations: int = Field(10, ge=1, description="How often the held-out likelihood is measured.")
    patience: int = Field(5, ge=1, description="Evaluations without a better held-out likelihood before stopping.")
    cross_fit_folds: int = Field(5, ge=0, le=20, description="Folds of the report; 0: in-sample intervals, said so.")

    @model_validator(mode="after")
    def _channel_can_be_learned_so(self) -> Self:
        if self.channel == "confusion" and self.expertise_update == "gradient":
            raise ValueError("channel `confusion` is learned by expertise_update `em` only")
        if self.channel == "prompt" and self.expertise_update == "em":
            raise ValueError("channel `prompt` is learned by expertise_update `gradient` only: EM has no closed form")
        return self


class TrainingConfig(BaseModel):
    """One run: method, hyperparameters as asked for, seed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: MethodType = "realm"
    hyperparameters: Hyperparameters = Hyperparameters()
    seed: int = Field(0, ge=0, lt=2**31)
    threads: int | None = Field(None, ge=1)
    checkpoint_seconds: float = Field(60.0, ge=0, description="Between the states of training that are saved.")
    in_parts: bool = Field(False, description="Of several processes, each holds a part of the model (FSDP), not all.")


@dataclass(frozen=True)
class Plan:
    """The hyperparameters of a run once every "auto" has become a value."""

    channel: ChannelName
    likelihood: LikelihoodName
    expertise_update: ExpertiseUpdate
    learning_rate: float
    answer_learning_rate: float
    lora_rank: int
    option_scoring: Literal["cosine", "pair"]
    precision: Precision
    gradient_checkpointing: bool
    expertise_learning_rate: float
    expertise_pooling: float
    weight_decay: float
    batch_size: int
    accumulation_steps: int
    total_steps: int
    time_budget_seconds: float
    warmup_fraction: float
    max_grad_norm: float
    max_length: int
    held_out_fraction: float
    evaluations: int
    patience: int
    cross_fit_folds: int


LEARNING_RATES = {
    "encoder": (1e-4, "keeps what the pretrained encoder knows"),
    "seq2seq": (3e-4, "T5 models were pretrained with large steps; below 1e-4 they hardly move in a few epochs"),
    "causal": (2e-5, "larger steps on all weights make a causal model forget what it knows"),
}
LORA_LEARNING_RATE = (2e-4, "adapters start from zero and take larger steps than the weights that they stand for")

Reasons = dict[str, dict[str, Any]]  # hyperparameter -> {"value": what "auto" became, "why": a sentence}


def resolve(
    config: TrainingConfig, *, n_prompts: int, n_tasks: int, on_gpu: bool, family: str = "encoder"
) -> tuple[Plan, Reasons]:
    """Turn every "auto" into a value, and say why.

    n_prompts counts the prompts that are trained on; family is the scorer's.
    """
    reasons: Reasons = {}
    asked = config.hyperparameters

    def value_of(name: str, auto: Any, why: str) -> Any:
        given = getattr(asked, name)
        if given != "auto":
            return given
        reasons[name] = {"value": auto, "why": why}
        return auto

    paper = asked.preset == "paper"
    preset = "the preset `paper`" if paper else "the best on our benchmarks"
    channel = value_of("channel", ("per_task" if n_tasks > 1 else "scalar") if paper else "one_coin", preset)
    batch_size = value_of("batch_size", 32, "enough prompts for a steady gradient")
    steps_per_epoch = max(1, -(-n_prompts // (batch_size * asked.accumulation_steps)))
    n_epochs = value_of("n_epochs", 3.0, "more passes memorise the annotators' errors")
    total_steps = value_of("max_steps", max(1, round(n_epochs * steps_per_epoch)), f"{n_epochs:g} epochs")
    likelihood = value_of("likelihood", "marginal" if paper else "joint", preset)
    if config.method == "supervised":  # labels that are all the truth contradict each other under one joint truth
        likelihood = "marginal"
        reasons["likelihood"] = {"value": likelihood, "why": "supervised training takes each label by itself"}
    plan = Plan(
        channel=channel,
        likelihood=likelihood,
        expertise_update=value_of("expertise_update", *_expertise_update(channel, paper, preset)),
        learning_rate=value_of("learning_rate", *(LORA_LEARNING_RATE if asked.lora_rank else LEARNING_RATES[family])),
        answer_learning_rate=value_of("answer_learning_rate", 1e-2, "the answers start from words and must move far"),
        lora_rank=asked.lora_rank,
        option_scoring=asked.option_scoring,
        precision=value_of(
            "precision",
            "bfloat16" if on_gpu else "float32",
            "GPUs have units for it" if on_gpu else "most CPUs have no units for bfloat16",
        ),
        gradient_checkpointing=asked.gradient_checkpointing,
        expertise_learning_rate=value_of(
            "expertise_learning_rate",
            min(0.1, max(0.01, 20 / total_steps)),
            "20 / steps: what AdamW needs to cross the scale of a logit",
        ),
        expertise_pooling=value_of("expertise_pooling", 0.0 if paper else 6.0, preset),
        weight_decay=asked.weight_decay,
        batch_size=batch_size,
        accumulation_steps=asked.accumulation_steps,
        total_steps=total_steps,
        time_budget_seconds=value_of(
            "time_budget_seconds", 12 * 3600.0 if on_gpu else 3600.0, "12 hours on a GPU, one hour without"
        ),
        warmup_fraction=asked.warmup_fraction,
        max_grad_norm=asked.max_grad_norm,
        max_length=asked.max_length,
        held_out_fraction=asked.held_out_fraction,
        evaluations=asked.evaluations,
        patience=asked.patience,
        cross_fit_folds=asked.cross_fit_folds,
    )
    return plan, reasons


def _expertise_update(channel: ChannelName, paper: bool, preset: str) -> tuple[ExpertiseUpdate, str]:
    if channel == "prompt":
        return "gradient", "the channel `prompt` has no closed form"
    return ("gradient", preset) if paper and channel != "confusion" else ("em", preset)
