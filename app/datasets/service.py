"""Datasets: made of what is uploaded, listed, described, deleted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from sqlalchemy import event
from sqlalchemy.orm import Session

from app.artifacts import get_artifacts
from app.database import dataset_queries
from app.database.lock_waits import DataBusy
from app.database.tables import Dataset, DatasetVersion
from app.datasets import append, intake
from app.datasets.receiving import Upload
from app.datasets.schemas import (
    AppendParameters,
    DatasetChange,
    DatasetObject,
    StatisticsObject,
    UploadedDataset,
    UploadParameters,
    VersionObject,
    unix,
)
from app.datasets.version_labels import count_version, describe
from app.dependencies import Page, PageOf
from app.errors import Conflict, ErrorItem, NotFound, PayloadTooLarge, Unprocessable
from app.settings import get_settings
from realm_core.formats import BadData, DeclaredAnswers, Limits, ReadingOptions, TooLarge
from realm_core.formats.faults import Faults

UNTITLED = "untitled"


def limits() -> Limits:
    settings = get_settings()
    return Limits(
        max_bytes=settings.max_upload_bytes,
        max_field_bytes=settings.max_field_bytes,
        max_rows=settings.max_rows,
        max_answers=settings.max_answers,
        block_bytes=max(Limits.block_bytes, 4 * settings.max_field_bytes),
    )


@contextmanager
def bad_data_as_error() -> Iterator[None]:
    """What is wrong with the data, as the answer to the request."""
    try:
        yield
    except BadData as bad:
        kind = PayloadTooLarge if isinstance(bad, TooLarge) else Unprocessable
        items = tuple(ErrorItem(fault.code, fault.detail, fault.row, fault.column) for fault in bad.faults)
        raise kind(bad.detail, code=bad.code, errors=items) from bad


def create_dataset(session: Session, project_id: str, upload: Upload[UploadParameters]) -> UploadedDataset:
    """A dataset of an upload. The transaction lasts as long as the client takes to send."""
    faults = Faults(upload.parameters.on_error)
    stored = store_upload(session, project_id, upload, faults)
    return _uploaded_dataset(session, stored, faults)


class StoredUpload(NamedTuple):
    """The version that an upload made; `note` says which tool's export it was taken for."""

    dataset: Dataset
    version: DatasetVersion
    note: str | None


def _uploaded_dataset(session: Session, stored: StoredUpload, faults: Faults) -> UploadedDataset:
    return UploadedDataset(
        **_dataset_fields(session, stored.dataset, stored.version),
        recognised=stored.note,
        errors=[vars(fault) for fault in faults.listed],
    )


def store_upload(session: Session, project_id: str, upload: Upload[Any], faults: Faults) -> StoredUpload:
    """A new dataset of an upload. Raises Unprocessable, PayloadTooLarge."""
    given = upload.parameters
    with bad_data_as_error():
        options = ReadingOptions(
            given.mapping, given.ignore_labels, DeclaredAnswers.parse(given.labels), given.on_error, limits()
        )
        file = upload.open(options, faults)
        dataset, version = intake.store_dataset(session, project_id, given.name or UNTITLED, file, options, faults)
        return StoredUpload(dataset, version, file.plan.note)


def append_rows(session: Session, dataset: Dataset, upload: Upload[AppendParameters]) -> UploadedDataset:
    """The next version of a dataset, with the rows of an upload. Raises Conflict, Unprocessable, PayloadTooLarge."""
    given = upload.parameters
    faults = Faults(given.on_error)
    with _busy_as_conflict(), bad_data_as_error():
        dataset_queries.lock_for_append(session, dataset)
        options = ReadingOptions(given.mapping, given.ignore_labels, DeclaredAnswers(), given.on_error, limits())
        parent = get_version(session, dataset, None)
        file = upload.open(options, faults)
        version = append.append_rows(session, dataset, parent, file, options, faults)
    return _uploaded_dataset(session, StoredUpload(dataset, version, file.plan.note), faults)


@contextmanager
def _busy_as_conflict() -> Iterator[None]:
    try:
        yield
    except DataBusy:
        raise Conflict("The dataset is being read or changed just now; try again.", code="dataset_busy") from None


