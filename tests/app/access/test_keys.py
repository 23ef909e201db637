"""API keys: who gets in, what each role may do, and that nobody reaches into another project."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select, text

from app.access import service
from app.database.session import transaction
from app.database.tables import ApiKey
from tests.conftest import ProjectKeys


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def create(client: TestClient, **fields: Any) -> dict[str, Any]:
    answer = client.post("/v1/api_keys", json=fields)
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


def status_with(client: TestClient, key: str) -> int:
    return client.get("/v1/fine_tuning/jobs", headers=bearer(key)).status_code


def test_the_secret_is_shown_once_and_kept_as_a_digest(client: TestClient) -> None:
    made = create(client, name="laptop", role="viewer")
    assert made["key"].startswith("realm_")
    listed = client.get("/v1/api_keys").json()["data"]
    assert made["key"] not in str(listed)
    with transaction() as session:
        row = session.execute(select(ApiKey).where(ApiKey.id == made["id"])).scalar_one()
        assert row.digest == hashlib.sha256(made["key"].encode()).digest()
        everything = session.execute(text("SELECT string_agg(api_keys::text, ' ') FROM api_keys")).scalar_one()
    assert made["key"] not in everything


def test_use_of_a_key_is_noted(client: TestClient) -> None:
    made = create(client)
    status_with(client, made["key"])
    (listed,) = (key for key in client.get("/v1/api_keys").json()["data"] if key["id"] == made["id"])
    assert abs(listed["last_used_at"] - datetime.now(UTC).timestamp()) < 60
    assert listed["revoked_at"] is None


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({}, "missing_api_key"),
        (bearer("realm_unknown"), "invalid_api_key"),
        ({"Authorization": "Basic cmVhbG06cmVhbG0="}, "invalid_authorization_header"),
        ({"Authorization": "Bearer "}, "invalid_authorization_header"),
        ({"Authorization": "Bearer"}, "invalid_authorization_header"),
        ({"Cookie": "realm_session=unknown"}, "invalid_api_key"),
    ],
)
def test_without_a_good_key(client: TestClient, headers: dict[str, str], code: str) -> None:
    del client.headers["Authorization"]
    answer = client.get("/v1/api_keys", headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (401, code)
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert answer.json()["error"]["type"] == "authentication_error"


def test_the_scheme_may_be_written_in_any_case(client: TestClient, project: ProjectKeys) -> None:
    assert client.get("/v1/api_keys", headers={"Authorization": f"bearer  {project.admin_key}"}).status_code == 200


@pytest.mark.parametrize("path", ["/metrics", "/openapi.json"])
def test_what_describes_the_service_needs_a_key(client: TestClient, project: ProjectKeys, path: str) -> None:
    assert client.get(path, headers=bearer(project.viewer_key)).status_code == 200
    del client.headers["Authorization"]
    assert client.get(path).status_code == 401


def test_roles(client: TestClient, project: ProjectKeys) -> None:
    for key in (project.viewer_key, project.editor_key):
        answer = client.get("/v1/api_keys", headers=bearer(key))
        assert (answer.status_code, answer.json()["code"]) == (403, "role_required")
        assert client.post("/v1/api_keys", json={}, headers=bearer(key)).status_code == 403
    answer = client.post("/v1/fine_tuning/jobs", json={}, headers=bearer(project.viewer_key))
    assert answer.status_code == 403
    assert "needs a key with the role editor; yours has viewer" in answer.json()["detail"]
    assert client.post("/v1/fine_tuning/jobs", json={}, headers=bearer(project.editor_key)).status_code == 422


def test_a_key_expires(client: TestClient) -> None:
    made = create(client, expires_in_days=1)
    assert status_with(client, made["key"]) == 200
    with transaction() as session:
        row = session.execute(select(ApiKey).where(ApiKey.id == made["id"])).scalar_one()
        assert row.expires_at is not None
        assert timedelta(hours=23) < row.expires_at - datetime.now(UTC) <= timedelta(days=1)
        row.expires_at = datetime.now(UTC) - timedelta(seconds=1)
    assert status_with(client, made["key"]) == 401


@pytest.mark.parametrize(
    ("fields", "column"),
    [
        ({"role": "root"}, "role"),
        ({"expires_in_days": 0}, "expires_in_days"),
        ({"expires_in_days": -1}, "expires_in_days"),
        ({"name": "x" * 201}, "name"),
        ({"name": "nul \0"}, None),
        ({"scope": "all"}, "scope"),
    ],
)
def test_a_bad_request_for_a_key(client: TestClient, fields: dict[str, Any], column: str | None) -> None:
    before = len(client.get("/v1/api_keys").json()["data"])
    answer = client.post("/v1/api_keys", json=fields)
    assert answer.status_code == 422, answer.text
    if column is not None:
        assert [item["column"] for item in answer.json()["errors"]] == [column]
    assert len(client.get("/v1/api_keys").json()["data"]) == before


def test_a_revoked_key_is_dead_at_once_and_stays_listed(client: TestClient) -> None:
    made = create(client, role="viewer")
    assert status_with(client, made["key"]) == 200
    assert client.delete(f"/v1/api_keys/{made['id']}").status_code == 204
    assert status_with(client, made["key"]) == 401
    assert client.delete(f"/v1/api_keys/{made['id']}").status_code == 204
    (listed,) = (key for key in client.get("/v1/api_keys").json()["data"] if key["id"] == made["id"])
    assert listed["revoked_at"] is not None


def test_another_projects_key_does_not_exist(client: TestClient, other_project: ProjectKeys) -> None:
    theirs = client.get("/v1/api_keys", headers=bearer(other_project.admin_key)).json()["data"]
    ours = client.get("/v1/api_keys").json()["data"]
    assert not {key["id"] for key in theirs} & {key["id"] for key in ours}
    for answer in (
        client.delete(f"/v1/api_keys/{theirs[0]['id']}"),
        client.get("/v1/api_keys", params={"after": theirs[0]["id"]}),
        client.delete("/v1/api_keys/key_unknown"),
    ):
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert status_with(client, other_project.admin_key) == 200


def test_pages_of_keys(client: TestClient) -> None:
    made = [create(client, name=str(number))["id"] for number in range(3)]
    newest = client.get("/v1/api_keys", params={"limit": 2}).json()
    assert [key["id"] for key in newest["data"]] == [made[2], made[1]]
    assert newest["object"] == "list"
    assert (newest["has_more"], newest["first_id"], newest["last_id"]) == (True, made[2], made[1])
    rest = client.get("/v1/api_keys", params={"after": newest["last_id"]}).json()
    assert rest["data"][0]["id"] == made[0]
    assert (len(rest["data"]), rest["has_more"]) == (4, False)  # and the three that every test's project has
    oldest = client.get("/v1/api_keys", params={"order": "asc"}).json()["data"]
    assert [key["id"] for key in oldest[-3:]] == made
    for bad in ({"limit": 0}, {"limit": 101}, {"order": "up"}):
        assert client.get("/v1/api_keys", params=bad).status_code == 422


def test_the_first_key_is_made_once(client: TestClient) -> None:
    with transaction() as session:
        assert service.create_first_key(session) is None  # the project of this test has keys
    with transaction() as session:
        session.execute(text("CREATE TEMPORARY TABLE api_keys (LIKE public.api_keys INCLUDING ALL) ON COMMIT DROP"))
        session.execute(text("DISCARD PLANS"))  # statements that are prepared would go on reading the other table
        secret = service.create_first_key(session)
        assert secret is not None
        principal = service.principal_of_key(session, secret)
        assert principal is not None
        assert principal.role == "admin"
        assert service.create_first_key(session) is None


@pytest.mark.parametrize(
    ("scope", "path"),
    [("datasets", "/v1/datasets"), ("jobs", "/v1/fine_tuning/jobs"), ("models", "/v1/models"), ("metrics", "/metrics")],
)
def test_a_key_with_scopes_opens_these_parts_only(client: TestClient, scope: str, path: str) -> None:
    made = create(client, role="admin", scopes=[scope])
    assert made["scopes"] == [scope]
    opened = {"/v1/datasets", "/v1/fine_tuning/jobs", "/v1/models", "/metrics", "/v1/api_keys", "/v1/projects", "/"}
    for one in opened:
        answer = client.get(one, headers=bearer(made["key"]))
        assert answer.status_code == (200 if one == path else 403), (one, answer.text)
        if one != path and one != "/":
            assert answer.json()["code"] == "scope_required"


def test_scopes_are_known_ones_and_at_least_one(client: TestClient) -> None:
    for scopes in (["everything"], [], "jobs"):
        assert client.post("/v1/api_keys", json={"scopes": scopes}).status_code == 422


def test_a_key_for_predict_cannot_read_models(client: TestClient) -> None:
    key = bearer(create(client, role="viewer", scopes=["predict"])["key"])
    predict = client.post("/v1/models/ft:a:b:c:d/predict", json={"inputs": "x"}, headers=key)
    assert (predict.status_code, predict.json()["code"]) == (404, "model_not_found")
    assert client.get("/v1/models", headers=key).json()["code"] == "scope_required"
