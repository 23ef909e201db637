"""Everything that a training run depends on, validated and frozen."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Auto = Literal["auto"]
MethodType = Literal["realm", "supervised", "aggregation"]
ChannelName = Literal["scalar", "one_coin"]
LikelihoodName = Literal["marginal", "joint"]


class Hyperparameters(BaseModel):
    """What a user may set; "auto" is resolved by `resolve` before training and shown with its reason."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    preset: Literal["default", "paper"] = Field(
        "default",
        description="`paper`: channel scalar, marginal likelihood, expertise learned by gradient. `default`: what wins on our benchmarks.",
    )
    channel: ChannelName | Auto = Field(
        "auto",
        description="How an annotator turns the truth y into a label l. `scalar` (Eq. 1): w·[l=y] + (1−w)/K, w = σ(α). "
        "`one_coin`: a if l=y else (1−a)/(K−1), a = σ(β); can go below chance.",
    )
    likelihood: LikelihoodName | Auto = Field(
        "auto",
        description="`marginal` (Eq. 3): Σ_r log Σ_y p(y|x) π_r(l_r|y). `joint`: log Σ_y p(y|x) Π_r π_r(l_r|y).",
    )
    expertise_update: Literal["gradient", "em"] | Auto = Field(
        "auto", description="`gradient`: AdamW with its own learning rate. `em`: streaming closed form."
    )
    learning_rate: float | Auto = Field("auto", gt=0, description="AdamW learning rate of the language model.")
    answer_learning_rate: float | Auto = Field("auto", gt=0, description="AdamW learning rate of the answer vectors.")
    expertise_learning_rate: float | Auto = Field("auto", gt=0, description="AdamW learning rate of the expertise.")
    weight_decay: float = Field(0.01, ge=0, description="Of the language model; never of the expertise.")
    batch_size: int | Auto = Field("auto", gt=0, le=4096, description="Prompts per optimiser step.")
    accumulation_steps: int = Field(1, ge=1, le=1024, description="Micro-batches that make up one optimiser step.")
    n_epochs: float | Auto = Field("auto", gt=0, le=100, description="Passes over the prompts.")
    max_steps: int | Auto = Field("auto", gt=0, description="Optimiser steps; wins over n_epochs.")
    time_budget_seconds: float | Auto = Field("auto", gt=0, description="Training stops at the step that reaches it.")
    warmup_fraction: float = Field(0.05, ge=0, lt=1)
    max_grad_norm: float = Field(1.0, gt=0)
    max_length: int = Field(128, ge=8, le=8192, description="Tokens of a prompt; longer ones are cut at the end.")
    held_out_fraction: float = Field(
        0.1, ge=0, le=0.5, description="Share of prompts whose annotations select the checkpoint; never gold."
    )
    evaluations: int = Field(10, ge=1, description="How often the held-out likelihood is measured.")
    patience: int = Field(3, ge=1, description="Evaluations without a better held-out likelihood before stopping.")
    cross_fit_folds: int = Field(5, ge=0, le=20, description="Folds of the report; 0: in-sample intervals, said so.")


class TrainingConfig(BaseModel):
    """One run: method, hyperparameters as asked for, seed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: MethodType = "realm"
    hyperparameters: Hyperparameters = Hyperparameters()
    seed: int = Field(0, ge=0, lt=2**31)
    threads: int | None = Field(None, ge=1)
