"""What can be done with fine-tuning jobs."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping

import structlog
from sqlalchemy.orm import Session

from app.database import dataset_queries, job_queries, model_queries
from app.database.base import new_id
from app.database.job_queries import NewEvent
from app.database.tables import Dataset, DatasetVersion, Job, JobCheckpoint, JobEvent
from app.dependencies import Page
from app.errors import Conflict, NotFound, TooManyRequests, Unprocessable
from app.fine_tuning.schemas import JobRequest
from app.queue import ring_after_commit
from app.settings import get_settings

log = structlog.get_logger(__name__)

_EVENT_ID = re.compile(r"(?:ftevent-[0-9a-f]+-)?([0-9]{1,9})")


def create_job(session: Session, project_id: str, request: JobRequest) -> Job:
    """Check what can be checked before anything is trained, then queue the job."""
    _check_quota(session, project_id)
    model, dataset, version = check_request(session, project_id, request)
    method = request.method
    job = job_queries.add_job(
        session,
        id=new_id("ftjob-"),
        project_id=project_id,
        dataset_id=dataset.id,
        dataset_version=version.number,
        model=model,
        method={"type": method.type, "hyperparameters": method.hyperparameters.model_dump(exclude_unset=True)},
        seed=request.seed if request.seed is not None else secrets.randbelow(2**31),
        suffix=request.suffix,
        job_metadata=request.metadata,
    )
    warnings = [NewEvent(warning["detail"], level="warn", data=warning) for warning in version.warnings]
    job_queries.add_events(session, job.key, [NewEvent("The job is queued"), *warnings])
    ring_after_commit(session, job.id)
    log.info("job created", job=job.id)  # beside the request's id; workers log the job's
    return job


def check_request(session: Session, project_id: str, request: JobRequest) -> tuple[str, Dataset, DatasetVersion]:
    """The model to start from and the data to train on, kept from being deleted. Raises NotFound, Unprocessable."""
    model = _find_model(session, project_id, request)
    dataset, version = _find_data(session, project_id, request)
    _check_text(request, dataset)
    return model, dataset, version


def _check_quota(session: Session, project_id: str) -> None:
    most = get_settings().max_unfinished_jobs
    if most and job_queries.count_unfinished(session, project_id) >= most:
        detail = f"{most} jobs of this project wait or run already; cancel some or wait."
        raise TooManyRequests(detail, code="job_quota", headers={"Retry-After": "60"})


def _find_model(session: Session, project_id: str, request: JobRequest) -> str:
    """The model to start from: a base model's name, or the id of a fine-tuned one. Raises Unprocessable."""
    allowed = get_settings().base_model_names()
    if request.model is None:
        if request.method.type == "aggregation":
            return ""
        detail = f"Name the base model to fine-tune: {', '.join(allowed)}."
        raise Unprocessable(detail, code="missing", param="model")
    if request.model in allowed:
        return request.model
    found = model_queries.find_model(session, project_id, request.model)
    if found is not None and model_queries.lock_model(session, found[0], for_deletion=False):
        return found[0].id
    detail = f"{request.model!r} may not be fine-tuned here. Allowed: {', '.join(allowed)}, and your fine-tuned models."
    raise Unprocessable(detail, code="base_model_not_allowed", param="model")


def _find_data(session: Session, project_id: str, request: JobRequest) -> tuple[Dataset, DatasetVersion]:
    """The dataset and the version that a request names. Raises NotFound."""
    dataset_id, number = _named_data(session, project_id, request)
    dataset = dataset_queries.find_dataset(session, project_id, dataset_id)
    if dataset is None or not job_queries.keep_dataset(session, dataset):
        raise NotFound(f"There is no dataset {dataset_id!r}.", param="dataset")
    version = dataset_queries.find_version(session, dataset.key, number)
    if version is None:
        raise NotFound(f"Dataset {dataset_id} has no version {number}.", param="dataset")
    return dataset, version


