"""Requests and answers of the file API, in OpenAI's shapes."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

from app.datasets.schemas import UploadParameters, UploadQuery
from app.dependencies import Page

Purpose = Literal["fine-tune"]


class FileQuery(UploadQuery):
    """How to read a file, in the parts of its form or in the query."""

    purpose: Purpose | None = Field(None, description="Needed; `fine-tune` is the only one.")


class FileParameters(UploadParameters):
    """A file's purpose, and how to read it."""

    purpose: Purpose


class FilePage(Page):
    """A page of the files, of one purpose if it is given."""

    purpose: str | None = None


class FileObject(BaseModel):
    """A file as OpenAI's API shows it, and the version of a dataset that it names."""

    id: str
    object: Literal["file"] = "file"
    bytes: int = Field(description="Of the file as it was sent.")
    created_at: int
    expires_at: None = None
    filename: str
    purpose: str
    status: Literal["processed"] = "processed"
    status_details: str | None = Field(description="When it was just sent: which tool's export it was taken for.")
    dataset: str = Field(description="ds_…@1: the version that the file names.")


class DeletedFile(BaseModel):
    id: str
    object: Literal["file"] = "file"
    deleted: bool
