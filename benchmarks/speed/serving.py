"""Rows 9 to 12: predict over HTTP against LitServe, offline batches, a bare forward pass, and itself."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from statistics import median

import numpy as np

from benchmarks.speed.http_load import Load, measure
from benchmarks.speed.live_service import live_service
from benchmarks.speed.peers import peer
from benchmarks.speed.ratio import Ratio, at_most, below, faster_by, in_turns, more_by
from benchmarks.speed.served_model import ServedModel, served_model
from benchmarks.speed.size import Size
from benchmarks.speed.texts import questions
from realm_core.predictor import PredictInput, Predictor

CLIENTS = 32
LIST = 500
PASS_TOKENS = 512  # of offline batches: the service's own default
CLOSE = 0.02
ONE_THREAD = {"REALM_PREDICT_THREADS": "1"}


def rows(wanted: set[int], size: Size) -> Iterator[Ratio]:
    """Rows 9, 10 and 12 with one service, row 11 with two."""
    if not wanted & {9, 10, 11, 12}:
        return
    with live_service(ONE_THREAD) as service, served_model(service) as model:
        model.load(questions(64), clients=4, requests=64)  # loads it
        if 9 in wanted:
            yield from many_clients(model, size)
        if 10 in wanted:
            yield one_client(model, size)
        if 12 in wanted:
            yield a_list(model, size)
        if 11 in wanted:
            yield from fast_option(model, size)


def many_clients(model: ServedModel, size: Size) -> Iterator[Ratio]:
    """Row 9."""
    asked, n = questions(LIST), size.requests

    def rate() -> float:
        return model.load(asked, clients=CLIENTS, requests=n).per_second

    for batches, note in (
        ("padded", "its batches padded, as transformers does"),
        ("packed", "with our packed batches"),
    ):
        with peer("litserve", str(model.folder), batches) as url:
            theirs = partial(measure, Load(f"{url}/predict", [{"inputs": one} for one in asked], CLIENTS, n))
            theirs()
            ours, reference = in_turns(rate, lambda load=theirs: load().per_second, size.rounds)  # type: ignore[misc]
        yield Ratio(9, f"predict, {CLIENTS} clients, against LitServe", more_by(1.1), ours, reference, "/s", note)
    offline = Offline(model)
    ours, reference = in_turns(rate, lambda: offline.per_second(asked), size.rounds)
    yield Ratio(9, f"predict, {CLIENTS} clients, against offline batches", more_by(0.9), ours, reference, "/s")


class Offline:
    """The model in this process, without a server."""

    def __init__(self, model: ServedModel) -> None:
        self._predictor = Predictor.load(model.folder, threads=1)

    def per_second(self, texts: list[str]) -> float:
        """Length-sorted batches, tokenizing included."""
        return _rate(self._predictor, [PredictInput(text) for text in texts])

    def alone(self, texts: list[str]) -> list[float]:
        """Seconds of each text by itself."""
        seconds = []
        for text in texts:
            started = time.perf_counter()
            self._predictor.predict([PredictInput(text)])
            seconds.append(time.perf_counter() - started)
        return seconds


def one_client(model: ServedModel, size: Size) -> Ratio:
    """Row 10: a client's median against that of an empty endpoint plus that of the model alone."""
    asked, offline = questions(LIST), Offline(model)
    n = size.requests // 4
    offline.alone(asked[:20])
    with peer("nothing") as url:
        nothing = Load(f"{url}/predict", [{"inputs": one} for one in asked], 1, n)
        times = in_turns(
            lambda: 1000 * model.load(asked, clients=1, requests=n).quantile(0.5),
            lambda: 1000 * (measure(nothing).quantile(0.5) + median(offline.alone(asked[:n]))),
            size.rounds,
        )
    return Ratio(10, "predict, 1 client, p50, against a bare pass and an empty endpoint", at_most(1.15), *times, "ms")


def a_list(model: ServedModel, size: Size) -> Ratio:
    """Row 12."""
    asked = questions(LIST)
    times = in_turns(
        lambda: model.load([asked], clients=1, requests=1).seconds,
        lambda: model.load(asked, clients=1, requests=len(asked)).seconds,
        size.rounds,
    )
    return Ratio(12, f"a list of {LIST}, against one by one", faster_by(5), *times, "s")


def fast_option(model: ServedModel, size: Size) -> Iterator[Ratio]:
    """Row 11: the same files in this process, as the service loads them with REALM_PREDICT_PRECISION=bfloat16."""
    asked = [PredictInput(text) for text in questions(LIST)]
    exact, fast = (Predictor.load(model.folder, threads=1, precision=kind) for kind in ("float32", "bfloat16"))
    _rate(fast, asked), _rate(exact, asked)
    clock = time.process_time  # one thread: what other programs take does not count
    rates = in_turns(lambda: _rate(fast, asked, clock), lambda: _rate(exact, asked, clock), size.rounds)
    pairs = zip(exact.predict(asked, PASS_TOKENS), fast.predict(asked, PASS_TOKENS), strict=True)
    apart = max(float(np.abs(a.probabilities - b.probabilities).max()) for a, b in pairs)
    yield Ratio(11, "predict in bfloat16, against float32", more_by(1.8), *rates, "/s of CPU")
    yield Ratio(11, "and how far probabilities are apart at most", below(CLOSE), apart, None, "")


def _rate(predictor: Predictor, asked: list[PredictInput], clock: Callable[[], float] = time.perf_counter) -> float:
    started = clock()
    predictor.predict(asked, PASS_TOKENS)
    return len(asked) / (clock() - started)
