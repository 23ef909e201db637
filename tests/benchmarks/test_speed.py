"""The speed benchmark: what it divides by what, and that its crowds and references are what they claim to be."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import benchmarks.speed.__main__ as speed
from benchmarks.speed.crowd import ANSWERS, make_crowd
from benchmarks.speed.pages import job_pages
from benchmarks.speed.ratio import Ratio, at_most, below, faster_by, in_turns, markdown, more_by
from benchmarks.speed.size import QUICK, Size


@pytest.mark.parametrize(
    ("goal", "ours", "reference", "ratio", "met"),
    [
        (at_most(2.0), 3.0, 2.0, 1.5, True),
        (at_most(2.0), 5.0, 2.0, 2.5, False),
        (faster_by(5), 1.0, 6.0, 6.0, True),
        (faster_by(5), 2.0, 6.0, 3.0, False),
        (more_by(1.1), 120.0, 100.0, 1.2, True),
        (more_by(1.1), 100.0, 100.0, 1.0, False),
        (below(300), 200.0, None, 200.0, True),
        (below(300), 301.0, None, 301.0, False),
    ],
)
def test_a_ratio_is_met_or_not(goal: object, ours: float, reference: float | None, ratio: float, met: bool) -> None:
    one = Ratio(1, "work", goal, ours, reference, "s")  # type: ignore[arg-type]
    facts = one.as_dict()
    assert (facts["ratio"], facts["met"]) == (pytest.approx(ratio), met)
    assert ("yes" if met else "**no**") in markdown([one])


def test_both_are_measured_in_turns_and_the_median_counts() -> None:
    order: list[str] = []
    times = iter([3.0, 1.0, 2.0])

    def ours() -> float:
        order.append("A")
        return next(times)

    def reference() -> float:
        order.append("B")
        return 4.0

    assert in_turns(ours, reference, 3) == (2.0, 4.0)
    assert "".join(order) == "ABABAB"


def test_a_crowd_labels_each_item_so_often_by_different_people_who_are_mostly_right() -> None:
    crowd = make_crowd(n_items=500, per_item=5, n_annotators=40)
    assert (np.bincount(crowd.item) == 5).all()
    assert len(set(zip(crowd.item.tolist(), crowd.annotator.tolist(), strict=True))) == 2500
    assert 0.6 < (crowd.label == crowd.truth[crowd.item]).mean() < 0.9


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_a_crowd_is_written_as_people_would_upload_it(kind: str, tmp_path: Path) -> None:
    file = make_crowd(n_items=30, per_item=3, n_annotators=6).write(tmp_path / f"labels.{kind}")
    read = {"csv": pl.read_csv, "jsonl": pl.read_ndjson, "parquet": pl.read_parquet}[kind](file)
    assert read.columns == ["prompt", "annotator", "label"]
    assert (read.height, read["prompt"].n_unique()) == (90, 30)
    assert set(read["label"]) <= set(ANSWERS)
    assert read["prompt"].str.contains('"').all()


@pytest.mark.usefixtures("services")
def test_pages_of_a_job_are_found_in_the_application() -> None:
    assert {"/jobs/{job_id}", "/jobs/{job_id}/annotators/{annotator_id}"} <= set(job_pages())


@pytest.mark.slow
def test_rows_are_measured_and_printed_as_json() -> None:
    command = [sys.executable, "-m", "benchmarks.speed", "--quick", "--rows", "5,13", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    ratios = json.loads(done.stdout)["ratios"]
    assert [one["row"] for one in ratios] == [5, 13, 13]
    assert all({"name", "ratio", "goal", "met", "ours", "reference"} <= one.keys() for one in ratios)
    assert all(one["ours"] > 0 for one in ratios)


def test_rows_that_fail_are_named_and_the_others_are_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(wanted: set[int], size: Size) -> Iterator[Ratio]:
        raise RuntimeError("no room")
        yield  # pragma: no cover

    def sound(wanted: set[int], size: Size) -> Iterator[Ratio]:
        yield Ratio(2, "work", at_most(2), 1.0, 1.0, "s")

    broken.__module__ = "benchmarks.speed.uploads"
    monkeypatch.setattr(speed, "GROUPS", (broken, sound))
    ratios: list[Ratio] = []
    assert speed.measure({1, 2}, QUICK, ratios.append) == ["uploads"]
    assert [one.row for one in ratios] == [2]
