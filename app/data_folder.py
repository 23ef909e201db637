"""The one folder in which `realm up` keeps everything; one process at a time runs it."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path


class StartupError(Exception):
    """The service cannot start; the message tells the person who typed the command what to do."""


class DataFolder:
    """A data folder that belongs to this process until `close`. Nobody else may look into it."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self._lock: int | None = None

    @property
    def logs(self) -> Path:
        return self.path / "logs"

    @property
    def api_key(self) -> Path:
        return self.path / "api_key"

    def open(self) -> DataFolder:
        """Make the folder if need be and take its lock. Raises StartupError."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.mkdir(mode=0o700, exist_ok=True)
            self._keep_others_out()
            self.logs.mkdir(mode=0o700, exist_ok=True)
            self._take_lock()
        except OSError as error:
            raise StartupError(f"Cannot use {self.path} as the data folder: {error.strerror}.") from error
        return self

    def _keep_others_out(self) -> None:
        mode = self.path.stat().st_mode & 0o777
        if mode & 0o077 == 0:
            return
        if any(self.path.iterdir()):
            raise StartupError(
                f"Others may look into {self.path} (mode {mode:o}), and it is not empty. If it is the data folder, "
                f"run: chmod 700 {self.path}"
            )
        self.path.chmod(0o700)

    def _take_lock(self) -> None:
        lock = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(lock, 20).decode().strip()
            os.close(lock)
            raise StartupError(
                f"{self.path} is in use by process {holder}; stop that one or choose another folder with --data-dir."
            ) from None
        os.ftruncate(lock, 0)
        os.write(lock, str(os.getpid()).encode())
        self._lock = lock

    def close(self) -> None:
        """Let others use the folder."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def write_private(path: Path, text: str) -> None:
    """Replace a file at once by one that only its owner can read."""
    partial = path.with_name(f".{path.name}.part")
    partial.unlink(missing_ok=True)
    with open(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
