"""Projects: who makes, sees and deletes them, and that nothing of a deleted one stays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select, text

from app.artifacts import get_artifacts
from app.database import model_queries
from app.database.session import transaction
from app.database.tables import Job
from tests.conftest import ProjectKeys
from tests.finished_jobs import finish_job

CSV = "annotator,label,prompt\nana,yes,sky\nbo,no,sky\n"


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


@pytest.fixture
def admin(client: TestClient, service_admin_key: str) -> TestClient:
    """A client with an admin key of the default project."""
    client.headers.update(bearer(service_admin_key))
    return client


def make(client: TestClient, name: str) -> dict[str, Any]:
    answer = client.post("/v1/projects", json={"name": name})
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


def test_a_project_is_made_with_its_first_admin_key(admin: TestClient, project: ProjectKeys) -> None:
    made = make(admin, f"lab-{project.name}")
    theirs = bearer(made["key"])
    (key,) = admin.get("/v1/api_keys", headers=theirs).json()["data"]
    assert (key["name"], key["role"], key["scopes"]) == ("first key", "admin", None)
    assert [row["id"] for row in admin.get("/v1/projects", headers=theirs).json()["data"]] == [made["id"]]
    assert admin.get(f"/v1/projects/{made['id']}", headers=theirs).json()["name"] == made["name"]
    again = admin.post("/v1/projects", json={"name": made["name"]})
    assert (again.status_code, again.json()["code"]) == (409, "project_exists")


@pytest.mark.parametrize("name", ["", "a b", "-x", "é", "x" * 65, "../x", "a\n"])
def test_names_that_cannot_stand_in_a_models_id(admin: TestClient, name: str) -> None:
    assert admin.post("/v1/projects", json={"name": name}).status_code == 422


def test_only_admins_of_the_default_project_make_and_delete_projects(client: TestClient, project: ProjectKeys) -> None:
    for answer in (client.post("/v1/projects", json={"name": "mine"}), client.delete(f"/v1/projects/{project.id}")):
        assert (answer.status_code, answer.json()["code"]) == (403, "service_admin_required")
    assert client.get(f"/v1/projects/{project.id}").status_code == 200


def test_other_projects_are_invisible(client: TestClient, project: ProjectKeys, other_project: ProjectKeys) -> None:
    assert [row["id"] for row in client.get("/v1/projects").json()["data"]] == [project.id]
    for id_ in (other_project.id, "proj_unknown"):
        for answer in (
            client.get(f"/v1/projects/{id_}"),
            client.delete(f"/v1/projects/{id_}"),
            client.get("/v1/projects", params={"after": id_}),
        ):
            assert (answer.status_code, answer.json()["detail"]) == (404, f"There is no project '{id_}'.")


def test_admins_of_the_default_project_see_all_of_them_page_by_page(
    admin: TestClient, project: ProjectKeys, other_project: ProjectKeys
) -> None:
    page = admin.get("/v1/projects", params={"limit": 1}).json()
    rest = admin.get("/v1/projects", params={"after": page["last_id"], "limit": 100}).json()
    assert page["has_more"]
    assert {project.id, other_project.id} <= {row["id"] for row in page["data"] + rest["data"]}


def test_the_default_project_stays(admin: TestClient) -> None:
    (default,) = (
        row for row in admin.get("/v1/projects?limit=100&order=asc").json()["data"] if row["name"] == "default"
    )
    answer = admin.delete(f"/v1/projects/{default['id']}")
    assert (answer.status_code, answer.json()["code"]) == (409, "default_project")


def test_an_unfinished_job_keeps_its_project(admin: TestClient, project: ProjectKeys) -> None:
    ours = bearer(project.admin_key)
    dataset = admin.post("/v1/datasets", content=CSV, headers={**ours, "Content-Type": "text/csv"}).json()["id"]
    job = {"dataset": dataset, "method": {"type": "aggregation"}}
    job_id = admin.post("/v1/fine_tuning/jobs", json=job, headers=ours).json()["id"]
    answer = admin.delete(f"/v1/projects/{project.id}")
    assert (answer.status_code, answer.json()["code"]) == (409, "project_in_use")
    admin.post(f"/v1/fine_tuning/jobs/{job_id}/cancel", headers=ours)
    assert admin.delete(f"/v1/projects/{project.id}").status_code == 204


def rows_that_mention(needle: str) -> list[str]:
    """The tables of the database, partitions included, in which some row holds a text."""
    with transaction() as session:
        tables = session.execute(text("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")).scalars()
        look = "SELECT 1 FROM {table} AS row WHERE row::text LIKE '%' || :needle || '%' LIMIT 1"
        return [t for t in tables if session.execute(text(look.format(table=t)), {"needle": needle}).first()]


def store_model_and_checkpoint(project_id: str, dataset_id: str, folder: Path) -> list[str]:
    """What a job leaves in the artifact store; returns where."""
    job_id = finish_job(project_id, dataset_id, with_model=False).id
    (folder / "config.json").write_text("{}")
    prefixes = [f"models/{job_id}-1", f"jobs/{job_id}/checkpoints/1-1"]
    manifest, _ = (get_artifacts().put_folder(prefix, folder) for prefix in prefixes)
    with transaction() as session:
        job_key = session.execute(select(Job.key).where(Job.id == job_id)).scalar_one()
        model_queries.add_model(
            session, job_key=job_key, base="minilm", artifact=prefixes[0], manifest=manifest, tasks=[]
        )
    assert all(get_artifacts().names(prefix) for prefix in prefixes)
    return prefixes


def test_nothing_of_a_deleted_project_stays(admin: TestClient, project: ProjectKeys, tmp_path: Path) -> None:
    ours = bearer(project.admin_key)
    csv = CSV.replace("ana", f"ana {project.name}").replace("sky", f"sky {project.name}")
    dataset = admin.post("/v1/datasets", content=csv, headers={**ours, "Content-Type": "text/csv"}).json()["id"]
    stored = store_model_and_checkpoint(project.id, dataset, tmp_path)
    assert {"datasets", "projects", "annotators"} <= set(rows_that_mention(project.name) + rows_that_mention(dataset))

    assert admin.delete(f"/v1/projects/{project.id}").status_code == 204

    assert rows_that_mention(project.id) == ["audit_events"]  # of the default project: that it was deleted
    assert rows_that_mention(project.name) == []
    assert rows_that_mention(dataset) == []
    assert [prefix for prefix in stored if get_artifacts().names(prefix)] == []
    assert admin.get("/v1/datasets", headers=ours).status_code == 401
    assert admin.delete(f"/v1/projects/{project.id}").status_code == 404
