"""OpenAI's own client, unmodified but for its address and key, against the whole service."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from openai import OpenAI
from openai.types import FileObject
from openai.types.fine_tuning import FineTuningJob

from app.demo.crowd import annotate
from app.demo.phrases import LABELS
from app.demo.sample import training_messages
from tests.conftest import WholeService

SECONDS = 120
FEW_STEPS = {"n_epochs": 1, "batch_size": 16, "cross_fit_folds": 2}


@pytest.fixture(scope="module")
def client(service: WholeService) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{service.base_url}/v1", api_key=service.api_key, max_retries=0) as client:
        yield client


@pytest.fixture(scope="module")
def labels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a crowd as JSON lines, which is what OpenAI's users have."""
    messages = training_messages(60, 1)
    crowd = annotate(messages, 1)
    rows = [
        {"prompt": messages.prompts[item], "annotator": f"annotator {who}", "label": list(LABELS)[label]}
        for item, who, label in zip(crowd.item, crowd.annotator, crowd.label, strict=True)
    ]
    path = tmp_path_factory.mktemp("openai") / "labels.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture(scope="module")
def file(client: OpenAI, labels: Path) -> FileObject:
    with labels.open("rb") as stream:
        return client.files.create(file=stream, purpose="fine-tune")


def finished(client: OpenAI, job: FineTuningJob) -> FineTuningJob:
    """The job once it has ended, asked for as OpenAI's users do."""
    end = time.monotonic() + SECONDS
    while job.status not in ("succeeded", "failed", "cancelled"):
        assert time.monotonic() < end, job
        time.sleep(0.2)
        job = client.fine_tuning.jobs.retrieve(job.id)
    return job


@pytest.fixture(scope="module")
def supervised(client: OpenAI, file: FileObject) -> FineTuningJob:
    hyperparameters: Any = FEW_STEPS
    job = client.fine_tuning.jobs.create(
        model="minilm",
        training_file=file.id,
        method={"type": "supervised", "supervised": {"hyperparameters": hyperparameters}},
        suffix="openai",
        seed=7,
        metadata={"ticket": "42"},
    )
    return finished(client, job)


@pytest.fixture(scope="module")
def realm(client: OpenAI, file: FileObject, supervised: FineTuningJob) -> FineTuningJob:
    """Our own method, which the client cannot know, from the model of the first job on."""
    assert supervised.fine_tuned_model is not None
    method = {"type": "realm", "realm": {"hyperparameters": FEW_STEPS}}
    body = {"method": method}
    job = client.fine_tuning.jobs.create(model=supervised.fine_tuned_model, training_file=file.id, extra_body=body)
    return finished(client, job)


def test_files(client: OpenAI, file: FileObject, labels: Path) -> None:
    assert (file.object, file.filename, file.bytes) == ("file", "labels.jsonl", labels.stat().st_size)
    assert client.files.retrieve(file.id) == file
    assert file.id in [one.id for one in client.files.list(purpose="fine-tune", limit=1)]
    content = [json.loads(line) for line in client.files.content(file.id).text.splitlines()]
    sent = [json.loads(line) for line in labels.read_text().splitlines()]
    assert {(row["prompt"], row["annotator"], row["label"]) for row in content} == {
        (row["prompt"], row["annotator"], row["label"]) for row in sent
    }
    assert client.files.wait_for_processing(file.id).status == "processed"


def test_a_supervised_job(client: OpenAI, supervised: FineTuningJob, file: FileObject) -> None:
    assert supervised.status == "succeeded", supervised.error
    assert (supervised.object, supervised.model, supervised.training_file) == ("fine_tuning.job", "minilm", file.id)
    assert (supervised.seed, supervised.metadata) == (7, {"ticket": "42"})
    assert supervised.hyperparameters.n_epochs == 1
    assert supervised.method is not None
    assert supervised.method.type == "supervised"
    assert supervised.fine_tuned_model is not None
    assert supervised.fine_tuned_model.startswith("ft:minilm:default:openai:")


def test_a_job_by_our_method_continues_from_a_model(
    client: OpenAI, realm: FineTuningJob, supervised: FineTuningJob
) -> None:
    assert realm.status == "succeeded", realm.error
    assert realm.model == supervised.fine_tuned_model
    assert realm.fine_tuned_model is not None
    assert client.models.retrieve(realm.fine_tuned_model).to_dict()["base"] == "minilm"
    assert client.fine_tuning.jobs.retrieve(realm.id).fine_tuned_model == realm.fine_tuned_model is not None


