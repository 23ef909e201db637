"""The pages about the whole crowd of a finished job: agreement, comparison, what-if, the report on paper."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse
from pydantic import Field

from app.access.authentication import PrincipalDep
from app.dashboard.browser_input import ListQuery, PageQuery
from app.dashboard.crowd_values import agreement_values, comparison_values, printed_values, what_if_values
from app.dashboard.pseudonyms import PseudonymsDep
from app.dashboard.rendering import PageRoute, page
from app.dependencies import SessionDep
from app.reports.routes import FinishedJobDep

router = APIRouter(route_class=PageRoute, include_in_schema=False)


class PairsPageQuery(ListQuery):
    name: str | None = Field(None, max_length=200)


class ComparePageQuery(PageQuery):
    with_: str | None = Field(None, alias="with")


class WhatIfPageQuery(PageQuery):
    without: list[str] = Field([], max_length=1000)


@router.get("/jobs/{job_id}/agreement")
def agreement_page(
    request: Request,
    session: SessionDep,
    principal: PrincipalDep,
    finished: FinishedJobDep,
    pseudonyms: PseudonymsDep,
    query: Annotated[PairsPageQuery, Query()],
) -> HTMLResponse:
    """Who agrees with whom, who may be copying, and what everybody confuses."""
    values = agreement_values(session, finished, query.name, query.after, pseudonyms=pseudonyms)
    return page(request, "report/agreement.html", **values)


@router.get("/jobs/{job_id}/compare")
def compare_page(
    request: Request,
    session: SessionDep,
    principal: PrincipalDep,
    finished: FinishedJobDep,
    pseudonyms: PseudonymsDep,
    query: Annotated[ComparePageQuery, Query()],
) -> HTMLResponse:
    """This report beside that of another job."""
    values = comparison_values(session, principal, finished, query.with_, pseudonyms=pseudonyms)
    return page(request, "report/compare.html", **values)


@router.get("/jobs/{job_id}/what_if")
def what_if_page(
    request: Request,
    session: SessionDep,
    principal: PrincipalDep,
    finished: FinishedJobDep,
    pseudonyms: PseudonymsDep,
    query: Annotated[WhatIfPageQuery, Query()],
) -> HTMLResponse:
    """The report without chosen annotators."""
    values = what_if_values(session, finished, query.without, pseudonyms=pseudonyms)
    return page(request, "report/what_if.html", **values)


@router.get("/v1/fine_tuning/jobs/{job_id}/report.html")
def printed_report(
    request: Request,
    session: SessionDep,
    principal: PrincipalDep,
    finished: FinishedJobDep,
    pseudonyms: PseudonymsDep,
) -> HTMLResponse:
    """The report on one page that prints."""
    return page(request, "report/print.html", **printed_values(session, finished, pseudonyms=pseudonyms))
