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


class ChangeRoute(APIRoute):
    """The class of all routes; those that only read are left as they are."""

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
            begin = _begin_post if "POST" in (methods or ()) else _begin
            dependencies = [Depends(begin), *(dependencies or ())]
        super().__init__(path, endpoint, methods=methods, dependencies=dependencies, **rest)

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()
        if not self.is_change:
            return handle

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
