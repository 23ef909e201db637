"""What the page of a job shows."""

from __future__ import annotations

import time
from typing import Any

from sqlalchemy.orm import Session

from app.access.service import Principal
from app.dashboard.flags import tone
from app.dashboard.links import linker
from app.dashboard.report_values import about
from app.database.tables import Job
from app.datasets import service as datasets
from app.dependencies import Page, PageOf
from app.fine_tuning import answers
from app.fine_tuning import service as fine_tuning
from app.fine_tuning.schemas import JobAnswer
from app.reports import crowd, decisions
from app.reports import service as reports
from app.reports.crowd_schemas import CertaintyBin
from app.reports.schemas import AnnotatorQuery, AnnotatorRow, ItemQuery, ItemRow
from app.reports.service import FinishedJob

ROWS_PER_PAGE = 50
MARKS_IN_PLOT = 200
PEOPLE_FIRST = 5
TASKS_IN_MATRIX = 30
ITEMS_SHOWN = 10
EVENTS_SHOWN = 100
PHASES = {
    "reading": "Reading the prompts",
    "training": "Training",
    "cross_fitting": "Judging labels with models that did not see them",
    "reporting": "Working out the report",
    "saving": "Saving the model",
}


def job_values(session: Session, principal: Principal, job_id: str, query: AnnotatorQuery) -> dict[str, Any]:
    """Everything that the template reads."""
    job = fine_tuning.get_job(session, principal.project_id, job_id)
    answer = answers.job_answer(session, job)
    method = answer.method[answer.method["type"]]
    values = {
        "job": answer,
        "dataset_name": _dataset_name(session, principal, answer),
        "phases": PHASES,
        "no_worker": answers.NO_WORKER,
        "now": int(time.time()),
        "state": [answer.status, answer.cancel_requested_at is not None, answer.waiting_for, answer.queue_position],
        "settings": method["resolved"],
        "events": _events(session, job),
        "measured": _measured(session, principal, job_id),
        "finished": answer.status == "succeeded",
    }
    if answer.status != "succeeded":
        return values
    return values | _report_values(session, reports.finished_job(session, job), query)


def _dataset_name(session: Session, principal: Principal, job: JobAnswer) -> str | None:
    """The name of the job's dataset, or None when it was deleted."""
    if job.dataset.id is None:
        return None
    return datasets.get_dataset(session, principal.project_id, job.dataset.id).name


def _events(session: Session, job: Job) -> list[Any]:
    """The newest events that are for reading."""
    page = Page(after=None, limit=EVENTS_SHOWN, order="desc")
    events = fine_tuning.list_events(session, job, page)[:EVENTS_SHOWN]
    return [answers.event_answer(job.id, event) for event in events if event.type == "message"]


def _measured(session: Session, principal: Principal, job_id: str) -> dict[str, Any]:
    """What was measured while training: {name: {step, value}}."""
    events = fine_tuning.list_metrics(session, principal.project_id, job_id)
    metrics: dict[str, Any] = answers.metrics_answer(events).model_dump()["metrics"]
    return metrics


def _report_values(session: Session, finished: FinishedJob, query: AnnotatorQuery) -> dict[str, Any]:
    first = _first(session, finished, query)
    rows = _rows(session, finished, query, first)
    overview = crowd.get_agreement(session, finished)
    ids = [row.id for row in rows.data]
    return about(session, finished, pseudonyms=query.pseudonyms) | {
        "first_people": _first_people(session, finished, query, first),
        "certainty": _occurring(overview.certainty),
        "decided": decisions.latest_actions(session, finished, ids),
        "timed": any(row.median_seconds is not None for row in rows.data),
        "costed": any(row.cost_per_correct is not None for row in rows.data),
        "matrix": _expertise_by_task(session, finished, ids),
        "overview": overview,
        "cross_fitted": all(row.accuracy.method == "cross_fitted" for row in rows.data),
        "tasks": [task.name for task in finished.tasks],
        "query": query,
        "link": linker(f"/jobs/{finished.job.id}", "annotators", query.model_dump(exclude={"limit", "pseudonyms"})),
        "annotators": rows,
        "plot": _plot(finished, query, first),
        "items": _items(session, finished, pseudonyms=query.pseudonyms),
    }


def _first(session: Session, finished: FinishedJob, query: AnnotatorQuery) -> PageOf[AnnotatorRow]:
    """The annotators whom the default order puts first, of those whom the table is about."""
    wanted = query.model_copy(update={"sort": "concern", "after": None, "limit": MARKS_IN_PLOT})
    return reports.list_annotators(session, finished, wanted)


def _rows(
    session: Session, finished: FinishedJob, query: AnnotatorQuery, first: PageOf[AnnotatorRow]
) -> PageOf[AnnotatorRow]:
    """The page of the table, which is mostly a part of what is there already."""
    if query.sort == "concern" and query.after is None and query.limit < MARKS_IN_PLOT:
        return PageOf[AnnotatorRow].of(first.data[: query.limit + 1], query.limit)
    return reports.list_annotators(session, finished, query)


def _first_people(
    session: Session, finished: FinishedJob, query: AnnotatorQuery, first: PageOf[AnnotatorRow]
) -> list[AnnotatorRow]:
    """Those of everybody with a flag that says more than that they have too few labels."""
    people = first.data
    if query.name or query.task:
        wanted = AnnotatorQuery(limit=PEOPLE_FIRST, pseudonyms=query.pseudonyms)
        people = reports.list_annotators(session, finished, wanted).data
    return [row for row in people[:PEOPLE_FIRST] if set(row.flags) - {"too_few_labels"}]


def _occurring(certainty: list[CertaintyBin]) -> list[CertaintyBin]:
    """From the first bin that holds an item on."""
    first = next((number for number, one in enumerate(certainty) if one.n_items), len(certainty))
    return certainty[first:]


def _expertise_by_task(
    session: Session, finished: FinishedJob, annotator_ids: list[str]
) -> dict[tuple[str, str], float | None] | None:
    """Expertise by annotator and task, of several tasks."""
    if not 1 < len(finished.tasks) <= TASKS_IN_MATRIX:
        return None
    return reports.expertise_by_task(session, finished, annotator_ids)


def _plot(finished: FinishedJob, query: AnnotatorQuery, first: PageOf[AnnotatorRow]) -> dict[str, Any]:
    """Of those, whose accuracy is known, from the least accurate to the most."""
    known = [row for row in first.data if row.accuracy.value is not None]
    return {
        "rows": [_mark(row) for row in sorted(known, key=lambda row: row.accuracy.value or 0.0)],
        "more": first.has_more,
        "chance": finished.chance(query.task),
    }


def _mark(row: AnnotatorRow) -> dict[str, Any]:
    accuracy = row.accuracy
    return {
        "name": row.annotator,
        "n": row.n,
        "value": accuracy.value,
        "low": accuracy.low,
        "high": accuracy.high,
        "tone": tone(row),
        "reasons": row.reasons,
    }


def _items(session: Session, finished: FinishedJob, *, pseudonyms: bool) -> list[ItemRow] | None:
    """What to label again first, or None when the prompts are gone."""
    if finished.dataset_key is None:
        return None
    return reports.list_items(session, finished, ItemQuery(limit=ITEMS_SHOWN, pseudonyms=pseudonyms)).data
