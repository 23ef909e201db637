"""Two reports side by side."""

from __future__ import annotations

from typing import Any

from tests.app.reports.conftest import ReportApi
from tests.finished_jobs import N_ITEMS, crowd_rows, finish_job, upload


def compared(report: ReportApi, other: str, status: int = 200) -> Any:
    return report.get("compare", status, **{"with": other})


def test_the_same_dataset_without_a_model(report: ReportApi) -> None:
    other = finish_job(report.project.id, report.job.dataset_id, with_model=False)
    found = compared(report, other.id)
    ours, theirs = (
        {row["id"]: row["label"] for row in report.client.get(f"/v1/fine_tuning/jobs/{id_}/export/items.json").json()}
        for id_ in (report.job.id, other.id)
    )
    differing = {item for item in ours if ours[item] != theirs[item]}
    assert found["items"]["n_common"] == N_ITEMS
    assert found["items"]["n_same"] == N_ITEMS - len(differing)
    shown = {one["id"]: (one["label"], one["other_label"]) for one in found["items"]["changed"]}
    assert shown.keys() <= differing
    assert len(shown) == min(len(differing), 20)
    assert all(pair == (ours[item], theirs[item]) for item, pair in shown.items())
    moved = found["annotators"]["moved"]
    assert found["annotators"]["n_common"] == 8  # newbie has too few labels
    distances = [abs(one["accuracy"]["value"] - one["other_accuracy"]["value"]) for one in moved]
    assert distances == sorted(distances, reverse=True)
    assert found["annotators"]["n_apart"] == sum(one["apart"] for one in moved)


def test_another_dataset_has_the_same_people_but_no_items_in_common(report: ReportApi) -> None:
    other = finish_job(report.project.id, upload(report.client, crowd_rows(), "again"))
    found = compared(report, other.id)
    assert found["items"] is None
    assert found["annotators"]["n_common"] == 8
    assert found["report"]["expected_accuracy"] == found["other"]["expected_accuracy"]


def test_refused_comparisons(report: ReportApi) -> None:
    compared(report, report.job.id, 422)
    compared(report, "ftjob-nope", 404)
    report.get("compare", 422)
