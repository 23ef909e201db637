"""The web application."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

from fastapi import Depends, FastAPI
from fastapi.responses import JSONResponse
from starlette.middleware import Middleware
from starlette.middleware.gzip import DEFAULT_EXCLUDED_CONTENT_TYPES, GZipMiddleware

import app.access.routes
import app.annotators.routes
import app.dashboard.annotator_routes
import app.dashboard.crowd_routes
import app.dashboard.dataset_routes
import app.dashboard.home_routes
import app.dashboard.job_routes
import app.dashboard.model_routes
import app.dashboard.prompt_routes
import app.dashboard.pseudonym_routes
import app.datasets.file_routes
import app.datasets.routes
import app.fine_tuning.metrics
import app.fine_tuning.routes
import app.health
import app.inference.routes
import app.projects.routes
import app.reports.comparison_routes
import app.reports.crowd_routes
import app.reports.decision_routes
import app.reports.judgement_routes
import app.reports.relabelling_routes
import app.reports.routes
import app.webhooks.routes
from app.access.authentication import guard
from app.api_document import DocumentedAPI
from app.dashboard.assets import Assets
from app.inference.engine import close_inference
from app.middleware import AllowedHosts, BodyLimit, PlainBody, RequestContext
from app.problems import install_problem_handlers
from app.settings import Settings, get_settings

UPLOADS = re.compile(r"(/v1)?/datasets(/[^/]+/annotations)?|/v1/files")  # by the API, and by the pages' forms
STREAMED_BODIES = re.compile(rf"{UPLOADS.pattern}|/v1/models/[^/]+/predict")
NOT_GZIPPED = (*DEFAULT_EXCLUDED_CONTENT_TYPES, "application/x-tar")  # weights do not shrink
MAX_BODY_BYTES = 16 * 1024**2


def create_app() -> FastAPI:
    """The application, its doors closed: every route but those in PUBLIC_PATHS needs a key or a session."""
    settings = get_settings()
    application = DocumentedAPI(
        title="REALM",
        summary="Fine-tune language models on noisy crowd labels and learn how reliable each annotator is.",
        version="1",
        dependencies=[Depends(guard)],
        middleware=_middleware(settings),
        lifespan=_lifespan,
        openapi_url=None,  # FastAPI would serve it beside the guard; `openapi` below stands behind it
    )
    install_problem_handlers(application)
    for router in (
        app.inference.routes.router,  # first, since routes are tried in turn and predict is asked most
        app.health.router,
        app.access.routes.router,
        app.projects.routes.router,
        app.webhooks.routes.router,
        app.annotators.routes.router,
        app.datasets.routes.router,
        app.datasets.file_routes.router,
        app.fine_tuning.routes.router,
        app.fine_tuning.routes.worker_router,
        app.reports.routes.router,
        app.reports.comparison_routes.router,
        app.reports.crowd_routes.router,
        app.reports.decision_routes.router,
        app.reports.judgement_routes.router,
        app.reports.relabelling_routes.router,
        app.dashboard.home_routes.router,
        app.dashboard.job_routes.router,
        app.dashboard.annotator_routes.router,
        app.dashboard.crowd_routes.router,
        app.dashboard.prompt_routes.router,
        app.dashboard.pseudonym_routes.router,
        app.dashboard.dataset_routes.router,
        app.dashboard.model_routes.router,
    ):
        application.include_router(router)

    @application.get("/openapi.json", include_in_schema=False)
    def openapi() -> JSONResponse:
        return JSONResponse(application.openapi())

    application.mount("/static", Assets(), name="static")
    return application


@asynccontextmanager
async def _lifespan(_: FastAPI) -> AsyncIterator[None]:
    yield
    await close_inference()


def _middleware(settings: Settings) -> list[Middleware]:
    return [
        Middleware(RequestContext),
        Middleware(AllowedHosts, names=_host_names(settings)),
        Middleware(GZipMiddleware, minimum_size=1024, exclude_content_types=NOT_GZIPPED),
        Middleware(BodyLimit, limit=MAX_BODY_BYTES, streamed_limit=settings.max_upload_bytes, streamed=STREAMED_BODIES),
        Middleware(PlainBody, limit=MAX_BODY_BYTES, uploads=UPLOADS),
    ]


def _host_names(settings: Settings) -> frozenset[str]:
    host = urlsplit(settings.url).hostname or ""
    return frozenset({"localhost", "127.0.0.1", "[::1]", f"[{host}]" if ":" in host else host})
