"""Every error answer: RFC 9457 application/problem+json, mirrored in `error` for clients that speak OpenAI's API."""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from sqlalchemy.exc import DataError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from app.access.login_page import login_page
from app.errors import ErrorItem, RealmError, Unauthorized, Unavailable, Unprocessable

log = structlog.get_logger(__name__)

_OPENAI_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
_TYPE_TRIED = re.compile(r"(constrained-)?(int|float|str)|bool|literal\[.*\]")
_CODES = {error.status: (error.code, error.title) for error in RealmError.__subclasses__()}


def problem(
    request: Request,
    status: int,
    code: str,
    title: str,
    detail: str,
    *,
    param: str | None = None,
    errors: tuple[ErrorItem, ...] = (),
    headers: dict[str, str] | None = None,
) -> JSONResponse:
    """One error as an answer."""
    type_ = _OPENAI_TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")
    body: dict[str, Any] = {
        "type": f"urn:realm:problem:{code}",
        "title": title,
        "status": status,
        "detail": detail,
        "instance": request.url.path,
        "code": code,
        "request_id": request.state.request_id,
        "errors": [item.as_dict() for item in errors],
        "error": {"message": detail, "type": type_, "param": param, "code": code},
    }
    return JSONResponse(body, status, headers, media_type="application/problem+json")


def _realm_error(request: Request, error: RealmError) -> Response:
    if isinstance(error, Unauthorized) and _wants_html(request):
        return login_page(request, error.status, None if error.code == "missing_api_key" else error.detail)
    return problem(
        request,
        error.status,
        error.code,
        error.title,
        error.detail,
        param=error.param,
        errors=error.errors,
        headers=error.headers,
    )


def _wants_html(request: Request) -> bool:
    return "text/html" in request.headers.get("Accept", "") and not request.url.path.startswith("/v1/")


def _http_exception(request: Request, error: HTTPException) -> Response:
    phrase = HTTPStatus(error.status_code).phrase
    code, title = _CODES.get(error.status_code, (re.sub(r"[^a-z]+", "_", phrase.lower()), phrase))
    detail = str(error.detail) if error.detail != phrase else f"{title}: {request.method} {request.url.path}"
    return problem(request, error.status_code, code, title, detail, headers=dict(error.headers or {}))


def _validation_error(request: Request, error: RequestValidationError) -> Response:
    items = tuple(ErrorItem(fault["type"], fault["msg"], column=_where(fault["loc"])) for fault in error.errors())
    detail = "; ".join(f"{item.column}: {item.detail}" if item.column else item.detail for item in items[:3])
    return _realm_error(
        request, Unprocessable(detail, code="invalid_request", param=items[0].column if items else None, errors=items)
    )


def _where(location: tuple[int | str, ...]) -> str | None:
    """The field at fault, without the part of the request it stands in: ("body", "seed") is seed.

    Of a field that may have several types, pydantic also names the one that it tried: ("body", "rate", "float").
    """
    parts = [str(part) for part in location[1:]]
    if len(parts) > 1 and _TYPE_TRIED.fullmatch(parts[-1]):
        parts.pop()
    return ".".join(parts) or None


def _database_gone(request: Request, error: OperationalError | InterfaceError) -> Response:
    log.warning("database out of reach", error=str(error.orig))
    return _realm_error(request, Unavailable("The database is out of reach; try again.", headers={"Retry-After": "5"}))


def _client_gone(request: Request, error: ClientDisconnect) -> Response:
    """Nobody reads this; the status is for the log and the metrics (nginx's convention)."""
    return Response(status_code=499)


def _too_busy(request: Request, _: PoolTimeout) -> Response:
    detail = "Too many requests are using the database at once; try again."
    return _realm_error(request, Unavailable(detail, headers={"Retry-After": "5"}))


def _not_storable(request: Request, error: DataError) -> Response:
    """Postgres keeps no NUL characters and no numbers beyond its own; who sends them made a mistake, not we."""
    log.info("value that cannot be stored", error=str(error.orig))
    detail = "A value of the request cannot be stored: a text with a NUL character, or a number that is too large."
    return _realm_error(request, Unprocessable(detail, code="not_storable"))


def _not_unicode(request: Request, error: UnicodeEncodeError) -> Response:
    """JSON can spell half of a character (a lone surrogate), which is no text that could be kept or sent."""
    if error.reason != "surrogates not allowed":
        raise error
    return _realm_error(request, Unprocessable("A text of the request is not valid Unicode.", code="not_storable"))


def internal_error(request: Request) -> Response:
    """The answer to a fault of ours: nothing of it is shown but the id to find it by in the log."""
    detail = f"Internal error; the log has it under request id {request.state.request_id}."
    return problem(request, 500, "internal_error", "Internal error", detail)


def install_problem_handlers(app: FastAPI) -> None:
    """Make every error of the application a problem."""
    app.exception_handler(RealmError)(_realm_error)
    app.exception_handler(HTTPException)(_http_exception)
    app.exception_handler(RequestValidationError)(_validation_error)
    app.exception_handler(OperationalError)(_database_gone)
    app.exception_handler(InterfaceError)(_database_gone)
    app.exception_handler(PoolTimeout)(_too_busy)
    app.exception_handler(DataError)(_not_storable)
    app.exception_handler(UnicodeEncodeError)(_not_unicode)
    app.exception_handler(ClientDisconnect)(_client_gone)
