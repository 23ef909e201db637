"""Predict: from a question to its answer, as one JSON document or as lines that are sent while others are in work."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import replace
from tempfile import SpooledTemporaryFile
from typing import Any

from starlette.concurrency import run_in_threadpool

from app.errors import RealmError, TooManyRequests, Unprocessable
from app.inference.engine import Answered, Inference, Scores
from app.inference.questions import Body, Question, look_up, read_body, read_windows
from app.inference.schemas import InputFault, PredictOptions

WINDOWS_IN_WORK = 2  # the model is busy with one while the other is read and tokenized
SMALL_BODY_BYTES = 16 * 1024  # are read sooner than a thread starts
FEW_INPUTS = 8  # are written sooner
FULL_QUEUE_SECONDS = 0.1  # between two tries of a window for which there was no room
SPOOL_BYTES = 1024**2  # of an NDJSON body are kept in memory, the rest on disk

Answer = list[dict[str, Any]] | dict[str, Any]


class InferenceFailed(RealmError):
    code, title = "inference_failed", "The model failed at this input"


async def predict(
    inference: Inference, project_id: str, model_id: str, body: bytes
) -> tuple[list[Answer] | Answer, dict[str, str]]:
    """The answer to a JSON body, and its headers. A bad input has its error in its slot; one that came alone raises."""
    asked = read_body(body) if len(body) <= SMALL_BODY_BYTES else await run_in_threadpool(read_body, body)
    question = await look_up(project_id, model_id, asked)
    answered = await inference.answer(question)
    if question.single and isinstance(fault := answered.answers[0], InputFault):
        failed = InferenceFailed if fault.code == InferenceFailed.code else Unprocessable
        raise failed(fault.message, code=fault.code, param="inputs")
    few = len(question.items) <= FEW_INPUTS
    answers = _shape(answered, question) if few else await run_in_threadpool(_shape, answered, question)
    return answers[0] if question.single else answers, {"X-Model-Id": model_id, "Server-Timing": _timing(answered)}


def _shape(answered: Answered, question: Question) -> list[Answer]:
    return [_shape_one(answer, question.top_k) for answer in answered.answers]


def _shape_one(answer: Scores | InputFault, top_k: int | None) -> Answer:
    if isinstance(answer, InputFault):
        return _fault(answer)
    best = sorted(zip(answer.labels, answer.scores, strict=True), key=lambda one: -one[1])[:top_k]
    note = {"truncated": True} if answer.truncated else {}
    return [{"label": label, "score": score, **note} for label, score in best]


def _fault(fault: InputFault) -> dict[str, Any]:
    return {"error": fault.model_dump()}


def _timing(answered: Answered) -> str:
    return ", ".join(f"{name};dur={1000 * seconds:.2f}" for name, seconds in answered.seconds.items())


async def predict_lines(
    inference: Inference, project_id: str, model_id: str, options: PredictOptions, body: AsyncIterator[bytes]
) -> AsyncIterator[bytes]:
    """The lines that answer the lines of `body`, in their order.

    The first of them are there before this returns, so that a fault of the whole request is raised, not streamed. The
    body is read to its end before that: many clients read no answer until they have sent everything.
    """
    question = await look_up(project_id, model_id, Body(options, [], single=False))
    windows = _answer_windows(inference, question, body)
    first = await anext(windows, b"")

    async def lines() -> AsyncIterator[bytes]:
        yield first
        async for window in windows:
            yield window

    return lines()


async def _answer_windows(inference: Inference, question: Question, body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    in_work: deque[asyncio.Task[bytes]] = deque()
    with SpooledTemporaryFile(SPOOL_BYTES) as spool:
        async for chunk in body:
            await run_in_threadpool(spool.write, chunk)
        spool.seek(0)
        windows = read_windows(spool)
        answer = _answer_window
        try:
            while True:
                while len(in_work) < WINDOWS_IN_WORK and (items := await run_in_threadpool(next, windows, None)):
                    in_work.append(asyncio.create_task(answer(inference, replace(question, items=items))))
                    answer = _answer_later_window
                if not in_work:
                    return
                yield await in_work.popleft()
        finally:
            for task in in_work:
                task.cancel()


async def _answer_window(inference: Inference, question: Question) -> bytes:
    answered = await inference.answer(question)
    return await run_in_threadpool(_lines, answered, question)


async def _answer_later_window(inference: Inference, question: Question) -> bytes:
    """Raises nothing that a user can cause, since the status has been sent; waits for room in a full queue."""
    while True:
        try:
            return await _answer_window(inference, question)
        except TooManyRequests:
            await asyncio.sleep(FULL_QUEUE_SECONDS)
        except RealmError as error:
            fault = _fault(InputFault(code=error.code, message=error.detail))
            return (json.dumps(fault) + "\n").encode() * len(question.items)


def _lines(answered: Answered, question: Question) -> bytes:
    return b"".join(json.dumps(answer).encode() + b"\n" for answer in _shape(answered, question))
