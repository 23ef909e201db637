"""A job that is killed in mid-training goes on from its checkpoint, and ends with the same report."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from sqlalchemy import select

from app.artifacts import get_artifacts
from app.database.session import transaction
from app.database.tables import ALL_TASKS, AnnotatorReport, FineTunedModel, Job
from tests.jobs import messages_of, wait_for
from tests.worker.conftest import Start
from tests.worker.workers import assert_whole, running_worker, training, wait_until_finished

pytestmark = [pytest.mark.usefixtures("quick_settings"), pytest.mark.slow, pytest.mark.timeout(1200)]


def report_of(job: Job) -> list[tuple[float | None, ...]]:
    """The figures of the report."""
    columns = (AnnotatorReport.accuracy, AnnotatorReport.model_accuracy, AnnotatorReport.expertise)
    query = select(*columns).where(AnnotatorReport.job_key == job.key, AnnotatorReport.task == ALL_TASKS)
    with transaction() as session:
        return [tuple(row) for row in session.execute(query.order_by(AnnotatorReport.annotator))]


def learned_by(job: Job, folder: Path) -> dict[str, torch.Tensor]:
    """The channel, the answers' vectors and the scale of the fine-tuned model."""
    with transaction() as session:
        query = select(FineTunedModel.artifact).where(FineTunedModel.id == job.fine_tuned_model)
        prefix = session.execute(query).scalar_one()
    return load_file(get_artifacts().fetch_folder(prefix, folder) / "realm.safetensors")


@pytest.mark.parametrize("channel", ["auto", "prompt"])
def test_a_job_that_is_killed_in_mid_training_ends_with_the_same_report_and_model(
    channel: str, start: Start, tmp_path: Path
) -> None:
    settings = {"seed": 3, **training(channel=channel, n_epochs=4, batch_size=8, evaluations=4)}
    with running_worker(tmp_path / "log") as worker:
        whole = wait_until_finished(start(**settings), 500)
        broken = start(**settings)
        wait_for(lambda: any(message.startswith("Checkpoint at") for message in messages_of(broken)), 300)
        time.sleep(random.uniform(0, 2))
        wait_for(lambda: worker.training_of(broken)).kill()
        row = wait_until_finished(broken, 500)
    assert (whole.status, row.status, row.attempt) == ("succeeded", "succeeded", 2)
    resumed = next(message for message in messages_of(broken) if message.startswith("Going on from the checkpoint"))
    assert not resumed.endswith("step 0")
    for unbroken_row, resumed_row in zip(report_of(whole), report_of(row), strict=True):
        assert resumed_row == pytest.approx(unbroken_row, abs=1e-4)
    unbroken, resumed_one = learned_by(whole, tmp_path / "whole"), learned_by(row, tmp_path / "broken")
    assert ("channel.skill" in unbroken) == (channel == "prompt")
    for name, tensor in unbroken.items():
        torch.testing.assert_close(resumed_one[name], tensor, atol=1e-5, rtol=1e-4, msg=name)
    assert_whole(row)