def _dataset_fields(session: Session, dataset: Dataset, version: DatasetVersion) -> dict[str, Any]:
    tasks = dataset_queries.list_tasks(session, dataset.key, version.number)
    return {
        "id": dataset.id,
        "name": dataset.name,
        "created_at": unix(dataset.created_at),
        "version": version.number,
        "sha256": version.sha256,
        "has_text": dataset.has_text,
        "counts": version.counts,
        "tasks": [
            {
                "name": task.name,
                "declared": task.declared,
                "answers": [{"name": answer["name"], "description": answer["description"]} for answer in task.answers],
            }
            for task in tasks
        ],
        "warnings": version.warnings,
    }


def get_dataset(session: Session, project_id: str, dataset_id: str) -> Dataset:
    """A dataset of the project. Raises NotFound."""
    dataset = dataset_queries.find_dataset(session, project_id, dataset_id)
    if dataset is None:
        raise NotFound(f"There is no dataset {dataset_id!r}.", param="dataset_id")
    return dataset


def get_version(session: Session, dataset: Dataset, number: int | None) -> DatasetVersion:
    """A version of a dataset, by default the newest. Raises NotFound."""
    version = dataset_queries.find_version(session, dataset.key, number)
    if version is None:
        raise NotFound(f"Dataset {dataset.id} has no version {number}.", param="version")
    return version


def dataset_object(session: Session, dataset: Dataset) -> DatasetObject:
    return DatasetObject(**_dataset_fields(session, dataset, get_version(session, dataset, None)))


def list_datasets(session: Session, project_id: str, page: Page) -> PageOf[DatasetObject]:
    """A page of the project's datasets. Raises NotFound for an unknown `after`."""
    mark = get_dataset(session, project_id, page.after) if page.after is not None else None
    found = dataset_queries.list_datasets(session, project_id, after=mark, limit=page.limit, descending=page.descending)
    return PageOf[DatasetObject].of([dataset_object(session, dataset) for dataset in found], page.limit)


def version_object(dataset: Dataset, version: DatasetVersion) -> VersionObject:
    return VersionObject(
        id=f"{dataset.id}@{version.number}",
        number=version.number,
        created_at=unix(version.created_at),
        sha256=version.sha256,
        counts=version.counts,
        warnings=version.warnings,
    )


def list_versions(session: Session, dataset: Dataset, page: Page) -> PageOf[VersionObject]:
    """A page of a dataset's versions. Raises NotFound for an unknown `after`."""
    mark = None if page.after is None else _number_in(page.after, dataset)
    found = dataset_queries.list_versions(
        session, dataset.key, after=mark, limit=page.limit, descending=page.descending
    )
    return PageOf[VersionObject].of([version_object(dataset, version) for version in found], page.limit)


def _number_in(version_id: str, dataset: Dataset) -> int:
    number = version_id.removeprefix(f"{dataset.id}@")
    if not number.isdecimal() or len(number) > 9:
        raise NotFound(f"There is no version {version_id!r} of this dataset.", param="after")
    return int(number)


def statistics(session: Session, dataset: Dataset, version: DatasetVersion) -> StatisticsObject:
    """What the labels of a version look like; counted when it is first asked for, if not when it was made."""
    found = version.statistics
    if found is None:
        found = describe(session, dataset, version.number, count_version(session, dataset, version.number))
        dataset_queries.keep_statistics(session, version, found)
    return StatisticsObject(dataset=dataset.id, version=version.number, **found)


def change_dataset(session: Session, dataset: Dataset, change: DatasetChange) -> DatasetObject:
    """Change what the request names. Raises Conflict while rows are being appended."""
    if change.name is not None:
        with _busy_as_conflict():
            dataset_queries.lock_for_append(session, dataset)
        dataset_queries.rename(session, dataset, change.name)
    return dataset_object(session, dataset)


def delete_dataset(session: Session, dataset: Dataset, *, cascade: bool) -> None:
    """Remove a dataset; with `cascade` its finished jobs too, with their reports and models. Raises Conflict."""
    with _busy_as_conflict():
        dataset_queries.lock_for_deletion(session, dataset)
        if dataset_queries.has_unfinished_jobs(session, dataset):
            raise Conflict("A job on this dataset is not finished; cancel it or wait.", code="dataset_in_use")
        artifacts = dataset_queries.delete_jobs(session, dataset) if cascade else []
        dataset_queries.delete_dataset(session, dataset)
    event.listen(session, "after_commit", lambda _: _delete_artifacts(artifacts), once=True)


def _delete_artifacts(prefixes: Sequence[str]) -> None:
    for prefix in prefixes:
        get_artifacts().delete(prefix)
