"""Webhooks through the API, and that a message is there exactly when a job has ended."""

from __future__ import annotations

import json
from typing import Any

import pytest
from fastapi.testclient import TestClient

from app.database import attempt_queries
from app.database.attempt_queries import Claim
from app.database.session import transaction
from tests.conftest import ProjectKeys
from tests.jobs import queue_job

URL = "https://hooks.example.org/realm"


def create(client: TestClient, **body: Any) -> dict[str, Any]:
    answer = client.post("/v1/webhooks", json={"url": URL, **body})
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


def deliveries(client: TestClient, webhook: dict[str, Any]) -> list[dict[str, Any]]:
    return list(client.get(f"/v1/webhooks/{webhook['id']}/deliveries").json()["data"])


def claimed_job(project: ProjectKeys) -> Claim:
    job = queue_job(project.id, job_metadata={"ticket": "7"})
    with transaction() as session:
        claim = attempt_queries.claim_job(session, job.id, "worker", 30)
    assert claim is not None
    return claim


def test_made_listed_changed_and_deleted(client: TestClient) -> None:
    made = create(client, events=["job.failed"], description="on call")
    assert made["secret"].startswith("whsec_")
    shown = {name: value for name, value in made.items() if name != "secret"}
    assert shown["enabled"] is True
    path = f"/v1/webhooks/{made['id']}"
    assert client.get(path).json() == shown
    assert client.get("/v1/webhooks").json()["data"] == [shown]
    change = {"events": ["job.succeeded", "job.failed"], "enabled": False}
    assert client.patch(path, json=change).json() == {
        **shown,
        "events": ["job.failed", "job.succeeded"],
        "enabled": False,
    }
    assert client.post(f"{path}/test").json()["code"] == "webhook_disabled"
    assert client.delete(path).status_code == 204
    assert client.get(path).status_code == 404


def test_a_secret_is_shown_once_and_rotated(client: TestClient) -> None:
    again = {"Idempotency-Key": "one webhook"}
    first, second = (client.post("/v1/webhooks", json={"url": URL}, headers=again).json() for _ in range(2))
    assert (second["id"], second["secret"]) == (first["id"], None)
    rotated = client.post(f"/v1/webhooks/{first['id']}/rotate_secret").json()
    assert rotated["secret"].startswith("whsec_")
    assert rotated["secret"] != first["secret"]
    for told in ("/v1/webhooks", f"/v1/webhooks/{first['id']}", "/v1/audit_events"):
        text = client.get(told).text
        assert first["secret"] not in text
        assert rotated["secret"] not in text


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"url": "http://hooks.example.org/"}, "url"),
        ({"url": "https://127.0.0.1/"}, "url"),
        ({"url": "https://user:password@hooks.example.org/"}, "url"),
        ({"url": URL, "events": []}, "events"),
        ({"url": URL, "events": ["job.exploded"]}, "events.0"),
        ({"url": URL, "secret": "whsec_mine"}, "secret"),
    ],
)
def test_what_cannot_be_a_webhook(client: TestClient, body: dict[str, Any], param: str) -> None:
    refused = client.post("/v1/webhooks", json=body)
    assert (refused.status_code, refused.json()["error"]["param"]) == (422, param)
    webhook = create(client)
    if "secret" not in body:
        assert client.patch(f"/v1/webhooks/{webhook['id']}", json=body).status_code == 422


def test_they_are_for_admins_and_not_without_end(client: TestClient, project: ProjectKeys) -> None:
    for key in (project.editor_key, project.viewer_key):
        headers = {"Authorization": f"Bearer {key}"}
        assert client.get("/v1/webhooks", headers=headers).status_code == 403
        assert client.post("/v1/webhooks", json={"url": URL}, headers=headers).status_code == 403
    for _ in range(20):
        create(client)
    assert client.post("/v1/webhooks", json={"url": URL}).json()["code"] == "too_many_webhooks"


def test_the_end_of_a_job_is_told_to_those_who_asked(
    client: TestClient, project: ProjectKeys, other_project: ProjectKeys
) -> None:
    every, failures, off = create(client), create(client, events=["job.failed"]), create(client)
    client.patch(f"/v1/webhooks/{off['id']}", json={"enabled": False})
    theirs = {"Authorization": f"Bearer {other_project.admin_key}"}
    stranger = client.post("/v1/webhooks", json={"url": URL}, headers=theirs).json()
    one, two, three = (claimed_job(project) for _ in range(3))
    waiting = queue_job(project.id)
    with transaction() as session:
        attempt_queries.succeed(session, one, "ft:minilm:p:model:1")
        attempt_queries.fail(session, two, "out_of_memory", "It was too large.")
        attempt_queries.finish_cancelled(session, three)
    client.post(f"/v1/fine_tuning/jobs/{waiting.id}/cancel").raise_for_status()
    told = deliveries(client, every)
    assert [delivery["event"] for delivery in told].count("job.cancelled") == 2
    assert {delivery["event"] for delivery in told} == {"job.succeeded", "job.failed", "job.cancelled"}
    assert [delivery["event"] for delivery in deliveries(client, failures)] == ["job.failed"]
    assert deliveries(client, off) == []
    assert client.get(f"/v1/webhooks/{stranger['id']}/deliveries", headers=theirs).json()["data"] == []
    (failure,) = (delivery for delivery in told if delivery["event"] == "job.failed")
    assert failure["payload"]["type"] == "job.failed"
    data = failure["payload"]["data"]
    assert data["error"] == {"code": "out_of_memory", "message": "It was too large."}
    assert data["metadata"] == {"ticket": "7"}
    assert (failure["status"], failure["attempts"]) == ("pending", [])


def test_nothing_is_told_of_an_end_that_did_not_come_about(client: TestClient, project: ProjectKeys) -> None:
    webhook, claim = create(client), claimed_job(project)
    with transaction() as session:
        attempt_queries.succeed(session, claim, None)
        session.rollback()
    assert deliveries(client, webhook) == []
    with transaction() as session, pytest.raises(attempt_queries.LeaseLost):
        attempt_queries.fail(session, Claim(claim.job_key, claim.attempt + 1), "x", "An old attempt.")
    assert deliveries(client, webhook) == []


def test_test_messages_are_in_the_log(client: TestClient) -> None:
    webhook = create(client)
    path = f"/v1/webhooks/{webhook['id']}"
    sent = client.post(f"{path}/test")
    assert sent.status_code == 202
    assert sent.json()["payload"]["type"] == "webhook.test"
    assert client.get(f"{path}/deliveries/{sent.json()['id']}").json() == sent.json()
    assert client.get(f"{path}/deliveries/msg_0").status_code == 404
    other = create(client)
    assert client.get(f"/v1/webhooks/{other['id']}/deliveries/{sent.json()['id']}").status_code == 404
    client.post(f"{path}/test")
    page = client.get(f"{path}/deliveries", params={"limit": 1}).json()
    rest = client.get(f"{path}/deliveries", params={"after": page["last_id"]}).json()
    assert (page["has_more"], [one["id"] for one in rest["data"]]) == (True, [sent.json()["id"]])
    assert json.dumps(page).count("msg_") == 3
