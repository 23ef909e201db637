"""`realm up`: one process that starts all the others, looks after them, and takes them along when it ends."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import httpx
from sqlalchemy import create_engine
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool

from app.access.service import create_first_key, create_login_link
from app.child_process import ChildProcess, ProcessRecord, Program
from app.data_folder import DataFolder, StartupError, write_private
from app.database.migrations import migrate
from app.embedded import EmbeddedPostgres, EmbeddedRedis
from app.settings import get_settings

READY_SECONDS = 120.0
STOP_SECONDS = 30.0
_LONGEST_PAUSE = 30.0
_LOOK_EVERY = 0.2
_PROGRAMS = {"api": ("app.cli", "api"), "worker": ("worker",), "reconcile": ("worker.reconcile",)}

Say = Callable[[str], None]


@dataclass(frozen=True)
class ServiceInfo:
    """A service that is up. `login_link` is None when the data folder's key is no longer good."""

    url: str
    data_dir: Path
    api_key_file: Path
    login_link: str | None


class _Stop(BaseException):
    """Somebody wants the service to end; raised wherever the program just is."""


def run_service(
    data_dir: Path,
    port: int | None,
    host: str,
    on_ready: Callable[[ServiceInfo], None],
    say: Say = lambda message: print(message, file=sys.stderr, flush=True),
) -> int:
    """Run the whole service until SIGINT, SIGTERM or SIGHUP; nothing runs any more when this returns.

    `port` None or 0 takes a free one. Raises StartupError when the service cannot start.
    """
    with _stop_on_signals(), ExitStack() as cleanup:  # which stops everything in the opposite order of its start
        try:
            _run(cleanup, data_dir, port, host, on_ready, say)
        except _Stop:
            say("Stopping …")
        finally:
            _ignore_signals()
    return 0


_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def _stop_on_signals() -> Iterator[None]:
    def stop(_: int, __: FrameType | None) -> None:
        _ignore_signals()
        raise _Stop

    before = {number: signal.signal(number, stop) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _ignore_signals() -> None:
    """Who hurries the service when it stops would only leave parts of it running."""
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def _run(
    cleanup: ExitStack, data_dir: Path, port: int | None, host: str, on_ready: Callable[[ServiceInfo], None], say: Say
) -> None:
    folder = DataFolder(data_dir).open()
    cleanup.callback(folder.close)
    record = ProcessRecord(folder.path / "processes.json")
    for name in record.end_leftovers():
        say(f"Ended {name}, which an earlier run had left behind.")
    port = _free_port(host, port)
    children, database_url, redis_url = _start_servers(cleanup, folder, record)
    migrate(database_url)
    url = get_settings().public_url or _url(host, port)
    environment = _environment(folder.path, database_url, redis_url, host, port)
    programs = _start_programs(cleanup, folder, record, environment)
    _wait_until_ready(_url(host, port), programs)
    info = ServiceInfo(url, folder.path, folder.api_key, _first_key_and_link(folder, database_url, url))
    cleanup.callback((folder.path / "service.json").unlink, missing_ok=True)
    write_private(folder.path / "service.json", json.dumps({"url": url, "pid": os.getpid()}))
    on_ready(info)
    _look_after([*children, *programs], say)


def _free_port(host: str, port: int | None) -> int:
    """The port, which is free, or any that is. Raises StartupError."""
    try:
        family = socket.getaddrinfo(host, port or 0, type=socket.SOCK_STREAM)[0][0]
        with socket.create_server((host, port or 0), family=family) as server:
            return int(server.getsockname()[1])
    except OSError as error:
        raise StartupError(
            f"Cannot listen on {host}, port {port or 'any'}: {error.strerror}. Choose another with --host and --port; "
            "--port 0 takes a free one."
        ) from error


def _url(host: str, port: int) -> str:
    here = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host, host)  # noqa: S104
    return f"http://[{here}]:{port}" if ":" in here else f"http://{here}:{port}"


