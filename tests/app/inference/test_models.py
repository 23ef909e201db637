"""/v1/models: list, look at, download and delete what was fine-tuned."""

from __future__ import annotations

import io
import re
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from app.artifacts import get_artifacts
from tests.app.inference.conftest import MadeModel, add_job
from tests.conftest import ProjectKeys

pytestmark = pytest.mark.usefixtures("use_inference")

MakeModel = Callable[..., MadeModel]


def test_a_model_says_where_it_comes_from_and_what_it_answers(
    client: TestClient, project: ProjectKeys, model: MadeModel
) -> None:
    answer = client.get(f"/v1/models/{model.id}").json()
    assert re.fullmatch(rf"ft:minilm:{re.escape(project.name)}:model:[0-9a-f]{{8}}", answer["id"])
    assert answer.pop("created") > 1_600_000_000
    assert answer == {
        "object": "model",
        "id": model.id,
        "owned_by": project.id,
        "base": "minilm",
        "aliases": [],
        "job": model.job_id,
        "dataset": None,
        "tasks": [{"name": "mood", "answers": ["negative", "neutral", "positive"]}],
        "bytes": 2 + 256 * 5000,
    }


def test_ids_hold_only_safe_letters(project: ProjectKeys, make_model: MakeModel) -> None:
    assert ":a-b-..-c:" in make_model(project, suffix="a:b/../c").id
    assert ":unnamed:" in make_model(project, suffix="???").id


def test_pages_of_models(client: TestClient, project: ProjectKeys, make_model: MakeModel) -> None:
    made = [make_model(project).id for _ in range(5)]
    first = client.get("/v1/models", params={"limit": 2}).json()
    assert [one["id"] for one in first["data"]] == made[:2:-1]
    assert (first["has_more"], first["last_id"]) == (True, made[3])
    rest = client.get("/v1/models", params={"limit": 5, "after": first["last_id"]}).json()
    assert [one["id"] for one in rest["data"]] == made[2::-1]
    assert rest["has_more"] is False
    oldest_first = client.get("/v1/models", params={"order": "asc"}).json()
    assert [one["id"] for one in oldest_first["data"]] == made


@pytest.mark.parametrize("suffix", [None, "long" * 40])
def test_a_download_is_a_tar_of_the_stored_folder(
    client: TestClient, project: ProjectKeys, make_model: MakeModel, tmp_path: Path, suffix: str | None
) -> None:
    model = make_model(project, suffix=suffix)
    answer = client.get(f"/v1/models/{model.id}/content", headers={"Accept-Encoding": "gzip"})
    assert answer.headers["Content-Type"] == "application/x-tar"
    assert "Content-Encoding" not in answer.headers
    assert int(answer.headers["Content-Length"]) == len(answer.content)
    with tarfile.open(fileobj=io.BytesIO(answer.content)) as archive:
        archive.extractall(tmp_path, filter="data")
    folder = tmp_path / model.id.replace(":", "-")
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", "config.json", "model.safetensors"]
    assert f"Fine-tuned from `minilm` by the job `{model.job_id}`" in (folder / "README.md").read_text()
    assert '    {"mood": ["negative", "neutral", "positive"]}\n' in (folder / "README.md").read_text()
    assert (folder / "config.json").read_text() == "{}"
    assert (folder / "model.safetensors").read_bytes() == bytes(range(256)) * 5000


def test_a_download_of_damaged_files_is_refused(client: TestClient, model: MadeModel) -> None:
    get_artifacts().delete(model.artifact)
    answer = client.get(f"/v1/models/{model.id}/content")
    assert (answer.status_code, answer.json()["code"]) == (500, "model_unusable")


def test_a_deleted_model_is_gone_and_so_are_its_files(client: TestClient, model: MadeModel) -> None:
    assert client.post(f"/v1/models/{model.id}/predict", json={"inputs": "hello"}).status_code == 200
    answer = client.delete(f"/v1/models/{model.id}")
    assert answer.json() == {"object": "model", "id": model.id, "deleted": True}
    assert get_artifacts().names(model.artifact) == []
    assert client.get(f"/v1/models/{model.id}").status_code == 404
    assert client.post(f"/v1/models/{model.id}/predict", json={"inputs": "hello"}).status_code == 404
    assert client.delete(f"/v1/models/{model.id}").status_code == 404


def test_a_model_that_a_job_continues_from_is_not_deleted(
    client: TestClient, project: ProjectKeys, model: MadeModel
) -> None:
    _, job_id = add_job(project.id, model=model.id)
    answer = client.delete(f"/v1/models/{model.id}")
    assert (answer.status_code, answer.json()["code"]) == (409, "model_in_use")
    assert job_id in answer.json()["detail"]
    assert client.get(f"/v1/models/{model.id}/content").status_code == 200


def test_a_viewer_may_look_and_ask_but_not_delete(client: TestClient, project: ProjectKeys, model: MadeModel) -> None:
    viewer = {"Authorization": f"Bearer {project.viewer_key}"}
    assert client.get(f"/v1/models/{model.id}", headers=viewer).status_code == 200
    answer = client.post(f"/v1/models/{model.id}/predict", json={"inputs": "hello"}, headers=viewer)
    assert answer.status_code == 200
    assert client.delete(f"/v1/models/{model.id}", headers=viewer).status_code == 403


@pytest.mark.parametrize(
    ("method", "path"), [("GET", ""), ("DELETE", ""), ("GET", "/content"), ("POST", "/predict"), ("GET", "?after=")]
)
def test_another_projects_model_is_like_one_that_never_was(
    client: TestClient,
    other_project: ProjectKeys,
    make_model: MakeModel,
    model: MadeModel,
    method: str,
    path: str,
) -> None:
    theirs, made_up = make_model(other_project).id, "ft:minilm:nobody:model:00000000"

    def ask(model_id: str) -> tuple[int, dict[str, object]]:
        url = f"/v1/models{path}{model_id}" if path.startswith("?") else f"/v1/models/{model_id}{path}"
        answer = client.request(method, url, json={"inputs": "hello"} if method == "POST" else None)
        body = answer.json()
        return answer.status_code, {"code": body["code"], "detail": body["detail"].replace(model_id, "…")}

    assert ask(theirs) == ask(made_up) == (404, {"code": "model_not_found", "detail": "There is no model '…'."})


@pytest.mark.parametrize("model_id", ["minilm", "ft%00", "ft:a:b:c:%00", "%F0%9F%98%80", "ft:a:b:c:d:e", "x" * 5000])
def test_what_no_id_looks_like_is_not_found(client: TestClient, model_id: str) -> None:
    assert client.get(f"/v1/models/{model_id}").status_code == 404
    assert client.post(f"/v1/models/{model_id}/predict", json={"inputs": "hello"}).status_code == 404


def test_without_a_key_nothing_is_answered(client: TestClient, model: MadeModel) -> None:
    nobody = {"Authorization": ""}
    for method, path in (("GET", ""), ("GET", "/content"), ("DELETE", ""), ("POST", "/predict")):
        assert client.request(method, f"/v1/models/{model.id}{path}", headers=nobody).status_code == 401
