"""What the pages about the whole crowd of a finished job show: agreement, comparison, what-if, the printed report."""

from __future__ import annotations

from typing import Any

from sqlalchemy.orm import Session

from app.access.service import Principal
from app.dashboard.links import linker
from app.dashboard.report_values import about, job_name
from app.dependencies import Page
from app.fine_tuning import answers
from app.fine_tuning import service as fine_tuning
from app.reports import comparison, crowd, what_if
from app.reports import service as reports
from app.reports.crowd_schemas import PairQuery
from app.reports.schemas import AnnotatorQuery, ItemQuery
from app.reports.service import FinishedJob

PAIRS_PER_PAGE = 50
SUSPICIOUS_SHOWN = 50
JOBS_OFFERED = 50
ANNOTATORS_OFFERED = 200
PRINTED_ANNOTATORS = 500
PRINTED_ITEMS = 20


def agreement_values(
    session: Session, finished: FinishedJob, name: str | None, after: str | None, *, pseudonyms: bool
) -> dict[str, Any]:
    """Everything that the template of the agreement page reads. Raises NotFound."""
    chosen = _chosen(session, finished, name, pseudonyms=pseudonyms)
    wanted = PairQuery(annotator=chosen, after=after, limit=PAIRS_PER_PAGE, pseudonyms=pseudonyms)
    suspicious = PairQuery(suspicious=True, limit=SUSPICIOUS_SHOWN, pseudonyms=pseudonyms)
    return about(session, finished, pseudonyms=pseudonyms) | {
        "overview": crowd.get_agreement(session, finished),
        "matrix": crowd.agreement_matrix(session, finished, pseudonyms=pseudonyms),
        "pairs": None if name and chosen is None else crowd.list_pairs(session, finished, wanted),
        "suspicious": crowd.list_pairs(session, finished, suspicious),
        "name": name,
        "after": after,
        "link": linker(f"/jobs/{finished.job.id}/agreement", "pairs", {"name": name}),
        "several_tasks": len(finished.tasks) > 1,
    }


def _chosen(session: Session, finished: FinishedJob, name: str | None, *, pseudonyms: bool) -> str | None:
    """The id of the first annotator whose name contains this one."""
    if not name:
        return None
    query = AnnotatorQuery(name=name, sort="-n", limit=1, pseudonyms=pseudonyms)
    return next((row.id for row in reports.list_annotators(session, finished, query).data), None)


def comparison_values(
    session: Session, principal: Principal, finished: FinishedJob, other_id: str | None, *, pseudonyms: bool
) -> dict[str, Any]:
    """What the template of the comparison reads; without another job, those to choose from. Raises as `compare`."""
    found = other_name = None
    if other_id:
        other = reports.find_finished_job(session, principal.project_id, other_id)
        other_name = job_name(session, other.job)
        found = comparison.compare(session, finished, other, pseudonyms=pseudonyms)
    return about(session, finished, pseudonyms=pseudonyms) | {
        "comparison": found,
        "other_id": other_id,
        "other_name": other_name,
        "jobs": _finished_jobs(session, principal, finished),
    }


def _finished_jobs(session: Session, principal: Principal, finished: FinishedJob) -> list[Any]:
    """The newest other jobs that have a report."""
    page = Page(after=None, limit=JOBS_OFFERED, order="desc")
    jobs = fine_tuning.list_jobs(session, principal.project_id, page, None)
    found = answers.job_answers(session, jobs)
    return [job for job in found if job.status == "succeeded" and job.id != finished.job.id]


def what_if_values(session: Session, finished: FinishedJob, without: list[str], *, pseudonyms: bool) -> dict[str, Any]:
    """What the template of the what-if reads: whom to leave out, and what follows. Raises NotFound, Conflict."""
    offered = reports.list_annotators(
        session, finished, AnnotatorQuery(limit=ANNOTATORS_OFFERED, pseudonyms=pseudonyms)
    )
    found = None
    if without:
        found = what_if.what_if_without(session, finished, without, pseudonyms=pseudonyms)
    names = reports.names_of(
        session, finished, [reports.number_in_id(one, "ann_", "annotator") for one in without], pseudonyms=pseudonyms
    )
    return about(session, finished, pseudonyms=pseudonyms) | {
        "annotators": offered,
        "without": without,
        "left_out": list(names.values()),
        "found": found,
    }


def printed_values(session: Session, finished: FinishedJob, *, pseudonyms: bool) -> dict[str, Any]:
    """What the printed report reads: the overview, who stands out, what to label again."""
    rows = reports.list_annotators(session, finished, AnnotatorQuery(limit=PRINTED_ANNOTATORS, pseudonyms=pseudonyms))
    answer = answers.job_answer(session, finished.job)
    items = None
    if finished.dataset_key is not None:
        items = reports.list_items(session, finished, ItemQuery(limit=PRINTED_ITEMS, pseudonyms=pseudonyms)).data
    return about(session, finished, pseudonyms=pseudonyms) | {
        "job": answer,
        "overview": crowd.get_agreement(session, finished),
        "annotators": rows,
        "items": items,
        "chance": finished.chance(None),
    }
