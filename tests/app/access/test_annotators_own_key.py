"""An annotator's own key: it shows what reports say of their own labels, names nobody else, and opens nothing more."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from app.access.authentication import OWN_PATHS, PUBLIC_PATHS
from app.main import create_app
from tests.app.test_security_walk import calls
from tests.app.world import ids_of_a_world
from tests.conftest import ProjectKeys

HTML = {"Accept": "text/html"}


@pytest.fixture
def ids(client: TestClient, project: ProjectKeys, tmp_path: Path) -> dict[str, str]:
    """One of everything in the project; from now on the client has the key of its first annotator."""
    ids = ids_of_a_world(client, project, tmp_path)
    rows = client.get(f"/v1/fine_tuning/jobs/{ids['job_id']}/annotators").json()["data"]
    ana, bo = sorted(rows, key=lambda row: str(row["annotator"]))
    made = client.post("/v1/api_keys", json={"role": "viewer", "scopes": [f"annotator:{ana['id']}"]})
    assert made.status_code == 201, made.text
    client.headers["Authorization"] = f"Bearer {made.json()['key']}"
    return ids | {"annotator_id": ana["id"], "other_id": bo["id"]}


def test_it_opens_their_own_pages_and_no_other_route(client: TestClient, ids: dict[str, str]) -> None:
    opened = set()
    for method, path in calls(create_app()):
        if path in PUBLIC_PATHS or path == "/logout":
            continue
        answer = client.request(method, path.format(**ids), headers=HTML)
        if answer.status_code == 403:
            assert path not in OWN_PATHS, (method, path)
            continue
        assert (method, answer.status_code) == ("GET", 200), (method, path, answer.text)
        assert re.search(r"\bbo\b", answer.text) is None, path
        opened.add(path)
    assert opened == OWN_PATHS - {"/logout"}


def test_the_pages_of_others_are_closed(client: TestClient, ids: dict[str, str]) -> None:
    for path in OWN_PATHS:
        if "annotator_id" in path:
            answer = client.get(path.format(**ids | {"annotator_id": ids["other_id"]}))
            assert answer.status_code == 403, path
            assert "your own labels, and nothing else" in answer.text


def test_who_logs_in_with_it_is_led_to_their_page(client: TestClient, ids: dict[str, str]) -> None:
    key = client.headers.pop("Authorization").removeprefix("Bearer ")
    home = client.post("/login", data={"key": key}, headers=HTML)
    link = f"/jobs/{ids['job_id']}/annotators/{ids['annotator_id']}"
    assert f'href="{link}"' in home.text
    assert 'href="/datasets"' not in home.text
    page = client.get(link, headers=HTML).text
    assert "ana</bdi></h1>" in page
    for closed in ("Note it", "/prompts/", "/agreement", ids["other_id"]):
        assert closed not in page
    token = re.findall(r'name="csrf_token" value="([^"]+)"', page)[0]
    form = {"csrf_token": token, "action": "keep"}
    assert client.post(f"{link}/decisions", data=form, headers=HTML).status_code == 403
    assert client.post("/logout", data={"csrf_token": token}, headers=HTML).status_code == 200


@pytest.mark.parametrize(
    "scopes", [["annotator:ann_1", "jobs"], ["annotator:ann_1", "annotator:ann_2"], ["annotator:ana"], ["annotator:"]]
)
def test_it_is_for_one_annotator_and_for_nothing_else(client: TestClient, scopes: list[str]) -> None:
    assert client.post("/v1/api_keys", json={"scopes": scopes}).status_code == 422
