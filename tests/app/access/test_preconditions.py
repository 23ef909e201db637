"""ETag, If-None-Match and If-Match."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from fastapi.testclient import TestClient

from tests.app.world import ids_of_a_world
from tests.conftest import ProjectKeys

WEBHOOK = {"url": "https://hooks.example.org/"}


@pytest.fixture
def webhook(client: TestClient) -> str:
    return f"/v1/webhooks/{client.post('/v1/webhooks', json=WEBHOOK).json()['id']}"


def change(client: TestClient, path: str, description: str, if_match: str | None) -> httpx.Response:
    headers = {} if if_match is None else {"If-Match": if_match}
    answer: httpx.Response = client.patch(path, json={"description": description}, headers=headers)
    return answer


def test_what_is_known_already_is_not_sent_again(client: TestClient, webhook: str) -> None:
    first = client.get(webhook)
    etag = first.headers["ETag"]
    for named in (etag, f'"other", {etag}', f"W/{etag}", "*"):
        same = client.get(webhook, headers={"If-None-Match": named})
        assert (same.status_code, same.content, same.headers["ETag"]) == (304, b"", etag)
    change(client, webhook, "changed", None)
    new = client.get(webhook, headers={"If-None-Match": etag})
    assert new.json()["description"] == "changed"
    assert new.headers["ETag"] != etag
    assert "ETag" in client.get("/v1/webhooks").headers
    assert "ETag" not in client.get("/v1/webhooks/wh_0").headers


def test_what_was_changed_meanwhile_is_not_changed_unseen(client: TestClient, webhook: str) -> None:
    seen = client.get(webhook).headers["ETag"]
    assert change(client, webhook, "one", seen).status_code == 200
    for stale in (seen, f"W/{client.get(webhook).headers['ETag']}", "nonsense"):
        refused = change(client, webhook, "two", stale)
        assert (refused.status_code, refused.json()["code"]) == (412, "precondition_failed")
    assert client.delete(webhook, headers={"If-Match": seen}).status_code == 412
    assert client.get(webhook).json()["description"] == "one"
    assert change(client, webhook, "three", "*").status_code == 200
    assert change(client, webhook, "four", None).status_code == 200
    now = client.get(webhook).headers["ETag"]
    assert client.delete(webhook, headers={"If-Match": now}).status_code == 204
    assert change(client, webhook, "five", now).status_code == 404
    told = [event["action"] for event in client.get("/v1/audit_events").json()["data"]]
    assert told == ["delete_webhook", *["change_webhook"] * 3, "create_webhook"]


def test_of_many_who_saw_the_same_one_changes_it(client: TestClient, webhook: str) -> None:
    seen = client.get(webhook).headers["ETag"]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda n: change(client, webhook, str(n), seen).status_code, range(8)))
    assert sorted(answers) == [200, *[412] * 7]


def test_it_holds_for_everything_that_can_be_changed(
    client: TestClient, project: ProjectKeys, service_admin_key: str, tmp_path: Path
) -> None:
    ids = ids_of_a_world(client, project, tmp_path)
    model = f"/v1/models/{ids['model_id']}"
    for method, path, read in (
        ("PUT", f"{model}/aliases/newest", model),  # an alias has no GET; it is a part of its model
        ("DELETE", f"{model}/aliases/newest", model),
        ("DELETE", model, model),
        ("DELETE", f"/v1/api_keys/{ids['key_id']}", f"/v1/api_keys/{ids['key_id']}"),
        ("DELETE", f"/v1/annotators/{ids['annotator_id']}", f"/v1/annotators/{ids['annotator_id']}"),
    ):
        assert client.request(method, path, headers={"If-Match": '"stale"'}).status_code == 412, path
        seen = client.get(read).headers["ETag"]
        assert client.request(method, path, headers={"If-Match": seen}).is_success, path
    for path in (f"/v1/files/{ids['file_id']}", f"/v1/datasets/{ids['dataset_id']}"):
        assert client.delete(path, headers={"If-Match": '"stale"'}).status_code == 412, path
    boss = {"Authorization": f"Bearer {service_admin_key}"}
    path = f"/v1/projects/{project.id}"
    assert client.delete(path, headers={"If-Match": '"stale"', **boss}).status_code == 412
    assert client.get(path, headers=boss).status_code == 200


def test_strangers_learn_nothing(client: TestClient, webhook: str, other_project: ProjectKeys) -> None:
    seen = client.get(webhook).headers["ETag"]
    client.headers["Authorization"] = f"Bearer {other_project.admin_key}"
    for if_match in (seen, '"stale"'):
        assert change(client, webhook, "mine", if_match).status_code == 404
