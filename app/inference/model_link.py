"""The API's end of the connection to the process that runs the models, see `model_server` for the other.

Both send JSON, one document a line. What is asked carries a number, and what answers it has the same:

    {"id": 7, "artifact": "models/…", "bytes": n, "annotator": null, "truncate": false,
     "inputs": [[prompt, task, options]]}
    {"id": 7, "answers": [[labels, scores, truncated] or {"code", "message"}], "seconds": {"load": …}}
    {"id": 7, "error": "…", "detail": "…"}
    {"cancel": 7}    {"unload": "models/…"}    {"batch": [inputs, seconds]}
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from itertools import count
from typing import Any, cast

from prometheus_client import Histogram

from app.errors import RealmError, Unavailable, Unprocessable

BATCH_INPUTS = Histogram(
    "realm_predict_batch_inputs", "Inputs in one pass through a model.", buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256)
)
BATCH_SECONDS = Histogram(
    "realm_predict_batch_seconds",
    "Time of one pass through a model.",
    buckets=(0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5),
)

Document = dict[str, Any]


class ModelUnusable(RealmError):
    code, title = "model_unusable", "The model cannot be loaded"


class ModelLink(asyncio.Protocol):
    """Asks and waits. It belongs to the event loop that it was connected in."""

    def __init__(self, lost: Callable[[], None]) -> None:
        self._lost = lost
        self._numbers = count()
        self._waiting: dict[int, asyncio.Future[Document]] = {}
        self._unfinished: list[bytes] = []
        self._transport: asyncio.Transport | None = None
        self._loop = asyncio.get_running_loop()

    async def ask(self, question: Document) -> Document:
        """What answers a question. Cancelling this takes it back.

        Raises ModelUnusable, Unprocessable, and Unavailable when the process ends before it has answered.
        """
        number = next(self._numbers)
        answer: asyncio.Future[Document] = self._loop.create_future()
        self._waiting[number] = answer
        self._send({"id": number, **question})
        try:
            return await answer
        except asyncio.CancelledError:
            self._send({"cancel": number})
            raise
        finally:
            self._waiting.pop(number, None)

    def unload(self, artifact: str) -> None:
        """Have a deleted model forgotten. May be called from any thread."""
        self._loop.call_soon_threadsafe(self._send, {"unload": artifact})

    def close(self) -> None:
        """Tell the other end that nothing more will be asked, by closing the connection."""
        if self._transport is not None:
            self._transport.close()

    def _send(self, document: Document) -> None:
        if self._transport is None:
            raise restarting()
        self._transport.write(json.dumps(document).encode() + b"\n")

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        *lines, rest = data.split(b"\n")
        for line in lines:
            self._take(json.loads(b"".join([*self._unfinished, line])))
            self._unfinished.clear()
        if rest:
            self._unfinished.append(rest)

    def _take(self, document: Document) -> None:
        if "batch" in document:
            n_inputs, seconds = document["batch"]
            BATCH_INPUTS.observe(n_inputs)
            BATCH_SECONDS.observe(seconds)
            return
        answer = self._waiting.get(document["id"])
        if answer is None or answer.done():  # whoever asked has left
            return
        if "error" in document:
            answer.set_exception(_fault(document["error"], document["detail"]))
        else:
            answer.set_result(document)

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(restarting())
        self._lost()


def _fault(code: str, detail: str) -> Exception:
    if code == ModelUnusable.code:
        return ModelUnusable(detail)
    if code == Unavailable.code:
        return Unavailable(detail, headers={"Retry-After": "5"})
    if code == "unknown_annotator":
        return Unprocessable(detail, code=code, param="annotator")
    return RuntimeError(f"the process that runs the models failed: {detail}")


def restarting() -> Unavailable:
    """What is answered while nothing runs the models."""
    detail = "The process that runs the models has ended and is started again; try again."
    return Unavailable(detail, code="models_restarting", headers={"Retry-After": "2"})
