"""/v1/projects: the tenants of the service."""

from __future__ import annotations

from fastapi import APIRouter, status

from app.access.authentication import PrincipalDep
from app.access.changes import ChangeRoute
from app.dependencies import PageDep, PageOf, SessionDep
from app.projects import service
from app.projects.schemas import NewProjectAnswer, ProjectAnswer, ProjectRequest

router = APIRouter(prefix="/v1/projects", tags=["access"], route_class=ChangeRoute)


@router.post("", status_code=status.HTTP_201_CREATED)
def create_project(request: ProjectRequest, principal: PrincipalDep, session: SessionDep) -> NewProjectAnswer:
    """Make a project with its first admin key, whose secret is shown this once. For admins of the default project."""
    project, secret = service.create_project(session, principal, request.name)
    return NewProjectAnswer(**ProjectAnswer.of(project).model_dump(), key=secret)


@router.get("")
def list_projects(page: PageDep, principal: PrincipalDep, session: SessionDep) -> PageOf[ProjectAnswer]:
    """The project that the key belongs to; for keys of the default project all projects."""
    projects = service.list_projects(session, principal, page)
    return PageOf[ProjectAnswer].of([ProjectAnswer.of(project) for project in projects], page.limit)


@router.get("/{project_id}")
def get_project(project_id: str, principal: PrincipalDep, session: SessionDep) -> ProjectAnswer:
    """One project."""
    return ProjectAnswer.of(service.find_project(session, principal, project_id))


@router.delete("/{project_id}", status_code=status.HTTP_204_NO_CONTENT)
def delete_project(project_id: str, principal: PrincipalDep, session: SessionDep) -> None:
    """Delete a project and all that belongs to it. For admins of the default project; 409 while a job is unfinished."""
    service.delete_project(session, principal, project_id)
