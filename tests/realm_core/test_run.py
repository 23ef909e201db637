"""A whole job on a tiny model, and the model folder that it leaves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from realm_core.annotations import Annotations
from realm_core.config import Hyperparameters, TrainingConfig
from realm_core.predictor import InvalidInput, PredictInput, Predictor
from realm_core.preparation import NotIdentifiable, prepare
from realm_core.run import Outcome, run
from tests.realm_core.tiny_models import ANSWERS, make_crowd

HYPERPARAMETERS = Hyperparameters(learning_rate=3e-3, answer_learning_rate=3e-2, n_epochs=15)


class Recorder:
    """An observer that keeps everything."""

    def __init__(self) -> None:
        self.fractions: list[float] = []
        self.phases: list[str] = []
        self.messages: list[str] = []
        self.reasons: dict[str, Any] = {}

    def resolved(self, values: dict[str, dict[str, Any]]) -> None:
        self.reasons = values

    def progress(self, phase: str, step: int, total_steps: int, fraction: float) -> None:
        self.fractions.append(fraction)
        if phase not in self.phases:
            self.phases.append(phase)

    def event(self, message: str, *, level: str = "info", data: dict[str, Any] | None = None) -> None:
        self.messages.append(message)

    def metrics(self, step: int, values: dict[str, Any]) -> None: ...

    def checkpoint(self, folder: Path, step: int, metrics: dict[str, Any]) -> None: ...


def run_job(annotations: Annotations, base: Path | None, work: Path, method: str = "realm", **options: Any) -> Outcome:
    config = TrainingConfig(method=method, hyperparameters=HYPERPARAMETERS, seed=1, threads=1)  # type: ignore[arg-type]
    return run(annotations, config, base=base, work=work, observer=options.get("observer", Recorder()))


@pytest.fixture(scope="module")
def crowd() -> tuple[Annotations, np.ndarray]:
    return make_crowd((0.9, 0.8, 0.3, 0.05), n_items=400)


@pytest.fixture(scope="module")
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture(scope="module")
def outcome(
    crowd: tuple[Annotations, np.ndarray], tiny_bert: Path, tmp_path_factory: pytest.TempPathFactory, recorder: Recorder
) -> Outcome:
    return run_job(crowd[0], tiny_bert, tmp_path_factory.mktemp("work"), observer=recorder)


@pytest.fixture(scope="module")
def predictor(outcome: Outcome) -> Predictor:
    assert outcome.model is not None
    return Predictor.load(outcome.model)


def test_the_report_knows_everybody(outcome: Outcome) -> None:
    rows = {row.annotator: row for row in outcome.report.annotators if row.task is None}
    for annotator, true in enumerate((0.9, 0.8, 0.3, 0.05)):
        estimate = rows[annotator].accuracy
        assert estimate is not None
        assert estimate.low < estimate.value < estimate.high
        assert estimate.value == pytest.approx(true, abs=0.06)
        assert rows[annotator].accuracy_method == "cross_fitted"
    assert "below_chance" in rows[3].flags


def test_the_posterior_beats_the_best_annotator(outcome: Outcome, crowd: tuple[Annotations, np.ndarray]) -> None:
    assert np.mean(outcome.report.items.label == crowd[1]) > 0.92


def test_progress_only_grows_and_every_phase_is_told(recorder: Recorder, outcome: Outcome) -> None:
    assert recorder.fractions == sorted(recorder.fractions)
    assert recorder.phases == ["reading", "training", "cross_fitting", "reporting", "saving"]
    assert recorder.reasons["channel"]["value"] == "one_coin"
    assert "some labels were hidden" in recorder.reasons["channel"]["why"]
    assert "scalar and per_task were not tried" in recorder.reasons["channel"]["why"]
    assert "learning_rate" not in recorder.reasons  # it was given


def test_the_model_folder_is_a_hugging_face_folder_without_pickles(outcome: Outcome) -> None:
    assert outcome.model is not None
    names = {path.name for path in outcome.model.iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json", "realm.json", "realm.safetensors"} <= names
    assert {Path(name).suffix for name in names} <= {".json", ".safetensors", ".txt", ".md"}


def test_predictions_keep_their_order_whatever_is_batched(predictor: Predictor) -> None:
    prompts = [
        "broken parcel was it",
        "invoice please",
        "thanks so very very very very very much",
        "my parcel is today",
    ]
    together = predictor.predict([PredictInput(prompt) for prompt in prompts], batch_tokens=12)
    for prompt, prediction in zip(prompts, together, strict=True):
        alone = predictor.predict([PredictInput(prompt)])[0]
        np.testing.assert_allclose(prediction.probabilities, alone.probabilities, atol=1e-5)
        assert prediction.answers == ANSWERS
        assert prediction.probabilities.sum() == pytest.approx(1)
    assert ANSWERS[together[1].probabilities.argmax()] == "billing"


def test_a_cut_prompt_is_announced(predictor: Predictor) -> None:
    assert predictor.max_length == 64
    short, long = predictor.predict([PredictInput("invoice"), PredictInput("invoice " * 100)])
    assert (short.truncated, short.n_tokens) == (False, 3)
    assert (long.truncated, long.n_tokens) == (True, 102)


def test_what_an_annotator_would_say(predictor: Predictor) -> None:
    prediction = predictor.predict([PredictInput("my invoice is it")])[0]
    expert = predictor.as_annotator(prediction, "annotator 0", None)
    adversary = predictor.as_annotator(prediction, "annotator 3", "topic")
    assert expert.sum() == pytest.approx(1, abs=1e-5)
    assert expert[0] == pytest.approx(0.9, abs=0.07)
    assert adversary[0] < 0.15
    with pytest.raises(InvalidInput, match="no annotator 'nobody'"):
        predictor.as_annotator(prediction, "nobody", None)


@pytest.mark.parametrize(
    ("item", "message"),
    [
        (PredictInput("  "), "empty"),
        (PredictInput("x", task="other"), "no task 'other'; this model knows 'topic'"),
        (PredictInput("x", options=("a", "b")), "takes no options"),
    ],
)
def test_inputs_that_cannot_be_answered(predictor: Predictor, item: PredictInput, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        predictor.check(item)


def test_the_supervised_baseline_trains_and_knows_no_annotators(
    crowd: tuple[Annotations, np.ndarray], tiny_bert: Path, tmp_path: Path
) -> None:
    outcome = run_job(crowd[0], tiny_bert, tmp_path, method="supervised")
    assert outcome.model is not None
    predictor = Predictor.load(outcome.model)
    prediction = predictor.predict([PredictInput("thanks")])[0]
    with pytest.raises(InvalidInput, match="without annotators"):
        predictor.as_annotator(prediction, "annotator 0", None)
    assert all(row.model_accuracy is None for row in outcome.report.annotators)


def test_aggregation_needs_neither_text_nor_model(crowd: tuple[Annotations, np.ndarray], tmp_path: Path) -> None:
    from dataclasses import replace

    outcome = run_job(replace(crowd[0], prompts=None), None, tmp_path, method="aggregation")
    assert outcome.model is None
    assert np.mean(outcome.report.items.label == crowd[1]) > 0.85


def test_what_cannot_be_told_is_refused(crowd: tuple[Annotations, np.ndarray], tiny_bert: Path, tmp_path: Path) -> None:
    from dataclasses import replace

    with pytest.raises(NotIdentifiable, match="aggregation"):
        run_job(replace(crowd[0], prompts=None), tiny_bert, tmp_path)
    with pytest.raises(NotIdentifiable, match="no label"):
        run_job(crowd[0].select_labels(np.array([], dtype=np.int64)), tiny_bert, tmp_path)


def test_a_job_continues_from_a_fine_tuned_model_without_forgetting_its_answers(
    crowd: tuple[Annotations, np.ndarray], outcome: Outcome, predictor: Predictor, tmp_path: Path
) -> None:
    from dataclasses import replace

    from realm_core.annotations import Task
    from realm_core.scorers.families import load_scorer

    annotations, truth = crowd
    config = TrainingConfig(hyperparameters=HYPERPARAMETERS, seed=1, threads=1)
    assert outcome.model is not None
    scorer = load_scorer(outcome.model, 64)
    start = prepare(scorer, annotations, config, outcome.model)
    assert start.words.startswith("The answers go on")
    assert np.mean(start.reading.zero_shot.log_p.argmax(axis=1) == truth) > 0.95  # it knows them before any step
    prompts = (annotations.prompts or ())[:5]
    before = [one.probabilities for one in predictor.predict([PredictInput(prompt) for prompt in prompts])]
    again = scorer.eval()(scorer.collate(scorer.encode(prompts, [0] * 5, [None] * 5))).detach().exp()
    np.testing.assert_allclose(again, np.array(before), atol=1e-5)

    renamed = replace(annotations, tasks=(Task("topic", tuple(reversed(ANSWERS))),))
    other = prepare(load_scorer(outcome.model, 64), renamed, config, outcome.model)
    assert other.words.startswith("Before training, ")
    child = run(
        annotations,
        TrainingConfig(hyperparameters=Hyperparameters(max_steps=1), seed=2, threads=1),
        base=outcome.model,
        work=tmp_path,
        observer=Recorder(),
    )
    assert child.model is not None
    after = Predictor.load(child.model).predict([PredictInput(prompt) for prompt in prompts])
    np.testing.assert_allclose([one.probabilities for one in after], before, atol=0.1)


def test_a_job_that_continues_is_judged_by_the_model_that_has_seen_no_labels(
    crowd: tuple[Annotations, np.ndarray], outcome: Outcome, tiny_bert: Path, tmp_path: Path
) -> None:
    config = TrainingConfig(hyperparameters=Hyperparameters(max_steps=1), seed=1, threads=1)

    def judged(base: Path, name: str, pretrained: Path | None) -> tuple[Outcome, Recorder]:
        observer = Recorder()
        return run(
            crowd[0], config, base=base, work=tmp_path / name, observer=observer, pretrained=pretrained
        ), observer

    assert outcome.model is not None
    first, _ = judged(tiny_bert, "first", None)
    child, _ = judged(outcome.model, "child", tiny_bert)
    assert child.report.items.model_posterior is not None
    assert first.report.items.model_posterior is not None
    np.testing.assert_allclose(child.report.items.model_posterior, first.report.items.model_posterior, atol=1e-6)
    assert {row.accuracy_method for row in child.report.annotators} == {"cross_fitted"}

    for name, pretrained in (("unknown", None), ("fine-tuned", outcome.model), ("gone", tmp_path / "gone")):
        orphan, observer = judged(outcome.model, name, pretrained)
        assert {row.accuracy_method for row in orphan.report.annotators} == {"in_sample"}
        assert any("had seen the labels" in note for note in orphan.report.summary["notes"])
        assert any("marked in_sample" in message for message in observer.messages)