def _start_servers(
    cleanup: ExitStack, folder: DataFolder, record: ProcessRecord
) -> tuple[list[ChildProcess], str, str]:
    """Postgres and Redis, unless the settings name others: what was started, and the URLs."""
    settings = get_settings()
    database_url, redis_url = settings.database_url, settings.redis_url
    started = []
    if database_url is None:
        postgres = EmbeddedPostgres(folder, record)
        cleanup.callback(postgres.stop)
        postgres.start()
        started.append(postgres.process)
        database_url = postgres.url
    if redis_url is None:
        broker = EmbeddedRedis(folder, record)
        cleanup.callback(broker.stop)
        broker.start()
        started.append(broker.process)
        redis_url = broker.url
    return started, database_url, redis_url


def _environment(data_dir: Path, database_url: str, redis_url: str, host: str, port: int) -> dict[str, str]:
    return os.environ | {
        "REALM_DATA_DIR": str(data_dir),
        "REALM_DATABASE_URL": database_url,
        "REALM_REDIS_URL": redis_url,
        "REALM_HOST": host,
        "REALM_PORT": str(port),
        "PYTHONSAFEPATH": "1",  # somebody's own `app` in the current folder must not be taken for ours
        "PYTHONUNBUFFERED": "1",
    }


def _start_programs(
    cleanup: ExitStack, folder: DataFolder, record: ProcessRecord, environment: dict[str, str]
) -> list[ChildProcess]:
    programs = [
        ChildProcess(
            Program(name, (sys.executable, "-m", *module), folder.logs / f"{name}.log", environment),
            record,
        )
        for name, module in _PROGRAMS.items()
    ]
    cleanup.callback(_stop_together, programs)
    for program in programs:
        program.start()
    return programs


def _stop_together(programs: list[ChildProcess]) -> None:
    for program in programs:
        program.ask_to_stop()
    for program in programs:
        program.wait(STOP_SECONDS)


def _wait_until_ready(url: str, programs: list[ChildProcess]) -> None:
    """Wait until the service answers that it can do its work. Raises StartupError when a part of it ends first."""
    deadline = time.monotonic() + READY_SECONDS
    answer = ""
    while time.monotonic() < deadline:
        for program in programs:
            if not program.running:
                raise StartupError(f"{program.how_it_ended()}\n{program.log_tail()}")
        try:
            response = httpx.get(f"{url}/readyz", timeout=5, trust_env=False)
        except httpx.TransportError as error:
            answer = str(error)
        else:
            if response.is_success:
                return
            answer = response.text
        time.sleep(_LOOK_EVERY)
    raise StartupError(f"The service was not ready after {READY_SECONDS:.0f} seconds: {answer}")


def _first_key_and_link(folder: DataFolder, database_url: str, url: str) -> str | None:
    """Make the first API key if there is none, and a link that logs a browser in with it."""
    with Session(create_engine(database_url, poolclass=NullPool)) as session, session.begin():
        secret = create_first_key(session)
        if secret is not None:  # written before the key exists for others: a crash in between leaves no unknown key
            write_private(folder.api_key, secret + "\n")
        elif folder.api_key.exists():
            secret = folder.api_key.read_text().strip()
        return None if secret is None else create_login_link(session, secret, url)


def _look_after(children: list[ChildProcess], say: Say) -> None:
    """Start again what ends, after a pause that grows as long as it keeps ending."""
    pauses = dict.fromkeys(children, 1.0)
    due: dict[ChildProcess, float] = {}
    while True:
        for child in children:
            if child.running:
                if child.seconds_running > _LONGEST_PAUSE:
                    pauses[child] = 1.0
            elif child not in due:
                due[child] = time.monotonic() + pauses[child]
                say(f"{child.how_it_ended()} It is started again in {pauses[child]:.0f} s.")
                pauses[child] = min(2 * pauses[child], _LONGEST_PAUSE)
            elif time.monotonic() >= due[child]:
                del due[child]
                child.start()
        time.sleep(_LOOK_EVERY)
