"""Datasets once they are there: lists, versions, deletion."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from app.artifacts import get_artifacts
from app.database import annotation_queries, dataset_queries, lock_waits, partition_queries
from app.database.session import get_engine, transaction
from app.database.tables import Dataset, FineTunedModel
from tests.conftest import ProjectKeys
from tests.jobs import queue_job

ROWS = [
    {"prompt": "p", "annotator": "ann", "label": "yes"},
    {"prompt": "p", "annotator": "bob", "label": "no"},
    {"prompt": "q", "annotator": "bob", "label": "no"},
]


def make(client: TestClient, name: str = "crowd") -> str:
    answer = client.post("/v1/datasets", json={"name": name, "annotations": ROWS})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def partitions() -> set[str]:
    with transaction() as session:
        names = "SELECT relname FROM pg_class WHERE relname ~ '^(items|annotations)_[0-9]+$'"
        return set(session.execute(text(names)).scalars())


def test_a_list_has_pages(client: TestClient) -> None:
    ids = [make(client, f"crowd {number}") for number in range(3)]
    first = client.get("/v1/datasets", params={"limit": 2}).json()
    assert [one["id"] for one in first["data"]] == ids[:0:-1]
    assert first | {"data": []} == {
        "object": "list",
        "data": [],
        "has_more": True,
        "first_id": ids[2],
        "last_id": ids[1],
    }
    second = client.get("/v1/datasets", params={"limit": 2, "after": ids[1]}).json()
    assert ([one["name"] for one in second["data"]], second["has_more"]) == (["crowd 0"], False)
    oldest = client.get("/v1/datasets", params={"order": "asc", "limit": 1}).json()
    assert oldest["data"] == [client.get(f"/v1/datasets/{ids[0]}").json()]


def test_the_first_version_has_what_the_upload_said(client: TestClient) -> None:
    dataset = make(client)
    shown = client.get(f"/v1/datasets/{dataset}").json()
    versions = client.get(f"/v1/datasets/{dataset}/versions").json()
    version = client.get(f"/v1/datasets/{dataset}/versions/1").json()
    assert versions["data"] == [version]
    assert version["id"] == f"{dataset}@1"
    for name in ("sha256", "counts", "warnings"):
        assert version[name] == shown[name]


def test_statistics_over_http(client: TestClient) -> None:
    found = client.get(f"/v1/datasets/{make(client)}/statistics").json()
    assert (found["labels"], found["items"], found["annotators"], found["agreement"]) == (3, 2, 2, 0)
    assert found["tasks"][0]["balance"] == [
        {"label": "no", "count": 2, "share": pytest.approx(2 / 3)},
        {"label": "yes", "count": 1, "share": pytest.approx(1 / 3)},
    ]


PATHS = ["", "/versions", "/versions/1", "/statistics", "/annotations"]


@pytest.mark.parametrize("path", PATHS)
def test_what_is_not_there(client: TestClient, other_project: ProjectKeys, path: str) -> None:
    """Another project's dataset is like one that never was."""
    dataset = make(client)
    assert client.get(f"/v1/datasets/{dataset}{path}").status_code == 200
    client.headers["Authorization"] = f"Bearer {other_project.admin_key}"
    theirs, none = client.get(f"/v1/datasets/{dataset}{path}"), client.get(f"/v1/datasets/ds_0{path}")
    assert theirs.status_code == none.status_code == 404
    assert theirs.json()["detail"].replace(dataset, "ds_0") == none.json()["detail"]
    assert client.delete(f"/v1/datasets/{dataset}").status_code == 404


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/versions/2", 404),
        ("/versions/0", 422),
        ("/versions/99999999999", 422),
        ("/statistics?version=2", 404),
        ("/annotations?version=2", 404),
        ("/statistics?versions=1", 422),
        ("/versions?after=ds_0@1", 404),
    ],
)
def test_versions_that_are_not_there(client: TestClient, path: str, status: int) -> None:
    assert client.get(f"/v1/datasets/{make(client)}{path}").status_code == status


def test_an_unknown_mark_of_a_page(client: TestClient) -> None:
    assert client.get("/v1/datasets", params={"after": "ds_0"}).status_code == 404


def test_a_deleted_dataset_is_gone_with_its_tables(client: TestClient) -> None:
    before = partitions()
    dataset = make(client)
    assert len(partitions() - before) == 2
    assert client.delete(f"/v1/datasets/{dataset}").status_code == 204
    assert partitions() == before
    assert client.get(f"/v1/datasets/{dataset}").status_code == 404
    assert client.delete(f"/v1/datasets/{dataset}").status_code == 404


