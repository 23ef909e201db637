"""Postgres and Redis as our own children: they answer, they end with us, and they leave no trace."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
import redis
from kombu.connection import Connection
from sqlalchemy import create_engine, text

from app.child_process import ChildProcess, ProcessRecord, Program, leashed
from app.data_folder import DataFolder, StartupError
from app.embedded import EmbeddedPostgres, EmbeddedRedis
from app.queue import broker_url
from tests.conftest import processes_of

ROOT = os.geteuid() == 0
RUN = """
import sys, time
from pathlib import Path
from app.child_process import ProcessRecord
from app.data_folder import DataFolder
from app.embedded import EmbeddedPostgres, EmbeddedRedis

folder = DataFolder(Path(sys.argv[1])).open()
record = ProcessRecord(folder.path / "processes.json")
ended = record.end_leftovers()
servers = [EmbeddedPostgres(folder, record), EmbeddedRedis(folder, record)]
for server in servers:
    server.start()
print("up", ended, *(server.process.pid for server in servers), flush=True)
time.sleep(float(sys.argv[2]))
for server in servers:
    server.stop()
"""


class Servers:
    def __init__(self, path: Path) -> None:
        self.folder = DataFolder(path).open()
        self.record = ProcessRecord(self.folder.path / "processes.json")
        self.postgres = EmbeddedPostgres(self.folder, self.record)
        self.redis = EmbeddedRedis(self.folder, self.record)

    def start(self) -> Servers:
        self.postgres.start()
        self.redis.start()
        return self

    def stop(self) -> None:
        self.redis.stop()
        self.postgres.stop()
        self.folder.close()

    def query(self, statement: str) -> object:
        engine = create_engine(self.postgres.url)
        try:
            with engine.begin() as connection:
                result = connection.execute(text(statement))
                return result.scalar() if result.returns_rows else None
        finally:
            engine.dispose()


@pytest.fixture
def path(tmp_path: Path) -> Iterator[Path]:
    """Where a data folder may be made; afterwards nothing may run for it any more."""
    yield tmp_path / "data"
    assert processes_of(tmp_path) == []


def wait_until_gone(folder: Path, seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while processes_of(folder) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert processes_of(folder) == []


def test_servers_answer_and_keep_what_they_were_told(path: Path) -> None:
    servers = Servers(path).start()
    try:
        assert str(servers.query("SHOW server_version")).startswith("18")
        assert servers.query("SELECT rolsuper FROM pg_roles WHERE rolname = current_user") is False
        servers.query("CREATE TABLE kept AS SELECT 'grüß' AS word")
        with redis.Redis.from_url(servers.redis.url) as client:
            assert client.ping()
    finally:
        servers.stop()
    servers = Servers(path).start()
    try:
        assert servers.query("SELECT word FROM kept") == "grüß"
    finally:
        servers.stop()
    assert not (path / "run").exists()


@dataclass(frozen=True)
class Running:
    servers: Servers
    parents_before: list[tuple[Path, int, int]]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Servers in a folder below one that only its owner may enter."""
    closed = tmp_path_factory.mktemp("closed")
    closed.chmod(0o700)
    before = facts_of((closed, *closed.parents))
    servers = Servers(closed / "data").start()
    try:
        yield Running(servers, before)
    finally:
        servers.stop()


def facts_of(folders: Iterable[Path]) -> list[tuple[Path, int, int]]:
    return [(folder, folder.stat().st_mode, folder.stat().st_uid) for folder in folders]


def test_they_listen_on_no_network(running: Running) -> None:
    for process in (running.servers.postgres.process, running.servers.redis.process):
        assert process.pid is not None
        kinds = {connection.family.name for connection in psutil.Process(process.pid).net_connections("all")}
        assert kinds == {"AF_UNIX"}
    assert (running.servers.folder.path / "run").stat().st_mode & 0o777 == 0o700


@pytest.mark.skipif(not ROOT, reason="needs another system user")
def test_postgres_turns_other_system_users_away(running: Running) -> None:
    sockets = str(running.servers.folder.path / "run")
    attempt = f"import psycopg; psycopg.connect(host={sockets!r}, user='realm', dbname='realm')"
    command = leashed((sys.executable, "-c", attempt), signal.SIGKILL, 65534)
    done = subprocess.run(command, capture_output=True, text=True)
    assert "Peer authentication failed" in done.stderr


@pytest.mark.skipif(not ROOT, reason="an ordinary user has no rights to hand over")
def test_root_hands_over_all_rights_but_that_to_find_and_read_files(tmp_path: Path) -> None:
    hidden = tmp_path / "hidden"
    hidden.mkdir(mode=0o700)
    (hidden / "tool").touch(mode=0o755)
    look = (
        "import os, re, sys;"
        "rights = re.search(r'CapEff:\\s+(\\w+)', open('/proc/self/status').read())[1];"
        "print(os.getuid(), os.geteuid(), os.getgroups(), int(rights, 16), os.access(sys.argv[1], os.X_OK))"
    )
    command = leashed((sys.executable, "-c", look, str(hidden / "tool")), signal.SIGKILL, 65534)
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.stdout.strip() in {f"65534 65534 [] {right} True" for right in (1 << 1, 1 << 2)}, done.stderr


def test_permissions_of_parents_stay_as_they_are(running: Running) -> None:
    assert facts_of(folder for folder, _, _ in running.parents_before) == running.parents_before
    assert running.servers.folder.path.stat().st_mode & 0o777 == 0o700


