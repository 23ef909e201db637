"""The pages about datasets: upload, look at, append to, rename, delete, and start a job on."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Form, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from app.access.authentication import PrincipalDep
from app.dashboard.browser_input import ListQuery, PageForm
from app.dashboard.dataset_values import dataset_values, list_values
from app.dashboard.job_form import JobForm
from app.dashboard.pseudonyms import PseudonymsDep
from app.dashboard.rendering import PageRoute, page
from app.dashboard.upload_form import upload_parameters
from app.datasets import service as datasets
from app.datasets.receiving import Receiver, Upload, file_of
from app.datasets.routes import DatasetDep
from app.datasets.schemas import (
    AppendParameters,
    AppendQuery,
    DatasetChange,
    DatasetName,
    UploadedDataset,
    UploadParameters,
    UploadQuery,
    VersionQuery,
)
from app.dependencies import SessionDep
from app.fine_tuning import service as fine_tuning
from realm_core.formats.columns import COLUMNS

router = APIRouter(route_class=PageRoute, include_in_schema=False)

_UPLOADS = Receiver(UploadQuery, UploadParameters)
_APPENDS = Receiver(AppendQuery, AppendParameters)
P = TypeVar("P", bound=AppendParameters)


class RenameForm(PageForm):
    name: DatasetName


class DeletionForm(PageForm):
    cascade: bool = False


@router.get("/datasets")
def dataset_list(
    request: Request, session: SessionDep, principal: PrincipalDep, query: Annotated[ListQuery, Query()]
) -> HTMLResponse:
    """The project's datasets."""
    return page(request, "dataset/list.html", **list_values(session, principal, query.after))


@router.get("/datasets/new")
def upload_page(request: Request) -> HTMLResponse:
    """Where a file is dropped, looked at, and uploaded."""
    return page(request, "dataset/upload.html", columns=COLUMNS)


@router.post("/datasets")
async def upload_dataset(request: Request, session: SessionDep, principal: PrincipalDep) -> Response:
    """The form of the upload page, without scripts."""
    store = partial(datasets.create_dataset, session, principal.project_id)
    return _uploaded(request, await _received(request, _UPLOADS, store))


@router.get("/datasets/{dataset_id}")
def dataset_page(
    request: Request,
    session: SessionDep,
    principal: PrincipalDep,
    dataset: DatasetDep,
    pseudonyms: PseudonymsDep,
    query: Annotated[VersionQuery, Query()],
) -> HTMLResponse:
    """One dataset: what its labels look like before any training, its versions, and how to train on it."""
    values = dataset_values(session, principal, dataset, query.version)
    return page(request, "dataset/page.html", pseudonyms=pseudonyms, **values)


@router.post("/datasets/{dataset_id}/annotations")
async def append_rows(request: Request, session: SessionDep, dataset: DatasetDep) -> Response:
    """The form that appends a file."""
    return _uploaded(request, await _received(request, _APPENDS, partial(datasets.append_rows, session, dataset)))


@router.post("/datasets/{dataset_id}/rename")
def rename_dataset(session: SessionDep, dataset: DatasetDep, form: Annotated[RenameForm, Form()]) -> Response:
    """The form that gives a dataset another name."""
    datasets.change_dataset(session, dataset, DatasetChange(name=form.name))
    return RedirectResponse(f"/datasets/{dataset.id}", 303)


@router.post("/datasets/{dataset_id}/delete")
def delete_dataset(session: SessionDep, dataset: DatasetDep, form: Annotated[DeletionForm, Form()]) -> Response:
    """The form that deletes a dataset."""
    datasets.delete_dataset(session, dataset, cascade=form.cascade)
    return RedirectResponse("/datasets", 303)


@router.post("/datasets/{dataset_id}/jobs")
def start_job(
    session: SessionDep, principal: PrincipalDep, dataset_id: str, form: Annotated[JobForm, Form()]
) -> Response:
    """The form that starts a job."""
    job = fine_tuning.create_job(session, principal.project_id, form.request(dataset_id))
    return RedirectResponse(f"/jobs/{job.id}", 303)


async def _received(
    request: Request, receiver: Receiver[P], store: Callable[[Upload[P]], UploadedDataset]
) -> UploadedDataset:
    """What becomes of a form's file. Raises RealmError."""
    form = await request.form()  # parsed when its CSRF token was looked at
    parameters: dict[str, Any] = upload_parameters(form)
    return await receiver.receive_file(file_of(form), parameters, datasets.limits(), store)


def _uploaded(request: Request, uploaded: UploadedDataset) -> Response:
    """The dataset's page; where rows were left out, a page that lists them first."""
    if uploaded.errors or uploaded.recognised:
        return page(request, "dataset/uploaded.html", uploaded=uploaded)
    return RedirectResponse(f"/datasets/{uploaded.id}", 303)
