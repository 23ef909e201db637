"""Requests and answers of the job API, in OpenAI's shapes. All times are unix seconds."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

from app.dependencies import Page
from realm_core.config import Hyperparameters, MethodType

MetadataKey = Annotated[str, StringConstraints(min_length=1, max_length=64)]
MetadataValue = Annotated[str, StringConstraints(max_length=512)]
Suffix = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{1,64}$")]
_METADATA = re.compile(r"metadata\[.+\]")
JobStatus = Literal["validating_files", "queued", "running", "succeeded", "failed", "cancelled"]


class JobPage(Page):
    """A page of the jobs, of one status if it is given, and of metadata, which is asked for as metadata[key]=value."""

    model_config = ConfigDict(extra="allow")

    status: JobStatus | None = None

    @model_validator(mode="after")
    def _has_nothing_beside_metadata(self) -> JobPage:
        for name in self.model_extra or {}:
            if not _METADATA.fullmatch(name):
                raise PydanticCustomError("extra_forbidden", "{name} is not a parameter of this list", {"name": name})
        return self

    @property
    def metadata(self) -> dict[str, str]:
        """What the metadata of the jobs must hold."""
        return {name[len("metadata[") : -1]: str(value) for name, value in (self.model_extra or {}).items()}


class MethodSettings(BaseModel):
    """The hyperparameters of one method."""

    model_config = ConfigDict(extra="forbid")

    hyperparameters: Hyperparameters = Hyperparameters()


class Method(BaseModel):
    """How to train.

    `realm` learns the model and how good each annotator is together, `supervised` is plain fine-tuning on the noisy
    labels (the baseline), `aggregation` infers the true labels without a model, and works without text.
    """

    model_config = ConfigDict(extra="forbid")

    type: MethodType = "realm"
    realm: MethodSettings | None = None
    supervised: MethodSettings | None = None
    aggregation: MethodSettings | None = None

    @model_validator(mode="after")
    def _has_no_settings_of_another(self) -> Method:
        for name in ("realm", "supervised", "aggregation"):
            if name != self.type and getattr(self, name) is not None:
                raise ValueError(f"the type is {self.type}, so settings of {name} must not be given")
        return self

    @property
    def hyperparameters(self) -> Hyperparameters:
        own: MethodSettings | None = getattr(self, self.type)
        return own.hyperparameters if own is not None else Hyperparameters()


class JobRequest(BaseModel):
    """What to train on what: exactly one of `dataset` and `training_file`."""

    model_config = ConfigDict(extra="forbid")

    model: str | None = Field(
        None,
        max_length=200,
        description="A base model, or a fine-tuned one (ft:… or its alias) to continue from; aggregation needs none.",
        examples=["minilm"],
    )
    dataset: str | None = Field(
        None,
        pattern=r"^ds_[0-9a-f]{1,64}(@[1-9][0-9]{0,8})?$",
        description="ds_…, its newest version, or ds_…@3",
    )
    training_file: str | None = Field(None, max_length=200, description="A file's id, which names one version.")
    method: Method = Method()
    seed: int | None = Field(None, ge=0, lt=2**31, description="Random when not given; the job shows it.")
    suffix: Suffix | None = Field(None, description="Becomes part of the model's id.")
    metadata: dict[MetadataKey, MetadataValue] = Field(default_factory=dict, max_length=16)

    @model_validator(mode="after")
    def _has_one_source(self) -> JobRequest:
        if (self.dataset is None) == (self.training_file is None):
            raise ValueError("give exactly one of dataset and training_file")
        return self


class DatasetReference(BaseModel):
    id: str | None = Field(description="null when the dataset was deleted since")
    version: int


class JobError(BaseModel):
    code: str
    message: str
    param: str | None


class PhasePace(BaseModel):
    seconds: float
    steps: int


class JobProgress(BaseModel):
    phase: str = Field(description="reading, training, cross_fitting, reporting or saving")
    step: int = Field(description="Of the phase.")
    total_steps: int
    percent: float = Field(description="Of the whole job.")
    eta_at: int | None
    pace: dict[str, PhasePace] = Field(description="Seconds and steps of each phase, in this attempt.")


class JobAnswer(BaseModel):
    """A fine-tuning job."""

    id: str
    object: Literal["fine_tuning.job"] = "fine_tuning.job"
    created_at: int
    started_at: int | None
    finished_at: int | None
    estimated_finish: int | None
    model: str | None
    fine_tuned_model: str | None
    organization_id: str = Field(description="The project.")
    dataset: DatasetReference
    training_file: str | None
    validation_file: None = None
    status: JobStatus
    method: dict[str, Any] = Field(
        description="{type, TYPE: {hyperparameters, resolved}}; resolved: what each auto became, {name: {value, why}}"
    )
    hyperparameters: dict[str, Any] = Field(description="Those of the method again, where OpenAI's clients look.")
    seed: int
    suffix: str | None
    metadata: dict[str, str]
    progress: JobProgress | None
    attempt: int
    queue_position: int | None = Field(description="1 is next; null unless queued.")
    waiting_for: str | None = Field(description="What keeps a queued job from being started, if anything does.")
    cancel_requested_at: int | None
    error: JobError | None
    summary: dict[str, Any] | None = Field(description="The report's overview, once the job succeeded.")
    result_files: list[str] = []
    integrations: list[str] = []
    trained_tokens: None = None


class EventAnswer(BaseModel):
    """Something that happened to a job."""

    id: str
    object: Literal["fine_tuning.job.event"] = "fine_tuning.job.event"
    number: int = Field(description="1, 2, 3, … without gaps")
    created_at: int
    level: Literal["info", "warn", "error"]
    type: Literal["message", "metrics"]
    message: str
    data: dict[str, Any] | None


class CheckpointAnswer(BaseModel):
    """A state that a later attempt can go on from."""

    id: str
    object: Literal["fine_tuning.job.checkpoint"] = "fine_tuning.job.checkpoint"
    created_at: int
    fine_tuning_job_id: str
    fine_tuned_model_checkpoint: None = Field(None, description="null: it is not a model that can be asked")
    step_number: int
    metrics: dict[str, Any]
    stored: bool = Field(description="Whether its files are still kept: the newest of a job that has not finished.")


class Series(BaseModel):
    step: list[int]
    value: list[Any]


class MetricsAnswer(BaseModel):
    """Each metric of a job as arrays over the steps at which it was measured."""

    object: Literal["fine_tuning.job.metrics"] = "fine_tuning.job.metrics"
    metrics: dict[str, Series]


class SecondsRange(BaseModel):
    low: int
    high: int


class EstimateWarning(BaseModel):
    code: str
    detail: str


class EstimateAnswer(BaseModel):
    """What a job would be, as far as that is known before it has read the texts."""

    object: Literal["fine_tuning.job.estimate"] = "fine_tuning.job.estimate"
    model: str | None
    dataset: DatasetReference
    method: MethodType
    n_items: int
    n_labels: int
    n_annotators: int
    steps: int | None = Field(description="Optimiser steps, at most; null when no model is trained.")
    tokens: int | None = Field(description="That training reads, about: prompts, at 4 bytes of text for a token.")
    seconds: SecondsRange | None = Field(description="From start to end, without the time in the queue.")
    based_on: str = Field(description="Where the seconds come from.")
    memory_bytes: int | None = Field(description="That training needs at most, about, on the GPU if there is one.")
    resolved: dict[str, Any] = Field(description="What each auto becomes, {name: {value, why}}.")
    warnings: list[EstimateWarning] = Field(description="What cannot be learned from the data, or not as asked.")


class RunningJob(BaseModel):
    job: str | None = Field(description="null: a job of another project")
    attempt: int
    heartbeat_seconds: float = Field(description="Since its worker last renewed the lease.")
    lease_seconds: float = Field(description="Until another worker may have the job; below 0 it is lost.")
    running_seconds: float


class WorkerAnswer(BaseModel):
    """A worker that showed lately that it is alive."""

    id: str
    slots: int = Field(description="Jobs that it runs at once.")
    gpus: int
    draining: bool = Field(description="It takes no more jobs, and hands those that it has back.")
    heartbeat_seconds: float = Field(description="Since it last showed itself.")
    running: list[RunningJob]


class QueueAnswer(BaseModel):
    length: int
    oldest_seconds: float = Field(description="That the first has waited; 0 when nobody waits.")


class WorkersAnswer(BaseModel):
    """Who works, and what waits; of other projects only that there is something."""

    object: Literal["fine_tuning.workers"] = "fine_tuning.workers"
    broker: Literal["ok", "out of reach"]
    workers: list[WorkerAnswer]
    running_elsewhere: list[RunningJob] = Field(description="Jobs whose worker shows no sign of life.")
    queue: QueueAnswer
