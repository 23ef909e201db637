"""The first page, and the one that describes the API. All pages call the functions that the API calls."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse

from app.access.authentication import PrincipalDep
from app.dashboard.api_reference import operations_by_tag
from app.dashboard.browser_input import ListQuery
from app.dashboard.home_values import home_values
from app.dashboard.rendering import PageRoute, page
from app.dependencies import SessionDep
from app.reports import service as reports
from app.settings import get_settings

OWN_REPORTS_SHOWN = 100

router = APIRouter(route_class=PageRoute, include_in_schema=False)


@router.get("/")
def home(
    request: Request, session: SessionDep, principal: PrincipalDep, query: Annotated[ListQuery, Query()]
) -> HTMLResponse:
    """Jobs and datasets; what to do when there are none. To an annotator, the reports that are about them."""
    if principal.own_annotator is not None:
        jobs = reports.jobs_about(session, principal.project_id, principal.own_annotator, OWN_REPORTS_SHOWN)
        return page(request, "annotator/own_reports.html", jobs=jobs)
    return page(request, "home.html", **home_values(session, principal, query.after))


@router.get("/docs")
def api_reference(request: Request) -> HTMLResponse:
    """Every call of the API, with its fields."""
    groups = operations_by_tag(request.app.openapi())
    return page(request, "api_reference.html", groups=groups, url=get_settings().url)
