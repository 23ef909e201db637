"""API keys, and how a browser logs in and out."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlsplit

from fastapi import APIRouter, Form, Query, Request, status
from fastapi.responses import RedirectResponse, Response

from app.access import service
from app.access.authentication import SESSION_COOKIE, PrincipalDep
from app.access.changes import ChangeRoute
from app.access.login_page import login_page
from app.access.schemas import ApiKeyAnswer, ApiKeyPage, ApiKeyRequest, AuditEventAnswer, LoginForm, NewApiKeyAnswer
from app.dependencies import PageDep, PageOf, SessionDep
from app.settings import get_settings

router = APIRouter(tags=["access"], route_class=ChangeRoute)


@router.post("/v1/api_keys", status_code=status.HTTP_201_CREATED)
def create_api_key(request: ApiKeyRequest, principal: PrincipalDep, session: SessionDep) -> NewApiKeyAnswer:
    """Make an API key of this project. Its secret is shown this once."""
    principal.require("admin")
    key, secret = service.create_key(
        session,
        principal.project_id,
        name=request.name,
        role=request.role,
        scopes=request.scopes,
        expires_in_days=request.expires_in_days,
    )
    return NewApiKeyAnswer.of(key, secret)


@router.get("/v1/api_keys")
def list_api_keys(
    page: Annotated[ApiKeyPage, Query()], principal: PrincipalDep, session: SessionDep
) -> PageOf[ApiKeyAnswer]:
    """The project's API keys, without their secrets."""
    principal.require("admin")
    keys = service.list_keys(
        session,
        principal,
        annotator_id=page.annotator,
        after=page.after,
        limit=page.limit,
        descending=page.descending,
    )
    return PageOf[ApiKeyAnswer].of([ApiKeyAnswer.of(key) for key in keys], page.limit)


@router.get("/v1/api_keys/{key_id}")
def get_api_key(key_id: str, principal: PrincipalDep, session: SessionDep) -> ApiKeyAnswer:
    """One API key, without its secret."""
    principal.require("admin")
    return ApiKeyAnswer.of(service.get_key(session, principal, key_id))


@router.delete("/v1/api_keys/{key_id}", status_code=status.HTTP_204_NO_CONTENT)
def revoke_api_key(key_id: str, principal: PrincipalDep, session: SessionDep) -> None:
    """Revoke an API key, and end the browser sessions that stand on it."""
    principal.require("admin")
    service.revoke_key(session, principal, key_id)


@router.get("/v1/audit_events")
def list_audit_events(page: PageDep, principal: PrincipalDep, session: SessionDep) -> PageOf[AuditEventAnswer]:
    """Who changed what in this project, and when. The request id leads to the lines of the log."""
    principal.require("admin")
    events = service.list_audit_events(
        session, principal, after=page.after, limit=page.limit, descending=page.descending
    )
    return PageOf[AuditEventAnswer].of([AuditEventAnswer.of(event) for event in events], page.limit)


@router.get("/login", include_in_schema=False)
def login_by_link(request: Request, session: SessionDep, token: str | None = None) -> Response:
    """Open a browser session by a one-time link; without a token, the login form."""
    if token is None:
        return login_page(request, status.HTTP_200_OK)
    opened = service.open_session_by_link(session, token, request.state.request_id)
    if opened is None:
        return login_page(request, status.HTTP_401_UNAUTHORIZED, "This link was used or is too old.")
    return _logged_in(request, opened, "/")


@router.post("/login", include_in_schema=False)
def login_by_key(request: Request, form: Annotated[LoginForm, Form()], session: SessionDep) -> Response:
    """Open a browser session by an API key."""
    opened = service.open_session_by_key(session, form.key.strip(), request.state.request_id)
    if opened is None:
        return login_page(request, status.HTTP_401_UNAUTHORIZED, "This key is unknown, expired or revoked.")
    return _logged_in(request, opened, form.next)


@router.post("/logout", include_in_schema=False)
def logout(request: Request, session: SessionDep) -> Response:
    """End the browser's session."""
    service.close_session(session, request.cookies.get(SESSION_COOKIE, ""))
    response = RedirectResponse("/login", status.HTTP_303_SEE_OTHER)
    response.delete_cookie(SESSION_COOKIE)
    return response


def _logged_in(request: Request, token: str, next_path: str) -> Response:
    on_this_site = next_path.startswith("/") and not next_path.startswith("//") and "\\" not in next_path
    response = RedirectResponse(next_path if on_this_site else "/", status.HTTP_303_SEE_OTHER)
    response.set_cookie(
        SESSION_COOKIE,
        token,
        max_age=int(service.SESSION_LIFETIME.total_seconds()),
        secure="https" in (request.url.scheme, urlsplit(get_settings().url).scheme),
        httponly=True,
        samesite="lax",
    )
    return response
