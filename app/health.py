"""Is the service alive, and can it do its work; and its metrics."""

from __future__ import annotations

from typing import Any

import redis
from fastapi import APIRouter
from fastapi.responses import JSONResponse, Response
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from app.access.changes import ChangeRoute
from app.database.session import transaction
from app.observability import metrics_text
from app.queue import live_workers

router = APIRouter(tags=["health"], route_class=ChangeRoute)


@router.get("/livez")
def livez() -> dict[str, str]:
    """This process answers."""
    return {"status": "ok"}


@router.get("/readyz", responses={503: {"description": "Not ready; `checks` says why."}})
def readyz() -> Response:
    """Database, broker and at least one live worker are there."""
    checks = {"database": _database(), **_broker_and_worker()}
    ready = all(state == "ok" for state in checks.values())
    body: dict[str, Any] = {"status": "ok" if ready else "unavailable", "checks": checks}
    return JSONResponse(body, 200 if ready else 503, None if ready else {"Retry-After": "2"})


@router.get("/metrics", include_in_schema=False)
def metrics() -> Response:
    """Prometheus metrics."""
    body, media_type = metrics_text()
    return Response(body, media_type=media_type)


def _database() -> str:
    try:
        with transaction() as session:
            session.execute(text("SELECT 1"))
    except SQLAlchemyError:
        return "out of reach"
    return "ok"


def _broker_and_worker() -> dict[str, str]:
    try:
        workers = live_workers()
    except redis.RedisError:
        return {"broker": "out of reach", "worker": "unknown"}
    return {"broker": "ok", "worker": "ok" if workers else "none is alive"}
