"""Starting and following jobs."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from app.client.transport import Json, RequestFailed, Resource, ServiceUnreachable, Transport, given, segment

FINISHED = ("succeeded", "failed", "cancelled")
_SECONDS_TO_COME_BACK = 30.0  # a service that restarts is waited for while a job is followed


@dataclass(frozen=True)
class News:
    """Something that happened to a job that is followed: an event of it, or how it is now."""

    kind: Literal["event", "job"]
    object: Json


class FineTuning(Resource):
    """/v1/fine_tuning"""

    def __init__(self, transport: Transport) -> None:
        super().__init__(transport)
        self.jobs = Jobs(transport)

    def workers(self) -> Json:
        """Which workers are alive, what they run, and how long the queue is."""
        return self._transport.request_object("GET", "/v1/fine_tuning/workers")


class Jobs(Resource):
    """/v1/fine_tuning/jobs"""

    def create(
        self,
        *,
        dataset: str | None = None,
        training_file: str | None = None,
        model: str = "minilm",
        method: Literal["realm", "supervised", "aggregation"] = "realm",
        hyperparameters: Json | None = None,
        seed: int | None = None,
        suffix: str | None = None,
        metadata: dict[str, str] | None = None,
    ) -> Json:
        """Start a job on a dataset (its newest version, or ds_…@3) or on a file."""
        body = _body(
            dataset=dataset,
            training_file=training_file,
            model=model,
            method=method,
            hyperparameters=hyperparameters,
            seed=seed,
            suffix=suffix,
            metadata=metadata,
        )
        return self._transport.request_object("POST", "/v1/fine_tuning/jobs", json=body)

    def estimate(self, **job: Any) -> Json:
        """What a job would take, and what it could not learn; `job` is what `create` takes. Nothing is started."""
        return self._transport.request_object("POST", "/v1/fine_tuning/jobs/estimate", json=_body(**job))

    def retrieve(self, job: str) -> Json:
        return self._transport.request_object("GET", f"/v1/fine_tuning/jobs/{segment(job)}")

    def list(self, **query: Any) -> Iterator[Json]:
        return self._transport.pages("/v1/fine_tuning/jobs", query)

    def cancel(self, job: str) -> Json:
        return self._transport.request_object("POST", f"/v1/fine_tuning/jobs/{segment(job)}/cancel")

    def list_events(self, job: str, **query: Any) -> Iterator[Json]:
        return self._transport.pages(f"/v1/fine_tuning/jobs/{segment(job)}/events", query)

    def follow(self, job: str) -> Iterator[News]:
        """Everything that happens to a job, until it has finished; goes on where it was when the service restarts."""
        last_event, lost_at = "0", 0.0
        while True:
            try:
                for news in self._stream(job, last_event):
                    lost_at = 0.0
                    if news.kind == "event":
                        last_event = news.object["id"]
                    yield news
                    if news.kind == "job" and news.object["status"] in FINISHED:
                        return
            except (ServiceUnreachable, RequestFailed) as error:
                lost_at = lost_at or time.monotonic()
                may_come_back = isinstance(error, ServiceUnreachable) or error.status == 503
                if not may_come_back or time.monotonic() - lost_at > _SECONDS_TO_COME_BACK:
                    raise
            time.sleep(0.5)

    def wait(self, job: str) -> Json:
        """The job once it has finished, well or badly."""
        *_, last = self.follow(job)
        return last.object

    def _stream(self, job: str, last_event: str) -> Iterator[News]:
        path = f"/v1/fine_tuning/jobs/{segment(job)}/events"
        kind: Literal["event", "job"] = "event"
        for line in self._transport.stream_lines(path, {"Accept": "text/event-stream", "Last-Event-ID": last_event}):
            field, _, value = line.partition(": ")
            if field == "event":
                kind = "job" if value == "job" else "event"
            elif field == "data":
                yield News(kind, json.loads(value))


def _body(*, model: str = "minilm", method: str = "realm", hyperparameters: Json | None = None, **rest: Any) -> Json:
    """A job as the API takes it."""
    return given(
        {"model": model, "method": {"type": method, method: {"hyperparameters": hyperparameters or {}}}, **rest}
    )
