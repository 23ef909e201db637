"""Dynamic batching: what many clients ask at once goes through the model together.

One thread runs the models, so that their threads are as many as the settings say. As soon as it is free it takes what
waits; there is no waiting window, so a request that is alone is never delayed.
"""

from __future__ import annotations

import threading
import time
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from itertools import accumulate, repeat
from typing import TYPE_CHECKING

import structlog

from app.errors import Unavailable

if TYPE_CHECKING:  # torch is imported when the first model is loaded, not when the API starts
    from realm_core.predictor import EncodedInput, Prediction, Predictor

log = structlog.get_logger(__name__)

# What a forward pass costs beyond its tokens, in tokens: padding that costs more than this is worse than a pass of its
# own. Measured with MiniLM on one CPU thread: 7 ms per pass, .24 ms per token.
TOKENS_PER_PASS = 32
LOOK_AHEAD = 4  # batches are chosen out of so many batches' worth of inputs: more of them are of like length


@dataclass(frozen=True, eq=False)
class Answers:
    """One per input, in order; an exception where the model failed at that input alone."""

    predictions: list[Prediction | Exception]
    queue_seconds: float
    infer_seconds: float


@dataclass(eq=False)
class Submission:
    """The inputs of one request. `left` are the positions that no batch took yet, the longest inputs last."""

    predictor: Predictor
    inputs: Sequence[EncodedInput]
    future: Future[Answers] = field(default_factory=Future)
    submitted: float = field(default_factory=time.perf_counter)
    started: float = 0.0
    predictions: dict[int, Prediction | Exception] = field(default_factory=dict)
    left: list[int] = field(init=False)

    def __post_init__(self) -> None:
        self.left = sorted(range(len(self.inputs)), key=self.n_tokens)

    def n_tokens(self, position: int) -> int:
        """Tokens that the model reads of an input."""
        return self.inputs[position].size

    def answer(self, position: int, prediction: Prediction | Exception) -> None:
        self.predictions[position] = prediction
        if len(self.predictions) == len(self.inputs) and self.future.set_running_or_notify_cancel():
            in_order = [self.predictions[i] for i in range(len(self.inputs))]
            now = time.perf_counter()
            self.future.set_result(Answers(in_order, self.started - self.submitted, now - self.started))


Slot = tuple[Submission, int]  # one input of a request
Observe = Callable[[int, float], None]  # the inputs of a pass through a model, and its seconds


class BatchingThread:
    """Answers submissions in batches of at most `batch_tokens` padded tokens.

    Each batch holds an input of the request that waits longest, and of the others what is of similar length, or just
    what comes next where the model does not pad. `observe` is told of every pass through a model, after the submissions
    that it finished were answered.
    """

    def __init__(self, batch_tokens: int, observe: Observe) -> None:
        self._batch_tokens, self._observe = batch_tokens, observe
        self._waiting: deque[Submission] = deque()  # who was served longest ago comes first
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="inference", daemon=True)
        self._thread.start()

    def submit(self, predictor: Predictor, inputs: Sequence[EncodedInput]) -> Future[Answers]:
        """Queue the inputs of a request. Cancelling the future takes them off the queue."""
        submission = Submission(predictor, inputs)
        if not inputs:
            submission.future.set_result(Answers([], 0.0, 0.0))
            return submission.future
        with self._changed:
            if self._closed:
                raise _shutting_down()
            self._waiting.append(submission)
            self._changed.notify()
        return submission.future

    def close(self) -> None:
        """Finish the batch that runs, refuse what waits, end the thread."""
        with self._changed:
            self._closed = True
            waiting = list(self._waiting)
            self._waiting.clear()
            self._changed.notify()
        self._thread.join()
        for submission in waiting:
            if submission.future.set_running_or_notify_cancel():
                submission.future.set_exception(_shutting_down())

    def _work(self) -> None:
        while batch := self._next_batch():
            self._run(batch)

    def _next_batch(self) -> list[Slot]:
        """What to run now; waits until there is something. Empty when closed."""
        with self._changed:
            while True:
                self._changed.wait_for(lambda: self._waiting or self._closed)
                self._waiting = deque(one for one in self._waiting if not one.future.cancelled())
                if self._waiting:
                    return self._take()
                if self._closed:
                    return []

    def _take(self) -> list[Slot]:
        first = self._waiting[0]
        choose = with_similar_length if first.predictor.pads else in_order
        batch = choose(list(self._candidates(first.predictor)), self._batch_tokens)
        taken: dict[Submission, set[int]] = {}
        for submission, position in batch:
            submission.started = submission.started or time.perf_counter()
            taken.setdefault(submission, set()).add(position)
        for submission, positions in taken.items():
            submission.left = [position for position in submission.left if position not in positions]
            self._waiting.remove(submission)
            if submission.left:
                self._waiting.append(submission)
        return batch

    def _run(self, batch: list[Slot]) -> None:
        """Answer a batch; when it fails, its inputs one by one, so that a bad one fails alone."""
        predictor, started = batch[0][0].predictor, time.perf_counter()
        inputs = [one.inputs[position] for one, position in batch]
        try:
            predictions: Sequence[Prediction | Exception] = predictor.predict_encoded(inputs, self._batch_tokens)
        except Exception as error:
            if len(batch) > 1:
                for slot in batch:
                    self._run([slot])
                return
            log.exception("a model failed at an input")
            predictions = [error]
        seconds = time.perf_counter() - started
        for (submission, position), prediction in zip(batch, predictions, strict=True):
            submission.answer(position, prediction)
        self._observe(len(batch), seconds)

    def _candidates(self, predictor: Predictor) -> Iterator[Slot]:
        """Inputs for one model to choose from, as many of each request as of every other, longest first."""
        requests = [zip(repeat(one), reversed(one.left)) for one in self._waiting if one.predictor is predictor]
        tokens = 0
        while requests:
            for request in list(requests):
                slot = next(request, None)
                if slot is None:
                    requests.remove(request)
                    continue
                tokens += _size(slot)
                if tokens > max(LOOK_AHEAD * self._batch_tokens, _size(slot)):
                    return
                yield slot


def _shutting_down() -> Unavailable:
    return Unavailable("The service is shutting down; try again.", headers={"Retry-After": "5"})


def _size(slot: Slot) -> int:
    return slot[0].n_tokens(slot[1])


def in_order(slots: list[Slot], batch_tokens: int) -> list[Slot]:
    """As many of the first slots as have `batch_tokens` together; at least one."""
    tokens = list(accumulate(map(_size, slots)))
    return slots[: max(1, bisect_right(tokens, batch_tokens))]


def with_similar_length(slots: list[Slot], batch_tokens: int) -> list[Slot]:
    """The batch that the first of `slots` is in, when they are split by length so that little time goes into padding.

    From the longest down, a batch is closed when its padding would cost more than another pass through the model.
    """
    first, batch, padding = slots[0], list[Slot](), 0
    for slot in sorted(slots, key=_size, reverse=True):
        padding += _size(batch[0]) - _size(slot) if batch else 0
        if batch and (padding > TOKENS_PER_PASS or _size(batch[0]) * (len(batch) + 1) > batch_tokens):
            if first in batch:
                return batch
            batch, padding = [], 0
        batch.append(slot)
    return batch
