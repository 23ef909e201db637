"""The report over HTTP: shapes, orders, pages, and clear errors."""

from __future__ import annotations

from typing import Any, get_args

import pytest
from fastapi.testclient import TestClient

from app.database.session import transaction
from app.reports.schemas import AnnotatorSort
from tests.app.reports.conftest import ReportApi
from tests.conftest import ProjectKeys
from tests.finished_jobs import (
    ANSWERS,
    FORMULA_NAME,
    GOOD,
    HOSTILE_PROMPT,
    N_ITEMS,
    SCRIPT_NAME,
    crowd_rows,
    finish_job,
    upload,
)
from tests.jobs import queue_job

ROW_FIELDS = {
    "id", "annotator", "task", "n", "accuracy", "model_accuracy", "expertise", "agreement", "flags", "reasons",
    "worst_answer", "worst_answer_accuracy", "median_seconds", "cost_per_correct",
}  # fmt: skip


def test_a_row_has_the_figures_of_its_annotator(report: ReportApi) -> None:
    rows = {row["annotator"]: row for row in report.all_rows("annotators")}
    assert set(rows) == {row["annotator"] for row in crowd_rows()}
    ada = rows["ada"]
    assert ada.keys() == ROW_FIELDS
    assert ada["id"].startswith("ann_")
    assert ada["task"] is None
    assert ada["n"] == sum(row["annotator"] == "ada" for row in crowd_rows())
    assert ada["accuracy"]["low"] < ada["accuracy"]["value"] < ada["accuracy"]["high"]
    assert ada["accuracy"]["method"] == "cross_fitted"
    assert ada["expertise"]["value"] == pytest.approx((3 * ada["accuracy"]["value"] - 1) / 2)
    assert ada["flags"] == []
    assert ada["reasons"] == []


def test_pace_and_cost_come_with_the_labels(report: ReportApi) -> None:
    """Where they are said; the middle label's time, and what a right one costs."""
    seconds = {"ada": 3, "boris": 9}
    rows = [
        row | {"duration_ms": 1000 * seconds[row["annotator"]], "cost": 0.25} if row["annotator"] in seconds else row
        for row in crowd_rows()
    ]
    job = finish_job(report.project.id, upload(report.client, rows, "timed"))
    path = f"/v1/fine_tuning/jobs/{job.id}/annotators"
    timed = report.client.get(path, params={"sort": "-median_seconds"}).json()["data"]
    assert [(row["annotator"], row["median_seconds"]) for row in timed[:3]] == [
        ("boris", 9),
        ("ada", 3),
        (timed[2]["annotator"], None),
    ]
    assert timed[0]["cost_per_correct"] == pytest.approx(0.25 / timed[0]["accuracy"]["value"])
    costly = report.client.get(path, params={"sort": "cost_per_correct"}).json()["data"]
    assert {row["annotator"] for row in costly[:2]} == {"ada", "boris"}
    swapper = next(row for row in costly if row["annotator"] == "swap sam")
    assert swapper["worst_answer"] in ("business", "science")
    assert swapper["worst_answer_accuracy"] < 0.3


def test_every_flag_comes_with_a_sentence_and_nobody_innocent_is_accused(report: ReportApi) -> None:
    rows = {row["annotator"]: row for row in report.all_rows("annotators")}
    assert "always_same" in rows["always al"]["flags"]
    assert any(reason.startswith("Answers “business” 100 % of the time") for reason in rows["always al"]["reasons"])
    assert "below_chance" in rows[SCRIPT_NAME]["flags"]
    assert any("worse than guessing" in reason for reason in rows[SCRIPT_NAME]["reasons"])
    assert "swaps" in rows["swap sam"]["flags"]
    (swap,) = (reason for reason in rows["swap sam"]["reasons"] if reason.startswith("Gives"))
    assert "“business”" in swap
    assert "“science”" in swap
    assert rows["newbie"]["flags"] == ["too_few_labels"]
    assert rows["newbie"]["reasons"] == ["3 labels; it takes at least 5 to tell."]
    assert rows["newbie"]["accuracy"] == {"value": None, "low": None, "high": None, "method": "cross_fitted"}
    assert all(rows[name]["flags"] == [] for name in GOOD)
    assert all(len(row["flags"]) == len(row["reasons"]) for row in rows.values())


