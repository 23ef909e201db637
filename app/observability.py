"""Structured logs with request ids, and Prometheus metrics."""

from __future__ import annotations

import logging
import sys

import structlog
from prometheus_client import CONTENT_TYPE_LATEST, Counter, Histogram, generate_latest

REQUESTS = Counter("realm_http_requests_total", "Requests by route and status.", ["method", "route", "status"])
REQUEST_SECONDS = Histogram(
    "realm_http_request_seconds",
    "Time to the end of the answer.",
    ["method", "route"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
)


def configure_logging(level: int = logging.INFO) -> None:
    """One JSON object per line on stderr, for our own logs and those of the libraries."""
    shared: list[structlog.types.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso"),
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.format_exc_info,  # the plain traceback: values of variables may be secrets
            structlog.processors.JSONRenderer(),
        ],
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    logging.basicConfig(level=level, handlers=[handler], force=True)


def observe_request(method: str, route: str, status: int, seconds: float) -> None:
    """Count one answered request. `route` is the template, never the path: paths are without number."""
    REQUESTS.labels(method, route, str(status)).inc()
    REQUEST_SECONDS.labels(method, route).observe(seconds)


def metrics_text() -> tuple[bytes, str]:
    """The metrics of this process and their media type."""
    return generate_latest(), CONTENT_TYPE_LATEST
