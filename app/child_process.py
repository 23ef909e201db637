"""Processes that end with us: started on a leash, logged to a file, recorded so that a later start can end them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import psutil

from app.data_folder import write_private

LEASH = str(Path(__file__).with_name("leash.py"))
_SAME_START_SECONDS = 1.0
_LARGE_LOG_BYTES = 20 * 1024**2


@dataclass(frozen=True)
class Program:
    """What to run and how to end it. `user`: the user id that root hands its rights to."""

    name: str
    command: tuple[str, ...]
    log: Path
    environment: Mapping[str, str]
    stop_signal: signal.Signals = signal.SIGTERM
    user: int | None = None


def leashed(command: tuple[str, ...], death_signal: signal.Signals, user: int | None) -> list[str]:
    """The command line that runs `command` for as long as this process lives."""
    who = "-" if user is None else str(user)
    return [sys.executable, "-I", "-S", LEASH, str(os.getpid()), str(int(death_signal)), who, "--", *command]


class ProcessRecord:
    """The processes that run for a data folder, in a file that outlives us.

    A process is known by its id and its start time together, so that an id that the system has given to another
    process since is never mistaken for ours.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def _read(self) -> dict[str, dict[str, float]]:
        try:
            return dict(json.loads(self._path.read_text()))
        except (FileNotFoundError, json.JSONDecodeError):
            return {}

    def add(self, name: str, pid: int, stop_signal: signal.Signals) -> None:
        started = psutil.Process(pid).create_time()
        entry = {"pid": pid, "started": started, "stop_signal": int(stop_signal)}
        write_private(self._path, json.dumps(self._read() | {name: entry}, indent=1))

    def remove(self, name: str) -> None:
        write_private(self._path, json.dumps({key: value for key, value in self._read().items() if key != name}))

    def end_leftovers(self, seconds: float = 20) -> list[str]:
        """End what an earlier process that was killed left running; the names of what was ended."""
        found = {name: process for name, entry in self._read().items() if (process := _find(entry))}
        trees = [tree_of(process) for process in found.values()]
        for name, process in found.items():
            with suppress(psutil.NoSuchProcess):
                process.send_signal(int(self._read()[name]["stop_signal"]))
        wait_until_ended(list(found.values()), seconds)
        kill([process for tree in trees for process in tree])
        self._path.unlink(missing_ok=True)
        return list(found)


def _find(entry: dict[str, float]) -> psutil.Process | None:
    try:
        process = psutil.Process(int(entry["pid"]))
        ours = abs(process.create_time() - entry["started"]) < _SAME_START_SECONDS
        return process if ours and not _has_ended(process) else None
    except psutil.NoSuchProcess:
        return None


def _has_ended(process: psutil.Process) -> bool:
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def wait_until_ended(processes: list[psutil.Process], seconds: float) -> None:
    """Wait for processes that may not be our children; a container's first process may leave them zombies for ever."""
    deadline = time.monotonic() + seconds
    while not all(map(_has_ended, processes)) and time.monotonic() < deadline:
        time.sleep(0.02)


def tree_of(process: psutil.Process) -> list[psutil.Process]:
    """A process and all that it started."""
    try:
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def kill(processes: list[psutil.Process]) -> None:
    """Kill what still runs of `processes`, and wait until it is gone."""
    for process in processes:
        with suppress(psutil.NoSuchProcess):  # psutil compares start times, so a reused id is safe
            process.kill()
    wait_until_ended(processes, 5)


def _appended(log: Path) -> IO[bytes]:
    """A log opened for writing at its end; one that has grown large makes room for the next."""
    if log.exists() and log.stat().st_size > _LARGE_LOG_BYTES:
        log.replace(log.with_suffix(".old.log"))
    return open(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab")


@contextmanager
def _signals_held_back() -> Iterator[None]:
    """Let no signal's handler raise between the birth of a process and our knowing it. The leash lets them in again."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class ChildProcess:
    """A program that runs as our child and can be started again."""

    def __init__(self, program: Program, record: ProcessRecord) -> None:
        self.program = program
        self._record = record
        self._process: subprocess.Popen[bytes] | None = None
        self._tree: list[psutil.Process] = []
        self._started = 0.0

    def start(self) -> None:
        """Start it, in a session of its own: Ctrl-C in a terminal reaches only us, and we stop things in order."""
        program = self.program
        with _signals_held_back(), _appended(program.log) as log:
            self._process = subprocess.Popen(
                leashed(program.command, program.stop_signal, program.user),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=dict(program.environment),
                start_new_session=True,
            )
            self._started = time.monotonic()
            self._record.add(program.name, self._process.pid, program.stop_signal)

    @property
    def pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def seconds_running(self) -> float:
        return time.monotonic() - self._started

    def ask_to_stop(self) -> None:
        """Tell it to end, and do not wait."""
        if self._process is not None and self.running:
            self._tree = tree_of(psutil.Process(self._process.pid))
            self._process.send_signal(self.program.stop_signal)

    def wait(self, seconds: float) -> None:
        """Wait until it has ended; kill what still runs of it, or of what it had started, after `seconds`."""
        if self._process is None:
            return
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)
        kill(self._tree)
        self._process.wait()
        self._process = None
        self._record.remove(self.program.name)

    def stop(self, seconds: float = 20) -> None:
        """Tell it to end, and wait until it has."""
        self.ask_to_stop()
        self.wait(seconds)

    def how_it_ended(self) -> str:
        """A sentence for the person who runs the service."""
        code = None if self._process is None else self._process.poll()
        how = signal.strsignal(-code) if code is not None and code < 0 else f"exit code {code}"
        return f"{self.program.name} has ended ({how}); its log is {self.program.log}."

    def log_tail(self, lines: int = 20) -> str:
        """The last lines of its log."""
        return "\n".join(self.program.log.read_text(errors="replace").splitlines()[-lines:])
