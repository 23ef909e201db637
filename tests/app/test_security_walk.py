"""Every route there is, found in the application itself, so that a new one cannot be forgotten."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from starlette.routing import BaseRoute, Mount, WebSocketRoute

from app.access.authentication import PUBLIC_PATHS
from app.main import create_app
from tests.app.world import ids_of_a_world
from tests.conftest import ProjectKeys

PUBLIC_MOUNTS = {"/static"}
# Bodies that are good enough for a route to look for what its path names.
BODIES: dict[str, Any] = {"/v1/models/{model_id}/predict": {"inputs": "x"}}
FORMS: dict[str, Any] = {
    "/datasets/{dataset_id}/jobs": {"version": "1", "model": "minilm"},
    "/datasets/{dataset_id}/rename": {"name": "theirs"},
    "/jobs/{job_id}/annotators/{annotator_id}/decisions": {"action": "keep"},
}


def all_routes(application: FastAPI) -> Iterator[tuple[str, BaseRoute]]:
    """Each route with its whole path."""

    def walk(routes: list[BaseRoute], prefix: str = "") -> Iterator[tuple[str, BaseRoute]]:
        for route in routes:
            path = prefix + getattr(route, "path", "")
            if (included := getattr(route, "original_router", None)) is not None:
                yield from walk(included.routes, path)
            else:
                yield path, route

    yield from walk(application.routes)


def calls(application: FastAPI) -> list[tuple[str, str]]:
    """Each method and path that the application answers to."""
    return [
        (method, path)
        for path, route in all_routes(application)
        for method in sorted(getattr(route, "methods", None) or ())
    ]


@pytest.mark.usefixtures("services")
def test_nothing_is_mounted_beside_the_guard_but_the_files_of_the_pages() -> None:
    for path, route in all_routes(create_app()):
        assert not isinstance(route, WebSocketRoute), path
        if isinstance(route, Mount):
            assert path in PUBLIC_MOUNTS
        else:
            assert getattr(route, "methods", None), path


@pytest.mark.usefixtures("services")
@pytest.mark.parametrize("accept", ["application/json", "text/event-stream", "text/html"])
def test_without_a_key_every_route_answers_401_but_the_public_ones(accept: str) -> None:
    application = create_app()
    found = calls(application)
    assert len(found) > 40
    assert {"/livez", "/readyz", "/login"} == PUBLIC_PATHS
    with TestClient(application, base_url="http://localhost") as client:
        for method, path in found:
            answer = client.request(method, path.replace("{", "").replace("}", ""), headers={"Accept": accept})
            if path in PUBLIC_PATHS:
                assert answer.status_code != 401 or path == "/login", (method, path)
            else:
                assert answer.status_code == 401, (method, path, answer.status_code)


def made_up(ids: dict[str, str]) -> dict[str, str]:
    """Ids of the same shape, which nothing has."""

    def other(value: str) -> str:
        return re.sub(r"[0-9a-f]{8,}$", lambda found: "0" * len(found[0]), value)

    return ids | {name: other(value) for name, value in ids.items() if name not in ("annotator_id", "item_id")}


def answer(client: TestClient, method: str, path: str, ids: dict[str, str], query: str = "") -> tuple[int, str]:
    """Status and body of a call, in which the ids that were asked for are blackened."""
    response = client.request(method, path.format(**ids) + query, json=BODIES.get(path), data=FORMS.get(path))
    text = response.text
    for name, value in ids.items():
        if len(value) > 8:
            text = text.replace(value, f"<{name}>")
    for noise in (r'"request_id":"\w+"', r'nonce="[^"]+"'):
        text = re.sub(noise, "", text)
    return response.status_code, text


@pytest.fixture
def theirs(client: TestClient, project: ProjectKeys, tmp_path: Path) -> dict[str, str]:
    """The ids of everything in a project; from now on the client is somebody else."""
    return ids_of_a_world(client, project, tmp_path)


@pytest.fixture
def stranger(client: TestClient, theirs: dict[str, str], other_project: ProjectKeys) -> TestClient:
    client.headers["Authorization"] = f"Bearer {other_project.admin_key}"
    return client


def test_another_projects_ids_answer_as_made_up_ones_under_every_verb(
    stranger: TestClient, theirs: dict[str, str], project: ProjectKeys
) -> None:
    checked = 0
    for method, path in calls(create_app()):
        names = set(re.findall(r"{(\w+)}", path))
        if not names:
            continue
        assert names <= set(theirs), f"{path}: give tests/app/world.py one of each"
        real, unreal = answer(stranger, method, path, theirs), answer(stranger, method, path, made_up(theirs))
        assert real == unreal, (method, path)
        assert real[0] == 404, (method, path, real)
        checked += 1
    assert checked > 25
    stranger.headers["Authorization"] = f"Bearer {project.admin_key}"
    for name, collection in {
        "file_id": "files",
        "dataset_id": "datasets",
        "job_id": "fine_tuning/jobs",
        "model_id": "models",
        "project_id": "projects",
    }.items():
        assert stranger.get(f"/v1/{collection}/{theirs[name]}").status_code == 200, "it was changed by a stranger"


def test_another_projects_ids_answer_as_made_up_ones_in_lists_and_bodies(
    stranger: TestClient, theirs: dict[str, str]
) -> None:
    unreal = made_up(theirs)
    document = stranger.get("/openapi.json").json()
    lists = [path for path, item in document["paths"].items() if '"after"' in json.dumps(item.get("get", {}))]
    assert {"/v1/datasets", "/v1/files", "/v1/models", "/v1/api_keys", "/v1/fine_tuning/jobs"} <= set(lists)
    for path in (path for path in lists if "{" not in path):
        for name in theirs:
            one, other = (answer(stranger, "GET", path, ids, f"?after={ids[name]}") for ids in (theirs, unreal))
            assert one == other, (path, name)
    for name, body in (
        ("dataset_id", {"dataset": "{}", "method": {"type": "aggregation"}}),
        ("file_id", {"training_file": "{}", "method": {"type": "aggregation"}}),
        ("model_id", {"model": "{}", "dataset": "ds_1", "method": {"type": "realm"}}),
    ):
        answers = []
        for ids in (theirs, unreal):
            filled = json.loads(json.dumps(body).replace("{}", ids[name]))
            made = stranger.post("/v1/fine_tuning/jobs", json=filled)
            answers.append((made.status_code, made.json()["detail"].replace(ids[name], "")))
        assert answers[0] == answers[1]
        assert answers[0][0] in (404, 422)
