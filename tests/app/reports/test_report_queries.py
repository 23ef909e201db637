"""Storing a report: every figure as it was, in the caller's transaction, a bounded number of rows at a time."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from sqlalchemy import func, select, text

from app.database import annotation_queries, attempt_queries, dataset_queries, job_queries, report_queries
from app.database.base import new_id
from app.database.session import transaction
from app.database.tables import ALL_TASKS, AnnotatorReport, ItemReport, Job
from app.fine_tuning.service import cancel_job
from realm_core.reliability import Report, build_report
from tests.conftest import ProjectKeys
from tests.finished_jobs import crowd_rows, simulated_model, upload


@pytest.fixture
def job_and_report(client: TestClient, project: ProjectKeys) -> tuple[Job, Report, np.ndarray]:
    """A job that has no report yet, the report, and the annotators' ids."""
    dataset_id = upload(client, crowd_rows())
    with transaction() as session:
        dataset = dataset_queries.find_dataset(session, project.id, dataset_id)
        assert dataset is not None
        loaded = annotation_queries.load_annotations(session, dataset.key, 1)
        job = job_queries.add_job(
            session,
            id=new_id("ftjob-"),
            project_id=project.id,
            dataset_id=dataset_id,
            dataset_version=1,
            model="minilm",
            method={"type": "realm", "hyperparameters": {}},
            seed=1,
        )
    log_p = simulated_model(loaded.annotations)
    return job, build_report(loaded.annotations, log_p, cross_fitted=True, trained_accuracy=None), loaded.annotator_ids


@pytest.mark.parametrize("items_per_chunk", [100_000, 7])
def test_every_figure_is_kept(
    job_and_report: tuple[Job, Report, np.ndarray], monkeypatch: pytest.MonkeyPatch, items_per_chunk: int
) -> None:
    job, report, ids = job_and_report
    monkeypatch.setattr(report_queries, "ITEMS_PER_CHUNK", items_per_chunk)
    with transaction() as session:
        report_queries.write_report(session, job.key, report, ids)
    with transaction() as session:
        rows = session.execute(select(AnnotatorReport).where(AnnotatorReport.job_key == job.key)).scalars()
        stored = {(row.annotator, row.task): row for row in rows}
        items = session.execute(select(ItemReport).where(ItemReport.job_key == job.key).order_by(ItemReport.item))
        items = items.scalars().all()
    assert len(stored) == len(report.annotators)
    for row in report.annotators:
        kept = stored[int(ids[row.annotator]), ALL_TASKS if row.task is None else row.task]
        accuracy = None if kept.accuracy is None else (kept.accuracy, kept.accuracy_low, kept.accuracy_high)
        assert accuracy == (row.accuracy and (row.accuracy.value, row.accuracy.low, row.accuracy.high))
        assert kept.expertise == (row.expertise and row.expertise.value)
        assert (kept.n, kept.agreement, tuple(kept.flags), kept.detail) == (row.n, row.agreement, row.flags, row.detail)
    assert [item.item for item in items] == list(range(len(report.items.label)))
    assert [item.label for item in items] == report.items.label.tolist()
    assert [item.relabel_gain for item in items] == pytest.approx(report.items.relabel_gain, abs=1e-6)
    for item, posterior in zip(items, report.items.posterior, strict=True):
        assert item.posterior == pytest.approx(posterior[: len(item.posterior)], abs=1e-6)
        assert not posterior[len(item.posterior) :].any()


def test_a_job_can_be_watched_and_cancelled_while_its_report_is_written(
    job_and_report: tuple[Job, Report, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    job, report, ids = job_and_report
    with transaction() as session:
        claim = attempt_queries.claim_job(session, job.id, "worker-1", 60)
    assert claim is not None
    copy_items = report_queries._copy_items

    def copy_and_look(*arguments: Any) -> None:
        copy_items(*arguments)
        with transaction() as meanwhile:
            meanwhile.execute(text("SET LOCAL lock_timeout = '1s'"))
            assert attempt_queries.heartbeat(meanwhile, claim, 60) is False
            cancel_job(meanwhile, job.project_id, job.id)

    monkeypatch.setattr(report_queries, "_copy_items", copy_and_look)
    with pytest.raises(attempt_queries.LeaseLost):
        finish(job, report, ids, claim)
    with transaction() as session:
        assert session.execute(select(func.count()).where(ItemReport.job_key == job.key)).scalar_one() == 0
        assert attempt_queries.heartbeat(session, claim, 60) is True


def finish(job: Job, report: Report, ids: np.ndarray, claim: attempt_queries.Claim) -> None:
    with transaction() as session:
        report_queries.write_report(session, job.key, report, ids)
        attempt_queries.succeed(session, claim, None)


def test_zeros_after_the_last_answer_are_not_stored(job_and_report: tuple[Job, Report, np.ndarray]) -> None:
    """A task with few answers beside one with many would carry all their zeros."""
    job, report, ids = job_and_report
    padded = np.pad(report.items.posterior, ((0, 0), (0, 40)))
    with transaction() as session:
        wide = replace(report, items=replace(report.items, posterior=padded, model_posterior=None))
        report_queries.write_report(session, job.key, wide, ids)
        longest = select(func.max(func.cardinality(ItemReport.posterior))).where(ItemReport.job_key == job.key)
        assert session.execute(longest).scalar_one() == 3
        of_model = select(func.count(ItemReport.model_posterior)).where(ItemReport.job_key == job.key)
        assert session.execute(of_model).scalar_one() == 0


def test_the_job_keeps_the_overview_and_the_names_of_the_answers(
    job_and_report: tuple[Job, Report, np.ndarray],
) -> None:
    job, report, ids = job_and_report
    with transaction() as session:
        report_queries.write_report(session, job.key, report, ids)
    with transaction() as session:
        summary = session.execute(select(Job.summary).where(Job.key == job.key)).scalar_one()
    assert summary is not None
    (task,) = summary.pop("tasks")
    assert sorted(task["answers"]) == ["business", "science", "sports"]
    assert summary == report.summary


def test_nothing_is_kept_when_the_transaction_fails(job_and_report: tuple[Job, Report, np.ndarray]) -> None:
    job, report, ids = job_and_report

    def write_and_fail() -> None:
        with transaction() as session:
            report_queries.write_report(session, job.key, report, ids)
            raise RuntimeError("after the report")

    with pytest.raises(RuntimeError, match="after the report"):
        write_and_fail()
    with transaction() as session:
        for table in (AnnotatorReport, ItemReport):
            count = select(func.count()).select_from(table).where(table.job_key == job.key)
            assert session.execute(count).scalar_one() == 0
        assert session.execute(select(Job.summary).where(Job.key == job.key)).scalar_one() is None
