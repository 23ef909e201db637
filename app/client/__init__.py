"""A client of the service, shaped like OpenAI's.

    with RealmClient("http://127.0.0.1:8000", "realm_…") as client:
        dataset = client.datasets.upload(Path("labels.csv"))
        job = client.fine_tuning.jobs.create(dataset=dataset["id"])
        job = client.fine_tuning.jobs.wait(job["id"])
        for row in client.reports.annotators(job["id"]): ...
        client.predict(job["fine_tuned_model"], "Where is my parcel?")

Answers are the API's JSON objects as they are. A refused request raises RequestFailed, a service that cannot be reached
ServiceUnreachable.
"""

from __future__ import annotations

from typing import Any, Literal, Self

import httpx

from app.client.datasets import Datasets
from app.client.jobs import FINISHED, FineTuning, News
from app.client.results import ApiKeys, Models, Reports
from app.client.transport import Json, RequestFailed, ServiceUnreachable, Transport, given, segment

__all__ = ["FINISHED", "Json", "News", "RealmClient", "RequestFailed", "ServiceUnreachable"]


class RealmClient:
    """A connection to one service with one API key."""

    def __init__(self, base_url: str, api_key: str, *, timeout: float = 120.0) -> None:
        self.base_url = base_url.rstrip("/")
        self._transport = Transport(self.base_url, api_key, timeout)
        self.datasets = Datasets(self._transport)
        self.fine_tuning = FineTuning(self._transport)
        self.reports = Reports(self._transport)
        self.models = Models(self._transport)
        self.api_keys = ApiKeys(self._transport)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._transport.close()

    def predict(
        self,
        model: str,
        inputs: Any,
        *,
        top_k: int | None = None,
        truncation: Literal["error", "right"] = "error",
        annotator: str | None = None,
    ) -> Any:
        """The answers to a text, or to a list of texts or of {prompt, task, options}, most probable first."""
        body = {"inputs": inputs, "parameters": given({"top_k": top_k, "truncation": truncation})}
        path = f"/v1/models/{segment(model)}/predict"
        return self.request("POST", path, json=body | given({"annotator": annotator})).json()

    def request(self, method: str, path: str, **kwargs: Any) -> httpx.Response:
        """Any call of the API; `kwargs` are those of httpx."""
        return self._transport.request(method, path, **kwargs)
