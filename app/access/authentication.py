"""The door: an application-level dependency that turns everybody away who is not on the list or has no key."""

from __future__ import annotations

import hmac
from typing import Annotated

from fastapi import Depends, Request
from starlette.concurrency import run_in_threadpool

from app.access import rate_limits, service
from app.access.rate_limits import Allowance
from app.access.service import Principal, Scope
from app.database.recent import Recent
from app.database.session import transaction
from app.errors import Forbidden, Unauthorized

PUBLIC_PATHS = frozenset({"/livez", "/readyz", "/login"})  # and /static/*, which is mounted files
SESSION_COOKIE = "realm_session"
CSRF_HEADER, CSRF_FIELD = "X-CSRF-Token", "csrf_token"
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_FORMS = ("application/x-www-form-urlencoded", "multipart/form-data")
_MOST_FIELDS = 50
# What a viewer may POST: questions that are too large for a query string, and goodbye.
VIEWERS_MAY_POST = frozenset(
    {
        "/v1/models/{model_id}/predict",
        "/models/{model_id}",
        "/v1/datasets/preview",
        "/v1/fine_tuning/jobs/estimate",
        "/v1/fine_tuning/jobs/{job_id}/what_if",
        "/pseudonyms",
        "/logout",
    }
)
# The parts of the API that keys can be restricted to, by the beginning of the path; what is not here needs a whole key.
SCOPES: tuple[tuple[str, Scope], ...] = (
    ("/v1/models/{model_id}/predict", "predict"),
    ("/v1/models", "models"),
    ("/v1/fine_tuning/", "jobs"),
    ("/v1/datasets", "datasets"),
    ("/v1/files", "datasets"),
    ("/metrics", "metrics"),
)


# What an annotator's own key opens: what reports say of their own labels, none of which names anybody else.
OWN_PATHS = frozenset(
    {
        "/",
        "/jobs/{job_id}/annotators/{annotator_id}",
        "/v1/fine_tuning/jobs/{job_id}/annotators/{annotator_id}",
        "/v1/fine_tuning/jobs/{job_id}/annotators/{annotator_id}/labels",
        "/v1/fine_tuning/jobs/{job_id}/annotators/{annotator_id}/behaviour",
        "/logout",
    }
)


_HOLDERS: Recent[bytes, Principal] = Recent()  # of keys, by the digests of these


def _unauthorized(detail: str, code: str) -> Unauthorized:
    return Unauthorized(detail, code=code, headers={"WWW-Authenticate": "Bearer"})


def _authenticate(request: Request) -> Principal:
    """Who is calling, by `Authorization: Bearer KEY` or else by the session cookie. Raises Unauthorized.

    It has a short transaction of its own: a slow request must not keep the key's row locked.
    """
    header, cookie = request.headers.get("Authorization"), request.cookies.get(SESSION_COOKIE)
    if header is None and cookie is None:
        raise _unauthorized("Send an API key: 'Authorization: Bearer KEY'.", "missing_api_key")
    principal = _holder_of_key(_bearer(header)) if header is not None else _holder_of_session(cookie or "")
    if principal is None:
        raise _unauthorized("The API key or session is unknown, expired or revoked.", "invalid_api_key")
    return principal


def _holder_of_key(secret: str) -> Principal | None:
    def find() -> Principal | None:
        with transaction() as session:
            return service.principal_of_key(session, secret)

    return _HOLDERS.look_up(service.digest_of(secret), find)


def _holder_of_session(token: str) -> Principal | None:
    with transaction() as session:
        return service.principal_of_session(session, token)


def _let_in_lately(request: Request) -> Principal | None:
    """Who is calling, if they called with the same key within the last second."""
    header = request.headers.get("Authorization")
    return None if header is None else _HOLDERS.get(service.digest_of(_bearer(header)))


def _let_in(request: Request) -> tuple[Principal, Allowance | None]:
    """Who is calling, and how much more they may ask. Raises Unauthorized, TooManyRequests."""
    principal = _let_in_lately(request) or _authenticate(request)
    return principal, rate_limits.count_request(principal)


def _bearer(header: str) -> str:
    scheme, _, secret = header.partition(" ")
    if scheme.lower() != "bearer" or not secret.strip():
        raise _unauthorized("The Authorization header must read 'Bearer KEY'.", "invalid_authorization_header")
    return secret.strip()


async def guard(request: Request) -> None:
    """Let a request through to its route if the path is public, or its caller known and allowed.

    Reading needs a viewer, changing anything an editor; routes ask for more with `Principal.require`. A browser must
    also show its session's CSRF token to change anything, in a header or a form field.
    """
    path = getattr(request.scope.get("route"), "path", None)
    if path in PUBLIC_PATHS:
        return
    known = _let_in_lately(request)
    if known is None or rate_limits.requests_are_counted():
        principal, allowance = await run_in_threadpool(_let_in, request)
    else:
        principal, allowance = known, None
    request.state.principal = principal
    request.state.rate_limit_headers = {} if allowance is None else allowance.headers()
    if principal.own_annotator is not None:
        _require_own(principal.own_annotator, path, request.path_params)
    else:
        principal.require_scope(next((scope for start, scope in SCOPES if (path or "").startswith(start)), None))
    if request.method in SAFE_METHODS:
        return
    if path not in VIEWERS_MAY_POST:
        principal.require("editor")
    if principal.csrf_token is not None and not hmac.compare_digest(
        (await _shown_csrf_token(request)).encode(), principal.csrf_token.encode()
    ):
        raise Forbidden("The CSRF token is missing or wrong; reload the page.", code="csrf")


def _require_own(annotator_id: str, path: str | None, parameters: dict[str, str]) -> None:
    """Raises Forbidden for all but what is about this annotator alone."""
    if path not in OWN_PATHS or parameters.get("annotator_id", annotator_id) != annotator_id:
        raise Forbidden("Your key shows what reports say of your own labels, and nothing else.", code="scope_required")


async def _shown_csrf_token(request: Request) -> str:
    header = request.headers.get(CSRF_HEADER)
    if header is not None:
        return header
    if request.headers.get("Content-Type", "").startswith(_FORMS):
        return str((await request.form(max_files=1, max_fields=_MOST_FIELDS)).get(CSRF_FIELD, ""))
    return ""


async def _principal(request: Request) -> Principal:
    principal: Principal = request.state.principal  # by `guard`, which runs before every route that is not public
    return principal


PrincipalDep = Annotated[Principal, Depends(_principal)]
