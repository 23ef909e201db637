"""Row 14: from a start of the service to an answer, and a model's first answer, against a bare process."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from app.client import RealmClient
from app.running_service import running_service
from benchmarks.speed.live_service import live_service
from benchmarks.speed.ratio import Ratio, at_most
from benchmarks.speed.served_model import files_of, train_model
from benchmarks.speed.size import Size

_BARE = """
import pathlib, sys
from realm_core.predictor import PredictInput, Predictor
print(Predictor.load(pathlib.Path(sys.argv[1]), threads=1).predict([PredictInput("where is it")]))
"""
_MODEL = "the models' libraries imported and the model loaded in a bare process"


def rows(wanted: set[int], size: Size) -> Iterator[Ratio]:
    """Row 14."""
    if 14 not in wanted:
        return
    with TemporaryDirectory(prefix="realm-speed-") as temporary:
        data, copied = Path(temporary) / "data", Path(temporary) / "model"
        with live_service(folder=data) as service:
            model_id = train_model(service)
            files_of(model_id, copied)
        pairs = [(_start(data, model_id), _bare(copied)) for _ in range(size.rounds)]
    to_answer, cold = (median(start[which] for start, _ in pairs) for which in (0, 1))
    reference = median(bare for _, bare in pairs)
    yield Ratio(
        14, f"start of the service to its first answer, against {_MODEL}", at_most(1.3), to_answer, reference, "s"
    )
    yield Ratio(14, f"first answer of a model, against {_MODEL}", at_most(1.3), cold, reference, "s")


def _start(data: Path, model_id: str) -> tuple[float, float]:
    """Seconds from the start of `realm up` on a data folder that exists, and from the first question, to its answer."""
    started = time.perf_counter()
    with running_service(data) as service, RealmClient(service.url, service.api_key) as client:
        asked = time.perf_counter()
        client.predict(model_id, "where is it")
        answered = time.perf_counter()
    return answered - started, answered - asked


def _bare(files: Path) -> float:
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", _BARE, str(files)], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started
