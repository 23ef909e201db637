"""The benchmark of truth inference: a folder of its own, ties, repeats, budgets, and tools of others."""

from __future__ import annotations

import gzip
import json
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from benchmarks import crowd
from benchmarks.crowd_data import annotations_of, crowd_sets
from benchmarks.crowd_scores import gold_accuracy, label_accuracy, score
from benchmarks.crowd_tools import PEERS, Inferred, crowdlab, ours
from tests.realm_core.crowds import imperfect_log_p, one_coin_crowd


def _write(folder: Path, name: str, labels: list[tuple[str, str, str]], gold: list[tuple[str, str]]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    pl.DataFrame(labels, ["item_id", "annotator", "label"], orient="row").write_csv(folder / f"{name}.csv")
    pl.DataFrame(gold, ["item_id", "label"], orient="row").write_csv(folder / f"{name}.gold.csv")
    for file in folder.glob("*.csv"):
        file.with_name(f"{file.name}.gz").write_bytes(gzip.compress(file.read_bytes()))
        file.unlink()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Another folder in the same format: a set without text."""
    annotations = one_coin_crowd([0.9, 0.85, 0.8, 0.75, 0.3], n_items=80, n_answers=2, seed=1)
    assert annotations.gold is not None
    labels = [
        (f"i{i}", f"w{r}", ["no", "yes"][label])
        for i, r, label in zip(annotations.item, annotations.annotator, annotations.label, strict=True)
    ]
    gold = [(f"i{i}", ["no", "yes"][label]) for i, label in enumerate(annotations.gold)]
    _write(tmp_path / "crowd_notext", "small", labels, gold[:60])
    return tmp_path


def _run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[str, str]:
    monkeypatch.setattr(sys, "argv", ["crowd", *arguments])
    crowd.main()
    printed = capsys.readouterr()
    return printed.out, printed.err


def test_any_folder_in_the_format_works(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out, err = _run(monkeypatch, capsys, "--data", str(folder), "--json", "--skip", "mace", "--draws", "1")
    document = json.loads(out)
    (small,) = document["sets"]
    assert small["name"] == "small"
    assert small["n_gold"] == 60
    assert document["mean_accuracy"]["ours"] == small["tools"]["ours"]["accuracy"] > 0.85
    assert set(small["tools"]) == {"ours", "ours_without_text", "majority_vote", "dawid_skene", "one_coin", "glad"}
    assert [point["labels_per_prompt"] for point in small["budget"]] == [1, 2, 3, 4, 5]
    assert {point["majority_vote"]["standard_error"] for point in small["budget"]} == {None}
    assert "small: mace did not run: left out by --skip" in err
    assert "small: crowdlab did not run: it needs a model's probabilities" in err


def test_the_tables_are_written(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("--data", str(folder), "--no-budget", "--out", str(tmp_path / "results"), "--skip", "glad,mace")
    out, _ = _run(monkeypatch, capsys, *arguments)
    assert (tmp_path / "results" / "crowd.md").read_text() in out
    assert "| **mean** |" in out
    assert "- small: glad: left out by --skip" in out
    assert json.loads((tmp_path / "results" / "crowd.json").read_text())["sets"][0]["budget"] == []


def test_the_budget_says_how_much_draws_differ(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("--data", str(folder), "--json", "--skip", "mace,glad", "--draws", "3")
    (small,) = json.loads(_run(monkeypatch, capsys, *arguments)[0])["sets"]
    one, everything = small["budget"][0]["majority_vote"], small["budget"][4]["majority_vote"]
    assert one["standard_error"] > 0
    assert everything["standard_error"] < 1e-12  # five labels are all there are


def test_an_unknown_tool_is_refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        _run(monkeypatch, capsys, "--skip", "zencrowd")
    assert "there is no tool zencrowd" in capsys.readouterr().err


def test_the_last_of_repeated_labels_counts(tmp_path: Path) -> None:
    labels = [("i", "a", "x"), ("i", "b", "y"), ("i", "a", "y"), ("j", "b", "x")]
    _write(tmp_path / "crowd_notext", "repeats", labels, [("i", "y")])
    annotations = annotations_of(crowd_sets(tmp_path)[0])
    assert annotations.n_labels == 3
    assert sorted(zip(annotations.item, annotations.annotator, annotations.label, strict=True)) == [
        (0, 0, 1),
        (0, 1, 1),
        (1, 1, 0),
    ]
    assert annotations.gold is not None
    assert annotations.gold.tolist() == [1, -1]


def test_a_tie_counts_as_its_expected_value() -> None:
    annotations = one_coin_crowd([0.8, 0.8], n_items=2, n_answers=2, seed=0)
    assert annotations.gold is not None
    answers = np.eye(2)[annotations.gold]
    answers[1] = 0.5
    assert label_accuracy(annotations, answers) == 0.75


def test_annotators_are_scored_by_rank_and_distance() -> None:
    annotations = one_coin_crowd([0.95, 0.8, 0.5], n_items=100, n_answers=2, seed=3)
    by_gold, n = gold_accuracy(annotations)
    assert n.tolist() == [100, 100, 100]
    perfect = score(annotations, Inferred(np.full((100, 2), 0.5), by_gold), 0.0)
    assert perfect.spearman == pytest.approx(1)
    assert perfect.rmse == 0
    assert score(annotations, Inferred(np.full((100, 2), 0.5), by_gold[::-1]), 0.0).spearman == pytest.approx(-1)


@pytest.mark.parametrize("tool", sorted(PEERS))
def test_tools_of_others_answer_every_item_even_one_without_labels(tool: str) -> None:
    annotations = one_coin_crowd([0.9, 0.85, 0.8, 0.75, 0.6], n_items=60, n_answers=3, seed=4)
    annotations = annotations.select_labels(annotations.item != 7)
    inferred = PEERS[tool](annotations)
    assert inferred.answers.shape == (60, 3)
    assert np.ptp(inferred.answers[7]) == 0
    assert label_accuracy(annotations, inferred.answers) > 0.85
    assert inferred.accuracy[0] > inferred.accuracy[4]


def test_crowdlab_and_ours_take_the_same_probabilities() -> None:
    annotations = one_coin_crowd([0.9, 0.8, 0.7], n_items=100, n_answers=3, seed=5)
    log_p = imperfect_log_p(annotations, 6)
    for inferred in (crowdlab(annotations, log_p), ours(annotations, log_p)):
        assert label_accuracy(annotations, inferred.answers) > label_accuracy(annotations, np.exp(log_p))


def test_a_budget_keeps_so_many_labels_of_each_prompt_in_different_draws() -> None:
    annotations = one_coin_crowd([0.8] * 4, n_items=30, n_answers=2, seed=7)
    annotations = annotations.select_labels((annotations.item > 0) | (annotations.annotator < 3))
    fewer = crowd.drawn(annotations, 3, 0)
    assert set(np.bincount(annotations.item[fewer])) == {3}
    assert (fewer != crowd.drawn(annotations, 3, 1)).any()
