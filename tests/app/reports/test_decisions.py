"""Decisions about annotators: kept with their evidence and their author, gone with the annotator."""

from __future__ import annotations

from fastapi.testclient import TestClient
from sqlalchemy import text

from app.database.session import transaction
from tests.conftest import ProjectKeys
from tests.finished_jobs import finish_job, upload

ROWS = [
    {"annotator": name, "label": label, "prompt": prompt}
    for prompt in ("sky", "sea")
    for name, label in (("ana", "yes"), ("bo", "no"), ("cy", "no"))
]


def path_of_ana(client: TestClient, project: ProjectKeys) -> str:
    job = finish_job(project.id, upload(client, ROWS), with_model=False).id
    report = f"/v1/fine_tuning/jobs/{job}/annotators"
    (row,) = client.get(report, params={"name": "ana"}).json()["data"]
    return f"{report}/{row['id']}"


def test_a_decision_keeps_its_evidence_and_who_took_it(client: TestClient, project: ProjectKeys) -> None:
    ana = path_of_ana(client, project)
    evidence = client.get(ana).json()
    first = client.post(f"{ana}/decisions", json={"action": "retrain", "note": "<b>talk</b> =1+1"})
    second = client.post(f"{ana}/decisions", json={"action": "keep"})
    assert (first.status_code, second.status_code) == (201, 201), first.text
    assert first.json()["note"] == "<b>talk</b> =1+1"
    assert first.json()["key_name"] == "admin"
    with transaction() as session:  # the report may change later, the evidence not
        number = {"id": int(ana.rpartition("_")[2])}
        session.execute(text("UPDATE annotator_reports SET agreement = 0.123 WHERE annotator = :id"), number)
    page = client.get(f"{ana}/decisions", params={"limit": 1}).json()
    rest = client.get(f"{ana}/decisions", params={"after": page["last_id"]}).json()
    assert page["data"] + rest["data"] == [second.json(), first.json()]
    assert first.json()["evidence"] == evidence != client.get(ana).json()


def test_refused_decisions(client: TestClient, project: ProjectKeys, other_project: ProjectKeys) -> None:
    decisions = f"{path_of_ana(client, project)}/decisions"
    for body in ({}, {"action": "fire"}, {"action": "keep", "x": 1}, {"action": "keep", "note": "a\x00"}):
        assert client.post(decisions, json=body).status_code == 422, body
    viewer = {"Authorization": f"Bearer {project.viewer_key}"}
    assert client.post(decisions, json={"action": "drop"}, headers=viewer).status_code == 403
    stranger = {"Authorization": f"Bearer {other_project.admin_key}"}
    assert client.post(decisions, json={"action": "drop"}, headers=stranger).status_code == 404
    assert client.get(decisions, params={"after": "dec_x"}).status_code == 404
    assert client.get(decisions).json()["data"] == []


def test_an_erased_annotator_leaves_no_decisions(client: TestClient, project: ProjectKeys) -> None:
    ana = path_of_ana(client, project)
    made = client.post(f"{ana}/decisions", json={"action": "drop"}).json()["id"]
    assert client.delete(f"/v1/annotators/{ana.rpartition('/')[2]}").status_code == 204
    with transaction() as session:
        assert session.execute(text("SELECT FROM decisions WHERE id = :id"), {"id": made}).first() is None