@pytest.mark.skipif(not ROOT, reason="tests of an ordinary user run as one already")
def test_servers_run_for_an_ordinary_user(tmp_path: Path, path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    os.chown(home, 65534, 65534)
    command = leashed((sys.executable, "-c", RUN, str(home / "data"), "0"), signal.SIGKILL, 65534)
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert (home / "data" / "postgres").stat().st_uid == 65534


@pytest.mark.skipif(not ROOT, reason="needs another system user")
def test_a_user_without_a_name_is_told(tmp_path: Path, path: Path) -> None:
    os.chown(tmp_path, 123456, 123456)
    command = leashed((sys.executable, "-c", RUN, str(path), "0"), signal.SIGKILL, 123456)
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert "The user id 123456 has no name on this system" in done.stderr


def test_a_killed_parent_takes_its_servers_along_and_the_next_start_works(path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", RUN, str(path), "60"], stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout is not None
        assert first.stdout.readline().startswith("up")
        first.kill()
    with subprocess.Popen([sys.executable, "-c", RUN, str(path), "60"], stdout=subprocess.PIPE, text=True) as second:
        assert second.stdout is not None
        assert second.stdout.readline().startswith("up")
        second.kill()
    if sys.platform == "linux":
        wait_until_gone(path)
    else:
        ProcessRecord(path / "processes.json").end_leftovers()


def test_two_at_once_on_one_folder_are_refused(path: Path) -> None:
    first = DataFolder(path).open()
    try:
        with pytest.raises(StartupError, match=rf"in use by process {os.getpid()}; stop that one or choose another"):
            DataFolder(path).open()
    finally:
        first.close()
    DataFolder(path).open().close()


def test_a_folder_that_others_may_look_into_is_not_taken_over(path: Path) -> None:
    path.mkdir(mode=0o755)
    DataFolder(path).open().close()
    assert path.stat().st_mode & 0o777 == 0o700  # it was empty
    path.chmod(0o755)
    with pytest.raises(StartupError, match=f"chmod 700 {path}"):
        DataFolder(path).open()
    assert path.stat().st_mode & 0o777 == 0o755


def test_odd_names_of_the_folder(path: Path) -> None:
    servers = Servers(path / "spaces & 100% 'quotes' ü").start()
    try:
        assert servers.query("SELECT 1") == 1
        with Connection(broker_url(servers.redis.url)) as broker:  # type: ignore[no-untyped-call]
            broker.ensure_connection(max_retries=1)
            broker.default_channel.client.ping()
    finally:
        servers.stop()


def test_a_path_that_does_not_do_for_a_socket(path: Path) -> None:
    servers = Servers(path / ("long," * 35)).start()
    try:
        assert servers.query("SELECT 1") == 1
        sockets = Path(tempfile.gettempdir()) / Path(servers.redis.url.removeprefix("unix://")).parent.name
        assert sockets.stat().st_mode & 0o777 == 0o700
    finally:
        servers.stop()
    assert not sockets.exists()


def test_a_server_that_does_not_start_says_why(path: Path) -> None:
    servers = Servers(path)
    (path / "postgres").mkdir()
    try:
        with pytest.raises(StartupError, match=r"(?s)postgres has ended \(exit code \d\).*postgresql.conf"):
            servers.postgres.start()
    finally:
        servers.stop()


def test_a_half_made_database_is_made_anew(path: Path) -> None:
    servers = Servers(path)
    (path / "postgres.part").mkdir()
    (path / "postgres.part" / "rubbish").touch()
    servers.start()
    try:
        assert servers.query("SELECT 1") == 1
        assert not (path / "postgres.part").exists()
    finally:
        servers.stop()


def sleeper(path: Path, name: str = "sleeper") -> Program:
    return Program(name, ("/bin/sleep", "60"), path / f"{name}.log", {})


def test_leftovers_are_ended_by_their_record(tmp_path: Path) -> None:
    record = ProcessRecord(tmp_path / "processes.json")
    child = ChildProcess(sleeper(tmp_path), record)
    child.start()
    assert ProcessRecord(tmp_path / "processes.json").end_leftovers() == ["sleeper"]
    assert not child.running
    assert ProcessRecord(tmp_path / "processes.json").end_leftovers() == []


def test_a_stranger_with_the_recorded_id_is_left_alone(tmp_path: Path) -> None:
    record = ProcessRecord(tmp_path / "processes.json")
    with subprocess.Popen(["/bin/sleep", "60"]) as stranger:
        record.add("postgres", stranger.pid, signal.SIGKILL)
        written = (tmp_path / "processes.json").read_text()
        started = str(psutil.Process(stranger.pid).create_time())
        assert started in written
        (tmp_path / "processes.json").write_text(written.replace(started, str(float(started) - 100)))
        assert record.end_leftovers() == []
        assert stranger.poll() is None
        stranger.kill()


def test_stop_kills_what_does_not_listen_and_all_that_it_started(tmp_path: Path) -> None:
    deaf = "trap '' TERM; sleep 61 & echo started; while true; do sleep 0.1; done"
    child = ChildProcess(
        Program("deaf", ("/bin/sh", "-c", deaf), tmp_path / "deaf.log", {"PATH": os.defpath}),
        ProcessRecord(tmp_path / "processes.json"),
    )
    child.start()
    while "started" not in child.log_tail():
        time.sleep(0.01)
    assert child.pid is not None
    tree = psutil.Process(child.pid).children(recursive=True)
    child.stop(seconds=0.3)
    assert tree
    assert not any(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in tree)


def test_how_a_child_ended_is_told(tmp_path: Path) -> None:
    child = ChildProcess(sleeper(tmp_path), ProcessRecord(tmp_path / "processes.json"))
    child.start()
    assert child.pid is not None
    os.kill(child.pid, signal.SIGKILL)
    while child.running:
        time.sleep(0.01)
    assert child.how_it_ended() == f"sleeper has ended (Killed); its log is {tmp_path}/sleeper.log."
    child.stop()
