"""A finished job of any size: a real dataset, a simulated model, and its report by the code that ends jobs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from app.database import annotation_queries, attempt_queries, dataset_queries, job_queries, report_queries
from app.database.base import new_id
from app.database.session import transaction
from benchmarks.speed.crowd import make_crowd, simulated_model
from benchmarks.speed.live_service import LiveService
from realm_core.reliability import build_report

_LEASE_SECONDS = 3600.0


@dataclass(frozen=True)
class FinishedJob:
    """A job with one of its annotators and one of its items."""

    id: str
    annotator: str
    item: str


def finished_job(service: LiveService, n_labels: int, per_item: int, n_annotators: int) -> FinishedJob:
    """Upload a crowd through the service and end a job on it."""
    crowd = make_crowd(n_labels // per_item, per_item, n_annotators)
    with TemporaryDirectory(prefix="realm-speed-") as folder:
        dataset_id = service.client.datasets.upload(crowd.write(Path(folder) / "labels.csv"))["id"]
    project_id, job_id = service.project_id, new_id("ftjob-")
    with transaction() as session:
        dataset = dataset_queries.find_dataset(session, project_id, dataset_id)
        assert dataset is not None
        loaded = annotation_queries.load_annotations(session, dataset.key, 1)
    report = build_report(loaded.annotations, simulated_model(crowd.truth), cross_fitted=True, trained_accuracy=None)
    with transaction() as session:
        job = job_queries.add_job(
            session,
            id=job_id,
            project_id=project_id,
            dataset_id=dataset_id,
            dataset_version=1,
            model="minilm",
            method={"type": "realm", "hyperparameters": {}},
            seed=1,
        )
        claim = attempt_queries.claim_job(session, job_id, "speed", _LEASE_SECONDS)
        assert claim is not None
        report_queries.write_report(session, job.key, report, loaded.annotator_ids)
        attempt_queries.succeed(session, claim, None)
    annotator = next(service.client.reports.annotators(job_id))["id"]
    return FinishedJob(job_id, annotator, next(service.client.reports.items(job_id))["id"])
