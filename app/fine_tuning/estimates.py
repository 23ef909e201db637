"""What a job would take, and what it could not learn, before it is started."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import redis
from sqlalchemy.orm import Session

from app.database import estimate_queries, model_queries
from app.database.estimate_queries import TextFacts
from app.database.tables import DatasetVersion
from app.fine_tuning.model_sizes import ModelSize, size_of
from app.fine_tuning.rates import Rates, rates_for
from app.fine_tuning.schemas import DatasetReference, EstimateAnswer, EstimateWarning, JobRequest, SecondsRange
from app.fine_tuning.service import check_request
from app.queue import live_workers
from app.settings import get_settings
from realm_core.config import Hyperparameters, Plan, Reasons, TrainingConfig, resolve

_FEW_LABELS = 5
_PROCESS_BYTES = 0.7e9  # Python with torch, before there is a model
_FLOATS_PER_HIDDEN = 34  # activations of a transformer layer, per token and width, that the backward pass needs
_CHECKPOINTED_FLOATS = 2
_ATTENTION_COPIES = 3  # of each head's weights


@dataclass(frozen=True)
class _Scope:
    """All that an estimate follows from."""

    asked: Hyperparameters
    method: str
    version: DatasetVersion
    facts: TextFacts
    size: ModelSize | None
    plan: Plan | None
    rates: Rates | None

    @property
    def trained_tokens(self) -> float:
        if self.plan is None:
            return 0.0
        prompts = self.plan.total_steps * self.plan.batch_size * self.plan.accumulation_steps
        return prompts * self.facts.mean_tokens

    @property
    def data_size(self) -> float:
        """Tokens of all prompts; without a model the labels."""
        return self.version.n_labels if self.plan is None else self.version.n_items * self.facts.mean_tokens


def estimate_job(session: Session, project_id: str, request: JobRequest) -> EstimateAnswer:
    """The estimate of a job that would be accepted. Raises what creating it would, but for the quota."""
    model, dataset, version = check_request(session, project_id, request)
    base, method, asked = _base(session, project_id, model), request.method.type, request.method.hyperparameters
    size = size_of(base, get_settings().models_dir) if base else None
    facts = estimate_queries.text_facts(session, dataset.key, version.number, asked.max_length)
    on_gpu = _works_on_gpus()
    plan, reasons = (None, {}) if method == "aggregation" else _plan(request, version, facts, size, on_gpu=on_gpu)
    rates = rates_for(session, base, size, method, on_gpu=on_gpu, threads=get_settings().torch_threads)
    scope = _Scope(asked, method, version, facts, size, plan, rates)
    return EstimateAnswer(
        model=model or None,
        dataset=DatasetReference(id=dataset.id, version=version.number),
        method=method,
        n_items=version.n_items,
        n_labels=version.n_labels,
        n_annotators=version.n_annotators,
        steps=plan.total_steps if plan else None,
        tokens=round(scope.trained_tokens) if plan else None,
        seconds=_seconds(scope),
        based_on=rates.based_on if rates else "nothing: the size of this model is not known here",
        memory_bytes=_memory(scope),
        resolved=reasons,
        warnings=[EstimateWarning(code=code, detail=detail) for code, detail in _warnings(scope)],
    )


def _base(session: Session, project_id: str, model: str) -> str:
    """The base model that everything started from."""
    found = model_queries.find_model(session, project_id, model) if model_queries.MODEL_ID.fullmatch(model) else None
    return found[0].base if found is not None else model


def _works_on_gpus() -> bool:
    try:
        return any(facts.get("gpus") for facts in live_workers().values())
    except redis.RedisError:
        return False


def _plan(
    request: JobRequest, version: DatasetVersion, facts: TextFacts, size: ModelSize | None, *, on_gpu: bool
) -> tuple[Plan, Reasons]:
    asked = request.method.hyperparameters
    plan, reasons = resolve(
        TrainingConfig(method=request.method.type, hyperparameters=asked),
        n_prompts=round(version.n_items * (1 - asked.held_out_fraction)),
        n_tasks=facts.n_tasks,
        on_gpu=on_gpu,
        family=size.family if size else "encoder",
    )
    if size is None:
        reasons.pop("learning_rate", None)  # which depends on the model
    if reasons.get("channel", {}).get("value") == "one_coin" and request.method.type == "realm":
        why = "confusion instead, if that predicts left-out labels better once the prompts have been read"
        reasons["channel"] = {"value": "one_coin", "why": why}
    return plan, reasons


def _seconds(scope: _Scope) -> SecondsRange | None:
    if scope.rates is None:
        return None
    low = scope.rates.low.seconds(scope.data_size, scope.trained_tokens * _least_share(scope.plan))
    high = scope.rates.high.seconds(scope.data_size, scope.trained_tokens)
    if scope.plan is not None:
        untrained = scope.rates.high.seconds(scope.data_size, 0)
        high = untrained + min(high - untrained, scope.plan.time_budget_seconds)
    return SecondsRange(low=math.floor(min(low, high)), high=math.ceil(high))


def _least_share(plan: Plan | None) -> float:
    """How much of the training is done at least, if nothing gets better after its beginning."""
    return min(1.0, plan.patience / plan.evaluations) if plan else 1.0


def _memory(scope: _Scope) -> int | None:
    """Weights, gradients, AdamW's two moments and the best weights so far, and the activations of one batch."""
    if scope.plan is None or scope.size is None:
        return None
    size, plan, tokens = scope.size, scope.plan, scope.facts.longest_tokens
    copies = 2 if plan.lora_rank else 5
    attention = _ATTENTION_COPIES * size.heads * tokens
    floats = _FLOATS_PER_HIDDEN * size.hidden + attention
    per_token = size.layers * floats
    if plan.gradient_checkpointing:
        per_token = size.layers * _CHECKPOINTED_FLOATS * size.hidden + floats
    return round(_PROCESS_BYTES + 4 * (copies * size.parameters + plan.batch_size * tokens * per_token))


def _warnings(scope: _Scope) -> Iterator[tuple[str, str]]:
    """Those of the data, and what would go otherwise than asked."""
    yield from ((warning["code"], warning["detail"]) for warning in scope.version.warnings)
    if scope.version.n_labels < _FEW_LABELS * scope.version.n_annotators:
        yield (
            "few_labels",
            f"Annotators have {scope.version.n_labels / scope.version.n_annotators:.1f} labels on average; the report "
            f"says nothing of those who have fewer than {_FEW_LABELS}.",
        )
    if not scope.facts.has_options and scope.facts.most_answers < 2:
        yield "not_identifiable", "Every prompt has one possible answer only: the job would fail."
    if scope.plan is None:
        return
    if scope.asked.channel == "confusion" and scope.facts.has_options:
        yield (
            "not_identifiable",
            "Some prompts have options of their own, which `confusion` cannot learn: it would fail.",
        )
    if scope.facts.truncated_share:
        yield (
            "truncated",
            f"About {scope.facts.truncated_share:.0%} of the prompts are longer than max_length "
            f"({scope.asked.max_length} tokens) and are cut at the end.",
        )
    if scope.rates is not None and scope.trained_tokens * scope.rates.high.train > scope.plan.time_budget_seconds:
        yield (
            "time_budget",
            f"Training may stop at its time budget of {scope.plan.time_budget_seconds:,.0f} seconds before the last "
            "step; a larger time_budget_seconds, or fewer steps, would prevent that.",
        )
