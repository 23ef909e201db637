"""The main job through the real parts: HTTP, Postgres, Redis, a Celery worker and MiniLM."""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.client import Json, RealmClient
from app.demo.crowd import annotate, true_accuracy, write_labels
from app.demo.phrases import LABELS
from app.demo.sample import Sample, new_messages, training_messages
from realm_core.simulation import SimulatedLabels
from tests.conftest import WholeService

SEED = 3
N_MESSAGES = 240


@pytest.fixture(scope="module")
def api(service: WholeService) -> Iterator[RealmClient]:
    with RealmClient(service.base_url, service.api_key) as client:
        yield client


@pytest.fixture(scope="module")
def messages() -> Sample:
    return training_messages(N_MESSAGES, SEED)


@pytest.fixture(scope="module")
def labels(messages: Sample) -> SimulatedLabels:
    return annotate(messages, SEED)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory, messages: Sample, labels: SimulatedLabels) -> Path:
    path = tmp_path_factory.mktemp("upload") / "messages.csv"
    write_labels(path, messages, labels)
    return path


@pytest.fixture(scope="module")
def dataset(api: RealmClient, file: Path) -> Json:
    return api.datasets.upload(file, labels=LABELS)


@pytest.fixture(scope="module")
def followed(api: RealmClient, dataset: Json) -> list[Any]:
    """Everything that was heard of a job until it had finished."""
    job = api.fine_tuning.jobs.create(dataset=dataset["id"], seed=SEED, suffix="e2e", metadata={"ticket": "7"})
    return list(api.fine_tuning.jobs.follow(job["id"]))


@pytest.fixture(scope="module")
def job(followed: list[Any]) -> Json:
    job: Json = followed[-1].object
    assert job["status"] == "succeeded", job["error"]
    return job


