"""The report of a finished job over HTTP."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Response

from app.access.authentication import PrincipalDep
from app.access.changes import ChangeRoute
from app.dependencies import PageOf, SessionDep
from app.reports import crowd, exports, service
from app.reports.crowd_schemas import CrowdAgreement
from app.reports.schemas import (
    AnnotatorDetail,
    AnnotatorQuery,
    AnnotatorRow,
    ExportQuery,
    FileFormat,
    ItemDetail,
    ItemQuery,
    ItemRow,
    Table,
)
from app.reports.service import FinishedJob

router = APIRouter(prefix="/v1/fine_tuning/jobs", tags=["reports"], route_class=ChangeRoute)


def get_finished_job(session: SessionDep, principal: PrincipalDep, job_id: str) -> FinishedJob:
    """The job that the path names, once it has a report."""
    return service.find_finished_job(session, principal.project_id, job_id)


FinishedJobDep = Annotated[FinishedJob, Depends(get_finished_job, scope="function")]


@router.get("/{job_id}/annotators")
def list_annotators(
    session: SessionDep, finished: FinishedJobDep, query: Annotated[AnnotatorQuery, Query()]
) -> PageOf[AnnotatorRow]:
    """Who labelled, with how probable it is that their labels are right; those to look at come first."""
    return service.list_annotators(session, finished, query)


@router.get("/{job_id}/annotators/{annotator_id}")
def get_annotator(session: SessionDep, finished: FinishedJobDep, annotator_id: str) -> AnnotatorDetail:
    """One annotator: all figures, task by task, and what they confuse with what."""
    return service.get_annotator(session, finished, annotator_id)


@router.get("/{job_id}/items")
def list_items(session: SessionDep, finished: FinishedJobDep, query: Annotated[ItemQuery, Query()]) -> PageOf[ItemRow]:
    """The most probable true label of every item; those that another label would help most come first."""
    return service.list_items(session, finished, query)


@router.get("/{job_id}/items/{item_id}")
def get_item(session: SessionDep, finished: FinishedJobDep, item_id: str) -> ItemDetail:
    """One item: its votes and the probability of each answer."""
    return service.get_item(session, finished, item_id)


@router.get("/{job_id}/agreement")
def get_agreement(session: SessionDep, finished: FinishedJobDep) -> CrowdAgreement:
    """How far the annotators agree, how good the cleaned labels are expected to be, and what everybody confuses."""
    return crowd.get_agreement(session, finished)


@router.get("/{job_id}/export/{table}.{file_format}", response_class=Response)
def export_table(
    finished: FinishedJobDep, table: Table, file_format: FileFormat, query: Annotated[ExportQuery, Query()]
) -> Response:
    """A whole table as a file: annotators, items with their votes, or labels (the cleaned ones).

    CSV is made safe for spreadsheets: a text that one would run as a formula starts with an apostrophe. JSON and
    Parquet hold texts as they are. With `shape`, labels have the columns that another tool reads back.
    """
    return exports.export_table(finished, table, file_format, query)
