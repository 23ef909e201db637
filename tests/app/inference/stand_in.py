"""A stand-in for a model, for what needs control over time and failure. Its answers depend on the text alone."""

from __future__ import annotations

import threading
import zlib
from collections.abc import Sequence
from typing import cast

import numpy as np

from realm_core.annotations import FloatArray, Task
from realm_core.predictor import EncodedInput, InvalidInput, PredictInput, Prediction, Predictor
from realm_core.scorers.inputs import EncodedPrompt

ANSWERS = ("negative", "neutral", "positive")


class StandIn:
    """Has one token per letter. It answers while `open` is set, fails at "poison" and notes its batches."""

    tasks = (Task("mood", ANSWERS),)
    annotators: tuple[str, ...] = ("ann_1", "ann_2")  # the first tells the truth, the second turns it around
    max_length = 50
    pads = True

    def __init__(self, n_bytes: int = 100) -> None:
        self.n_bytes = n_bytes
        self.batches: list[list[str]] = []
        self.open, self.busy = threading.Event(), threading.Event()
        self.open.set()

    def encode(self, item: PredictInput) -> EncodedInput:
        if not item.prompt.strip():
            raise InvalidInput("The prompt is empty.")
        if item.task not in (None, "mood"):
            raise InvalidInput(f"There is no task {item.task!r}.")
        letters = [ord(letter) for letter in item.prompt]
        n, room = len(letters), self.max_length
        return EncodedInput(EncodedPrompt(0, len(ANSWERS), letters[:room], n, truncated=n > room), ANSWERS)

    def predict_encoded(self, inputs: Sequence[EncodedInput], batch_tokens: int) -> list[Prediction]:
        self.busy.set()
        assert self.open.wait(10), "the test never let the model answer"
        texts = ["".join(map(chr, one.prompt.token_ids)) for one in inputs]
        self.batches.append(texts)
        if "poison" in texts:
            raise RuntimeError("poison")
        return [
            Prediction(ANSWERS, scores_of(text), one.prompt.n_tokens, one.prompt.truncated)
            for text, one in zip(texts, inputs, strict=True)
        ]

    def as_annotator(self, prediction: Prediction, annotator: str, task: str | None) -> FloatArray:
        if annotator not in self.annotators:
            raise InvalidInput(f"This model knows no annotator {annotator!r}.")
        return prediction.probabilities if annotator == self.annotators[0] else prediction.probabilities[::-1]


def as_predictor(stand_in: StandIn) -> Predictor:
    return cast("Predictor", stand_in)


def scores_of(text: str) -> FloatArray:
    """Three probabilities that another text hardly has."""
    scores = np.random.default_rng(zlib.crc32(text.encode(errors="surrogatepass"))).random(len(ANSWERS))
    normalised: FloatArray = scores / scores.sum()
    return normalised


def answer_to(text: str) -> list[dict[str, object]]:
    """What predict answers for a text."""
    scores = scores_of(text)
    return [{"label": ANSWERS[k], "score": float(scores[k])} for k in np.argsort(-scores, kind="stable")]
