"""Two processes train as one does: the same losses, weights and expertise."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from realm_core.team import ALONE, Team
from tests.realm_core.tiny_language_models import save_tiny_t5
from tests.realm_core.tiny_models import save_tiny_bert
from tests.realm_core.train_together import CASES, JOBS, STEPS, Case

Trained = tuple[list[dict[str, Any]], dict[str, torch.Tensor]]


def launch(size: int, bases: Path, out: Path) -> dict[str, list[Trained]]:
    """By case, what each of `size` processes told, and its weights; `…-again` from a checkpoint on."""
    out.mkdir()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "tests.realm_core.train_together", str(bases), str(out)]
    team = {"WORLD_SIZE": str(size), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
    processes = [
        subprocess.Popen(
            command,
            env={**os.environ, **team, "RANK": str(rank), "LOCAL_RANK": str(rank), "ACCELERATE_USE_CPU": "true"},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(size)
    ]
    for process in processes:
        _, errors = process.communicate(timeout=600)
        assert process.returncode == 0, errors
    return {
        name: [
            (
                json.loads((out / f"told-{name}-{rank}.json").read_text()),
                load_file(out / f"weights-{name}-{rank}.safetensors"),
            )
            for rank in range(size)
        ]
        for case in CASES
        for name in (case.name, f"{case.name}-again")
    }


@pytest.fixture(scope="module")
def one_and_two(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, list[Trained]]]]:
    """Where they wrote, and what one process told, and two."""
    folder = tmp_path_factory.mktemp("team")
    save_tiny_bert(folder / "bases" / "bert")
    save_tiny_t5(folder / "bases" / "t5")
    return folder, [launch(size, folder / "bases", folder / str(size)) for size in (1, 2)]


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_two_processes_are_as_good_as_one(case: Case, one_and_two: tuple[Path, list[dict[str, list[Trained]]]]) -> None:
    _, (one, two) = one_and_two
    assert_the_same(one[case.name][0], two[case.name])
    after = [one["step"] for one in two[f"{case.name}-again"][0][0] if "train_loss" in one]
    assert after == list(range(7, STEPS + 1))  # it went on from a checkpoint…
    for of_run, again in ((one[case.name], one[f"{case.name}-again"]), (two[case.name], two[f"{case.name}-again"])):
        for name, weight in of_run[0][1].items():  # …to where it would have come anyway
            torch.testing.assert_close(again[0][1][name], weight, atol=1e-6, rtol=1e-5, msg=name)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("name", JOBS)
def test_a_whole_job_of_two_reports_and_saves_what_one_does(
    name: str, one_and_two: tuple[Path, list[dict[str, list[Trained]]]]
) -> None:
    folder, _ = one_and_two
    jobs = [json.loads((folder / size / f"job-{name}.json").read_text()) for size in ("1", "2")]
    assert jobs[1]["model_accuracy"] == pytest.approx(jobs[0]["model_accuracy"], abs=1e-4)
    one, two = (load_file(Path(job["model"]) / "model.safetensors") for job in jobs)
    assert one.keys() == two.keys()
    for weight, of_two in ((one[name], two[name]) for name in one):
        torch.testing.assert_close(of_two, weight, atol=2e-4, rtol=1e-3)


def assert_the_same(of_one: Trained, together: list[Trained]) -> None:
    alone, weights = of_one
    losses = [one["train_loss"] for one in alone if "train_loss" in one]
    assert len(losses) == STEPS
    assert losses[-1] < losses[0]
    for told, of_process in together:
        assert [one["train_loss"] for one in told if "train_loss" in one] == pytest.approx(losses, rel=1e-4)
        for mine, theirs in zip(told, alone, strict=True):
            if "held_out_log_likelihood" in mine:
                assert mine["held_out_log_likelihood"] == pytest.approx(theirs["held_out_log_likelihood"], rel=1e-4)
                assert mine["probability"] == pytest.approx(theirs["probability"], abs=1e-4)
        for name, weight in of_process.items():  # of a model in parts, only the first process has all
            torch.testing.assert_close(weight, weights[name], atol=2e-4, rtol=1e-3, msg=name)
    assert together[0][1].keys() == weights.keys()
    for name in weights:
        if name.startswith("channel."):
            assert torch.equal(together[0][1][name], together[1][1][name]), name


def test_alone_everything_is_one_s_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    team = Team.join()
    assert (team.rank, team.size, team.is_first) == (ALONE.rank, ALONE.size, True) == (0, 1, True)
    np.testing.assert_array_equal(team.share(np.arange(5)), np.arange(5))
    values = torch.tensor([1.0, 2.0])
    assert team.total(values) is values
    assert team.made_by_first(lambda: "made") == "made"
    linear = torch.nn.Linear(1, 1)
    assert team.wrap(linear) == (linear, linear)  # type: ignore[arg-type, comparison-overlap]
    assert not Team.join(in_parts=True).in_parts  # there is nobody to have the other parts
