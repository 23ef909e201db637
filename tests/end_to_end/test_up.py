"""`realm up` as a process tree: it starts, holds together and ends as a whole."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import psutil
import pytest

from tests.conftest import WholeService, no_settings, processes_of


def state_of(up: subprocess.Popen[str]) -> dict[str, str]:
    assert up.stdout is not None
    return dict(json.loads(up.stdout.readline()))


def wait_for(condition: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


@pytest.fixture
def data_dir(tmp_path: Path) -> Iterator[Path]:
    """Where a service may run; whatever happens in the test, it is ended."""
    folder = tmp_path / "data"
    yield folder
    left = processes_of(folder)
    for process in left:
        process.kill()
    assert left == []


Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start_up(data_dir: Path) -> Iterator[Start]:
    """Starts `realm up` with options."""
    with ExitStack() as cleanup:

        def start(*options: str, cwd: Path | None = None, **settings: str) -> subprocess.Popen[str]:
            command = [sys.executable, "-m", "app.cli", "up", "--json", "--data-dir", str(data_dir), *options]
            pipe = subprocess.PIPE
            with no_settings():
                environment = os.environ | {"PYTHONSAFEPATH": "1"} | settings
                up = subprocess.Popen(command, env=environment, cwd=cwd, stdout=pipe, stderr=pipe, text=True)
            cleanup.enter_context(up)
            cleanup.callback(up.terminate)
            return up

        yield start


def test_a_service_holds_its_folder_and_ends_as_a_whole_even_when_it_is_killed(
    start_up: Start, data_dir: Path, tmp_path: Path
) -> None:
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "__init__.py").write_text("raise SystemExit('not the application of the service')")
    first = start_up("--port", "0", cwd=tmp_path)
    url = state_of(first)["url"]
    assert httpx.get(f"{url}/readyz").status_code == 200
    assert (data_dir / "api_key").stat().st_mode & 0o777 == 0o600
    key = (data_dir / "api_key").read_text().strip()
    assert httpx.get(f"{url}/v1/api_keys", headers={"Authorization": f"Bearer {key}"}).status_code == 200
    names = set(json.loads((data_dir / "processes.json").read_text()))
    assert names == {"postgres", "redis", "api", "worker", "reconcile"}

    _, said = start_up().communicate(timeout=30)
    assert f"in use by process {first.pid}" in said

    before = processes_of(data_dir)
    first.kill()
    first.wait()
    second = start_up("--port", "0")
    state_of(second)
    survivors = [process for process in before if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]
    assert survivors == []
    assert (data_dir / "api_key").read_text().strip() == key

    second.send_signal(signal.SIGINT)
    assert second.wait(30) == 0
    assert processes_of(data_dir) == []
    assert not (data_dir / "service.json").exists()


@pytest.mark.parametrize(
    ("name", "url", "said"),
    [
        ("REALM_DATABASE_URL", "postgresql://realm@127.0.0.1:1/realm", "database is out of reach"),
        ("REALM_REDIS_URL", "redis://127.0.0.1:1", "Redis of REALM_REDIS_URL is out of reach"),
    ],
)
def test_servers_of_yours_are_used_instead(start_up: Start, data_dir: Path, name: str, url: str, said: str) -> None:
    up = start_up("--port", "0", **{name: url})
    assert said in up.communicate(timeout=30)[1]
    assert up.returncode != 0
    assert (data_dir / "postgres").exists() is (name != "REALM_DATABASE_URL")


def test_a_busy_port_is_said_and_nothing_is_left(start_up: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        up = start_up("--port", str(server.getsockname()[1]))
        _, said = up.communicate(timeout=30)
    assert up.returncode != 0
    assert "Address already in use" in said
    assert "--port 0 takes a free one" in said


def test_what_crashes_is_started_again(service: WholeService) -> None:
    for name in ("worker", "redis", "postgres", "api"):
        before = pid_of(service, name)
        os.kill(before, signal.SIGKILL)
        wait_for(lambda name=name, before=before: pid_of(service, name) != before)  # type: ignore[misc]
    wait_for(lambda: is_ready(service))


def pid_of(service: WholeService, name: str) -> int:
    return int(json.loads((service.data_dir / "processes.json").read_text())[name]["pid"])


def is_ready(service: WholeService) -> bool:
    try:
        return httpx.get(f"{service.base_url}/readyz", timeout=10).is_success
    except httpx.TransportError:
        return False
