"""/v1/files: OpenAI's shape over datasets."""

from __future__ import annotations

import csv
import gzip
import json
from typing import Any

import pytest
from fastapi.testclient import TestClient

from tests.conftest import ProjectKeys
from tests.jobs import finish_all_jobs

ROWS = [
    {"prompt": "hot", "annotator": "ann", "label": "up"},
    {"prompt": "hot", "annotator": "bob", "label": "down"},
    {"prompt": "=cold()", "annotator": "ann", "label": "down"},
]
JSONL = "".join(json.dumps(row) + "\n" for row in ROWS).encode()
CSV = b"text,annotator,label\nhot,ann,up\n=cold(),ann,down\n"


def send(client: TestClient, filename: str = "a.jsonl", data: bytes = JSONL, **parts: str) -> Any:
    return client.post("/v1/files", files={"file": (filename, data)}, data={"purpose": "fine-tune"} | parts)


def made(client: TestClient, *args: Any, **parts: Any) -> dict[str, Any]:
    answer = send(client, *args, **parts)
    assert answer.status_code == 201, answer.text
    file: dict[str, Any] = answer.json()
    return file


def test_a_file_is_shown_as_openai_shows_it(client: TestClient) -> None:
    file = made(client)
    dataset = client.get(f"/v1/datasets/{file['dataset'].removesuffix('@1')}").json()
    assert file == {
        "id": file["id"],
        "object": "file",
        "bytes": len(JSONL),
        "created_at": dataset["created_at"],
        "expires_at": None,
        "filename": "a.jsonl",
        "purpose": "fine-tune",
        "status": "processed",
        "status_details": None,
        "dataset": f"{dataset['id']}@1",
    }
    assert file["id"].startswith("file-")
    assert (dataset["name"], dataset["counts"]["labels"]) == ("a.jsonl", 3)
    assert client.get(f"/v1/files/{file['id']}").json() == file


def test_the_content_comes_back_in_the_kind_that_was_sent(client: TestClient) -> None:
    answer = client.get(f"/v1/files/{made(client)['id']}/content")
    assert answer.headers["Content-Type"] == "application/x-ndjson"
    assert [json.loads(line) for line in answer.text.splitlines()] == [row | {"task": "default"} for row in ROWS]
    file = made(client, "b.csv.gz", gzip.compress(CSV), mapping='{"text": "prompt"}', name="of mine")
    answer = client.get(f"/v1/files/{file['id']}/content")
    assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert [row["prompt"] for row in csv.DictReader(answer.text.splitlines())] == ["hot", "'=cold()"]
    assert client.get(f"/v1/datasets/{file['dataset'].removesuffix('@1')}").json()["name"] == "of mine"


def test_the_list_has_pages_and_a_purpose(client: TestClient) -> None:
    ids = [made(client)["id"] for _ in range(3)]
    page = client.get("/v1/files", params={"limit": 2, "order": "asc"}).json()
    assert ([file["id"] for file in page["data"]], page["has_more"]) == (ids[:2], True)
    rest = client.get("/v1/files", params={"after": page["last_id"], "order": "asc"}).json()
    assert ([file["id"] for file in rest["data"]], rest["has_more"]) == (ids[2:], False)
    assert client.get("/v1/files", params={"purpose": "batch"}).json()["data"] == []


def test_a_job_trains_on_the_version_that_the_file_names(client: TestClient) -> None:
    file = made(client)
    body = {"training_file": file["id"], "method": {"type": "aggregation"}}
    job = client.post("/v1/fine_tuning/jobs", json=body).json()
    assert (job["training_file"], f"{job['dataset']['id']}@{job['dataset']['version']}") == (
        file["id"],
        file["dataset"],
    )
    answer = client.delete(f"/v1/files/{file['id']}")
    assert (answer.status_code, answer.json()["code"]) == (409, "dataset_in_use")
    finish_all_jobs()


def test_a_deleted_file_is_gone_with_its_data(client: TestClient) -> None:
    file = made(client)
    assert client.delete(f"/v1/files/{file['id']}").json() == {"id": file["id"], "object": "file", "deleted": True}
    assert client.get(f"/v1/files/{file['id']}").status_code == 404
    assert client.get(f"/v1/files/{file['id']}/content").status_code == 404
    assert client.get(f"/v1/datasets/{file['dataset'].removesuffix('@1')}").status_code == 404


@pytest.mark.parametrize(
    ("parts", "param", "detail"),
    [
        ({"purpose": "batch"}, "purpose", "Input should be 'fine-tune'"),
        ({"purpose": "fine-tune", "colour": "red"}, "colour", "Extra inputs"),
        ({}, "purpose", "Field required"),
    ],
)
def test_what_is_wrong_with_the_parts_is_said(
    client: TestClient, parts: dict[str, str], param: str, detail: str
) -> None:
    answer = client.post("/v1/files", files={"file": ("a.jsonl", JSONL)}, data=parts)
    assert (answer.status_code, answer.json()["error"]["param"]) == (422, param)
    assert detail in answer.json()["detail"]


def test_bad_rows_leave_neither_file_nor_dataset(client: TestClient) -> None:
    answer = send(client, "a.jsonl", JSONL + b'{"prompt": "x", "annotator": "ann"}\n')
    assert (answer.status_code, answer.json()["errors"][0]["row"]) == (422, 4)
    assert client.get("/v1/files").json()["data"] == client.get("/v1/datasets").json()["data"] == []


def test_only_forms_with_a_file_are_taken(client: TestClient) -> None:
    answer = client.post("/v1/files", content=JSONL, headers={"Content-Type": "application/x-ndjson"})
    assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_media_type")
    answer = client.post("/v1/files", files={"file": (None, "x")}, data={"purpose": "fine-tune"})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "file")


@pytest.mark.parametrize(
    ("sent", "kept"), [("C:\\data\\labels.jsonl", "labels.jsonl"), ("../../x.jsonl", "x.jsonl"), ("a" * 999, "a" * 200)]
)
def test_of_a_path_the_last_part_is_kept(client: TestClient, sent: str, kept: str) -> None:
    file = client.post(
        "/v1/files", files={"file": (sent, JSONL, "application/jsonl")}, data={"purpose": "fine-tune"}
    ).json()
    assert file["filename"] == kept


def test_another_projects_file_is_like_one_that_never_was(client: TestClient, other_project: ProjectKeys) -> None:
    file_id = made(client)["id"]
    theirs = {"Authorization": f"Bearer {other_project.admin_key}"}
    for method, path in (("GET", ""), ("GET", "/content"), ("DELETE", "")):
        for id_ in (file_id, "file-0"):
            answer = client.request(method, f"/v1/files/{id_}{path}", headers=theirs)
            assert (answer.status_code, answer.json()["detail"]) == (404, f"There is no file {id_!r}.")
    assert client.get("/v1/files", headers=theirs).json()["data"] == []
    job = {"training_file": file_id, "method": {"type": "aggregation"}}
    assert client.post("/v1/fine_tuning/jobs", json=job, headers=theirs).status_code == 404


def test_a_viewer_reads_files_and_makes_none(client: TestClient, project: ProjectKeys) -> None:
    file = made(client)
    client.headers["Authorization"] = f"Bearer {project.viewer_key}"
    assert client.get(f"/v1/files/{file['id']}/content").status_code == 200
    assert send(client).status_code == 403
    assert client.delete(f"/v1/files/{file['id']}").status_code == 403