def _named_data(session: Session, project_id: str, request: JobRequest) -> tuple[str, int | None]:
    """A dataset's id and the version, None for the newest. Raises NotFound."""
    if request.dataset is not None:
        dataset_id, _, pinned = request.dataset.partition("@")
        return dataset_id, int(pinned) if pinned else None
    file = dataset_queries.find_file(session, project_id, request.training_file or "")
    if file is None:
        raise NotFound(f"There is no file {request.training_file!r}.", param="training_file")
    return file.dataset_id, file.dataset_version


def _check_text(request: JobRequest, dataset: Dataset) -> None:
    if request.method.type != "aggregation" and not dataset.has_text:
        detail = "This dataset has no prompts, so there is no text to fine-tune on; use the method type aggregation."
        raise Unprocessable(detail, code="invalid_training_file", param="method.type")


def get_job(session: Session, project_id: str, job_id: str) -> Job:
    """A job of the project. Raises NotFound."""
    job = job_queries.find_job(session, project_id, job_id)
    if job is None:
        raise _no_job(job_id)
    return job


def _no_job(job_id: str) -> NotFound:
    return NotFound(f"There is no job {job_id!r}.", param="job_id")


def list_jobs(
    session: Session, project_id: str, page: Page, status: str | None, metadata: Mapping[str, str] | None = None
) -> list[Job]:
    """A page of the project's jobs, one more than its limit when there are more. Raises NotFound."""
    mark = get_job(session, project_id, page.after) if page.after is not None else None
    return job_queries.list_jobs(
        session, project_id, after=mark, limit=page.limit, descending=page.descending, status=status, metadata=metadata
    )


def cancel_job(session: Session, project_id: str, job_id: str) -> Job:
    """Ask for a job's end. Raises NotFound, and Conflict when it has ended already."""
    job = job_queries.lock_job(session, project_id, job_id)
    if job is None:
        raise _no_job(job_id)
    if job.finished_at is not None:
        detail = f"The job has already {'been ' if job.status == 'cancelled' else ''}{job.status}."
        raise Conflict(detail, code="job_finished")
    job_queries.request_cancel(session, job)
    log.info("cancel requested", job=job.id, attempt=job.attempt)
    return job


def refuse_pause(session: Session, project_id: str, job_id: str) -> None:
    """Raises Conflict, or NotFound."""
    get_job(session, project_id, job_id)
    detail = "Jobs cannot be paused: one that is interrupted goes on by itself, and cancelling frees the machine."
    raise Conflict(detail, code="pause_not_supported")


def event_number(event_id: str) -> int:
    """The number in an event's id, or a bare number. Raises NotFound."""
    match = _EVENT_ID.fullmatch(event_id)
    if match is None:
        raise NotFound(f"There is no event {event_id!r}.", param="after")
    return int(match[1])


def list_events(session: Session, job: Job, page: Page) -> list[JobEvent]:
    """A page of a job's events, one more than its limit when there are more. Raises NotFound."""
    after = event_number(page.after) if page.after is not None else None
    return job_queries.list_events(session, job.key, after=after, limit=page.limit, descending=page.descending)


def list_checkpoints(session: Session, job: Job, page: Page) -> list[JobCheckpoint]:
    """A page of a job's checkpoints, one more than its limit when there are more. Raises NotFound."""
    mark = job_queries.find_checkpoint(session, job.key, page.after) if page.after is not None else None
    if page.after is not None and mark is None:
        raise NotFound(f"There is no checkpoint {page.after!r}.", param="after")
    return job_queries.list_checkpoints(session, job.key, after=mark, limit=page.limit, descending=page.descending)


def list_metrics(session: Session, project_id: str, job_id: str) -> list[JobEvent]:
    """The events of a job that carry measurements, in order. Raises NotFound."""
    return job_queries.metrics_events(session, get_job(session, project_id, job_id).key)
