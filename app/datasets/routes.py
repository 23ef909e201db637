"""/v1/datasets: upload, look at, append to, export and delete what a crowd said."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import Response
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool

from app.access.authentication import PrincipalDep
from app.access.changes import ChangeRoute
from app.database.tables import Dataset
from app.datasets import changes, export, service
from app.datasets.preview import FilePreview, PreviewQuery, preview
from app.datasets.receiving import FORM, MEDIA_TYPES, Receiver, media_type
from app.datasets.schemas import (
    AppendParameters,
    AppendQuery,
    DatasetChange,
    DatasetObject,
    DeletionQuery,
    DiffQuery,
    ExportQuery,
    StatisticsObject,
    UploadedDataset,
    UploadParameters,
    UploadQuery,
    VersionDiff,
    VersionNumber,
    VersionObject,
    VersionQuery,
)
from app.dependencies import PageDep, PageOf, SessionDep

router = APIRouter(prefix="/v1/datasets", tags=["datasets"], route_class=ChangeRoute)

_UPLOADS = Receiver(UploadQuery, UploadParameters)
_APPENDS = Receiver(AppendQuery, AppendParameters)


def request_body(
    parameters: type[BaseModel], query: type[BaseModel], kinds: Sequence[str] = (*MEDIA_TYPES, FORM)
) -> dict[str, Any]:
    """The bodies that a receiver takes, for the OpenAPI document."""
    text, binary = {"schema": {"type": "string"}}, {"schema": {"type": "string", "format": "binary"}}
    form = query.model_json_schema()
    form["properties"]["file"] = {"type": "string", "format": "binary"}
    content = {kind: binary if "parquet" in kind else text for kind in MEDIA_TYPES}
    content["application/json"] = {"schema": parameters.model_json_schema()}
    content[FORM] = {"schema": form | {"required": ["file"]}}
    return {"requestBody": {"required": True, "content": {kind: content[kind] for kind in kinds}}}


def _get_dataset(dataset_id: str, session: SessionDep, principal: PrincipalDep) -> Dataset:
    """The dataset that the path names."""
    return service.get_dataset(session, principal.project_id, dataset_id)


DatasetDep = Annotated[Dataset, Depends(_get_dataset, scope="function")]


@router.post("", status_code=201, openapi_extra=request_body(UploadParameters, UploadQuery))
async def create_dataset(
    request: Request, session: SessionDep, principal: PrincipalDep, query: Annotated[UploadQuery, Query()]
) -> UploadedDataset:
    """Upload what a crowd said: a row for each label.

    Columns: annotator, label, and prompt (or only item_id, for data without text); optional are task, item_id,
    options (this prompt's own choices, as a JSON list), gold, created_at, duration_ms and cost. The body is CSV, TSV,
    JSONL, Parquet, JSON or a form with a file, plain or gzip; it is read while it arrives. Of several rows of one
    annotator on one item the last counts. Either the dataset is made whole or nothing is kept.
    """
    return await _UPLOADS.receive(
        request, query, service.limits(), partial(service.create_dataset, session, principal.project_id)
    )


# Any text has a beginning that can be shown: a schema would refuse none.
_BEGINNINGS: dict[str, Any] = {"text/csv": {}, "text/tab-separated-values": {}, "application/x-ndjson": {}}


@router.post("/preview", openapi_extra={"requestBody": {"required": True, "content": _BEGINNINGS}})
async def preview_file(request: Request, query: Annotated[PreviewQuery, Query()]) -> FilePreview:
    """Look at the beginning of a file before it is uploaded: its columns, its first rows, and which are probably ours.

    The body is the first part of a CSV, TSV or JSONL file, plain or gzip; nothing of it is kept. The guesses are what
    `mapping` of an upload takes, the other way round.
    """
    body = await request.body()
    return await run_in_threadpool(preview, body, media_type(request), complete=query.complete)


@router.get("")
def list_datasets(session: SessionDep, principal: PrincipalDep, page: PageDep) -> PageOf[DatasetObject]:
    """The project's datasets, newest first."""
    return service.list_datasets(session, principal.project_id, page)


@router.get("/{dataset_id}")
def get_dataset(session: SessionDep, dataset: DatasetDep) -> DatasetObject:
    """One dataset, as its newest version has it."""
    return service.dataset_object(session, dataset)


@router.patch("/{dataset_id}")
def change_dataset(session: SessionDep, dataset: DatasetDep, change: DatasetChange) -> DatasetObject:
    """Give a dataset another name. What its versions say never changes."""
    return service.change_dataset(session, dataset, change)


@router.delete("/{dataset_id}", status_code=204)
def delete_dataset(session: SessionDep, dataset: DatasetDep, query: Annotated[DeletionQuery, Query()]) -> None:
    """Delete a dataset. Finished jobs keep their report and model, without prompts; `cascade` deletes them too."""
    service.delete_dataset(session, dataset, cascade=query.cascade)


@router.get("/{dataset_id}/versions")
def list_versions(session: SessionDep, dataset: DatasetDep, page: PageDep) -> PageOf[VersionObject]:
    """The versions of a dataset, newest first. None of them ever changes."""
    return service.list_versions(session, dataset, page)


@router.get("/{dataset_id}/versions/{number}")
def get_version(session: SessionDep, dataset: DatasetDep, number: VersionNumber) -> VersionObject:
    """One version of a dataset."""
    return service.version_object(dataset, service.get_version(session, dataset, number))


@router.get("/{dataset_id}/statistics")
def get_statistics(
    session: SessionDep, dataset: DatasetDep, query: Annotated[VersionQuery, Query()]
) -> StatisticsObject:
    """What the labels look like before anything is learned from them, and what cannot be learned."""
    return service.statistics(session, dataset, service.get_version(session, dataset, query.version))


@router.get(
    "/{dataset_id}/versions/{older}/diff/{newer}",
    response_class=Response,
    responses={200: {"content": {"application/json": {"schema": VersionDiff.model_json_schema()}}}},
)
def compare_versions(
    session: SessionDep,
    dataset: DatasetDep,
    older: VersionNumber,
    newer: VersionNumber,
    query: Annotated[DiffQuery, Query()],
) -> Response:
    """What changed from one version to a later one: how much, then every label that came or went."""
    first, second = (service.get_version(session, dataset, number) for number in (older, newer))
    return changes.diff_download(session, dataset, first, second, pseudonyms=query.pseudonyms)


@router.post("/{dataset_id}/annotations", status_code=201, openapi_extra=request_body(AppendParameters, AppendQuery))
async def append_annotations(
    request: Request, session: SessionDep, dataset: DatasetDep, query: Annotated[AppendQuery, Query()]
) -> UploadedDataset:
    """Append rows: the next version. The ones before it stay as they are.

    A label that says something else than the same annotator's earlier one on the item takes its place; one that says
    the same is left out. A known item keeps its text and its gold label. Tasks whose labels were declared take no
    others.
    """
    return await _APPENDS.receive(request, query, service.limits(), partial(service.append_rows, session, dataset))


@router.get(
    "/{dataset_id}/annotations",
    response_class=Response,
    responses={200: {"content": {"text/csv": {}, "application/x-ndjson": {}}}},
)
def export_annotations(session: SessionDep, dataset: DatasetDep, query: Annotated[ExportQuery, Query()]) -> Response:
    """All labels, a row each. Texts that a spreadsheet would run as a formula start with an apostrophe in the CSV."""
    version = service.get_version(session, dataset, query.version)
    return export.download(dataset, version.number, query.format, pseudonyms=query.pseudonyms)
