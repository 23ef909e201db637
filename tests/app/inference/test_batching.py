"""Every request gets its own answers, whatever shares a batch with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.errors import Unavailable
from app.inference.batching import Answers, BatchingThread
from realm_core.predictor import PredictInput, Prediction
from tests.app.inference.stand_in import StandIn, as_predictor, scores_of

Result = TypeVar("Result")


@pytest.fixture
def batching() -> Iterator[BatchingThread]:
    thread = BatchingThread(batch_tokens=100, observe=lambda n, seconds: None)
    yield thread
    thread.close()


def submit(batching: BatchingThread, model: StandIn, *texts: str) -> Future[Answers]:
    return batching.submit(as_predictor(model), [model.encode(PredictInput(text)) for text in texts])


def scores(answers: Answers) -> list[list[float]]:
    assert all(isinstance(one, Prediction) for one in answers.predictions), answers.predictions
    return [list(one.probabilities) for one in answers.predictions if isinstance(one, Prediction)]


def while_busy(batching: BatchingThread, model: StandIn, act: Callable[[], Result]) -> Result:
    """Do something while the model is busy, then let it go on."""
    model.open.clear()
    model.busy.clear()
    first = submit(batching, model, "first")
    assert model.busy.wait(10)
    result = act()
    model.open.set()
    first.result(10)
    return result


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.lists(st.text("abcdefgh", min_size=1, max_size=45), min_size=1, max_size=8), min_size=1, max_size=30)
)
def test_every_request_gets_its_own_answers(requests: list[list[str]]) -> None:
    model, batching = StandIn(), BatchingThread(100, lambda n, seconds: None)
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda texts: submit(batching, model, *texts).result(10), requests))
    batching.close()
    assert [scores(one) for one in answers] == [[list(scores_of(text)) for text in texts] for texts in requests]


def test_a_bad_input_fails_alone(batching: BatchingThread, stand_in: StandIn) -> None:
    mine, theirs = while_busy(
        batching,
        stand_in,
        lambda: (submit(batching, stand_in, "good", "poison", "fine"), submit(batching, stand_in, "others")),
    )
    good, bad, fine = mine.result(10).predictions
    assert isinstance(bad, RuntimeError)
    assert isinstance(good, Prediction)
    assert isinstance(fine, Prediction)
    assert scores(theirs.result(10)) == [list(scores_of("others"))]


def test_batches_keep_to_the_budget_and_hold_similar_lengths(batching: BatchingThread, stand_in: StandIn) -> None:
    texts = [letter * n for letter, n in zip("abcdefghij", (50, 3, 48, 4, 47, 2, 50, 5, 1, 49), strict=True)]
    answers = while_busy(batching, stand_in, lambda: submit(batching, stand_in, *texts))
    assert scores(answers.result(10)) == [list(scores_of(text)) for text in texts]
    batches = stand_in.batches[1:]
    assert all(max(map(len, batch)) * len(batch) <= 100 for batch in batches)
    assert all(max(map(len, batch)) - min(map(len, batch)) < 10 for batch in batches)
    assert len(batches) == 4


def test_where_nothing_is_padded_batches_hold_what_comes_next(batching: BatchingThread, stand_in: StandIn) -> None:
    stand_in.pads = False
    texts = [letter * n for letter, n in zip("abcdefgh", (50, 3, 48, 3, 50, 2, 50, 5), strict=True)]
    waiting = while_busy(batching, stand_in, lambda: [submit(batching, stand_in, text) for text in texts])
    assert [scores(one.result(10)) for one in waiting] == [[list(scores_of(text))] for text in texts]
    assert stand_in.batches == [["first"], texts[:2], texts[2:4], texts[4:6], texts[6:]]


def test_what_waits_for_a_busy_model_shares_one_batch(batching: BatchingThread, stand_in: StandIn) -> None:
    waiting = while_busy(batching, stand_in, lambda: [submit(batching, stand_in, text) for text in ("ab", "cd", "ef")])
    for answers in waiting:
        answers.result(10)
    assert stand_in.batches == [["first"], ["ab", "cd", "ef"]]


def test_passes_are_told_with_their_inputs_and_seconds(stand_in: StandIn) -> None:
    passes: list[tuple[int, float]] = []
    batching = BatchingThread(100, lambda n, seconds: passes.append((n, seconds)))
    while_busy(batching, stand_in, lambda: submit(batching, stand_in, "ab", "poison", "cd")).result(10)
    batching.close()
    assert [n for n, _ in passes] == [1, 1, 1, 1]  # the first, and three that were run one by one
    assert all(seconds >= 0 for _, seconds in passes)


def test_one_text_does_not_wait_for_a_long_list(batching: BatchingThread, stand_in: StandIn) -> None:
    many, one = while_busy(
        batching, stand_in, lambda: (submit(batching, stand_in, *["x" * 50] * 40), submit(batching, stand_in, "y"))
    )
    one.result(10)
    many.result(10)
    assert any("y" in batch for batch in stand_in.batches[:4])
    assert len(stand_in.batches) > 20


def test_models_take_turns(batching: BatchingThread, stand_in: StandIn) -> None:
    other = StandIn()
    other.batches = stand_in.batches
    many, one = while_busy(
        batching, stand_in, lambda: (submit(batching, stand_in, *["x" * 50] * 40), submit(batching, other, "y"))
    )
    assert scores(one.result(10)) == [list(scores_of("y"))]
    many.result(10)
    assert stand_in.batches.index(["y"]) <= 2


def test_the_cancelled_are_dropped_before_the_batch(batching: BatchingThread, stand_in: StandIn) -> None:
    kept, _ = while_busy(
        batching,
        stand_in,
        lambda: (submit(batching, stand_in, "kept"), submit(batching, stand_in, "dropped").cancel()),
    )
    kept.result(10)
    assert stand_in.batches == [["first"], ["kept"]]


def test_closing_finishes_the_batch_and_refuses_the_rest(stand_in: StandIn) -> None:
    batching = BatchingThread(100, lambda n, seconds: None)
    stand_in.open.clear()
    running = submit(batching, stand_in, "running")
    assert stand_in.busy.wait(10)
    waiting = submit(batching, stand_in, "waiting")
    with ThreadPoolExecutor(1) as pool:
        closing = pool.submit(batching.close)
        stand_in.open.set()
        closing.result(10)
    assert scores(running.result(0)) == [list(scores_of("running"))]
    with pytest.raises(Unavailable):
        waiting.result(0)
    with pytest.raises(Unavailable):
        submit(batching, stand_in, "late")
