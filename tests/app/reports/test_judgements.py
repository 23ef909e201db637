"""One annotator's labels over HTTP: which are doubtful, how they differ from everybody's, and how it went over time."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from fastapi.testclient import TestClient

from tests.app.reports.conftest import ReportApi
from tests.conftest import ProjectKeys
from tests.finished_jobs import ANSWERS, DAY, FIRST_DAY, crowd_rows, dated_rows, finish_job, upload

TURNING_POINT = 150


def id_of(report: ReportApi, name: str) -> str:
    return next(str(row["id"]) for row in report.all_rows("annotators") if row["annotator"] == name)


def test_labels_come_page_by_page_the_most_doubtful_first(report: ReportApi) -> None:
    path = f"annotators/{id_of(report, 'swap sam')}/labels"
    labels = report.all_rows(path, limit=17)
    given = [row for row in crowd_rows() if row["annotator"] == "swap sam"]
    assert {(one["item_id"], one["label"]) for one in labels} == {(row["item_id"], row["label"]) for row in given}
    assert len(labels) == len(given)
    probabilities = [one["probability"] for one in labels]
    assert probabilities == sorted(probabilities)
    assert labels[0]["label"] != labels[0]["probable_label"]
    assert labels[-1]["label"] == labels[-1]["probable_label"]


def test_the_probability_is_that_of_the_item(report: ReportApi) -> None:
    label = report.get(f"annotators/{id_of(report, 'ada')}/labels", limit=1)["data"][0]
    answers = {one["answer"]: one["probability"] for one in report.get(f"items/{label['id']}")["answers"]}
    assert label["probability"] == pytest.approx(answers[label["label"]])
    assert label["probable_label"] == max(answers, key=lambda answer: answers[answer])


def test_the_cells_of_the_confusion_hold_all_labels(report: ReportApi) -> None:
    sam = id_of(report, "swap sam")
    (confusion,) = report.get(f"annotators/{sam}")["confusion"]
    found = 0
    for truth in confusion["answers"]:
        for given in confusion["answers"]:
            cell = report.all_rows(
                f"annotators/{sam}/labels", task=confusion["task"], label=given, probable_label=truth
            )
            assert {(one["probable_label"], one["label"]) for one in cell} <= {(truth, given)}
            found += len(cell)
    assert (
        found == sum(map(sum, confusion["counts"])) == pytest.approx(len(report.all_rows(f"annotators/{sam}/labels")))
    )


def test_shares_are_compared_with_everybodys(report: ReportApi) -> None:
    shares = report.get(f"annotators/{id_of(report, 'always al')}/behaviour")["label_shares"]
    assert {one["answer"]: one["share"] for one in shares} == {"business": 1, "science": 0, "sports": 0}
    rows = crowd_rows()
    for one in shares:
        assert one["share_of_all"] == pytest.approx(sum(row["label"] == one["answer"] for row in rows) / len(rows))


def test_without_times_there_are_no_periods(report: ReportApi) -> None:
    assert report.get(f"annotators/{id_of(report, 'ada')}/behaviour")["periods"] == []


def test_periods_show_when_somebody_changed(client: TestClient, project: ProjectKeys) -> None:
    job = finish_job(project.id, upload(client, [_changed(row) for row in dated_rows()]))
    report = ReportApi(client, project, job)
    steady, changed = (
        report.get(f"annotators/{id_of(report, name)}/behaviour")["periods"] for name in ("ada", "boris")
    )
    assert all(one["low"] <= one["accuracy"] <= one["high"] for one in steady)
    assert sum(one["n"] for one in steady) == sum(row["annotator"] == "ada" for row in crowd_rows())
    assert all(before["end"] <= after["start"] for before, after in pairwise(steady))
    assert changed[0]["accuracy"] > 0.8
    assert changed[-1]["accuracy"] < changed[-1]["low"]


def _changed(row: dict[str, Any]) -> dict[str, Any]:
    """boris takes each answer for the next one after a while."""
    turned = row["annotator"] == "boris" and row["created_at"] > FIRST_DAY + TURNING_POINT * DAY
    return row | {"label": ANSWERS[(ANSWERS.index(row["label"]) + 1) % 3]} if turned else row


def test_wrong_questions_get_clear_errors(report: ReportApi) -> None:
    path = f"annotators/{id_of(report, 'ada')}/labels"
    assert report.get(path, 422, label="sports")["error"]["code"] == "task_missing"
    task = report.get(path, limit=1)["data"][0]["task"]
    assert "has no answer 'cooking'" in report.get(path, 422, task=task, label="cooking")["error"]["message"]
    assert report.get(path, 404, after="item_999999")["error"]["param"] == "after"
    for other in ("ann_999999999", "nobody"):
        report.get(f"annotators/{other}/labels", 404)
        report.get(f"annotators/{other}/behaviour", 404)
