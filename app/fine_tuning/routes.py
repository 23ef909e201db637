"""/v1/fine_tuning/jobs: start, follow and cancel jobs."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Header, Query
from fastapi.responses import PlainTextResponse, Response
from sse_starlette import EventSourceResponse

from app.access.authentication import PrincipalDep
from app.access.changes import ChangeRoute
from app.dependencies import PageDep, PageOf, SessionDep
from app.fine_tuning import answers, service
from app.fine_tuning.estimates import estimate_job
from app.fine_tuning.following import follow
from app.fine_tuning.schemas import (
    CheckpointAnswer,
    EstimateAnswer,
    EventAnswer,
    JobAnswer,
    JobPage,
    JobRequest,
    MetricsAnswer,
    WorkersAnswer,
)
from app.fine_tuning.workers import workers_answer

router = APIRouter(prefix="/v1/fine_tuning/jobs", tags=["fine-tuning"], route_class=ChangeRoute)

worker_router = APIRouter(prefix="/v1/fine_tuning/workers", tags=["fine-tuning"], route_class=ChangeRoute)

SECONDS_BETWEEN_PINGS = 15


@worker_router.get("")
def list_workers(principal: PrincipalDep, session: SessionDep) -> WorkersAnswer:
    """Which workers are alive, how long ago each was heard of, what they run, and how long the queue is."""
    return workers_answer(session, principal.project_id)


@router.post("", status_code=201)
def create_job(request: JobRequest, principal: PrincipalDep, session: SessionDep) -> JobAnswer:
    """Start a job on one version of a dataset."""
    return answers.job_answer(session, service.create_job(session, principal.project_id, request))


@router.post("/estimate")
def estimate(request: JobRequest, principal: PrincipalDep, session: SessionDep) -> EstimateAnswer:
    """What a job would take and what it could not learn; nothing is started."""
    return estimate_job(session, principal.project_id, request)


@router.get("")
def list_jobs(page: Annotated[JobPage, Query()], principal: PrincipalDep, session: SessionDep) -> PageOf[JobAnswer]:
    """The project's jobs, those of one status if it is given, and of metadata: `?metadata[ticket]=7`."""
    jobs = service.list_jobs(session, principal.project_id, page, page.status, page.metadata)
    return PageOf[JobAnswer].of(answers.job_answers(session, jobs), page.limit)


@router.get("/{job_id}")
def get_job(job_id: str, principal: PrincipalDep, session: SessionDep) -> JobAnswer:
    """One job: its status, how far it is, and why it ended as it did."""
    return answers.job_answer(session, service.get_job(session, principal.project_id, job_id))


@router.post("/{job_id}/cancel", responses={409: {"description": "The job has finished."}})
def cancel_job(job_id: str, principal: PrincipalDep, session: SessionDep) -> JobAnswer:
    """Cancel: a queued job at once, a running one within seconds, when its process has gone and its GPU is free."""
    return answers.job_answer(session, service.cancel_job(session, principal.project_id, job_id))


@router.post("/{job_id}/pause", responses={409: {"description": "Always."}})
@router.post("/{job_id}/resume", responses={409: {"description": "Always."}})
def pause_job(job_id: str, principal: PrincipalDep, session: SessionDep) -> None:
    """Not offered."""
    service.refuse_pause(session, principal.project_id, job_id)


@router.get(
    "/{job_id}/events",
    response_model=PageOf[EventAnswer],
    responses={200: {"content": {"text/event-stream": {}}, "description": "A page, or a stream."}},
)
def list_events(
    job_id: str,
    page: PageDep,
    principal: PrincipalDep,
    session: SessionDep,
    accept: Annotated[str, Header(include_in_schema=False)] = "",
    last_event_id: Annotated[str | None, Header()] = None,
) -> PageOf[EventAnswer] | Response:
    """What happened to a job. With `Accept: text/event-stream`: as it happens, from the beginning or Last-Event-ID on.

    The stream has an `event` for each event, with its number as id, and a `job` whenever the job changes; it ends with
    the job.
    """
    job = service.get_job(session, principal.project_id, job_id)
    if "text/event-stream" in accept:
        start = service.event_number(last_event_id or page.after or "0")
        return EventSourceResponse(follow(principal.project_id, job_id, start), ping=SECONDS_BETWEEN_PINGS)
    events = service.list_events(session, job, page)
    return PageOf[EventAnswer].of([answers.event_answer(job.id, event) for event in events], page.limit)


@router.get("/{job_id}/checkpoints")
def list_checkpoints(
    job_id: str, page: PageDep, principal: PrincipalDep, session: SessionDep
) -> PageOf[CheckpointAnswer]:
    """The states that the job saved on its way, and could be resumed from."""
    job = service.get_job(session, principal.project_id, job_id)
    checkpoints = service.list_checkpoints(session, job, page)
    rows = [answers.checkpoint_answer(job.id, checkpoint) for checkpoint in checkpoints]
    return PageOf[CheckpointAnswer].of(rows, page.limit)


@router.get("/{job_id}/metrics")
def get_metrics(job_id: str, principal: PrincipalDep, session: SessionDep) -> MetricsAnswer:
    """What was measured while training, as arrays over steps."""
    return answers.metrics_answer(service.list_metrics(session, principal.project_id, job_id))


@router.get("/{job_id}/log", response_class=PlainTextResponse)
def get_log(job_id: str, principal: PrincipalDep, session: SessionDep) -> str:
    """The last output of the training process of the last attempt that ended."""
    return service.get_job(session, principal.project_id, job_id).log_tail or ""