def test_flagged_come_first_then_the_less_accurate_and_the_unknown_last(report: ReportApi) -> None:
    rows = report.all_rows("annotators")
    harmful = [bool(set(row["flags"]) - {"too_few_labels"}) for row in rows]
    assert harmful == sorted(harmful, reverse=True)
    assert sum(harmful) == 3
    for part in (rows[:3], rows[3:-1]):
        accuracies = [row["accuracy"]["value"] for row in part]
        assert accuracies == sorted(accuracies)
    assert rows[-1]["annotator"] == "newbie"


@pytest.mark.parametrize("sort", get_args(AnnotatorSort))
def test_pages_of_annotators_join_to_the_whole_list(report: ReportApi, sort: str) -> None:
    whole = report.all_rows("annotators", sort=sort)
    assert report.all_rows("annotators", limit=2, sort=sort) == whole
    assert len({row["id"] for row in whole}) == len(whole) == 9
    name = sort.removeprefix("-")
    if sort != "concern":
        values = [_figure(row, name) for row in whole]
        known = [value for value in values if value is not None]
        assert known == sorted(known, reverse=sort.startswith("-"))
        assert None not in values[: len(known)]


def _figure(row: dict[str, Any], name: str) -> Any:
    value = row["annotator" if name == "name" else name]
    return value["value"] if isinstance(value, dict) else value


def test_annotators_are_found_by_a_part_of_their_name(report: ReportApi) -> None:
    assert [row["annotator"] for row in report.get("annotators", name="CHEN")["data"]] == ["chen wei"]
    assert [row["annotator"] for row in report.get("annotators", name="<script>")["data"]] == [SCRIPT_NAME]
    assert report.get("annotators", name="%")["data"] == []
    assert report.get("annotators", name="nobody") == {
        "object": "list", "data": [], "has_more": False, "first_id": None, "last_id": None,
    }  # fmt: skip


def test_one_annotator_has_rows_by_task_and_a_confusion(report: ReportApi) -> None:
    (row,) = report.get("annotators", name="swap sam")["data"]
    detail = report.get(f"annotators/{row['id']}")
    assert {name: detail[name] for name in ROW_FIELDS} == row
    assert [one["n"] for one in detail["tasks"]] == [row["n"]]
    (confusion,) = detail["confusion"]
    assert confusion["answers"] == list(ANSWERS)
    business, science, sports = confusion["counts"]
    assert business.index(max(business)) == 1
    assert science.index(max(science)) == 0
    assert sports.index(max(sports)) == 2
    assert sum(map(sum, confusion["counts"])) == pytest.approx(row["n"], abs=0.01)


def test_items_have_their_cleaned_label_and_votes(report: ReportApi) -> None:
    items = report.all_rows("items", sort="item")
    assert [item["id"] for item in items] == [f"item_{n}" for n in range(N_ITEMS)]
    assert [item["item_id"] for item in items] == [f"item-{n}" for n in range(N_ITEMS)]
    third = items[3]
    assert third["prompt"] == HOSTILE_PROMPT
    given = [(row["annotator"], row["label"]) for row in crowd_rows() if row["item_id"] == "item-3"]
    assert sorted((vote["annotator"], vote["label"]) for vote in third["votes"]) == sorted(given)
    truth = {row["item_id"]: row["gold"] for row in crowd_rows() if "gold" in row}
    right = sum(item["label"] == truth[item["item_id"]] for item in items) / N_ITEMS
    assert right > 0.95
    assert all(0 <= item["relabel_gain"] <= 1 and 0 < item["model_probability"] < 1 for item in items)


