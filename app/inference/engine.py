"""What answers in this process: models in memory, their inputs in batches, and a bound on what is let in."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated

from fastapi import Depends

from app.errors import DeadlineExceeded, TooManyRequests
from app.inference.batching import BatchingThread
from app.inference.model_cache import ModelCache, load_from_store
from app.inference.questions import Question
from app.inference.schemas import InputFault, PredictItem
from app.settings import Settings, get_settings

if TYPE_CHECKING:
    from realm_core.predictor import EncodedInput, Prediction, Predictor


@dataclass(frozen=True, eq=False)
class Answered:
    """One prediction or fault per input, in order, and where the time went."""

    predictor: Predictor
    answers: list[Prediction | InputFault]
    seconds: dict[str, float]


class Inference:
    """Answers inputs. Its coroutines never block the event loop: loading, tokenizing and models have own threads."""

    def __init__(self, load: Callable[[str], Predictor], settings: Settings) -> None:
        self._models = ModelCache(load, settings.model_memory_bytes)
        self._batches = BatchingThread(settings.predict_batch_tokens)
        self._tokenizing = ThreadPoolExecutor(1, "tokenize")
        self._timeout_seconds = settings.predict_timeout_seconds
        self._max_in_flight = settings.max_predict_inputs_in_flight
        self._in_flight = 0

    async def answer(self, question: Question) -> Answered:
        """Cancelling this takes its inputs off the queue. Raises TooManyRequests, DeadlineExceeded, ModelUnusable."""
        with self._admitted(len(question.items)):
            try:
                async with asyncio.timeout(self._timeout_seconds):
                    return await self._answer(question)
            except TimeoutError as error:
                detail = f"The model did not answer within {self._timeout_seconds:g} seconds; send fewer inputs."
                raise DeadlineExceeded(detail) from error

    def unload(self, artifact: str) -> None:
        """Forget a deleted model."""
        self._models.drop(artifact)

    def close(self) -> None:
        """End the threads."""
        self._models.close()
        self._tokenizing.shutdown(cancel_futures=True)
        self._batches.close()

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
        started = time.perf_counter()
        loading = asyncio.wrap_future(self._models.get(question.artifact, question.n_bytes))
        predictor = await asyncio.shield(loading)  # others wait for it too
        loaded = time.perf_counter()
        loop = asyncio.get_running_loop()
        encoded = await loop.run_in_executor(self._tokenizing, _encode_all, predictor, question)
        tokenized = time.perf_counter()
        good = [one for one in encoded if not isinstance(one, InputFault)]
        answers = await asyncio.wrap_future(self._batches.submit(predictor, good))
        predictions = iter(answers.predictions)
        return Answered(
            predictor,
            [one if isinstance(one, InputFault) else _fault_or(next(predictions)) for one in encoded],
            {
                "load": loaded - started,
                "tokenize": tokenized - loaded,
                "queue": answers.queue_seconds,
                "infer": answers.infer_seconds,
            },
        )


def _encode_all(predictor: Predictor, question: Question) -> list[EncodedInput | InputFault]:
    return [
        item if isinstance(item, InputFault) else _encode(predictor, item, question.truncate) for item in question.items
    ]


def _encode(predictor: Predictor, item: PredictItem, truncate: bool) -> EncodedInput | InputFault:
    from realm_core.predictor import InvalidInput, PredictInput

    options = None if item.options is None else tuple(item.options)
    try:
        encoded = predictor.encode(PredictInput(item.prompt, item.task, options))
    except InvalidInput as error:
        return InputFault(code="invalid_input", message=str(error))
    if encoded.prompt.truncated and not truncate:
        message = (
            f"The prompt has {encoded.prompt.n_tokens:,} tokens and this model reads {predictor.max_length:,}. "
            'Shorten it, or let its end be cut with truncation "right".'
        )
        return InputFault(code="prompt_too_long", message=message)
    return encoded


def _fault_or(prediction: Prediction | Exception) -> Prediction | InputFault:
    if isinstance(prediction, Exception):
        return InputFault(code="inference_failed", message="The model failed at this input.")
    return prediction


@lru_cache
def get_inference() -> Inference:
    """The one of this process."""
    return Inference(load_from_store, get_settings())


def close_inference() -> None:
    """End the threads of this process's inference, if it has one."""
    if get_inference.cache_info().currsize:
        get_inference().close()
        get_inference.cache_clear()


async def current_inference() -> Inference:
    return get_inference()


InferenceDep = Annotated[Inference, Depends(current_inference)]
