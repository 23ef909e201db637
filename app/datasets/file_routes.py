"""/v1/files: OpenAI's way to bring data, over the same datasets."""

from __future__ import annotations

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from app.access.authentication import PrincipalDep
from app.access.changes import ChangeRoute
from app.datasets import files, service
from app.datasets.file_schemas import DeletedFile, FileObject, FilePage, FileParameters, FileQuery
from app.datasets.receiving import FORM, Receiver
from app.datasets.routes import request_body
from app.dependencies import PageOf, SessionDep

router = APIRouter(prefix="/v1/files", tags=["files"], route_class=ChangeRoute)

_UPLOADS = Receiver(FileQuery, FileParameters)


@router.post("", status_code=201, openapi_extra=request_body(FileParameters, FileQuery, kinds=(FORM,)))
async def create_file(
    request: Request, session: SessionDep, principal: PrincipalDep, query: Annotated[FileQuery, Query()]
) -> FileObject:
    """Upload a file as a form with the parts `file` and `purpose` (`fine-tune`).

    It makes a dataset, whose first version the file's id names for ever; a job takes it as `training_file`. All that
    an upload to /v1/datasets may say of how it is to be read may stand in further parts.
    """
    return await _UPLOADS.receive_form(
        request, query, service.limits(), partial(files.create_file, session, principal.project_id)
    )


@router.get("")
def list_files(session: SessionDep, principal: PrincipalDep, page: Annotated[FilePage, Query()]) -> PageOf[FileObject]:
    """The project's files, newest first."""
    return files.list_files(session, principal.project_id, page)


@router.get("/{file_id}")
def get_file(file_id: str, session: SessionDep, principal: PrincipalDep) -> FileObject:
    """One file."""
    return files.file_object(files.get_file(session, principal.project_id, file_id))


@router.delete("/{file_id}", responses={409: {"description": "A job needs it, or more was appended to its dataset."}})
def delete_file(file_id: str, session: SessionDep, principal: PrincipalDep) -> DeletedFile:
    """Delete a file with its dataset. Finished jobs keep their report and model."""
    files.delete_file(session, principal.project_id, file_id)
    return DeletedFile(id=file_id, deleted=True)


@router.get(
    "/{file_id}/content",
    response_class=Response,
    responses={200: {"content": {"text/csv": {}, "application/x-ndjson": {}}}},
)
def download_file(file_id: str, session: SessionDep, principal: PrincipalDep) -> Response:
    """The labels that the file brought, a row each: JSON lines if it came as JSON, else CSV."""
    return files.file_content(session, principal.project_id, file_id)
