"""Uploading data."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import httpx

from app.client.transport import Json, Resource, given, segment

MEDIA_TYPES = {
    ".csv": "text/csv",
    ".tsv": "text/tab-separated-values",
    ".jsonl": "application/x-ndjson",
    ".ndjson": "application/x-ndjson",
    ".json": "application/json",
    ".parquet": "application/vnd.apache.parquet",
}
_CHUNK = 256 * 1024


class Datasets(Resource):
    """/v1/datasets"""

    def upload(
        self,
        file: Path,
        *,
        name: str | None = None,
        mapping: dict[str, str] | None = None,
        labels: Any = None,
        on_error: Literal["abort", "skip"] | None = None,
        on_sent: Callable[[int], None] = lambda _: None,
    ) -> Json:
        """Make a dataset of a CSV, TSV, JSONL, JSON or Parquet file, plain or with .gz.

        `on_sent` hears the number of bytes of each piece that was sent.
        """
        query = {
            "name": name or file.name,
            "mapping": None if mapping is None else json.dumps(mapping),
            "labels": None if labels is None else json.dumps(labels),
            "on_error": on_error,
        }
        headers = {"Content-Type": media_type(file), "Content-Length": str(file.stat().st_size)}
        if file.suffix == ".gz":
            headers["Content-Encoding"] = "gzip"
        return self._transport.request_object(
            "POST",
            "/v1/datasets",
            params=given(query),
            headers=headers,
            content=_pieces(file, on_sent),
            timeout=httpx.Timeout(None, connect=5.0),  # how long reading and storing takes depends on the file alone
        )

    def create(self, annotations: Sequence[Json], *, name: str, **settings: Any) -> Json:
        """Make a dataset of rows that are at hand."""
        body = {"name": name, "annotations": annotations, **settings}
        return self._transport.request_object("POST", "/v1/datasets", json=body)

    def preview(self, file: Path) -> Json:
        """The columns and first rows of a CSV, TSV or JSONL file, and which are probably ours; nothing is kept."""
        with file.open("rb") as stream:
            beginning = stream.read(_CHUNK)
        headers = {"Content-Type": media_type(file)}
        query = {"complete": len(beginning) == file.stat().st_size}
        return self._transport.request_object(
            "POST", "/v1/datasets/preview", params=query, content=beginning, headers=headers
        )

    def retrieve(self, dataset: str) -> Json:
        return self._transport.request_object("GET", f"/v1/datasets/{segment(dataset)}")

    def list(self, **query: Any) -> Iterator[Json]:
        return self._transport.pages("/v1/datasets", query)

    def append(self, dataset: str, annotations: Sequence[Json], **settings: Any) -> Json:
        """Add rows that are at hand; the answer is the next version."""
        path, body = f"/v1/datasets/{segment(dataset)}/annotations", {"annotations": annotations, **settings}
        return self._transport.request_object("POST", path, json=body)

    def versions(self, dataset: str, **query: Any) -> Iterator[Json]:
        return self._transport.pages(f"/v1/datasets/{segment(dataset)}/versions", query)

    def version(self, dataset: str, number: int) -> Json:
        return self._transport.request_object("GET", f"/v1/datasets/{segment(dataset)}/versions/{number}")

    def diff(self, dataset: str, older: int, newer: int, **query: Any) -> Json:
        """What changed between two versions: counts, and every label that was added or superseded."""
        path = f"/v1/datasets/{segment(dataset)}/versions/{older}/diff/{newer}"
        return self._transport.request_object("GET", path, params=query)

    def statistics(self, dataset: str, **query: Any) -> Json:
        return self._transport.request_object("GET", f"/v1/datasets/{segment(dataset)}/statistics", params=query)

    def annotations(self, dataset: str, **query: Any) -> bytes:
        """The labels as they came; `format`, `version` and `pseudonyms` say how."""
        path = f"/v1/datasets/{segment(dataset)}/annotations"
        return self._transport.request("GET", path, params=query).content

    def rename(self, dataset: str, name: str) -> Json:
        return self._transport.request_object("PATCH", f"/v1/datasets/{segment(dataset)}", json={"name": name})

    def delete(self, dataset: str, *, cascade: bool = False) -> None:
        self._transport.request(
            "DELETE", f"/v1/datasets/{segment(dataset)}", params={"cascade": True} if cascade else {}
        )


def media_type(file: Path) -> str:
    """What kind of file a name says it is. Raises ValueError for one that the service does not read."""
    suffix = file.with_suffix("").suffix if file.suffix == ".gz" else file.suffix
    if suffix.lower() not in MEDIA_TYPES:
        raise ValueError(f"{file.name}: the name must end in {', '.join(MEDIA_TYPES)}, with or without .gz.")
    return MEDIA_TYPES[suffix.lower()]


def _pieces(file: Path, on_sent: Callable[[int], None]) -> Iterator[bytes]:
    with file.open("rb") as stream:
        while piece := stream.read(_CHUNK):
            yield piece
            on_sent(len(piece))
