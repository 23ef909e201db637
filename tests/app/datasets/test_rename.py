"""PATCH of a dataset's name."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select

from app.database.session import transaction
from app.database.tables import Dataset
from tests.conftest import ProjectKeys
from tests.finished_jobs import crowd_rows, upload


@pytest.fixture
def dataset(client: TestClient) -> str:
    return f"/v1/datasets/{upload(client, crowd_rows()[:20], 'before')}"


def test_a_dataset_gets_another_name_and_says_the_same(client: TestClient, dataset: str) -> None:
    before = client.get(dataset).json()
    changed = client.patch(dataset, json={"name": "  after & <b>more</b> "})
    assert changed.status_code == 200
    assert changed.json() == client.get(dataset).json() == before | {"name": "after & <b>more</b>"}
    assert client.patch(dataset, json={}).json() == changed.json()
    told = [(one["action"], one["target"]) for one in client.get("/v1/audit_events").json()["data"]]
    assert [one for one in told if one[0] == "change_dataset"] == [("change_dataset", before["id"])]


@pytest.mark.parametrize(
    "body", [{"name": ""}, {"name": "  "}, {"name": "x" * 201}, {"name": "a\0b"}, {"name": 7}, {"title": "x"}, []]
)
def test_what_is_no_name_is_refused(client: TestClient, dataset: str, body: Any) -> None:
    assert client.patch(dataset, json=body).status_code == 422
    assert client.get(dataset).json()["name"] == "before"


def test_who_has_not_seen_it_as_it_is_now_does_not_rename_it(client: TestClient, dataset: str) -> None:
    seen = client.get(dataset).headers["ETag"]
    assert client.patch(dataset, json={"name": "one"}, headers={"If-Match": seen}).status_code == 200
    assert client.patch(dataset, json={"name": "two"}, headers={"If-Match": seen}).status_code == 412
    assert client.get(dataset).json()["name"] == "one"


def test_it_takes_an_editor_of_the_project(
    client: TestClient, dataset: str, project: ProjectKeys, other_project: ProjectKeys
) -> None:
    for key, status in ((project.viewer_key, 403), (other_project.admin_key, 404), (project.editor_key, 200)):
        headers = {"Authorization": f"Bearer {key}"}
        assert client.patch(dataset, json={"name": "theirs"}, headers=headers).status_code == status
    assert client.get(dataset).json()["name"] == "theirs"


def test_it_does_not_wait_for_somebody_who_is_appending(client: TestClient, dataset: str) -> None:
    with transaction() as session:
        session.execute(select(Dataset).where(Dataset.id == dataset.rpartition("/")[2]).with_for_update(key_share=True))
        refused = client.patch(dataset, json={"name": "after"})
    assert (refused.status_code, refused.json()["code"]) == (409, "dataset_busy")
    assert client.patch(dataset, json={"name": "after"}).status_code == 200