def test_a_viewer_deletes_nothing(client: TestClient, project: ProjectKeys) -> None:
    dataset = make(client)
    client.headers["Authorization"] = f"Bearer {project.viewer_key}"
    assert client.delete(f"/v1/datasets/{dataset}").status_code == 403


def end(job_key: int) -> None:
    with transaction() as session:
        session.execute(
            text("UPDATE jobs SET status = 'succeeded', finished_at = now() WHERE key = :key"), {"key": job_key}
        )


def add_model(project: ProjectKeys, job_key: int, folder: Path) -> str:
    """A model of the job, with a file in the artifact store. Where it lies there."""
    prefix = f"models/m{job_key}"
    (folder / "config.json").write_text("{}")
    get_artifacts().put_folder(prefix, folder)
    with transaction() as session:
        model = FineTunedModel(
            id=f"ft:minilm:{project.name}:model:{job_key:08x}",
            project_id=project.id,
            job_key=job_key,
            base="minilm",
            artifact=prefix,
            manifest={},
            tasks=[],
        )
        session.add(model)
    return prefix


def rows_of_job(job_key: int) -> tuple[int, int]:
    with transaction() as session:
        jobs = session.execute(text("SELECT count(*) FROM jobs WHERE key = :key"), {"key": job_key}).scalar_one()
        models = session.execute(text("SELECT count(*) FROM models WHERE job_key = :key"), {"key": job_key})
        return int(jobs), int(models.scalar_one())


def test_a_dataset_with_an_unfinished_job_stays(client: TestClient, project: ProjectKeys) -> None:
    dataset = make(client)
    job = queue_job(project.id, dataset_id=dataset)
    answer = client.delete(f"/v1/datasets/{dataset}", params={"cascade": True})
    assert (answer.status_code, answer.json()["code"]) == (409, "dataset_in_use")
    assert client.get(f"/v1/datasets/{dataset}/annotations").status_code == 200
    end(job.key)
    assert client.delete(f"/v1/datasets/{dataset}").status_code == 204


@pytest.mark.parametrize("cascade", [False, True])
def test_finished_jobs_and_models_stay_unless_they_are_to_go(
    client: TestClient, project: ProjectKeys, tmp_path: Path, cascade: bool
) -> None:
    dataset = make(client)
    job = queue_job(project.id, dataset_id=dataset)
    end(job.key)
    prefix = add_model(project, job.key, tmp_path)
    assert client.delete(f"/v1/datasets/{dataset}", params={"cascade": cascade}).status_code == 204
    assert rows_of_job(job.key) == ((0, 0) if cascade else (1, 1))
    assert (get_artifacts().manifest(prefix) is None) == cascade


@contextmanager
def reading(dataset: str) -> Iterator[Session]:
    """A transaction that has read the dataset's rows and is not over, as a slow export's."""
    with Session(get_engine()) as session:
        key = session.execute(text("SELECT key FROM datasets WHERE id = :id"), {"id": dataset}).scalar_one()
        session.execute(text(f"SELECT count(*) FROM items_{key}"))
        yield session


def test_what_is_being_read_is_not_deleted_and_nobody_waits_long(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock_waits, "_PATIENCE", lock_waits._PATIENCE / 30)
    dataset, other = make(client), make(client)
    with reading(dataset):
        answer = client.delete(f"/v1/datasets/{dataset}")
        assert (answer.status_code, answer.json()["code"]) == (409, "dataset_busy")
        assert client.delete(f"/v1/datasets/{other}").status_code == 204
    assert client.delete(f"/v1/datasets/{dataset}").status_code == 204


def test_an_upload_in_progress_does_not_keep_others_from_deleting(client: TestClient, project: ProjectKeys) -> None:
    """What an upload holds until it is whole are its own tables alone."""
    dataset = make(client)
    with Session(get_engine()) as session:
        new = dataset_queries.add_dataset(session, "ds_in_progress", project.id, "slow", has_text=True)
        partition_queries.create(session, new.key)
        assert client.delete(f"/v1/datasets/{dataset}").status_code == 204


@pytest.mark.filterwarnings("error::ResourceWarning", "error::pytest.PytestUnraisableExceptionWarning")
def test_an_export_that_is_broken_off_closes_what_it_opened(client: TestClient) -> None:
    dataset_id = make(client)
    with transaction() as session:
        dataset = session.scalars(select(Dataset).where(Dataset.id == dataset_id)).one()
        rows = annotation_queries.stream_rows(session, dataset.key, 1)
        assert len(next(iter(rows))) == len(ROWS)
        del rows
        gc.collect()
        assert session.scalar(text("SELECT count(*) FROM pg_cursors WHERE name LIKE 'c\\_%'")) == 0
