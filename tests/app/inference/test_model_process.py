"""The process that runs the models: it answers, it may be killed, and it never outlives the API."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest
from fastapi.testclient import TestClient
from prometheus_client import REGISTRY

from app.child_process import wait_until_ended
from tests.app.inference.conftest import MadeModel
from tests.app.inference.small_model import save_small_model
from tests.conftest import ProjectKeys

TEXT = {"inputs": {"prompt": "where is the parcel", "task": "mood"}}


def processes_with_models() -> list[psutil.Process]:
    return [one for one in psutil.Process().children() if "app.inference.model_server" in one.cmdline()]


def value(sample: str) -> float:
    return REGISTRY.get_sample_value(sample) or 0.0


def test_a_killed_process_is_said_to_be_started_again_and_then_answers(
    client: TestClient,
    project: ProjectKeys,
    tmp_path: Path,
    make_model: Callable[..., MadeModel],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("REALM_PREDICT_THREADS", "1")
    monkeypatch.setenv("OMP_NUM_THREADS", "7")  # of whoever started the API
    model = make_model(project, save_small_model(tmp_path / "bert"))

    def ask() -> Any:
        return client.post(f"/v1/models/{model.id}/predict", json=TEXT)

    batched, starts = value("realm_predict_batch_inputs_sum"), value("realm_model_process_starts_total")
    before = ask()
    assert before.status_code == 200, before.text
    (process,) = processes_with_models()
    assert (process.environ()["OMP_NUM_THREADS"], process.environ()["OMP_WAIT_POLICY"]) == ("1", "PASSIVE")

    process.suspend()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(ask)
        time.sleep(0.3)
        process.kill()
        refused = waiting.result(20)
    assert (refused.status_code, refused.json()["code"]) == (503, "models_restarting")
    assert int(refused.headers["Retry-After"]) >= 1

    for _ in range(100):
        after = ask()
        if after.status_code == 200:
            break
        assert after.json()["code"] == "models_restarting"
        time.sleep(0.1)
    assert after.json() == before.json()
    (second,) = processes_with_models()
    assert second.pid != process.pid
    assert value("realm_predict_batch_inputs_sum") == batched + 2
    assert value("realm_model_process_starts_total") == starts + 2
    assert value("realm_model_process_memory_bytes") > 10**8


def test_it_ends_with_the_api_however_that_ends() -> None:
    program = (
        "import sys, time; from app.inference.model_process import ModelProcess; from app.settings import Settings; "
        "side = ModelProcess(Settings()); print(side.pid, flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as api:
        assert api.stdout is not None
        process = psutil.Process(int(api.stdout.readline()))
        os.kill(api.pid, signal.SIGKILL)
    wait_until_ended([process], 30)
    assert not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
