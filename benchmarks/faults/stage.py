"""The real service with everything that a fault needs in reach: its processes, database, Redis and files."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import psutil
from sqlalchemy import text

from app.child_process import leashed
from app.client import Json, RealmClient, RequestFailed, ServiceUnreachable
from app.database.session import transaction
from app.queue import live_workers
from app.running_service import running_service
from benchmarks.faults.small_model import save_small_model
from benchmarks.running_processes import in_reach, part_of_service, settings_of

N_ITEMS = 400
WORDS = {"no": ("refused", "broken", "late"), "yes": ("great", "thanks", "perfect")}
SETTINGS = {
    "REALM_LEASE_SECONDS": "4",
    "REALM_CANCEL_GRACE_SECONDS": "1",
    "REALM_CHECKPOINT_SECONDS": "0.3",
    "REALM_TORCH_THREADS": "1",
    "REALM_MAX_ATTEMPTS": "3",
}
TRAINING = {"n_epochs": 15, "batch_size": 8, "patience": 1000, "cross_fit_folds": 0, "learning_rate": 1e-3}
PATIENCE = 240.0  # a job that has not ended by then is lost

T = TypeVar("T")


@dataclass
class Trial:
    """One fault: how long until all went on, and how each job that it touched may end."""

    recovery_seconds: float
    jobs: dict[str, tuple[str, ...]] = field(default_factory=dict)
    lost: int = 0
    doubled: int = 0


def wait_for(condition: Callable[[], T], seconds: float = PATIENCE) -> T:
    """What the condition answers once it is true. Raises TimeoutError."""
    until = time.monotonic() + seconds
    while not (found := condition()):
        if time.monotonic() > until:
            raise TimeoutError("it did not happen in time")
        time.sleep(0.05)
    return found


class Stage:
    """A running service, and data of a small crowd in it. This process reads its database and Redis too."""

    def __init__(self, folder: Path, artifacts: Path, client: RealmClient, url: str, api_key: str, seed: int) -> None:
        self.folder = folder
        self.artifacts = artifacts
        self.data_dir = folder / "data"
        self.random = random.Random(seed)  # noqa: S311
        self.client = client
        self.url, self.api_key = url, api_key
        self.environment = settings_of(self.process("api"))
        self.dataset = str(self.client.datasets.create(crowd(N_ITEMS), name="crowd")["id"])
        self.seconds = {kind: self.measured(kind) for kind in ("aggregation", "training")}

    def process(self, name: str) -> psutil.Process:
        """A part of the service: postgres, redis, api, worker or reconcile."""
        return part_of_service(self.data_dir, name)

    def kill(self, name: str, number: signal.Signals = signal.SIGKILL) -> None:
        """End a part of the service, which `realm up` then starts again."""
        process = self.process(name)
        process.send_signal(number)
        process.wait(60)

    def start(self, kind: str = "aggregation") -> str:
        """A new job's id: one that aggregates, or one that trains the small model with many checkpoints."""
        if kind == "aggregation":
            job = self.client.fine_tuning.jobs.create(dataset=self.dataset, method="aggregation", seed=1)
        else:
            job = self.client.fine_tuning.jobs.create(
                dataset=self.dataset, model="small", hyperparameters=TRAINING, seed=1
            )
        return str(job["id"])

    def measured(self, kind: str) -> float:
        """Seconds that an undisturbed job takes."""
        began = time.monotonic()
        end = self.end_of(self.start(kind))
        if end["status"] != "succeeded":
            raise RuntimeError(f"an undisturbed job {end['status']}: {end['error']}")
        return time.monotonic() - began

    def random_moment(self, kind: str = "aggregation") -> None:
        """Wait until any moment in the life of a job that has just been started."""
        time.sleep(self.random.uniform(0, 0.95 * self.seconds[kind]))

    def under_way(self, kind: str = "training") -> str:
        """A new job at a random moment of its life."""
        while True:
            job = self.start(kind)
            self.random_moment(kind)
            if not self.has_ended(job):
                return job

    def job(self, job: str) -> Json | None:
        """A job, or None while the service cannot say."""
        with suppress(ServiceUnreachable):
            try:
                return self.client.fine_tuning.jobs.retrieve(job)
            except RequestFailed as error:
                if error.status != 503:
                    raise
        return None

    def end_of(self, job: str, seconds: float = PATIENCE) -> Json:
        """A job that has ended."""
        wait_for(lambda: self.has_ended(job), seconds)
        return self.client.fine_tuning.jobs.retrieve(job)

    def has_ended(self, job: str) -> bool:
        found = self.job(job)
        return found is not None and found["finished_at"] is not None

    def attempt_of(self, job: str) -> int:
        """The attempt that has started last, or that ended the job."""
        found = self.job(job)
        return found["attempt"] if found else 0

    def training_of(self, job: str) -> psutil.Process | None:
        """The process that trains a job, wherever it runs."""
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                command = process.cmdline()
                if "worker.training_process" in command and job in command:
                    return process
        return None

    def is_ready(self) -> bool:
        """Whether the service says that it can do its work."""
        with suppress(RequestFailed, ServiceUnreachable):
            return self.client.request("GET", "/readyz").is_success
        return False

    def sql(self, query: str, **values: object) -> list[tuple[object, ...]]:
        with transaction() as session:
            return [tuple(row) for row in session.execute(text(query), values)]

    @contextmanager
    def another_worker(self, *prefix: str) -> Iterator[psutil.Process]:
        """One more worker, with a data folder of its own; `prefix` is a command that starts it."""
        with self.another("worker", *prefix) as process:
            wait_for(lambda: any(facts["pid"] == process.pid for facts in live_workers().values()))
            yield process

    @contextmanager
    def another(self, module: str, *prefix: str) -> Iterator[psutil.Process]:
        """One more process of the service, until the block ends."""
        folder = self.folder / f"another-{time.monotonic_ns()}"
        environment = {**os.environ, **self.environment, "REALM_DATA_DIR": str(folder)}
        command = leashed((*prefix, sys.executable, "-m", module), signal.SIGTERM, None)
        with (self.folder / f"{folder.name}.log").open("wb") as log:
            process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        try:
            yield psutil.Process(process.pid)
        finally:
            process.terminate()
            process.wait(60)


def crowd(n_items: int) -> list[Json]:
    """Short texts of two classes, each labelled by three people of whom one guesses."""
    draw = random.Random(0)  # noqa: S311
    rows = []
    for item in range(n_items):
        truth = draw.choice(list(WORDS))
        prompt = f"it was {draw.choice(WORDS[truth])} , number {item}"
        for annotator, accuracy in (("ada", 0.95), ("bob", 0.8), ("eve", 0.5)):
            label = truth if draw.random() < accuracy else {"no": "yes", "yes": "no"}[truth]
            rows.append({"prompt": prompt, "annotator": annotator, "label": label})
    return rows


@contextmanager
def stage(folder: Path, artifacts: Path, seed: int) -> Iterator[Stage]:
    """A service of its own in `folder`, with its artifacts where they are wanted."""
    models = folder / "models"
    save_small_model(models / "small", {word for row in crowd(N_ITEMS) for word in row["prompt"].split()})
    settings = SETTINGS | {"REALM_MODELS_DIR": str(models)}
    settings["REALM_ARTIFACTS_URL"] = artifacts.as_uri()
    with (
        running_service(folder / "data", settings) as service,
        in_reach(settings_of(part_of_service(folder / "data", "api"))),
        RealmClient(service.url, service.api_key) as client,
    ):
        yield Stage(folder, artifacts, client, service.url, service.api_key, seed)
