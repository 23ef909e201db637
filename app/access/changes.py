"""What every request that changes something has in common, whichever route it takes.

Its audit event, and its answer if it has an Idempotency-Key, are written into the transaction of its SessionDep, after
the route's function has returned and before that transaction commits.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine, Sequence
from typing import Annotated, Any

from fastapi import Depends, Header, Request, params
from fastapi.responses import Response
from fastapi.routing import APIRoute
from starlette.concurrency import run_in_threadpool

from app.access import idempotency, rate_limits
from app.access.authentication import PUBLIC_PATHS, SAFE_METHODS, VIEWERS_MAY_POST
from app.access.idempotency import AnsweredBefore, ReceivedBody
from app.access.preconditions import READERS
from app.database import change_queries
from app.dependencies import SessionDep

IdempotencyKey = Annotated[
    str | None,
    Header(
        min_length=1,
        max_length=255,
        description="A name of your choice for this request. Sent again with it, the request is answered as before.",
    ),
]


IfMatch = Annotated[
    str | None,
    Header(
        max_length=1000,
        description="The ETag of what is to be changed, as you read it: 412 when it has been changed since.",
    ),
]


def changes_something(methods: set[str] | None, path: str) -> bool:
    return not (methods or {"GET"}) <= SAFE_METHODS and path not in PUBLIC_PATHS | VIEWERS_MAY_POST


def _begin(request: Request, session: SessionDep) -> None:
    declared = request.headers.get("Content-Length", "")
    rate_limits.check_upload(request.state.principal, int(declared) if declared.isdecimal() else 0)
    request.state.session_of_change = session


def _begin_post(request: Request, session: SessionDep, idempotency_key: IdempotencyKey = None) -> None:
    _begin(request, session)
    if idempotency_key is not None:
        idempotency.claim(session, request.state.principal, idempotency_key)


async def _begin_in_turn(request: Request, session: SessionDep, if_match: IfMatch = None) -> None:
    """Changes of the same thing wait for each other, so that it stays as an If-Match found it."""
    await run_in_threadpool(_begin, request, session)
    what = next(iter(request.path_params.values()), "")
    await run_in_threadpool(change_queries.wait_for_turn, session, str(what))
    if if_match is not None:
        await READERS.check(request, request.scope["route"].path, if_match)


class ChangeRoute(APIRoute):
    """The class of all routes; the answers of those that only read have ETags."""

    def __init__(
        self,
        path: str,
        endpoint: Callable[..., Any],
        *,
        methods: set[str] | list[str] | None = None,
        dependencies: Sequence[params.Depends] | None = None,
        **rest: Any,
    ) -> None:
        self.is_change = changes_something(set(methods or ()), path)
        if self.is_change:
            begin = Depends(_begin_post if "POST" in (methods or ()) else _begin_in_turn)
            dependencies = [begin, *(dependencies or ())]
        super().__init__(path, endpoint, methods=methods, dependencies=dependencies, **rest)

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()
        if not self.is_change:
            return READERS.add(self.path, handle) if "GET" in (self.methods or ()) else handle

        async def handle_change(request: Request) -> Response:
            key = request.headers.get("Idempotency-Key") if request.method == "POST" else None
            content_type = request.headers.get("Content-Type", "")
            body = ReceivedBody(request.receive, content_type, with_digest=key is not None)
            request = Request(request.scope, body.receive)
            try:
                response = await handle(request)
            except AnsweredBefore as before:
                return idempotency.replay(request, before.stored, await body.digest())
            finally:
                await request.close()  # a form's file, which the guard opened when it looked for the token
                if hasattr(request.state, "session_of_change"):
                    await run_in_threadpool(rate_limits.count_upload, request.state.principal, body.n_bytes)
            claimed = (key, await body.digest()) if key is not None and _json(response) else None
            await run_in_threadpool(_record, request, response, claimed, action=self.name)
            return response

        return handle_change


def _record(request: Request, response: Response, claimed: tuple[str, bytes] | None, *, action: str) -> None:
    """Write the audit event and, for a claimed Idempotency-Key, the answer to a body with a digest."""
    principal, session = request.state.principal, request.state.session_of_change
    answer = _json(response)
    change_queries.add_audit_event(
        session,
        project_id=principal.project_id,
        key_id=principal.key_id,
        key_name=principal.key_name,
        action=action,
        target="/".join(map(str, request.path_params.values())) or answer.get("id"),
        request_id=request.state.request_id,
    )
    if claimed is not None:
        key, body_sha256 = claimed
        idempotency.keep(session, principal, key, request, response.status_code, answer, body_sha256)


def _json(response: Response) -> dict[str, Any]:
    """The JSON object that a response is; an empty one for everything else."""
    if response.headers.get("Content-Type") != "application/json" or not response.body:
        return {}
    answer = json.loads(bytes(response.body))
    return answer if isinstance(answer, dict) else {}
