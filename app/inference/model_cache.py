"""Fine-tuned models in memory: loaded once though many ask, the least recently used let go."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import structlog

from app.artifacts import ArtifactDamaged, get_artifacts
from app.inference.model_link import ModelUnusable
from app.settings import get_settings

if TYPE_CHECKING:
    from realm_core.predictor import Predictor

log = structlog.get_logger(__name__)


@dataclass(eq=False)
class _Entry:
    n_bytes: int
    predictor: Future[Predictor] = field(default_factory=Future)


class ModelCache:
    """The models of this process, at most `max_bytes` of them unless one alone is larger.

    A model that was let go while requests still wait for it answers them; its memory is free after that.
    """

    def __init__(self, load: Callable[[str], Predictor], max_bytes: int) -> None:
        self._load, self._max_bytes = load, max_bytes
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        self._lock = threading.Lock()
        self._loading = ThreadPoolExecutor(1, "model-load")  # one at a time: loading takes its memory twice

    def get(self, artifact: str, n_bytes: int) -> Future[Predictor]:
        """The model stored under `artifact`, whose files have `n_bytes`. The first caller has it loaded."""
        with self._lock:
            entry = self._entries.get(artifact)
            if entry is None:
                entry = self._entries[artifact] = _Entry(n_bytes)
                self._loading.submit(self._fill, artifact, entry)
            self._entries.move_to_end(artifact)
        return entry.predictor

    def drop(self, artifact: str) -> None:
        """Forget a model that was deleted."""
        with self._lock:
            self._entries.pop(artifact, None)

    def close(self) -> None:
        """End the loading thread; models that wait to be loaded are not."""
        self._loading.shutdown(cancel_futures=True)

    def _fill(self, artifact: str, entry: _Entry) -> None:
        self._let_go(entry)
        try:
            predictor = self._load(artifact)
        except BaseException as error:  # who waits must hear of it, whatever it is
            with self._lock:
                if self._entries.get(artifact) is entry:
                    del self._entries[artifact]
            entry.predictor.set_exception(error)
            return
        entry.n_bytes = predictor.n_bytes
        self._let_go(entry)
        entry.predictor.set_result(predictor)

    def _let_go(self, wanted: _Entry) -> None:
        """Forget loaded models, the least recently used first, until `wanted` fits beside the rest."""
        with self._lock:
            total = sum(entry.n_bytes for entry in self._entries.values())
            for artifact, entry in list(self._entries.items()):
                if total <= self._max_bytes:
                    return
                if entry is not wanted and entry.predictor.done():
                    del self._entries[artifact]
                    total -= entry.n_bytes
                    log.info("model unloaded", artifact=artifact, bytes=entry.n_bytes)


def load_from_store(artifact: str) -> Predictor:
    """Load a model from the artifact store. Raises ModelUnusable.

    Its files are copied, checked against their manifest and gone again once loaded: a deleted model stays nowhere.
    """
    from realm_core.checkpoint import UnreadableModel
    from realm_core.predictor import Predictor

    settings = get_settings()
    copies = settings.data_dir.absolute() / "cache" / "models"
    copies.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=copies) as folder:
        try:
            files = get_artifacts().fetch_folder(artifact, Path(folder) / "model")
            return Predictor.load(files, threads=settings.predict_threads, precision=settings.predict_precision)
        except ArtifactDamaged as error:
            log.error("model damaged", artifact=artifact, error=str(error))
            raise ModelUnusable("The model's files are missing or damaged; train it again.") from error
        except UnreadableModel as error:
            log.error("model unreadable", artifact=artifact, error=str(error))
            raise ModelUnusable("The model's files are not a whole model of this version; train it again.") from error
