"""The audit trail: every change is in it, with who made it, and nothing that is secret or was uploaded."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute
from fastapi.testclient import TestClient
from sqlalchemy import select
from starlette.routing import BaseRoute

from app.access.authentication import PUBLIC_PATHS, SAFE_METHODS, VIEWERS_MAY_POST
from app.access.changes import ChangeRoute
from app.access.service import create_login_link
from app.command_line.database_keys import DatabaseKeys
from app.database.session import transaction
from app.database.tables import AuditEvent
from app.main import create_app
from tests.conftest import ProjectKeys
from tests.jobs import queue_job

CSV = "annotator,label,prompt\nsecret ana,yes,secret sky\nbo,no,secret sky\n"


def events(client: TestClient) -> list[dict[str, Any]]:
    return list(client.get("/v1/audit_events").json()["data"])


def upload(client: TestClient, **headers: str) -> dict[str, Any]:
    answer = client.post("/v1/datasets", content=CSV, headers={"Content-Type": "text/csv", **headers})
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


def test_changes_are_told_with_who_what_and_when(client: TestClient, project: ProjectKeys) -> None:
    dataset = upload(client, **{"X-Request-Id": "upload-1"})["id"]
    job = queue_job(project.id)
    client.post(f"/v1/fine_tuning/jobs/{job.id}/cancel", headers={"Authorization": f"Bearer {project.editor_key}"})
    client.delete(f"/v1/datasets/{dataset}")
    deleted, cancelled, created = events(client)
    assert (created["action"], created["target"], created["key_name"]) == ("create_dataset", dataset, "admin")
    assert created["request_id"] == "upload-1"
    assert (cancelled["action"], cancelled["target"], cancelled["key_name"]) == ("cancel_job", job.id, "editor")
    assert (deleted["action"], deleted["target"]) == ("delete_dataset", dataset)
    assert deleted["created_at"] >= cancelled["created_at"] >= created["created_at"]


def test_neither_secrets_nor_uploaded_texts_are_told(client: TestClient) -> None:
    upload(client)
    secret = client.post("/v1/api_keys", json={"name": "ci"}).json()["key"]
    told = client.get("/v1/audit_events").text
    assert "secret" not in told
    assert secret not in told


def test_what_changes_nothing_is_not_told(client: TestClient, project: ProjectKeys) -> None:
    key = client.post("/v1/api_keys", json={}).json()["id"]
    for _ in range(2):
        assert client.delete(f"/v1/api_keys/{key}").status_code == 204  # the second time it is revoked already
    client.get("/v1/datasets")
    client.delete("/v1/datasets/ds_unknown")
    client.post("/v1/api_keys", json={"role": "root"})
    client.post("/v1/models/ft:a:b:c:d/predict", json={"inputs": "x"})
    client.post("/v1/datasets", content="annotator,label\n", headers={"Content-Type": "text/csv"})
    client.post("/v1/api_keys", json={}, headers={"Authorization": f"Bearer {project.viewer_key}"})
    assert [event["action"] for event in events(client)] == ["revoke_api_key", "create_api_key"]


def test_the_trail_is_for_admins_of_the_project(
    client: TestClient, project: ProjectKeys, other_project: ProjectKeys
) -> None:
    upload(client)
    mark = events(client)[0]["id"]
    for key in (project.editor_key, project.viewer_key):
        assert client.get("/v1/audit_events", headers={"Authorization": f"Bearer {key}"}).status_code == 403
    theirs = {"Authorization": f"Bearer {other_project.admin_key}"}
    assert client.get("/v1/audit_events", headers=theirs).json()["data"] == []
    assert client.get("/v1/audit_events", headers=theirs, params={"after": mark}).status_code == 404


def test_logins_are_told(client: TestClient, project: ProjectKeys) -> None:
    admin = {"Authorization": f"Bearer {project.admin_key}"}
    del client.headers["Authorization"]
    assert client.post("/login", data={"key": project.editor_key}, follow_redirects=False).status_code == 303
    assert client.post("/login", data={"key": "realm_wrong"}).status_code == 401
    with transaction() as session:
        link = create_login_link(session, project.viewer_key, "")
    for status in (303, 401):  # a link is good once
        assert client.get(str(link), follow_redirects=False).status_code == status
    client.cookies.clear()
    told = client.get("/v1/audit_events", headers=admin).json()["data"]
    assert [(event["action"], event["key_name"]) for event in told] == [("log_in", "viewer"), ("log_in", "editor")]
    assert all(event["request_id"] for event in told)


def test_keys_made_with_access_to_the_database_are_told(services: object) -> None:
    keys = DatabaseKeys()
    made = keys.create(name="by hand", role="viewer")
    keys.revoke(made["id"])
    with transaction() as session:
        query = select(AuditEvent).where(AuditEvent.target == made["id"]).order_by(AuditEvent.created_at)
        told = [(event.action, event.key_name) for event in session.execute(query).scalars()]
    who = "(access to the database)"
    assert told == [("create_api_key", who), ("revoke_api_key", who)]


def test_pages(client: TestClient) -> None:
    for number in range(3):
        client.post("/v1/api_keys", json={"name": str(number)})
    newest = client.get("/v1/audit_events", params={"limit": 2}).json()
    rest = client.get("/v1/audit_events", params={"limit": 2, "after": newest["last_id"]}).json()
    assert (newest["has_more"], rest["has_more"]) == (True, False)
    assert len({event["id"] for event in newest["data"] + rest["data"]}) == 3


def api_routes(application: FastAPI) -> Iterator[APIRoute]:
    def walk(routes: list[BaseRoute]) -> Iterator[APIRoute]:
        for route in routes:
            if (included := getattr(route, "original_router", None)) is not None:
                yield from walk(included.routes)
            elif isinstance(route, APIRoute):
                yield route

    yield from walk(application.routes)


@pytest.mark.usefixtures("services")
def test_no_route_that_changes_something_can_be_forgotten() -> None:
    found = list(api_routes(create_app()))
    changing = [route for route in found if isinstance(route, ChangeRoute) and route.is_change]
    assert {"create_dataset", "create_job", "delete_model"} <= {route.name for route in changing}
    for route in found:
        if not route.methods <= SAFE_METHODS and route.path not in PUBLIC_PATHS | VIEWERS_MAY_POST:
            assert route in changing, f"{route.path}: give its router the class ChangeRoute"
