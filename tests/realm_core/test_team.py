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
from tests.realm_core.train_together import CASES

Trained = tuple[list[dict[str, Any]], dict[str, torch.Tensor]]


def launch(size: int, base: Path, out: Path) -> dict[str, list[Trained]]:
    """By channel, what each of `size` processes told, and its weights."""
    out.mkdir()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "tests.realm_core.train_together", str(base), str(out)]
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
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
    return {
        channel: [
            (
                json.loads((out / f"told-{channel}-{rank}.json").read_text()),
                load_file(out / f"weights-{channel}-{rank}.safetensors"),
            )
            for rank in range(size)
        ]
        for _, channel in CASES
    }


@pytest.mark.slow
def test_two_processes_are_as_good_as_one(tiny_bert: Path, tmp_path: Path) -> None:
    one, two = launch(1, tiny_bert, tmp_path / "one"), launch(2, tiny_bert, tmp_path / "two")
    for _, channel in CASES:
        assert_the_same(one[channel][0], two[channel])
    jobs = [json.loads((tmp_path / name / "job.json").read_text()) for name in ("one", "two")]
    assert jobs[1]["model_accuracy"] == pytest.approx(jobs[0]["model_accuracy"], abs=1e-4)
    assert (Path(jobs[1]["model"]) / "model.safetensors").is_file()


def assert_the_same(of_one: Trained, together: list[Trained]) -> None:
    alone, weights = of_one
    losses = [one["train_loss"] for one in alone if "train_loss" in one]
    assert len(losses) == 14
    assert losses[-1] < losses[0]
    for told, of_process in together:
        assert [one["train_loss"] for one in told if "train_loss" in one] == pytest.approx(losses, rel=1e-4)
        for mine, theirs in zip(told, alone, strict=True):
            if "held_out_log_likelihood" in mine:
                assert mine["held_out_log_likelihood"] == pytest.approx(theirs["held_out_log_likelihood"], rel=1e-4)
                assert mine["probability"] == pytest.approx(theirs["probability"], abs=1e-4)
        for name, weight in weights.items():
            torch.testing.assert_close(of_process[name], weight, atol=2e-4, rtol=1e-3, msg=name)
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
    assert team.wrap(linear) is linear
