"""Why a job failed: a code out of a closed list, and a sentence that its user can act on."""

from __future__ import annotations

import contextlib
import json
import signal
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

ErrorCode = Literal[
    "invalid_training_file",
    "base_model_not_allowed",
    "not_identifiable",
    "out_of_memory",
    "worker_lost",
    "timeout",
    "storage_full",
    "diverged",
    "cancelled_by_user",
    "internal_error",
]
LESS_MEMORY = "Use a smaller batch_size or max_length."


@dataclass(frozen=True)
class Failure:
    code: ErrorCode
    message: str

    def write(self, path: Path) -> None:
        """Leave it for the supervisor, unless another process of the team has: the first failure made the others."""
        with contextlib.suppress(FileExistsError), path.open("x") as file:
            file.write(json.dumps(asdict(self)))

    @classmethod
    def read(cls, path: Path) -> Failure | None:
        """What the training process left, if it knew why it failed."""
        try:
            return cls(**json.loads(path.read_text()))
        except (FileNotFoundError, json.JSONDecodeError):
            return None


def overdue(seconds: float) -> Failure:
    """The deadline of an attempt has passed."""
    advice = "Use fewer steps or less data, or set time_budget_seconds."
    return Failure("timeout", f"The job ran longer than the {seconds / 3600:g} hours that are allowed. {advice}")


def crash(returncode: int, *, out_of_memory: bool) -> Failure:
    """A training process ended without a word: the kernel had no memory, somebody killed it, or it broke."""
    if out_of_memory:
        return Failure("out_of_memory", f"The machine ran out of memory and ended the training. {LESS_MEMORY}")
    if returncode == -signal.SIGKILL:
        return Failure("worker_lost", "Something outside the service killed the training process.")
    how = f"by {signal.Signals(-returncode).name}" if returncode < 0 else f"with exit code {returncode}"
    return Failure("internal_error", f"The training process crashed {how}; the job's log has its last output.")


def worker_lost() -> Failure:
    """The lease ran out."""
    return Failure("worker_lost", "The worker that ran the job stopped answering.")