def realm(service: WholeService, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs the command line as a user would."""
    environment = os.environ | {"REALM_URL": service.base_url, "REALM_API_KEY": service.api_key}
    command = [sys.executable, "-m", "app.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=200)


def test_the_job_says_how_it_goes_on(followed: list[Any], job: Json) -> None:
    jobs = [news.object for news in followed if news.kind == "job"]
    percents = [one["progress"]["percent"] for one in jobs if one["progress"]]
    assert percents == sorted(percents)
    assert len(set(percents)) > 2
    assert any(one["status"] == "running" and one["progress"]["eta_at"] for one in jobs if one["progress"])
    messages = [news.object["message"] for news in followed if news.kind == "event"]
    assert messages[0] == "The job is queued"
    assert job["metadata"] == {"ticket": "7"}
    assert job["method"]["realm"]["resolved"]["n_epochs"]["why"]


def test_the_report_finds_out_who_is_what(
    api: RealmClient, job: Json, messages: Sample, labels: SimulatedLabels
) -> None:
    truth = true_accuracy(messages, labels)
    rows = {row["annotator"]: row for row in api.reports.annotators(job["id"])}
    assert set(rows) == set(truth)
    assert all(abs(rows[name]["accuracy"]["value"] - truth[name]) < 0.12 for name in truth)
    covered = [rows[name]["accuracy"]["low"] <= truth[name] <= rows[name]["accuracy"]["high"] for name in truth]
    assert sum(covered) >= 8
    assert {row["accuracy"]["method"] for row in rows.values()} == {"cross_fitted"}
    assert "below_chance" in rows["wanda"]["flags"]
    assert "always_same" in rows["samira"]["flags"]
    assert rows["ada"]["flags"] == []


def test_the_labels_beat_the_majority(api: RealmClient, job: Json, messages: Sample) -> None:
    truth = {prompt: list(LABELS)[y] for prompt, y in zip(messages.prompts, messages.truth, strict=True)}
    items = list(api.reports.items(job["id"]))
    assert len(items) == N_MESSAGES
    assert sum(item["label"] == truth[item["prompt"]] for item in items) / N_MESSAGES > 0.93


def test_the_export_has_the_same_rows(api: RealmClient, job: Json) -> None:
    rows = list(csv.DictReader(api.reports.export(job["id"], "annotators", "csv").decode().splitlines()))
    listed = {row["annotator"]: row for row in api.reports.annotators(job["id"])}
    assert {row["annotator"] for row in rows} == set(listed)
    assert all(float(row["accuracy"]) == listed[row["annotator"]]["accuracy"]["value"] for row in rows)


def test_the_model_answers_new_messages(api: RealmClient, job: Json) -> None:
    new = new_messages(100, SEED)
    answers = api.predict(job["fine_tuned_model"], new.prompts)
    assert all(sum(one["score"] for one in answer) == pytest.approx(1, abs=1e-3) for answer in answers)
    right = [answer[0]["label"] == list(LABELS)[y] for answer, y in zip(answers, new.truth, strict=True)]
    assert sum(right) / 100 > 0.8


def test_the_model_knows_what_an_annotator_would_have_said(api: RealmClient, job: Json) -> None:
    answer = api.predict(job["fine_tuned_model"], "The parcel never came.", annotator="wanda")
    honest = api.predict(job["fine_tuned_model"], "The parcel never came.")
    assert honest[0]["label"] == "delivery"
    assert answer[0]["label"] != "delivery"


def test_the_dashboard_opens_by_the_link_once(service: WholeService, job: Json) -> None:
    assert service.login_link is not None
    with httpx.Client(follow_redirects=True, headers={"Accept": "text/html"}) as browser:
        assert browser.get(service.login_link).status_code == 200
        page = browser.get(f"{service.base_url}/jobs/{job['id']}")
        assert page.status_code == 200
        assert "wanda" in page.text
    assert httpx.get(service.login_link, headers={"Accept": "text/html"}).status_code == 401


def test_the_playground_asks_the_trained_model(service: WholeService, job: Json) -> None:
    """Also what somebody who is worse than chance would have said."""
    html = {"Accept": "text/html"}
    with httpx.Client(base_url=service.base_url, follow_redirects=True, headers=html, timeout=60) as browser:
        browser.post("/login", data={"key": service.api_key}).raise_for_status()
        path = f"/models/{job['fine_tuned_model']}"
        token = re.findall(r'name="csrf_token" value="([^"]+)"', browser.get(path).text)[0]
        asked = {"csrf_token": token, "prompt": "The parcel never came.", "annotator": "wanda"}
        page = browser.post(path, data=asked).text
    found = re.findall(r'<th scope="row"><bdi>(\w+)</bdi></th><td[^>]*>([\d.]+)[^<]*</td><td[^>]*>([\d.]+)', page)
    truth, said = ({label: float(row[column]) for label, *row in found} for column in (0, 1))
    assert truth.keys() == LABELS.keys()
    assert max(truth, key=lambda label: truth[label]) == "delivery"
    assert said["delivery"] < truth["delivery"]
    assert sum(truth.values()) == pytest.approx(100, abs=1)
    assert sum(said.values()) == pytest.approx(100, abs=1)


def test_the_same_by_command_line(service: WholeService, file: Path) -> None:
    uploaded = realm(service, "upload", str(file), "--labels", json.dumps(LABELS), "--json")
    assert uploaded.returncode == 0, uploaded.stderr
    dataset = json.loads(uploaded.stdout)["id"]
    trained = realm(service, "train", dataset, "--method", "aggregation", "--wait", "--json")
    assert trained.returncode == 0, trained.stderr
    job = json.loads(trained.stdout)
    report = realm(service, "report", job["id"], "--format", "json")
    assert report.returncode == 0, report.stderr
    document = json.loads(report.stdout)
    assert {row["annotator"] for row in document["annotators"]} >= {"ada", "wanda"}
    table = realm(service, "report", job["id"])
    assert "always_same" in table.stdout


def test_predict_by_command_line(service: WholeService, job: Json, tmp_path: Path) -> None:
    texts = tmp_path / "texts.txt"
    texts.write_text("I was charged twice.\n\nThe lid is broken.\n")
    predicted = realm(service, "predict", job["fine_tuned_model"], "--file", str(texts), "--top-k", "1", "--json")
    assert predicted.returncode == 0, predicted.stderr
    assert [answer[0]["label"] for answer in json.loads(predicted.stdout)] == ["billing", "defect"]
    partly = realm(service, "predict", job["fine_tuned_model"], "fine", " ")
    assert partly.returncode == 1
    assert "1 of 2 inputs could not be answered" in partly.stderr


def test_a_job_that_fails_ends_train_with_3(service: WholeService, api: RealmClient) -> None:
    """Steps so large that the numbers overflow."""
    rows = [{"prompt": f"text {n}", "annotator": who, "label": "yn"[n % 2]} for n in range(8) for who in ("ann", "bob")]
    dataset = api.datasets.create(rows, name="eight texts")
    ended = realm(service, "train", dataset["id"], "--set", "learning_rate=1e30", "--wait")
    assert ended.returncode == 3, ended.stderr
    assert "diverged" in ended.stderr