@pytest.mark.parametrize("sort", ["-relabel_gain", "probability", "item"])
def test_pages_of_items_join_to_the_whole_list(report: ReportApi, sort: str) -> None:
    whole = report.all_rows("items", limit=1000, sort=sort)
    assert report.all_rows("items", limit=70, sort=sort) == whole
    assert len(whole) == N_ITEMS
    key = sort.removeprefix("-")
    if key != "item":
        values = [item[key] for item in whole]
        assert values == sorted(values, reverse=sort.startswith("-"))


def test_items_are_found_by_their_id(report: ReportApi) -> None:
    assert [item["id"] for item in report.get("items", item_id="item-7")["data"]] == ["item_7"]


def test_one_item_has_the_probability_of_every_answer(report: ReportApi) -> None:
    item = report.get("items/item_3")
    assert [answer["answer"] for answer in item["answers"]] == list(ANSWERS)
    assert sum(answer["probability"] for answer in item["answers"]) == pytest.approx(1, abs=1e-5)
    assert sum(answer["model_probability"] for answer in item["answers"]) == pytest.approx(1, abs=1e-5)
    best = max(item["answers"], key=lambda answer: answer["probability"])
    assert (best["answer"], best["probability"]) == (item["label"], item["probability"])
    accuracy = {row["annotator"]: row["accuracy"]["value"] for row in report.all_rows("annotators")}
    assert item["votes"]
    assert all(vote["accuracy"] == accuracy[vote["annotator"]] for vote in item["votes"])


def test_agreement_sums_the_report_up(report: ReportApi) -> None:
    agreement = report.get("agreement")
    assert agreement["job_id"] == report.job.id
    assert agreement["n_items"] == N_ITEMS
    assert agreement["n_labels"] == len(crowd_rows())
    assert agreement["n_annotators"] == 9
    assert agreement["n_flagged"] == 3
    assert agreement["flags"]["too_few_labels"] == 1
    assert 0 < agreement["krippendorff_alpha"] < agreement["agreement"] < 1
    assert agreement["gold"]["n"] == N_ITEMS
    assert agreement["gold"]["posterior_accuracy"] > agreement["gold"]["majority_accuracy"]
    assert agreement["baselines"]["majority_vote"]["gold_accuracy"] == agreement["gold"]["majority_accuracy"]
    assert agreement["notes"]


@pytest.mark.parametrize(
    ("path", "query", "status", "code"),
    [
        ("annotators", {"sort": "height"}, 422, "invalid_request"),
        ("annotators", {"limit": "1001"}, 422, "invalid_request"),
        ("annotators", {"nmae": "ada"}, 422, "invalid_request"),
        ("annotators", {"task": "nope"}, 422, "unknown_task"),
        ("annotators", {"after": "ann_999999999"}, 404, "not_found"),
        ("annotators", {"after": "item_1"}, 404, "not_found"),
        ("annotators/ann_0", {}, 404, "not_found"),
        ("annotators/ann_99999999999999999999", {}, 404, "not_found"),
        ("annotators/ada", {}, 404, "not_found"),
        ("items", {"after": "item_240"}, 404, "not_found"),
        ("items/item_240", {}, 404, "not_found"),
        ("items/item_-1", {}, 404, "not_found"),
        ("items/item_٣", {}, 404, "not_found"),
        ("export/annotators.xlsx", {}, 422, "invalid_request"),
        ("export/people.csv", {}, 422, "invalid_request"),
    ],
)
def test_a_wrong_question_gets_a_clear_answer(
    report: ReportApi, path: str, query: dict[str, str], status: int, code: str
) -> None:
    assert report.get(path, status, **query)["code"] == code


CALLS = ["annotators", "annotators/ann_1", "items", "items/item_0", "agreement", "export/labels.csv"]