def test_a_model_has_no_names_of_people_in_it(service: WholeService, realm: FineTuningJob) -> None:
    """So that erasing a name from the database erases it everywhere."""
    headers = {"Authorization": f"Bearer {service.api_key}"}
    folder = httpx.get(f"{service.base_url}/v1/models/{realm.fine_tuned_model}/content", headers=headers).content
    assert b"ann_" in folder
    assert re.search(rb"annotator \d", folder) is None


def test_jobs_are_listed_over_pages_and_by_metadata(
    client: OpenAI, supervised: FineTuningJob, realm: FineTuningJob
) -> None:
    listed = [job.id for job in client.fine_tuning.jobs.list(limit=1)]
    assert listed.index(realm.id) < listed.index(supervised.id)
    assert len(listed) == len(set(listed))
    found = [job.id for job in client.fine_tuning.jobs.list(metadata={"ticket": "42"})]
    assert found == [supervised.id]


def test_events_and_checkpoints(client: OpenAI, supervised: FineTuningJob) -> None:
    events = list(client.fine_tuning.jobs.list_events(supervised.id, limit=2))
    assert events[-1].message == "The job is queued"
    assert {event.type for event in events} == {"message", "metrics"}
    assert len(events) > 4
    checkpoints = list(client.fine_tuning.jobs.checkpoints.list(supervised.id, limit=1))
    assert all(checkpoint.fine_tuning_job_id == supervised.id for checkpoint in checkpoints)


def test_cancel(client: OpenAI, file: FileObject) -> None:
    hyperparameters: Any = {"n_epochs": 100, "patience": 1000}
    job = client.fine_tuning.jobs.create(
        model="minilm",
        training_file=file.id,
        method={"type": "supervised", "supervised": {"hyperparameters": hyperparameters}},
    )
    client.fine_tuning.jobs.cancel(job.id)
    assert finished(client, job).status == "cancelled"
    with pytest.raises(openai.ConflictError, match="The job has already been cancelled"):
        client.fine_tuning.jobs.cancel(job.id)
    with pytest.raises(openai.ConflictError, match="cannot be paused"):
        client.fine_tuning.jobs.pause(job.id)


def test_models(client: OpenAI, supervised: FineTuningJob, realm: FineTuningJob) -> None:
    assert supervised.fine_tuned_model is not None
    assert realm.fine_tuned_model is not None
    assert {supervised.fine_tuned_model, realm.fine_tuned_model} <= {model.id for model in client.models.list()}
    model = client.models.retrieve(realm.fine_tuned_model)
    assert (model.object, model.id) == ("model", realm.fine_tuned_model)
    assert client.models.delete(realm.fine_tuned_model).deleted
    with pytest.raises(openai.NotFoundError) as refused:
        client.models.retrieve(realm.fine_tuned_model)
    assert refused.value.code == "model_not_found"
    assert realm.fine_tuned_model in refused.value.message


def test_a_file_is_deleted_with_what_it_brought(client: OpenAI, labels: Path) -> None:
    file = client.files.create(file=labels, purpose="fine-tune")
    assert client.files.delete(file.id).deleted
    with pytest.raises(openai.NotFoundError, match="There is no file"):
        client.files.retrieve(file.id)


def test_errors_are_of_their_class_and_say_what_to_do(client: OpenAI, service: WholeService, file: FileObject) -> None:
    with pytest.raises(openai.NotFoundError, match="There is no job 'ftjob-0'"):
        client.fine_tuning.jobs.retrieve("ftjob-0")
    with pytest.raises(openai.NotFoundError, match="There is no file 'file-0'") as missing:
        client.fine_tuning.jobs.create(model="minilm", training_file="file-0")
    assert (missing.value.param, missing.value.code) == ("training_file", "not_found")
    with pytest.raises(openai.UnprocessableEntityError, match="may not be fine-tuned here") as model:
        client.fine_tuning.jobs.create(model="gpt-4o-mini", training_file=file.id)
    assert (model.value.param, model.value.code) == ("model", "base_model_not_allowed")
    with pytest.raises(openai.UnprocessableEntityError, match="colour: Extra inputs are not permitted"):
        client.fine_tuning.jobs.create(model="minilm", training_file=file.id, extra_body={"colour": "red"})
    with pytest.raises(openai.UnprocessableEntityError, match="Row 1 is bad"):
        client.files.create(file=("a.jsonl", b'{"prompt": "x", "annotator": "a", "label": ""}\n'), purpose="fine-tune")
    with pytest.raises(openai.BadRequestError, match="not valid JSON"):
        client.files.create(file=("a.json", b"{"), purpose="fine-tune")
    stranger = OpenAI(base_url=f"{service.base_url}/v1", api_key="wrong", max_retries=0)
    with stranger, pytest.raises(openai.AuthenticationError, match="unknown, expired or revoked") as nobody:
        stranger.models.list()
    assert nobody.value.code == "invalid_api_key"
    assert nobody.value.request_id
