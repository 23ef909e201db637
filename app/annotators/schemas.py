"""What the routes of annotators take and answer."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from app.database.tables import Annotator
from app.dependencies import Page


class AnnotatorPage(Page):
    model_config = ConfigDict(extra="forbid")

    name: str | None = Field(None, description="Only those whose name contains this.")


class AnnotatorAnswer(BaseModel):
    object: Literal["annotator"] = "annotator"
    id: str
    name: str
    created_at: int

    @classmethod
    def of(cls, annotator: Annotator) -> Self:
        return cls(id=f"ann_{annotator.id}", name=annotator.name, created_at=int(annotator.created_at.timestamp()))