@pytest.mark.parametrize("path", CALLS)
@pytest.mark.parametrize(
    ("values", "code", "says"),
    [
        ({"status": "queued"}, "job_queued", "waits for a worker"),
        ({"status": "failed", "error_message": "Out of memory."}, "job_failed", "Out of memory."),
        ({"status": "cancelled"}, "job_cancelled", "was cancelled"),
    ],
)
def test_a_job_without_a_report_says_why(
    client: TestClient, project: ProjectKeys, path: str, values: dict[str, str], code: str, says: str
) -> None:
    job = queue_job(project.id)
    end(job.key, **values)
    answer = client.get(f"/v1/fine_tuning/jobs/{job.id}/{path}")
    assert (answer.status_code, answer.json()["code"]) == (409, code)
    assert says in answer.json()["detail"]


def end(job_key: int, *, status: str, error_message: str | None = None) -> None:
    """Put a queued job into a status that it ends in."""
    from sqlalchemy import func, update

    from app.database.tables import Job

    finished_at = None if status == "queued" else func.now()
    with transaction() as session:
        values = {"status": status, "finished_at": finished_at, "error_message": error_message}
        session.execute(update(Job).where(Job.key == job_key).values(**values))


@pytest.mark.parametrize("path", CALLS)
def test_other_projects_see_nothing_of_it(report: ReportApi, client: TestClient, path: str) -> None:
    answer = client.get(f"/v1/fine_tuning/jobs/{report.job.id}/{path}")
    assert answer.status_code == 404
    assert answer.json()["detail"] == f"There is no job {report.job.id!r}."


def test_a_viewer_may_read(report: ReportApi) -> None:
    headers = {"Authorization": f"Bearer {report.project.viewer_key}"}
    assert report.client.get(f"/v1/fine_tuning/jobs/{report.job.id}/annotators", headers=headers).status_code == 200


def test_several_tasks_and_own_options(client: TestClient, project: ProjectKeys) -> None:
    """Rows by task; answers that a prompt brings itself are named by their text."""
    rows = [
        {"task": task, "prompt": f"{task} {n}", "annotator": name, "label": label, **options}
        for n in range(30)
        for name in ("ada", "boris", "chen")
        for task, label, options in (
            ("topic", ("news", "sport")[n % 2], {}),
            ("quiz", f"right {n}", {"options": [f"wrong {n}", f"right {n}", "none"]}),
        )
    ]
    api = ReportApi(client, project, finish_job(project.id, upload(client, rows), with_model=False))
    over_all = api.all_rows("annotators")
    assert [row["task"] for row in over_all] == [None] * 3
    topic = api.all_rows("annotators", task="topic")
    assert [(row["task"], row["n"]) for row in topic] == [("topic", 30)] * 3
    assert {row["n"] for row in over_all} == {60}
    items = api.all_rows("items", task="quiz")
    assert len(items) == 30
    assert {item["label"] for item in items} == {f"right {n}" for n in range(30)}
    detail = api.get(f"items/{items[0]['id']}")
    assert [answer["answer"] for answer in detail["answers"]][2] == "none"
    assert sum(answer["probability"] for answer in detail["answers"]) == pytest.approx(1, abs=1e-5)
    assert {row["method"] for row in (row["accuracy"] for row in over_all)} == {"in_sample"}
    people = api.get(f"annotators/{over_all[0]['id']}")
    assert [row["task"] for row in people["tasks"]] == ["topic", "quiz"]
    assert [one["task"] for one in people["confusion"]] == ["topic"]


def test_the_figures_outlive_the_dataset(client: TestClient, project: ProjectKeys) -> None:
    job = finish_job(project.id, upload(client, crowd_rows()[:300]), with_model=False)
    api = ReportApi(client, project, job)
    rows = api.all_rows("annotators")
    assert client.delete(f"/v1/datasets/{job.dataset_id}").status_code in (200, 204)
    assert api.all_rows("annotators") == rows
    assert api.get("agreement")["n_annotators"] == len(rows)
    for path in ("items", "items/item_0", "export/items.csv", "export/labels.json"):
        assert api.get(path, 409)["code"] == "dataset_deleted"
    exported = client.get(f"/v1/fine_tuning/jobs/{job.id}/export/annotators.json").json()
    assert [row["annotator"] for row in exported] == [row["annotator"] for row in rows]
    assert FORMULA_NAME in [row["annotator"] for row in exported]
