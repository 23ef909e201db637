"""What jobs leave behind, reports and models, and the keys of the project."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal

from app.client.transport import Json, Resource, segment


class Reports(Resource):
    """/v1/fine_tuning/jobs/{id}/annotators, /items and /export"""

    def annotators(self, job: str, **query: Any) -> Iterator[Json]:
        """One row per annotator, those to look at first; `task=` for the rows of one task."""
        return self._transport.pages(f"/v1/fine_tuning/jobs/{segment(job)}/annotators", {"limit": 1000, **query})

    def annotator(self, job: str, annotator: str) -> Json:
        path = f"/v1/fine_tuning/jobs/{segment(job)}/annotators/{segment(annotator)}"
        return self._transport.request_object("GET", path)

    def items(self, job: str, **query: Any) -> Iterator[Json]:
        """One row per item with its most probable true label, those first that another label would help most."""
        return self._transport.pages(f"/v1/fine_tuning/jobs/{segment(job)}/items", {"limit": 1000, **query})

    def item(self, job: str, item: str) -> Json:
        return self._transport.request_object("GET", f"/v1/fine_tuning/jobs/{segment(job)}/items/{segment(item)}")

    def export(
        self,
        job: str,
        table: Literal["annotators", "items", "labels"],
        format_: Literal["csv", "json", "parquet"],
        **query: Any,
    ) -> bytes:
        """A whole table of the report as a file; `shape` and `pseudonyms` say how it is written."""
        path = f"/v1/fine_tuning/jobs/{segment(job)}/export/{table}.{format_}"
        return self._transport.request("GET", path, params=query).content


class Models(Resource):
    """/v1/models"""

    def retrieve(self, model: str) -> Json:
        return self._transport.request_object("GET", f"/v1/models/{segment(model)}")

    def list(self, **query: Any) -> Iterator[Json]:
        return self._transport.pages("/v1/models", query)

    def delete(self, model: str) -> None:
        self._transport.request("DELETE", f"/v1/models/{segment(model)}")

    def set_alias(self, model: str, alias: str) -> Json:
        """Let a name stand for a model wherever its id does."""
        return self._transport.request_object("PUT", f"/v1/models/{segment(model)}/aliases/{segment(alias)}")

    def delete_alias(self, model: str, alias: str) -> None:
        self._transport.request("DELETE", f"/v1/models/{segment(model)}/aliases/{segment(alias)}")


class ApiKeys(Resource):
    """/v1/api_keys"""

    def create(
        self, *, name: str, role: str, scopes: Sequence[str] | None = None, expires_in_days: float | None = None
    ) -> Json:
        body = {"name": name, "role": role, "scopes": scopes, "expires_in_days": expires_in_days}
        return self._transport.request_object("POST", "/v1/api_keys", json=body)

    def list(self, **query: Any) -> Iterator[Json]:
        return self._transport.pages("/v1/api_keys", query)

    def revoke(self, key: str) -> None:
        self._transport.request("DELETE", f"/v1/api_keys/{segment(key)}")
