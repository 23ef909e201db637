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
import redis
from sqlalchemy import create_engine
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool

from app.access.service import create_first_key, create_login_link
from app.child_process import ChildProcess, ProcessRecord, Program
from app.data_folder import DataFolder, StartupError, write_private
from app.database.migrations import migrate
from app.embedded import EmbeddedPostgres, EmbeddedRedis
from app.settings import Settings, get_settings

READY_SECONDS = 120.0
STOP_SECONDS = 30.0
_LONGEST_PAUSE = 30.0
_LOOK_EVERY = 0.2
_PROGRAMS = {"api": ("app.cli", "api"), "worker": ("worker",), "reconcile": ("worker.reconcile",)}
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

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
            service = _Service(data_dir, host, port, say, cleanup)
            on_ready(service.start())
            service.look_after()
        except _Stop:
            say("Stopping …")
        finally:
            _ignore_signals()
    return 0


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


class _Service:
    """The processes of one data folder. What `start` starts, `cleanup` stops."""

    def __init__(self, data_dir: Path, host: str, port: int | None, say: Say, cleanup: ExitStack) -> None:
        self._say = say
        self._cleanup = cleanup
        self._folder = DataFolder(data_dir).open()
        cleanup.callback(self._folder.close)
        self._record = ProcessRecord(self._folder.path / "processes.json")
        here = {"data_dir": self._folder.path, "host": host, "port": _free_port(host, port)}
        self._settings = get_settings().model_copy(update=here)
        self._children: list[ChildProcess] = []

    def start(self) -> ServiceInfo:
        """Start everything and wait until it is ready. Raises StartupError."""
        for name in self._record.end_leftovers():
            self._say(f"Ended {name}, which an earlier run had left behind.")
        database_url = self._start_postgres()
        redis_url = self._start_redis()
        self._settings = self._settings.model_copy(update={"database_url": database_url, "redis_url": redis_url})
        _migrate(database_url)
        programs = self._start_programs()
        _wait_until_ready(self._settings.model_copy(update={"public_url": None}).url, programs)
        link = _first_key_and_link(self._folder, database_url, self._settings.url)
        self._write_state()
        return ServiceInfo(self._settings.url, self._folder.path, self._folder.api_key, link)

    def _start_postgres(self) -> str:
        """The URL of Postgres, which is started unless the settings name another."""
        if self._settings.database_url is not None:
            return self._settings.database_url
        postgres = EmbeddedPostgres(self._folder, self._record)
        self._cleanup.callback(postgres.stop)
        postgres.start()
        self._children.append(postgres.process)
        return postgres.url

    def _start_redis(self) -> str:
        """The URL of Redis, which is started unless the settings name another."""
        if self._settings.redis_url is not None:
            _check_redis(self._settings.redis_url)
            return self._settings.redis_url
        broker = EmbeddedRedis(self._folder, self._record)
        self._cleanup.callback(broker.stop)
        broker.start()
        self._children.append(broker.process)
        return broker.url

    def _start_programs(self) -> list[ChildProcess]:
        programs = [ChildProcess(self._program(name, module), self._record) for name, module in _PROGRAMS.items()]
        self._cleanup.callback(_stop_together, programs)
        for program in programs:
            program.start()
        self._children += programs
        return programs

    def _program(self, name: str, module: tuple[str, ...]) -> Program:
        command = (sys.executable, "-m", *module)
        return Program(name, command, self._folder.logs / f"{name}.log", _environment(self._settings))

    def _write_state(self) -> None:
        """Let the command line find the service, for as long as it is up."""
        state = self._folder.path / "service.json"
        self._cleanup.callback(state.unlink, missing_ok=True)
        write_private(state, json.dumps({"url": self._settings.url, "pid": os.getpid()}))

    def look_after(self) -> None:
        """Start again what ends, after a pause that grows as long as it keeps ending."""
        pauses = dict.fromkeys(self._children, 1.0)
        due: dict[ChildProcess, float] = {}
        while True:
            for child in self._children:
                if child.running:
                    if child.seconds_running > _LONGEST_PAUSE:
                        pauses[child] = 1.0
                elif child not in due:
                    due[child] = time.monotonic() + pauses[child]
                    self._say(f"{child.how_it_ended()} It is started again in {pauses[child]:.0f} s.")
                    pauses[child] = min(2 * pauses[child], _LONGEST_PAUSE)
                elif time.monotonic() >= due[child]:
                    del due[child]
                    child.start()
            time.sleep(_LOOK_EVERY)


def _free_port(host: str, port: int | None) -> int:
    """The port, which is free, or any that is. Raises StartupError."""
    try:
        family = socket.getaddrinfo(host, port or 0, type=socket.SOCK_STREAM)[0][0]
        with socket.create_server((host, port or 0), family=family) as server:
            return int(server.getsockname()[1])
    except OSError as error:
        where = f"{host}, port {port}" if port else host
        raise StartupError(
            f"Cannot listen on {where}: {error.strerror}. Choose another --host or --port; --port 0 takes a free one."
        ) from error


def _check_redis(url: str) -> None:
    with redis.Redis.from_url(url, socket_timeout=5, socket_connect_timeout=5) as client:
        try:
            client.ping()
        except redis.RedisError as error:
            raise StartupError(f"The Redis of REALM_REDIS_URL is out of reach: {error}") from error


def _migrate(database_url: str) -> None:
    try:
        migrate(database_url)
    except OperationalError as error:
        raise StartupError(f"The database is out of reach, or busy: {error.orig}") from error


def _environment(settings: Settings) -> dict[str, str]:
    return os.environ | {
        "REALM_DATA_DIR": str(settings.data_dir),
        "REALM_DATABASE_URL": str(settings.database_url),
        "REALM_REDIS_URL": str(settings.redis_url),
        "REALM_HOST": settings.host,
        "REALM_PORT": str(settings.port),
        "PYTHONSAFEPATH": "1",  # somebody's own `app` in the current folder must not be taken for ours
        "PYTHONUNBUFFERED": "1",
    }


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
