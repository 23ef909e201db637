"""How fast this installation works: by the jobs that it did, else by what was measured once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session

from app.database import estimate_queries
from app.database.tables import DatasetVersion, Job
from app.fine_tuning.model_sizes import ModelSize
from realm_core.config import Hyperparameters

# MiniLM (22.7 million parameters) on one thread of a busy machine of two cores: 60 steps of 32 prompts of 132 tokens
# took 292 s, reading 1,000 of them 53 s: the high ends. The low ends, a fifth of them, and those of GPUs are guesses.
_CPU_SECONDS_TO_TRAIN = (1e-11, 5.1e-11)  # per token and parameter, low and high
_CPU_SECONDS_TO_READ = (0.3e-11, 1.8e-11)
_GPU_IS_FASTER = (200.0, 5.0)
_SECONDS_TO_START = (4.0, 30.0)
_SECONDS_PER_LABEL = (2e-6, 2e-4)  # of truth inference without a model
_SPREAD = (0.7, 1.5)  # of the next job around those that we know


@dataclass(frozen=True)
class Rate:
    """Seconds: to start, per token (or label, without a model) of the data, per token that training reads."""

    start: float
    read: float
    train: float

    def seconds(self, data: float, trained: float) -> float:
        return self.start + data * self.read + trained * self.train


@dataclass(frozen=True)
class Rates:
    """From a good to a bad day."""

    low: Rate
    high: Rate
    based_on: str


def rates_for(
    session: Session, model: str, size: ModelSize | None, method_type: str, *, on_gpu: bool, threads: int
) -> Rates | None:
    """What is known of a base model, a fine-tuned one counting as its base; None when nothing is."""
    known = [
        rate
        for job, dataset_key, version in estimate_queries.jobs_with_a_pace(session, model, method_type)
        if (rate := _rate_of(session, job, dataset_key, version)) is not None
    ]
    if known:
        return _around(known)
    if method_type == "aggregation":
        low, high = (Rate(start, label, 0) for start, label in zip(_SECONDS_TO_START, _SECONDS_PER_LABEL, strict=True))
        return Rates(low, high, "measured once, on another machine; no such job has finished here yet")
    return _by_size(size, on_gpu=on_gpu, threads=threads) if size is not None else None


def _by_size(size: ModelSize, *, on_gpu: bool, threads: int) -> Rates:
    faster = _GPU_IS_FASTER if on_gpu else (threads, 1.0)
    low, high = (
        Rate(start, read * size.parameters / speed, train * size.parameters / speed)
        for start, read, train, speed in zip(
            _SECONDS_TO_START, _CPU_SECONDS_TO_READ, _CPU_SECONDS_TO_TRAIN, faster, strict=True
        )
    )
    device = "a CPU, with a guess for GPUs" if on_gpu else "a CPU"
    return Rates(low, high, f"measured once with MiniLM on {device}; no job with this model has finished here yet")


def _around(known: list[Rate]) -> Rates:
    best, worst = (
        Rate(*(factor * of(getattr(rate, name) for rate in known) for name in ("start", "read", "train")))
        for factor, of in zip(_SPREAD, (min, max), strict=True)
    )
    jobs = "the newest job" if len(known) == 1 else f"the {len(known)} newest jobs"
    return Rates(best, worst, f"{jobs} of this model that succeeded here")


def _rate_of(session: Session, job: Job, dataset_key: int, version: DatasetVersion) -> Rate | None:
    """How fast a finished job was, or None when it cannot be told."""
    pace = job.progress["pace"]
    if job.started_at is None or job.finished_at is None or not pace:
        return None
    spent = sum(phase["seconds"] for phase in pace.values())
    start = max(0.0, (job.finished_at - job.started_at).total_seconds() - spent)
    if job.method["type"] == "aggregation":
        return Rate(start, spent / version.n_labels, 0.0)
    asked = Hyperparameters(**job.method["hyperparameters"])
    facts = estimate_queries.text_facts(session, dataset_key, version.number, asked.max_length)
    training = pace.get("training", {"seconds": 0.0, "steps": 0})
    tokens = training["steps"] * prompts_per_step(asked, job.resolved or {}) * facts.mean_tokens
    if not tokens:
        return None
    read = (spent - training["seconds"]) / (version.n_items * facts.mean_tokens)
    return Rate(start, read, training["seconds"] / tokens)


def prompts_per_step(asked: Hyperparameters, resolved: dict[str, Any]) -> int:
    """Prompts of one optimiser step of a job; 0 before it is resolved."""
    auto = resolved.get("batch_size", {}).get("value", 0)
    return int(auto if asked.batch_size == "auto" else asked.batch_size) * asked.accumulation_steps
