"""Annotators: listed, and erased so that nothing tells of them; and datasets deleted so that nothing stays."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import text

from app.artifacts import get_artifacts
from app.database import annotation_queries
from app.database.session import transaction
from tests.app.projects.test_projects import rows_that_mention, store_model_and_checkpoint
from tests.conftest import ProjectKeys
from tests.finished_jobs import finish_job


def upload(client: TestClient, who: str, *, key: str | None = None) -> str:
    """The id of a dataset in which somebody labels with two others, and one item alone."""
    rows = [
        {"annotator": name, "label": label, "prompt": prompt}
        for name, label, prompt in (
            ("bo", "yes", "sky"),
            ("cy", "no", "sky"),
            ("bo", "no", "sea"),
            ("cy", "no", "sea"),
            (who, "yes", "alone"),
        )
    ]
    headers = {} if key is None else {"Idempotency-Key": key}
    answer = client.post("/v1/datasets", json={"name": "d", "annotations": rows}, headers=headers)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def annotator_id(client: TestClient, name: str) -> str:
    (found,) = client.get("/v1/annotators", params={"name": name}).json()["data"]
    return str(found["id"])


def test_annotators_are_listed_by_page_and_by_name(client: TestClient, project: ProjectKeys) -> None:
    upload(client, "100%_ana")
    first = client.get("/v1/annotators", params={"limit": 2, "order": "asc"}).json()
    rest = client.get("/v1/annotators", params={"limit": 2, "order": "asc", "after": first["last_id"]}).json()
    assert [row["name"] for row in first["data"] + rest["data"]] == ["100%_ana", "bo", "cy"]
    assert (first["has_more"], rest["has_more"]) == (True, False)
    assert [row["name"] for row in client.get("/v1/annotators", params={"name": "%_A"}).json()["data"]] == ["100%_ana"]
    assert client.get(f"/v1/annotators/{first['first_id']}").json() == first["data"][0]


def overview(client: TestClient, report: str) -> dict[str, Any]:
    """The figures of a report that identify nobody."""
    figures = dict(client.get(f"{report}/agreement").json())
    figures.pop("flags")  # are counted over the annotators that there are
    return figures


@pytest.mark.parametrize("name", ["Ana {0}", "quote \" {0} '", "\u202eяна\\ {0}", "{0}" + "x" * 200])
def test_nothing_tells_of_an_erased_annotator(client: TestClient, project: ProjectKeys, name: str) -> None:
    who = name.format(project.name.removeprefix("test-"))
    needle = project.name.removeprefix("test-")
    dataset = upload(client, who, key="once")
    client.get(f"/v1/datasets/{dataset}/statistics").raise_for_status()
    job = finish_job(project.id, dataset, with_model=False).id
    id_ = annotator_id(client, who)
    report = f"/v1/fine_tuning/jobs/{job}"
    before = overview(client, report)
    assert {"annotators", "dataset_versions"} <= set(rows_that_mention(needle))

    assert client.delete(f"/v1/annotators/{id_}").status_code == 204

    assert set(rows_that_mention(needle)) == {"projects"}  # whose own name has the same letters
    with transaction() as session:
        answers = session.execute(text("SELECT convert_from(answer, 'UTF8') FROM stored_answers")).scalars()
        assert not any(needle in answer for answer in answers)
        number = {"id": int(id_.removeprefix("ann_"))}
        for table in ("annotations", "annotator_reports"):
            assert session.execute(text(f"SELECT FROM {table} WHERE annotator = :id"), number).first() is None
    for path in (
        *(f"{report}/export/{table}.{kind}" for table in ("annotators", "items", "labels") for kind in ("csv", "json")),
        f"{report}/annotators",
        f"{report}/items",
        f"/v1/datasets/{dataset}/annotations",
        f"/v1/datasets/{dataset}/statistics",
        "/v1/annotators",
    ):
        answer = client.get(path)
        assert answer.status_code == 200, path
        assert needle not in answer.text, path
    assert overview(client, report) == before
    assert client.get(f"/v1/annotators/{id_}").status_code == 404
    assert client.delete(f"/v1/annotators/{id_}").status_code == 404


def test_an_unfinished_job_on_their_labels_keeps_an_annotator(client: TestClient, project: ProjectKeys) -> None:
    with_ana, without = upload(client, "ana"), upload(client, "dora")
    jobs = {
        dataset: client.post(
            "/v1/fine_tuning/jobs", json={"dataset": dataset, "method": {"type": "aggregation"}}
        ).json()
        for dataset in (with_ana, without)
    }
    path = f"/v1/annotators/{annotator_id(client, 'ana')}"
    answer = client.delete(path)
    assert (answer.status_code, answer.json()["code"]) == (409, "annotator_in_use")
    client.post(f"/v1/fine_tuning/jobs/{jobs[with_ana]['id']}/cancel").raise_for_status()
    assert client.delete(path).status_code == 204
    client.post(f"/v1/fine_tuning/jobs/{jobs[without]['id']}/cancel").raise_for_status()


def test_an_upload_under_way_keeps_an_annotator_and_comes_after_an_erasure(
    client: TestClient, project: ProjectKeys
) -> None:
    upload(client, "ana")
    path = f"/v1/annotators/{annotator_id(client, 'ana')}"
    with transaction() as session:
        annotation_queries.annotator_ids(session, project.id, ["ana"])
        answer = client.delete(path)
        assert (answer.status_code, answer.json()["code"]) == (409, "annotator_busy")
    with ThreadPoolExecutor(1) as other, transaction() as erasing:
        erasing.execute(text("DELETE FROM annotators WHERE id = :id"), {"id": int(path.rpartition("_")[2])})
        uploading = other.submit(upload, client, "ana")
        while not uploading.done() and not _somebody_waits():
            pass
        erasing.commit()
        dataset = uploading.result(20)
    assert "ana" in client.get(f"/v1/datasets/{dataset}/annotations").text


def _somebody_waits() -> bool:
    with transaction() as session:
        query = "SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%annotators%'"
        return session.execute(text(query)).first() is not None


def test_keys_of_their_own_end_with_an_erasure(client: TestClient) -> None:
    upload(client, "ana")
    upload(client, "bo")
    erased, other = annotator_id(client, "ana"), annotator_id(client, "bo")
    for who in (erased, erased, other):
        client.post("/v1/api_keys", json={"scopes": [f"annotator:{who}"]}).raise_for_status()
    assert client.delete(f"/v1/annotators/{erased}").status_code == 204

    def live(who: str) -> int:
        keys = client.get("/v1/api_keys", params={"annotator": who}).json()["data"]
        return sum(key["revoked_at"] is None for key in keys)

    assert (live(erased), live(other)) == (0, 1)
    assert client.get("/v1/api_keys", params={"annotator": "ana"}).status_code == 422


def test_only_admins_erase(client: TestClient, project: ProjectKeys, other_project: ProjectKeys) -> None:
    upload(client, "ana")
    path = f"/v1/annotators/{annotator_id(client, 'ana')}"
    editor = client.delete(path, headers={"Authorization": f"Bearer {project.editor_key}"})
    assert (editor.status_code, editor.json()["code"]) == (403, "role_required")
    stranger = client.delete(path, headers={"Authorization": f"Bearer {other_project.admin_key}"})
    assert stranger.status_code == 404
    assert client.get(path).status_code == 200


def test_nothing_of_a_deleted_dataset_stays(client: TestClient, project: ProjectKeys, tmp_path: Path) -> None:
    dataset = upload(client, "ana")
    stored = store_model_and_checkpoint(project.id, dataset, tmp_path)
    assert {"datasets", "jobs"} <= set(rows_that_mention(dataset))
    with transaction() as session:
        find = "SELECT tablename FROM pg_tables WHERE tablename ~ '_[0-9]+$'"
        before = set(session.execute(text(find)).scalars())
        key = session.execute(text("SELECT key FROM datasets WHERE id = :id"), {"id": dataset}).scalar_one()
        job = session.execute(text("SELECT id, key FROM jobs WHERE dataset_id = :id"), {"id": dataset}).one()

    assert client.delete(f"/v1/datasets/{dataset}", params={"cascade": "true"}).status_code == 204

    assert rows_that_mention(dataset) == ["audit_events"]  # that it was deleted
    assert rows_that_mention(job.id) == []
    assert [prefix for prefix in stored if get_artifacts().names(prefix)] == []
    with transaction() as session:
        assert before - set(session.execute(text(find)).scalars()) == {f"items_{key}", f"annotations_{key}"}
        for table in ("annotator_reports", "item_reports", "job_events"):
            assert session.execute(text(f"SELECT FROM {table} WHERE job_key = :key"), {"key": job.key}).first() is None
