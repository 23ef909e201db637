"""Aliases: names that stand for a model wherever its id does."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from fastapi.testclient import TestClient

from tests.app.inference.conftest import MadeModel
from tests.app.inference.stand_in import answer_to
from tests.conftest import ProjectKeys
from tests.finished_jobs import upload
from tests.jobs import finish_all_jobs

MakeModel = Callable[..., MadeModel]
JOBS = "/v1/fine_tuning/jobs"


@pytest.mark.usefixtures("use_inference")
def test_an_alias_stands_wherever_the_id_does(client: TestClient, model: MadeModel) -> None:
    answer = client.put(f"/v1/models/{model.id}/aliases/best")
    assert answer.json() == {"object": "model.alias", "id": "best", "model": model.id}
    shown = client.get("/v1/models/best").json()
    assert (shown["id"], shown["aliases"], shown["base"]) == (model.id, ["best"], "minilm")
    assert client.get(f"/v1/models/{model.id}").json() == client.get("/v1/models").json()["data"][0] == shown
    assert client.post("/v1/models/best/predict", json={"inputs": "hello"}).json() == answer_to("hello")
    download = client.get("/v1/models/best/content")
    assert download.content == client.get(f"/v1/models/{model.id}/content").content
    assert model.id.replace(":", "-") in download.headers["Content-Disposition"]
    assert client.put("/v1/models/best/aliases/newest").json()["model"] == model.id
    assert client.get("/v1/models/newest").json()["aliases"] == ["best", "newest"]


def test_an_alias_moves_to_another_model(
    client: TestClient, project: ProjectKeys, make_model: MakeModel, model: MadeModel
) -> None:
    client.put(f"/v1/models/{model.id}/aliases/best")
    other = make_model(project)
    client.put(f"/v1/models/{other.id}/aliases/best")
    assert client.get("/v1/models/best").json()["id"] == other.id
    assert client.get(f"/v1/models/{model.id}").json()["aliases"] == []


def test_a_deleted_alias_is_gone_and_the_model_stays(client: TestClient, model: MadeModel) -> None:
    client.put(f"/v1/models/{model.id}/aliases/best")
    assert client.delete(f"/v1/models/{model.id}/aliases/best").json() == {
        "object": "model.alias",
        "id": "best",
        "deleted": True,
    }
    assert client.get("/v1/models/best").status_code == 404
    assert client.get(f"/v1/models/{model.id}").status_code == 200
    again = client.delete(f"/v1/models/{model.id}/aliases/best")
    assert (again.status_code, again.json()["code"]) == (404, "alias_not_found")


def test_an_alias_ends_with_its_model(client: TestClient, model: MadeModel) -> None:
    client.put(f"/v1/models/{model.id}/aliases/best")
    assert client.delete("/v1/models/best").json()["id"] == model.id
    assert client.get("/v1/models/best").status_code == 404


def test_projects_have_aliases_of_their_own(
    client: TestClient, other_project: ProjectKeys, make_model: MakeModel, model: MadeModel
) -> None:
    theirs = make_model(other_project)
    their_key = {"Authorization": f"Bearer {other_project.admin_key}"}
    client.put(f"/v1/models/{model.id}/aliases/best")
    client.put(f"/v1/models/{theirs.id}/aliases/best", headers=their_key)
    assert client.get("/v1/models/best").json()["id"] == model.id
    assert client.get("/v1/models/best", headers=their_key).json()["id"] == theirs.id
    client.put(f"/v1/models/{theirs.id}/aliases/only-theirs", headers=their_key)
    assert client.get("/v1/models/only-theirs").status_code == 404
    assert client.put(f"/v1/models/{theirs.id}/aliases/mine").status_code == 404
    assert client.delete(f"/v1/models/{theirs.id}/aliases/best").status_code == 404


@pytest.mark.parametrize("alias", ["a:b", "a%20b", "%00", "ä", "x" * 65])
def test_what_may_not_be_an_alias(client: TestClient, model: MadeModel, alias: str) -> None:
    assert client.put(f"/v1/models/{model.id}/aliases/{alias}").status_code == 422


def test_no_alias_hides_a_base_model(client: TestClient, model: MadeModel) -> None:
    answer = client.put(f"/v1/models/{model.id}/aliases/minilm")
    assert (answer.status_code, answer.json()["code"]) == (422, "alias_is_base_model")


def test_a_viewer_sets_no_alias(client: TestClient, project: ProjectKeys, model: MadeModel) -> None:
    viewer = {"Authorization": f"Bearer {project.viewer_key}"}
    assert client.put(f"/v1/models/{model.id}/aliases/best", headers=viewer).status_code == 403


@pytest.mark.parametrize("by_alias", [False, True])
def test_a_job_continues_from_a_model(client: TestClient, model: MadeModel, by_alias: bool) -> None:
    """The job names the model by its id, whatever the alias stands for later, and keeps it from being deleted."""
    client.put(f"/v1/models/{model.id}/aliases/best")
    dataset = upload(client, [{"prompt": "p", "annotator": "ann", "label": "yes"}])
    job = client.post(JOBS, json={"dataset": dataset, "model": "best" if by_alias else model.id}).json()
    assert job["model"] == model.id
    answer = client.delete("/v1/models/best")
    assert (answer.status_code, answer.json()["code"]) == (409, "model_in_use")
    assert job["id"] in answer.json()["detail"]
    finish_all_jobs()
    assert client.delete("/v1/models/best").status_code == 200


def test_a_job_continues_from_no_model_of_others(
    client: TestClient, other_project: ProjectKeys, make_model: MakeModel
) -> None:
    theirs = make_model(other_project)
    dataset = upload(client, [{"prompt": "p", "annotator": "ann", "label": "yes"}])
    for name in (theirs.id, "ft:minilm:nobody:model:00000000", "no-alias"):
        answer = client.post(JOBS, json={"dataset": dataset, "model": name})
        assert (answer.status_code, answer.json()["code"]) == (422, "base_model_not_allowed")
        assert "and your fine-tuned models" in answer.json()["detail"]
