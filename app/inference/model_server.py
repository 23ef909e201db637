"""The process that runs the models for one API process: models in memory, texts to tokens, inputs in batches.

    python -m app.inference.model_server FILE_DESCRIPTOR

It has the interpreter to itself, so that nothing that the API does holds a pass through a model up, and a model that
crashes or needs too much memory takes no API along. It answers over one connection, see `model_link` for what is said
there, and ends when that is closed, however the API ended.
"""

from __future__ import annotations

import importlib
import json
import socket
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import structlog

from app.errors import RealmError
from app.inference.batching import Answers, BatchingThread
from app.inference.model_cache import ModelCache, load_from_store
from app.settings import Settings, get_settings

if TYPE_CHECKING:
    from realm_core.predictor import EncodedInput, Prediction, Predictor

log = structlog.get_logger(__name__)

Document = dict[str, Any]


class Outbox:
    """What is sent to the API: gathered while a batch is answered, so that all of it wakes the API once."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._lines: list[bytes] = []
        self._lock = threading.Lock()

    def put(self, document: Document) -> None:
        line = json.dumps(document).encode() + b"\n"
        with self._lock:  # another thread may be sending, and would leave behind what is added meanwhile
            self._lines.append(line)

    def send(self) -> None:
        """Send all that was put. When the API has gone, nobody misses it."""
        with self._lock:
            lines, self._lines = self._lines, []
            try:
                self._connection.sendall(b"".join(lines))
            except OSError:
                log.info("nobody is there to be answered", answers=len(lines))


@dataclass(eq=False)
class Asked:
    """A question in work. `slots` are its inputs as the model reads them, a fault in the place of a bad one."""

    number: int
    document: Document
    received: float
    loaded: float = 0.0
    encoded: float = 0.0
    slots: list[EncodedInput | Document] | None = None
    answers: Future[Answers] | None = None
    cancelled: bool = False


class ModelServer:
    """Answers until the connection is closed."""

    def __init__(self, connection: socket.socket, load: Callable[[str], Predictor], settings: Settings) -> None:
        self._connection = connection
        self._outbox = Outbox(connection)
        self._models = ModelCache(load, settings.model_memory_bytes)
        self._batches = BatchingThread(settings.predict_batch_tokens, self._ran)
        self._tokenizing = ThreadPoolExecutor(1, "tokenize")
        self._in_work: dict[int, Asked] = {}

    def serve(self) -> None:
        """Read what is asked; returns when the API has closed the connection, and all threads have ended."""
        with self._connection, self._connection.makefile("rb") as lines:
            for line in lines:
                self._take(json.loads(line))
            for asked in list(self._in_work.values()):
                self._cancel(asked.number)
            self._models.close()
            self._tokenizing.shutdown(cancel_futures=True)
            self._batches.close()

    def _take(self, document: Document) -> None:
        if "unload" in document:
            self._models.drop(document["unload"])
        elif "cancel" in document:
            self._cancel(document["cancel"])
        else:
            asked = Asked(document["id"], document, time.perf_counter())
            self._in_work[asked.number] = asked
            loading = self._models.get(document["artifact"], document["bytes"])
            loading.add_done_callback(partial(self._loaded, asked))

    def _loaded(self, asked: Asked, loading: Future[Predictor]) -> None:
        self._tokenizing.submit(self._encode, asked, loading)

    def _cancel(self, number: int) -> None:
        asked = self._in_work.pop(number, None)
        if asked is not None:
            asked.cancelled = True
            if asked.answers is not None:
                asked.answers.cancel()

    def _encode(self, asked: Asked, loading: Future[Predictor]) -> None:
        if asked.cancelled:
            return
        asked.loaded = time.perf_counter()
        try:
            predictor = loading.result()
            truncate = asked.document["truncate"]
            asked.slots = [_encode(predictor, *one, truncate=truncate) for one in asked.document["inputs"]]
            good = [slot for slot in asked.slots if not isinstance(slot, dict)]
            asked.encoded = time.perf_counter()
            asked.answers = self._batches.submit(predictor, good)
        except Exception as error:  # whatever it is, whoever asked must hear of it
            self._fail(asked, error)
            return
        if asked.cancelled:  # while it was encoded: the other thread found nothing to cancel
            asked.answers.cancel()
        asked.answers.add_done_callback(partial(self._answered, asked, predictor))

    def _answered(self, asked: Asked, predictor: Predictor, answers: Future[Answers]) -> None:
        """Runs in the thread of the models, which goes on soon."""
        if answers.cancelled():
            return
        if asked.document["annotator"] is None and answers.exception() is None and answers.result().predictions:
            self._answer(asked, predictor, answers.result())  # is sent with all others of its batch
        else:
            self._tokenizing.submit(self._answer_apart, asked, predictor, answers)

    def _answer_apart(self, asked: Asked, predictor: Predictor, answers: Future[Answers]) -> None:
        try:
            self._answer(asked, predictor, answers.result())
        except Exception as error:
            self._fail(asked, error)
        self._outbox.send()

    def _answer(self, asked: Asked, predictor: Predictor, answers: Answers) -> None:
        annotator, inputs = asked.document["annotator"], asked.document["inputs"]
        predictions = iter(answers.predictions)
        shown = [
            slot if isinstance(slot, dict) else _shown(predictor, next(predictions), annotator, task)
            for slot, (_, task, _) in zip(asked.slots or (), inputs, strict=True)
        ]
        seconds = {
            "load": asked.loaded - asked.received,
            "tokenize": asked.encoded - asked.loaded,
            "queue": answers.queue_seconds,
            "infer": answers.infer_seconds,
        }
        self._in_work.pop(asked.number, None)
        self._outbox.put({"id": asked.number, "answers": shown, "seconds": seconds})

    def _fail(self, asked: Asked, error: Exception) -> None:
        known = isinstance(error, RealmError)
        if not known:
            log.error("a question could not be answered", exc_info=error)
        self._in_work.pop(asked.number, None)
        code, detail = (error.code, error.detail) if isinstance(error, RealmError) else ("internal_error", str(error))
        self._outbox.put({"id": asked.number, "error": code, "detail": detail})
        self._outbox.send()

    def _ran(self, n_inputs: int, seconds: float) -> None:
        self._outbox.put({"batch": [n_inputs, seconds]})
        self._outbox.send()


def _encode(
    predictor: Predictor, prompt: str, task: str | None, options: list[str] | None, *, truncate: bool
) -> EncodedInput | Document:
    from realm_core.predictor import InvalidInput, PredictInput

    try:
        encoded = predictor.encode(PredictInput(prompt, task, None if options is None else tuple(options)))
    except InvalidInput as error:
        return {"code": "invalid_input", "message": str(error)}
    if encoded.prompt.truncated and not truncate:
        message = (
            f"The prompt has {encoded.prompt.n_tokens:,} tokens and this model reads {predictor.max_length:,}. "
            'Shorten it, or let its end be cut with truncation "right".'
        )
        return {"code": "prompt_too_long", "message": message}
    return encoded


def _shown(
    predictor: Predictor, prediction: Prediction | Exception, annotator: str | None, task: str | None
) -> Document | tuple[tuple[str, ...], list[float], bool]:
    if isinstance(prediction, Exception):
        return {"code": "inference_failed", "message": "The model failed at this input."}
    scores = prediction.probabilities
    if annotator is not None:
        scores = _as_annotator(predictor, prediction, annotator, task)
    return prediction.answers, scores.tolist(), prediction.truncated


def _as_annotator(predictor: Predictor, prediction: Prediction, annotator: str, task: str | None) -> Any:
    from app.errors import Unprocessable
    from realm_core.predictor import InvalidInput

    try:
        return predictor.as_annotator(prediction, annotator, task)
    except InvalidInput as error:
        raise Unprocessable(str(error), code="unknown_annotator") from error


def main(descriptor: int) -> None:
    from app.observability import configure_logging

    configure_logging()
    server = ModelServer(socket.socket(fileno=descriptor), load_from_store, get_settings())
    # While nobody asks yet, what takes seconds to import is imported.
    threading.Thread(target=importlib.import_module, args=("realm_core.predictor",), daemon=True).start()
    server.serve()


if __name__ == "__main__":
    main(int(sys.argv[1]))
