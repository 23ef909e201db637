"""What the routes of projects take and answer."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from app.database.tables import Project


class ProjectRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$", description="Becomes part of the ids of the project's models."
    )


class ProjectAnswer(BaseModel):
    object: Literal["project"] = "project"
    id: str
    name: str
    created_at: int

    @classmethod
    def of(cls, project: Project) -> Self:
        return cls(id=project.id, name=project.name, created_at=int(project.created_at.timestamp()))


class NewProjectAnswer(ProjectAnswer):
    """A new project; `key` is the secret of its first admin key, shown this once (in a replayed answer it is null)."""

    key: str | None
