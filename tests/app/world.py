"""One object of every kind that the API knows, in one project: for tests that call every route."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sqlalchemy import select

from app.artifacts import get_artifacts
from app.database import model_queries
from app.database.session import transaction
from app.database.tables import Job
from realm_core.annotations import Task
from tests.conftest import ProjectKeys
from tests.finished_jobs import finish_job
from tests.jobs import queue_job
from tests.realm_core.tiny_models import save_tiny_model

CSV = "annotator,label,prompt\nana,yes,sky\nbo,no,sky\nana,yes,sea\nbo,yes,sea\n"
YES_OR_NO = Task("default", ("no", "yes"))


def ids_of_a_world(client: Any, project: ProjectKeys, folder: Path) -> dict[str, str]:
    """Values for the parameters of paths, by their names; `client` has the project's admin key."""
    form = {"file": ("labels.csv", CSV, "text/csv")}
    file = client.post("/v1/files", files=form, data={"purpose": "fine-tune"}).raise_for_status().json()
    dataset_id = file["dataset"].partition("@")[0]
    job_id = finish_job(project.id, dataset_id, with_model=False).id
    queue_job(project.id)
    model_id = add_model(job_id, folder)
    client.put(f"/v1/models/{model_id}/aliases/production").raise_for_status()
    webhook_id = client.post("/v1/webhooks", json={"url": "https://example.org/"}).raise_for_status().json()["id"]
    report = f"/v1/fine_tuning/jobs/{job_id}"
    return {
        "file_id": file["id"],
        "dataset_id": dataset_id,
        **dict.fromkeys(("number", "older", "newer"), "1"),
        "job_id": job_id,
        "annotator_id": client.get(f"{report}/annotators").json()["data"][0]["id"],
        "item_id": client.get(f"{report}/items").json()["data"][0]["id"],
        "table": "items",
        "file_format": "csv",
        "model_id": model_id,
        "alias": "production",
        "key_id": client.post("/v1/api_keys", json={}).raise_for_status().json()["id"],
        "project_id": project.id,
        "webhook_id": webhook_id,
        "delivery_id": client.post(f"/v1/webhooks/{webhook_id}/test").raise_for_status().json()["id"],
    }


def add_model(job_id: str, folder: Path, task: Task = YES_OR_NO) -> str:
    """A model of a job: a tiny one, which answers."""
    files = save_tiny_model(folder, task, ("ann_1", "ann_2"))
    artifact = f"models/{job_id}-1"
    manifest = get_artifacts().put_folder(artifact, files)
    with transaction() as session:
        job_key = session.execute(select(Job.key).where(Job.id == job_id)).scalar_one()
        tasks = [{"name": task.name, "answers": list(task.answers)}]
        return model_queries.add_model(
            session, job_key=job_key, base="minilm", artifact=artifact, manifest=manifest, tasks=tasks
        )
