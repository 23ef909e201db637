"""Row 4: what managers open of a finished job: the calls of the report, and every page of the dashboard."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial

from fastapi.routing import APIRoute
from starlette.routing import BaseRoute

from app.main import create_app
from benchmarks.speed.finished_job import FinishedJob, finished_job
from benchmarks.speed.http_load import Load, measure
from benchmarks.speed.live_service import LiveService, live_service
from benchmarks.speed.ratio import Ratio, at_most, below, in_turns
from benchmarks.speed.size import Size

REPORT = ("annotators", "annotators?limit=1000", "items", "agreement", "annotators/{annotator_id}", "items/{item_id}")
MOST_MS = 300.0
_LARGE = {"REALM_MAX_UPLOAD_BYTES": str(16 * 1024**3)}


def rows(wanted: set[int], size: Size) -> Iterator[Ratio]:
    """Row 4, and the pages of issue 6 with a million labels."""
    if 4 not in wanted:
        return
    with live_service(_LARGE) as service:
        opened = Pages(service, size)
        few, many, million = (
            finished_job(service, n, size.per_item, size.annotators)
            for n in (size.few_annotations, size.many_annotations, size.annotations)
        )
        service.psql("VACUUM ANALYZE")  # which autovacuum does too, at a time of its own
        for call in REPORT:
            path = f"/v1/fine_tuning/jobs/{{job_id}}/{call}"
            times = in_turns(partial(opened.ms, path, many), partial(opened.ms, path, few), size.rounds)
            name = f"GET {call} with {size.many_annotations:,} labels, against {size.few_annotations:,}"
            yield Ratio(4, name, at_most(3), *times, "ms")
            yield Ratio(4, f"GET {call} with {size.many_annotations:,} labels", below(MOST_MS), times[0], None, "ms")
        for path in job_pages():
            ms = opened.ms(path, million)
            yield Ratio(4, f"page {path} with {size.annotations:,} labels", below(MOST_MS), ms, None, "ms")


class Pages:
    """Opens addresses with {job_id}, {annotator_id} and {item_id} in them."""

    def __init__(self, service: LiveService, size: Size) -> None:
        self._service, self._size = service, size

    def ms(self, path: str, job: FinishedJob) -> float:
        """The median until the answer is there, in milliseconds."""
        ids = {"job_id": job.id, "annotator_id": job.annotator, "item_id": job.item}
        load = Load(self._service.url + path.format(**ids), [], 1, self._size.pages, self._service.api_key)
        return 1000 * measure(load).quantile(0.5)


def job_pages() -> list[str]:
    """The address of every HTML page of a job, found in the application itself."""
    return sorted({path for path, route in _routes(create_app().routes) if _is_page_of_a_job(path, route)})


def _routes(routes: list[BaseRoute], prefix: str = "") -> Iterator[tuple[str, BaseRoute]]:
    for route in routes:
        path = prefix + getattr(route, "path", "")
        if (included := getattr(route, "original_router", None)) is not None:
            yield from _routes(included.routes, path)
        else:
            yield path, route


def _is_page_of_a_job(path: str, route: BaseRoute) -> bool:
    is_page = isinstance(route, APIRoute) and "GET" in (route.methods or ())
    return is_page and re.match(r"/jobs/\{job_id\}|/v1/fine_tuning/jobs/\{job_id\}/report\.html", path) is not None
