"""The coverage curve and what it takes to reach a target, against counting by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st

from app.reports.relabelling import POINTS, Bin, _curve, _relabelling
from tests.conftest import ProjectKeys
from tests.finished_jobs import FinishedJob, crowd_rows, finish_job, upload


def binned(probabilities: list[int]) -> list[Bin]:
    """Items whose probabilities are the middles of bins, by the numbers of these."""
    return [
        Bin(k / 1000, (k + 1) / 1000, probabilities.count(k), probabilities.count(k) * (k + 0.5) / 1000)
        for k in sorted(set(probabilities))
    ]


@given(numbers=st.lists(st.integers(300, 999), min_size=1, max_size=60), target=st.floats(0.5, 1.0))
def test_relabelling_takes_the_fewest_of_the_least_certain(numbers: list[int], target: float) -> None:
    values = np.sort((np.array(numbers) + 0.5) / 1000)
    found = _relabelling(binned(numbers), len(values) * target - values.sum(), 1.0)
    assert found is not None
    n = found[0]
    assert values[n:].sum() + n >= len(values) * target - 1e-6
    assert n == 0 or values[n - 1 :].sum() + n - 1 < len(values) * target + 1e-6


def test_a_careless_reviewer_cannot_reach_everything() -> None:
    assert _relabelling(binned([600] * 10), 10 * 0.95 - 6.005, 0.9) is None
    assert _relabelling(binned([950] * 10), 10 * 0.99 - 9.505, 0.9) is None
    assert _relabelling(binned([600] * 10), 10 * 0.7 - 6.005, 0.9) == (4, 0.601)


@given(numbers=st.lists(st.integers(300, 999), min_size=POINTS, max_size=60))
def test_the_curve_is_the_mean_of_the_surest(numbers: list[int]) -> None:
    values = np.sort((np.array(numbers) + 0.5) / 1000)[::-1]
    curve = _curve(binned(numbers), len(numbers))
    assert len(curve) == POINTS
    assert curve[0].coverage == 1
    for point in curve:
        assert point.accuracy == pytest.approx(values[: point.n_items].mean())
        assert point.threshold == pytest.approx(values[point.n_items - 1], abs=0.00051)


@pytest.fixture
def job(client: TestClient, project: ProjectKeys) -> FinishedJob:
    rows = [row | {"cost": 0.5} for row in crowd_rows()]
    return finish_job(project.id, upload(client, rows))


def get(client: TestClient, path: str, **query: Any) -> Any:
    answer = client.get(path, params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_the_api_counts_what_its_list_shows(client: TestClient, job: FinishedJob) -> None:
    base = f"/v1/fine_tuning/jobs/{job.id}"
    items = get(client, f"{base}/items", limit=1000)["data"]
    found = get(client, f"{base}/coverage", target=0.999)
    probabilities = sorted(item["probability"] for item in items)
    assert found["n_items"] == len(items) == 240
    assert found["expected_accuracy"] == pytest.approx(sum(probabilities) / 240, abs=1e-5)
    n = found["relabel"]["n_items"]
    assert n > 0
    assert (sum(probabilities[n:]) + n) / 240 == pytest.approx(0.999, abs=0.002)
    assert found["relabel"]["cost"] == (pytest.approx(0.5 * n) if found["relabel"]["cost"] is not None else None)
    assert len(get(client, f"{base}/items", limit=1000, probability_max=found["relabel"]["threshold"])["data"]) >= n


def test_items_are_found_by_text_label_and_probability(client: TestClient, job: FinishedJob) -> None:
    path = f"/v1/fine_tuning/jobs/{job.id}/items"
    everything = get(client, path, limit=1000)["data"]

    def ids(rows: list[dict[str, Any]]) -> set[str]:
        return {row["id"] for row in rows}

    sport = get(client, path, limit=1000, task="default", label="sports")["data"]
    assert ids(sport) == ids([row for row in everything if row["label"] == "sports"])
    doubtful = get(client, path, limit=1000, probability_max=0.9, probability_min=0.5)["data"]
    assert ids(doubtful) == ids([row for row in everything if 0.5 <= row["probability"] <= 0.9])
    (found,) = get(client, path, text="headline 17 ABOUT")["data"]
    assert found["prompt"].startswith("Headline 17")
    assert get(client, path, text="100%_")["data"] == []  # no wildcards
    paged, after = [], None
    while True:
        part = get(
            client, path, sort="probability", probability_max=0.97, limit=7, **({"after": after} if after else {})
        )
        paged += part["data"]
        after = part["last_id"]
        if not part["has_more"]:
            break
    assert ids(paged) == ids([row for row in everything if row["probability"] <= 0.97])
    assert [row["probability"] for row in paged] == sorted(row["probability"] for row in paged)
    assert client.get(path, params={"label": "sports"}).json()["code"] == "task_missing"
    assert client.get(path, params={"task": "default", "label": "x"}).json()["code"] == "unknown_answer"
