"""The paper's tables: which settings they have, that results are kept and gone on with, and what the methods learn."""

from __future__ import annotations

import argparse
import gzip
import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.paper import __main__ as paper
from benchmarks.paper import runners, training_runs
from benchmarks.paper.frozen_encoder import FrozenScorer, TextEmbeddings
from benchmarks.paper.question_sets import Questions, available, read_set
from benchmarks.paper.result_files import ResultFiles
from benchmarks.paper.settings import METHODS, Setting, settings_of
from benchmarks.paper.tables import Cell, as_json, cells_of, markdown, verdict
from benchmarks.paper.training_runs import Conditions, Run, simulated
from realm_core.annotations import Task
from realm_core.base_models import locate

CONDITIONS = Conditions("minilm", True, 10, 8, 100, 32, "accuracy")
ADVERSE = Setting(("pubmedqa",), "1", "systematic", "shared")


def _line(number: int, **values: Any) -> str:
    row = {"id": str(number), "question": f"Does drug {number} help?", "choices": ["yes", "no", "maybe"]}
    return json.dumps(row | {"answer_index": number % 2, "split": "train" if number < 40 else "test"} | values)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two small sets: one with fixed answers and context, one with options of its own."""
    (tmp_path / "data" / "qa").mkdir(parents=True)
    yes_or_no = [_line(n, context=["It works well.", "It never works."][n % 2]) for n in range(60)]
    colours = [
        _line(n, question="Which is a colour?", choices=["red", "seven", "dog", "run"][: 4 - (n == 5)], answer_index=0)
        for n in range(60)
    ]
    for name, lines in (("pubmedqa", yes_or_no), ("openbookqa", colours)):
        with gzip.open(tmp_path / "data" / "qa" / f"{name}.jsonl.gz", "wt") as file:
            file.write("\n".join(lines))
    return tmp_path / "data"


@pytest.fixture
def run(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """The command, on the small sets, with a few steps."""

    def command(*arguments: str) -> tuple[str, str]:
        fixed = ("--quick", "--data", str(folder), "--out", str(tmp_path / "out"), "--steps", "10", "--seeds", "1")
        monkeypatch.setattr(sys, "argv", ["paper", *fixed, "--processes", "1", *arguments])
        paper.main()
        printed = capsys.readouterr()
        return printed.out, printed.err

    return command


def test_a_table_has_its_cells_and_goes_on_where_it_stopped(
    run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paper, "MULTI", ("openbookqa", "pubmedqa"))
    arguments = ("--tables", "2,8", "--modes", "shared", "--json")
    out, err = run(*arguments, "--methods", "noisy")
    assert {cell["method"] for cell in json.loads(out)["cells"]} == {"noisy"}
    assert err.count(" noisy seed 0") == 6 + 9
    out, err = run(*arguments, "--methods", "noisy,paper,default")
    assert " noisy seed 0" not in err
    cells = json.loads(out)["cells"]
    keys = ("table", "size", "dataset", "distribution", "noise", "mode", "method", "steps", "frozen", "seeds")
    assert {cell["table"] for cell in cells} == {"2", "8"}
    assert {tuple(cell[key] for key in keys) for cell in cells if cell["table"] == "2"} == {
        ("2", "minilm", dataset, "1", noise, "shared", method, 10, True, 1)
        for dataset in ("openbookqa", "pubmedqa")
        for noise in ("uniform", "asymmetric", "systematic")
        for method in ("noisy", "paper", "default")
    }
    assert all(0 <= cell["mean"] <= 1 for cell in cells)
    assert json.loads((tmp_path / "out" / "paper.json").read_text()) == json.loads(out)


def test_the_figure_is_drawn(run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paper, "CURVE", ("pubmedqa",))
    run("--tables", "figure", "--methods", "noisy,paper,default")
    picture = (tmp_path / "out" / "paper.png").read_bytes()
    assert picture.startswith(b"\x89PNG")
    assert len(picture) < 150_000
    (setting, *_) = settings_of("figure", [], [], ["pubmedqa"])
    kept = json.loads((tmp_path / "out" / "cells" / f"{setting.name}-noisy.json").read_text())
    assert [step for step, _ in kept["runs"]["0"]["curve"]] == [0, 2, 4, 6, 8, 10]


def test_cells_can_be_chosen(run: Any) -> None:
    chosen = ("--methods", "majority_vote", "--noises", "systematic", "--distributions", "1,3")
    out, _ = run("--tables", "1,2,7", "--sets", "pubmedqa", "--modes", "shared", "--json", *chosen)
    cells = json.loads(out)["cells"]
    assert {(cell["table"], cell["distribution"], cell["noise"]) for cell in cells} == {
        ("2", "1", "systematic"),
        ("7", "3", "systematic"),
    }


def test_more_processes_make_the_same_runs(run: Any, tmp_path: Path) -> None:
    arguments = ("--tables", "2", "--sets", "pubmedqa", "--modes", "shared", "--methods", "noisy,default", "--json")
    out, _ = run(*arguments)
    shutil.rmtree(tmp_path / "out")
    by_two, err = run(*arguments, "--processes", "2")
    assert err.count(" seed 0") == 6
    assert json.loads(by_two) == json.loads(out)


def test_a_setting_is_run_once_with_a_curve_where_the_figure_wants_one(tmp_path: Path) -> None:
    tables = {table: list(settings_of(table, ["a"], [], ["a"])) for table in ("1", "2", "figure")}
    options = argparse.Namespace(seeds=2, methods=["oracle", "noisy"])
    wanted = paper._missing(tables, ResultFiles(tmp_path, CONDITIONS), options)
    keys = [(one.setting.of(one.method).name, one.method, one.seed) for one in wanted]
    assert len(keys) == len(set(keys)) == 2 * (1 + 10)
    assert {one.seed for one in wanted[: len(wanted) // 2]} == {0}
    with_curve = {one.setting.name for one in wanted if one.setting.curve}
    assert with_curve == {f"a-dist1-{noise}-shared" for noise in ("uniform", "asymmetric", "systematic")}


def test_a_model_reads_a_set_once_and_answers_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    class Model:
        tasks: tuple[Task, ...] = ()
        readings = 0

        def read(self, encoded: Any) -> Any:
            Model.readings += 1
            return np.array(encoded, dtype=np.float32), np.full(1, len(self.tasks), dtype=np.float64)

    monkeypatch.setattr(runners, "load_scorer", lambda *_: Model())
    load: Any = runners.ReadOnce(replace(CONDITIONS, frozen=False))
    embeddings, _ = load().read([1, 2])
    embeddings += 5
    assert load().read([1, 2])[0].tolist() == [1, 2]
    assert Model.readings == 1
    assert load().read([1, 3])[0].tolist() == [1, 3]
    named = load()
    named.tasks = (Task("t", ("x", "y")),)
    assert named.read([1, 2])[1].tolist() == [1]
    assert Model.readings == 3


def test_frozen_features_read_texts_that_are_in_no_set(tmp_path: Path) -> None:
    embeddings = TextEmbeddings(locate("minilm"), 32, tmp_path)
    embeddings.learn(["a fine film", "a dull film"])
    scorer = FrozenScorer(embeddings)
    scorer.start_answers([Task("t", ("x", "y"), ("a fine film", "nobody has read this"))])
    again = TextEmbeddings(locate("minilm"), 32, tmp_path / "other")
    again.learn(["nobody has read this", "a fine film"])
    assert scorer.answers[0].detach().numpy() == pytest.approx(again.table[[1, 0]], abs=1e-5)


def test_results_of_other_conditions_are_not_mixed(run: Any, tmp_path: Path) -> None:
    ResultFiles(tmp_path / "out", CONDITIONS)
    with pytest.raises(SystemExit, match="other conditions"):
        run("--tables", "2", "--batch-size", "4")


def test_a_folder_without_questions_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["paper", "--quick", "--data", str(tmp_path)])
    with pytest.raises(SystemExit, match="name the data folder"):
        paper.main()


def test_sets_are_read_whole_and_stand_ins_are_named(folder: Path) -> None:
    (folder / "plain").mkdir()
    for name in ("sst2", "trec6"):
        (folder / "plain" / f"{name}.csv.gz").write_bytes(gzip.compress(b"text,label,split\nfine,positive,train\n"))
    assert available(folder) == {"openbookqa": None, "sst2": "piqa", "pubmedqa": None, "trec6": "riddlesense"}
    own = read_set(folder, "openbookqa", None)
    assert len(own.train) == 39  # the question with three options is left out
    assert own.task.answers == ()
    assert set(own.test.options) == {("red", "seven", "dog", "run")}
    fixed = read_set(folder, "pubmedqa", None)
    assert fixed.task.answers == ("yes", "no", "maybe")
    works = ["never" not in prompt for prompt in fixed.train.prompts]
    assert (fixed.train.truth == 0).tolist() == works


def test_tables_hold_what_the_paper_says() -> None:
    sets = ["a", "b"]
    count = {table: len(list(settings_of(table, sets, sets, sets))) for table in "12345678"}
    assert count == {"1": 12, "2": 12, "3": 18, "4": 10, "5": 6, "6": 12, "7": 12, "8": 18}
    assert len(set(settings_of("1", sets, sets, sets)) & set(settings_of("2", sets, sets, sets))) == 4
    (own, *_) = settings_of("3", sets, ["a", "b", "c"], [])
    assert own.expertise.tolist() == [[0.9, 0.1, 0.1], [0.1, 0.9, 0.1], [0.1, 0.1, 0.9]]
    assert [s.expertise[0] for s in settings_of("5", ["a"], [], [])] == [0.9] * 3


def test_settings_have_names_of_their_own_and_share_the_oracle() -> None:
    tables = ("1", "2", "3", "4", "5", "6", "7", "prototype")
    settings = {s for table in tables for s in settings_of(table, ["a", "b"], ["a", "b"], [])}
    assert len({setting.name for setting in settings}) == len(settings)
    assert len({s.of("oracle").name for s in settings if len(s.datasets) == 1}) == 2


@pytest.fixture
def learned(monkeypatch: pytest.MonkeyPatch) -> Any:
    """What a method would be trained on."""
    truth = np.arange(600, dtype=np.int32) % 3
    questions = Questions(tuple(map(str, range(600))), (None,) * 600, truth)
    train = [(Task("t", ("x", "y", "z")), questions)]

    def of(method: Any, setting: Setting = ADVERSE) -> tuple[Any, Any]:
        return training_runs._labels_for(method, train, setting, 3, "accuracy"), truth

    return of


def test_methods_differ_in_the_labels_only(learned: Any) -> None:
    gold, truth = learned("oracle")
    assert gold.label.tolist() == truth.tolist()
    crowd, _ = learned("noisy")
    assert crowd.n_labels == 3 * 600
    assert learned("default")[0].label.tolist() == learned("paper")[0].label.tolist() == crowd.label.tolist()
    for method in ("majority_vote", "dawid_skene"):
        aggregated, _ = learned(method, replace(ADVERSE, distribution="2"))
        assert aggregated.n_labels == 600
        assert np.mean(aggregated.label == truth) > 0.8  # .63 of the crowd's labels are right
    assert crowd.gold is None


def test_options_of_prompts_are_aggregated_by_position() -> None:
    truth = np.arange(300, dtype=np.int32) % 4
    options = tuple(tuple(f"{i} {k}" for k in range(4)) for i in range(300))
    train = [(Task("own", ()), Questions(tuple(map(str, range(300))), options, truth))]
    crowd = simulated(train, replace(ADVERSE, distribution="2"), 0, "accuracy")
    assert np.mean(training_runs._aggregated("dawid_skene", crowd, 0) == truth) > 0.9


def _cell(method: str, *values: float) -> Cell:
    by_seed, mean = dict(enumerate(values)), float(np.mean(values))
    return Cell("1", "minilm", "s", "1", "uniform", "shared", method, mean, 0.0, len(values), 1, True, 3, None, by_seed)


def test_a_verdict_needs_more_than_the_standard_error() -> None:
    noisy = _cell("noisy", 0.5, 0.6, 0.7)
    assert verdict(_cell("default", 0.6, 0.7, 0.81), noisy) == "win"
    assert verdict(_cell("default", 0.4, 0.5, 0.61), noisy) == "**loss**"
    assert verdict(_cell("default", 0.6, 0.5, 0.71), noisy) == "tie"
    assert verdict(_cell("default", 0.9), _cell("noisy", 0.1)) == "one seed"
    assert verdict(_cell("default", 0.9), noisy) == "one seed"
    only_later = replace(_cell("default", 0.7), by_seed={1: 0.7, 2: 0.81})
    assert verdict(only_later, noisy) == "win"


def test_the_tally_counts_each_setting_once() -> None:
    noisy, paper = _cell("noisy", 0.5, 0.6, 0.7), _cell("paper", 0.6, 0.7, 0.81)
    default = _cell("default", 0.6, 0.5, 0.71)
    cells = [noisy, paper, default, *(replace(one, table="2") for one in (noisy, paper, default))]
    cells += [replace(one, table="8") for one in (noisy, default)]
    cells += [replace(noisy, noise="systematic"), replace(default, noise="systematic", by_seed={7: 0.9})]
    text = markdown(cells)
    assert "| all | default vs. noisy | 1 | 0 | 1 | 0 | 0 | +0.3 |" in text
    assert "| all | paper vs. noisy | 1 | 1 | 0 | 0 | 0 | +10.3 |" in text
    assert "| 8 | default vs. noisy | 1 | 0 | 1 | 0 | 0 | +0.3 |" in text
    assert "| 2 | default vs. paper | 1 |" in text


def test_cells_are_means_over_the_seeds_that_there_are(tmp_path: Path) -> None:
    results = ResultFiles(tmp_path, CONDITIONS)
    for seed, accuracy in enumerate((0.5, 0.7)):
        results.add(ADVERSE, "default", seed, Run(accuracy, {"pubmedqa": accuracy}, "one_coin", None, [], 1.0))
    assert results.has(ADVERSE, "default", 1)
    assert not results.has(replace(ADVERSE, curve=True), "default", 1)
    (one_seed,) = cells_of("2", [ADVERSE], results, CONDITIONS, range(1))
    assert one_seed.std is None
    assert "| 50.0 |" in markdown([one_seed])
    (cell,) = cells_of("2", [ADVERSE], results, CONDITIONS, range(5))
    assert (cell.mean, cell.seeds) == (pytest.approx(0.6), 2)
    assert cell.std == pytest.approx(0.1414, abs=1e-4)
    assert "60.0 ± 14.1" in markdown([cell])
    assert set(METHODS) > {as_json([cell])["cells"][0]["method"]}
