"""An annotator's own key, made and revoked on the annotator's page."""

from __future__ import annotations

import html
import re
from typing import Any

import pytest
from fastapi.testclient import TestClient

from tests.app.dashboard.browser import HTML, Browser, annotator_page, text_of, token_on
from tests.conftest import ProjectKeys
from tests.finished_jobs import FinishedJob, crowd_rows, finish_job, upload


@pytest.fixture
def job(client: TestClient, project: ProjectKeys) -> FinishedJob:
    return finish_job(project.id, upload(client, crowd_rows()[:400]), with_model=False, suffix="first")


def send(client: TestClient, page: str, path: str, **fields: str) -> tuple[int, str]:
    """Send a form with the token that stands on the page; its status and the page that it leads to."""
    token = token_on(page)
    answer = client.post(path, data={"csrf_token": token, **fields}, headers=HTML)
    return answer.status_code, answer.text


def secret_on(page: str) -> str:
    (secret,) = re.findall(r"<code>(realm_[\w-]{43})</code>", page)
    return str(secret)


def keys_of(client: TestClient, key: str, **query: Any) -> list[dict[str, Any]]:
    answer = client.get("/v1/api_keys", params=query, headers={"Authorization": f"Bearer {key}"})
    assert answer.status_code == 200, answer.text
    return list(answer.json()["data"])


def test_an_admin_makes_one_that_is_shown_once_and_opens_their_page_alone(
    client: TestClient, project: ProjectKeys, job: FinishedJob
) -> None:
    admin = Browser(client, project.admin_key)
    path, page = annotator_page(admin, job, "ada")
    ann = path.rpartition("/")[2]
    assert "They have none." in page
    status, made = send(client, page, f"{path}/keys", days="30")
    assert status == 200
    secret = secret_on(made)
    assert "No other annotator’s name" in text_of(made)
    assert f'href="{path}#keys"' in made
    (key,) = keys_of(client, project.admin_key, annotator=ann)
    assert (key["scopes"], key["role"], key["name"]) == ([f"annotator:{ann}"], "viewer", ann)
    assert round((key["expires_at"] - key["created_at"]) / 86_400) == 30
    listed = admin.open(path)
    assert secret not in listed
    assert key["id"] in listed
    _, other = annotator_page(admin, job, "boris")
    assert key["id"] not in other
    own = Browser(client, secret)
    assert f'href="{path}"' in own.open("/")
    seen = own.open(path)
    assert "A key of their own" not in seen
    assert key["id"] not in seen
    own.open(f"/jobs/{job.id}", 403)


def test_it_is_revoked_there_and_lets_nobody_in_any_more(
    client: TestClient, project: ProjectKeys, job: FinishedJob
) -> None:
    admin = Browser(client, project.admin_key)
    path, page = annotator_page(admin, job, "ada")
    _, made = send(client, page, f"{path}/keys", days="")
    page = admin.open(path)
    revoke = html.unescape(re.findall(r'action="([^"]+/revoke)"', page)[0])
    stranger, _ = annotator_page(admin, job, "boris")
    assert send(client, page, revoke.replace(path, stranger))[0] == 404
    (key,) = keys_of(client, project.admin_key, annotator=path.rpartition("/")[2])
    assert (key["expires_at"], key["revoked_at"]) == (None, None)
    status, page = send(client, page, revoke)
    assert status == 200
    assert "/revoke" not in page
    assert re.search(r"revoked \d{4}-", text_of(page))
    assert client.post("/login", data={"key": secret_on(made)}).status_code == 401


def test_no_other_key_is_revoked_there(client: TestClient, project: ProjectKeys, job: FinishedJob) -> None:
    admin = Browser(client, project.admin_key)
    path, page = annotator_page(admin, job, "ada")
    for key in keys_of(client, project.admin_key):
        assert send(client, page, f"{path}/keys/{key['id']}/revoke")[0] == 404
    assert all(key["revoked_at"] is None for key in keys_of(client, project.admin_key))


@pytest.mark.parametrize("role", ["editor", "viewer"])
def test_only_admins_see_and_make_them(client: TestClient, project: ProjectKeys, job: FinishedJob, role: str) -> None:
    key = {"editor": project.editor_key, "viewer": project.viewer_key}[role]
    path, page = annotator_page(Browser(client, key), job, "ada")
    assert "A key of their own" not in page
    assert send(client, page, f"{path}/keys", days="30")[0] == 403
    assert keys_of(client, project.admin_key, annotator=path.rpartition("/")[2]) == []


def test_an_annotators_own_key_shows_them_no_keys_whatever_its_role(
    client: TestClient, project: ProjectKeys, job: FinishedJob
) -> None:
    path, _ = annotator_page(Browser(client, project.admin_key), job, "ada")
    asked = {"role": "admin", "scopes": [f"annotator:{path.rpartition('/')[2]}"]}
    key = client.post("/v1/api_keys", json=asked, headers={"Authorization": f"Bearer {project.admin_key}"}).json()
    own = Browser(client, key["key"])
    page = own.open(path)
    assert key["id"] not in page
    assert "Make a key" not in page
    assert send(client, page, f"{path}/keys", days="30")[0] == 403


def test_nobody_gets_one_who_is_not_in_the_report(client: TestClient, project: ProjectKeys, job: FinishedJob) -> None:
    path, page = annotator_page(Browser(client, project.admin_key), job, "ada")
    assert send(client, page, f"/jobs/{job.id}/annotators/ann_999999999/keys", days="30")[0] == 404
    for days in ("0", "-1", "nan", "4000", "soon"):
        assert send(client, page, f"{path}/keys", days=days)[0] == 422, days
    assert keys_of(client, project.admin_key, annotator=path.rpartition("/")[2]) == []
