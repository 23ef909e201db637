"""Files, OpenAI's way to bring data: each makes a dataset and names its first version for ever."""

from __future__ import annotations

from pathlib import Path

from fastapi.responses import Response
from sqlalchemy.orm import Session

from app.database import dataset_queries
from app.database.base import new_id
from app.database.tables import File
from app.datasets import export, service
from app.datasets.file_schemas import FileObject, FilePage, FileParameters
from app.datasets.receiving import Upload
from app.datasets.schemas import unix
from app.dependencies import PageOf
from app.errors import Conflict, NotFound
from realm_core.formats.faults import Faults

_MAX_NAME_LENGTH = 200
_JSON_SUFFIXES = (".jsonl", ".ndjson", ".json")


def create_file(session: Session, project_id: str, upload: Upload[FileParameters]) -> FileObject:
    """A file and its dataset, all or nothing; the dataset has the file's name unless it is given another."""
    given, sent = upload.parameters, upload.form_file
    assert sent is not None  # `receive_form` sees to it
    name = _file_name(sent.filename or "")
    given.name = given.name or name
    stored = service.store_upload(session, project_id, upload, Faults(given.on_error))
    file = dataset_queries.add_file(
        session,
        id=new_id("file-"),
        project_id=project_id,
        dataset_id=stored.dataset.id,
        dataset_version=stored.version.number,
        filename=name,
        purpose=given.purpose,
        n_bytes=sent.size,
    )
    return file_object(file, note=stored.note)


def _file_name(given: str) -> str:
    """The last part of what a client calls its file, as some send whole paths."""
    name = given.replace("\\", "/").rsplit("/", 1)[-1].replace("\0", "").strip()
    return name[:_MAX_NAME_LENGTH] or service.UNTITLED


def file_object(file: File, note: str | None = None) -> FileObject:
    return FileObject(
        id=file.id,
        bytes=file.n_bytes,
        created_at=unix(file.created_at),
        filename=file.filename,
        purpose=file.purpose,
        status_details=note,
        dataset=f"{file.dataset_id}@{file.dataset_version}",
    )


def get_file(session: Session, project_id: str, file_id: str) -> File:
    """A file of the project. Raises NotFound."""
    file = dataset_queries.find_file(session, project_id, file_id)
    if file is None:
        raise NotFound(f"There is no file {file_id!r}.", param="file_id")
    return file


def list_files(session: Session, project_id: str, page: FilePage) -> PageOf[FileObject]:
    """A page of the project's files. Raises NotFound for an unknown `after`."""
    mark = get_file(session, project_id, page.after) if page.after is not None else None
    found = dataset_queries.list_files(
        session, project_id, after=mark, limit=page.limit, descending=page.descending, purpose=page.purpose
    )
    return PageOf[FileObject].of([file_object(file) for file in found], page.limit)


def delete_file(session: Session, project_id: str, file_id: str) -> None:
    """Delete a file with its dataset. Raises NotFound, and Conflict when jobs need it or more was appended to it."""
    file = get_file(session, project_id, file_id)
    dataset = service.get_dataset(session, project_id, file.dataset_id)
    newest = service.get_version(session, dataset, None)
    if newest.number != file.dataset_version:
        detail = f"Rows were appended to the file's dataset, {dataset.id}; delete the dataset if they may go too."
        raise Conflict(detail, code="file_in_use")
    service.delete_dataset(session, dataset, cascade=False)


def file_content(session: Session, project_id: str, file_id: str) -> Response:
    """The labels of a file, a row each: JSON lines if it came as JSON of some kind, else CSV."""
    file = get_file(session, project_id, file_id)
    dataset = service.get_dataset(session, project_id, file.dataset_id)
    suffix = Path(file.filename.lower().removesuffix(".gz")).suffix
    return export.download(dataset, file.dataset_version, "jsonl" if suffix in _JSON_SUFFIXES else "csv")
