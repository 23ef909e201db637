"""A job as a stream of server-sent events.

A follower holds nothing while it waits: it looks twice a second, in a short transaction.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

from sqlalchemy.exc import InterfaceError, OperationalError
from sse_starlette import ServerSentEvent
from starlette.concurrency import run_in_threadpool

from app.database import job_queries
from app.database.session import transaction
from app.fine_tuning.answers import event_answer, job_answer
from app.fine_tuning.schemas import EventAnswer, JobAnswer
from app.fine_tuning.service import get_job

SECONDS_BETWEEN_LOOKS = 0.5
EVENTS_PER_LOOK = 500


async def follow(project_id: str, job_id: str, number: int) -> AsyncIterator[ServerSentEvent]:
    """What happens to a job after event `number`: `event` for each event, `job` for the job whenever it changes.

    Ends when the job has finished and all is told. Waits for a database that is away.
    """
    shown = None
    while True:
        try:
            events, job = await run_in_threadpool(_look, project_id, job_id, number)
        except (OperationalError, InterfaceError):
            await asyncio.sleep(SECONDS_BETWEEN_LOOKS)
            continue
        for event in events:
            number = event.number
            yield ServerSentEvent(event.model_dump_json(), event="event", id=str(number))
        if len(events) == EVENTS_PER_LOOK:
            continue
        if job != shown:
            shown = job
            yield ServerSentEvent(job.model_dump_json(), event="job")
        if job.finished_at is not None:
            return
        await asyncio.sleep(SECONDS_BETWEEN_LOOKS)


def _look(project_id: str, job_id: str, number: int) -> tuple[Sequence[EventAnswer], JobAnswer]:
    """The events after `number`, and the job as it was just before: one that had finished gets no event any more."""
    with transaction() as session:
        job = get_job(session, project_id, job_id)
        answer = job_answer(session, job)
        events = job_queries.list_events(session, job.key, after=number, limit=EVENTS_PER_LOOK - 1)
        return [event_answer(job.id, event) for event in events], answer
