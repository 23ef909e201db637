"""What answers in this process: a bound on what is let in, a deadline, and behind them the process with the models."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Any

from fastapi import Depends

from app.errors import DeadlineExceeded, TooManyRequests
from app.inference.questions import Question
from app.inference.schemas import InputFault, PredictItem
from app.inference.supervision import SupervisedModels, get_models
from app.settings import Settings, get_settings


@dataclass(frozen=True)
class Scores:
    """The probability of each label, in the model's order."""

    labels: list[str]
    scores: list[float]
    truncated: bool


@dataclass(frozen=True)
class Answered:
    """Scores or a fault per input, in order, and where the time went."""

    answers: list[Scores | InputFault]
    seconds: dict[str, float]


class Inference:
    """Answers inputs. Its coroutines never block the event loop."""

    def __init__(self, models: SupervisedModels, settings: Settings) -> None:
        self._models = models
        self._timeout_seconds = settings.predict_timeout_seconds
        self._max_in_flight = settings.max_predict_inputs_in_flight
        self._in_flight = 0

    async def answer(self, question: Question) -> Answered:
        """Cancelling this takes its inputs off the queue.

        Raises TooManyRequests, DeadlineExceeded, ModelUnusable, Unavailable, Unprocessable.
        """
        with self._admitted(len(question.items)):
            try:
                async with asyncio.timeout(self._timeout_seconds):
                    return await self._answer(question)
            except TimeoutError as error:
                detail = f"The model did not answer within {self._timeout_seconds:g} seconds; send fewer inputs."
                raise DeadlineExceeded(detail) from error

    def unload(self, artifact: str) -> None:
        """Forget a deleted model."""
        self._models.unload(artifact)

    async def close(self) -> None:
        """End the process with the models."""
        await self._models.close()

    @contextmanager
    def _admitted(self, n_inputs: int) -> Iterator[None]:
        if self._in_flight and self._in_flight + n_inputs > self._max_in_flight:
            detail = f"{self._in_flight} inputs wait already, and {self._max_in_flight} may; try again."
            raise TooManyRequests(detail, headers={"Retry-After": "1"})
        self._in_flight += n_inputs
        try:
            yield
        finally:
            self._in_flight -= n_inputs

    async def _answer(self, question: Question) -> Answered:
        good = [item for item in question.items if isinstance(item, PredictItem)]
        reply = await self._models.ask(
            {
                "artifact": question.artifact,
                "bytes": question.n_bytes,
                "annotator": question.annotator,
                "truncate": question.truncate,
                "inputs": [(item.prompt, item.task, item.options) for item in good],
            }
        )
        answers = map(_scores_or_fault, reply["answers"])
        items = [item if isinstance(item, InputFault) else next(answers) for item in question.items]
        return Answered(items, reply["seconds"])


def _scores_or_fault(answer: Any) -> Scores | InputFault:
    return InputFault(**answer) if isinstance(answer, dict) else Scores(*answer)


@lru_cache
def get_inference() -> Inference:
    """The one of this process."""
    return Inference(get_models(), get_settings())


async def close_inference() -> None:
    """End the process that runs the models, if there is one."""
    if get_models.cache_info().currsize:
        await get_models().close()
        get_models.cache_clear()
        get_inference.cache_clear()


async def current_inference() -> Inference:
    return get_inference()


InferenceDep = Annotated[Inference, Depends(current_inference)]
