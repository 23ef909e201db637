"""Right from wrong where words and crowd contradict each other: whom a job believes, and that it says so."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoConfig, BertModel

from realm_core.aggregation import Truth
from realm_core.annotations import Annotations, Task
from realm_core.base_models import locate
from realm_core.config import Hyperparameters, TrainingConfig
from realm_core.cross_fitting import ZeroShot
from realm_core.predictor import PredictInput, Predictor
from realm_core.preparation import LEFT_OUT, OVERRULED, Preparation, prepare
from realm_core.run import run
from realm_core.scorers.families import load_scorer
from realm_core.words_or_crowd import _with_drawn_words, contradicted_tasks, supported_tasks
from tests.realm_core.test_run import Recorder
from tests.realm_core.tiny_language_models import save_tiny_t5
from tests.realm_core.tiny_models import ANSWERS, make_crowd, save_tiny_bert

MIRRORED_SEEDS = (3, 4, 5, 8)  # of a random BERT whose words, if they were believed, make all annotators wrong


def random_bert(folder: Path, seed: int) -> Path:
    """Other random weights than `tiny_bert`'s."""
    base = save_tiny_bert(folder)
    torch.manual_seed(seed)
    BertModel(AutoConfig.from_pretrained(base)).save_pretrained(base)
    return base


def config_of(**asked: object) -> TrainingConfig:
    values = {"learning_rate": 3e-3, "answer_learning_rate": 3e-2, "n_epochs": 5, **asked}
    return TrainingConfig(hyperparameters=Hyperparameters.model_validate(values), seed=1, threads=1)


def start_of(base: Path, annotations: Annotations) -> Preparation:
    return prepare(load_scorer(base, 64), annotations, config_of(), base)


@pytest.mark.parametrize("seed", MIRRORED_SEEDS)
def test_a_model_that_knows_nothing_does_not_turn_the_crowd_upside_down(seed: int, tmp_path: Path) -> None:
    annotations, truth = make_crowd((0.85, 0.75, 0.7), n_items=300, n_classes=2, seed=seed)
    start = start_of(random_bert(tmp_path, seed), annotations)
    assert (start.reading.meaningless, start.reading.overruled, start.words) == ((0,), (), LEFT_OUT)
    np.testing.assert_allclose(start.channel.accuracy().ravel(), [0.85, 0.75, 0.7], atol=0.12)
    assert np.mean(start.reading.zero_shot.truth.posterior.argmax(1) == truth) > 0.8


def test_what_such_a_job_reports_and_answers_is_the_right_way_round(tmp_path: Path) -> None:
    annotations, truth = make_crowd((0.85, 0.75, 0.7), n_items=300, n_classes=2, seed=3)
    observer = Recorder()
    base = random_bert(tmp_path / "base", 3)
    outcome = run(annotations, config_of(), base=base, work=tmp_path, observer=observer)
    assert LEFT_OUT in observer.messages
    assert np.mean(outcome.report.items.label == truth) > 0.9
    rows = {row.annotator: row for row in outcome.report.annotators if row.task is None}
    for annotator, accuracy in enumerate((0.85, 0.75, 0.7)):
        estimate = rows[annotator].accuracy
        assert estimate is not None
        assert estimate.value == pytest.approx(accuracy, abs=0.1)
        assert rows[annotator].model_accuracy == pytest.approx(accuracy, abs=0.1)
    assert outcome.model is not None
    said = Predictor.load(outcome.model).predict([PredictInput(prompt) for prompt in annotations.prompts or ()])
    assert np.mean([one.probabilities.argmax() for one in said] == truth) > 0.9


OPINIONS = (
    ("terrible", "awful", "a waste of money", "broken and useless", "boring", "a bad and sad failure", "disgusting"),
    ("wonderful", "great", "worth every cent", "a joy to use", "delightful", "a good and happy surprise", "excellent"),
)
THINGS = ("film", "phone", "meal", "hotel", "book", "service", "jacket", "game", "concert", "car")


def reviews(accuracy: tuple[float, ...]) -> tuple[Annotations, np.ndarray]:
    """140 short reviews."""
    crowd, truth = make_crowd(accuracy, n_items=140, n_classes=2)
    prompts = tuple(
        f"The {THINGS[item % 10]} was {OPINIONS[right][item // 10 % 7]}, {item}." for item, right in enumerate(truth)
    )
    return replace(crowd, tasks=(Task("opinion", ("negative", "positive")),), prompts=prompts), truth


def test_a_pretrained_model_overrules_a_crowd_that_is_mostly_wrong_and_the_job_warns(tmp_path: Path) -> None:
    annotations, truth = reviews((0.9, 0.1, 0.1))
    observer = Recorder()
    config = config_of(max_steps=1, learning_rate=1e-5)
    outcome = run(annotations, config, base=locate("minilm"), work=tmp_path, observer=observer)
    assert OVERRULED in observer.messages
    assert np.mean(outcome.report.items.label == truth) > 0.8
    rows = {row.annotator: row.model_accuracy for row in outcome.report.annotators if row.task is None}
    for annotator, accuracy in enumerate((0.9, 0.1, 0.1)):
        assert rows[annotator] == pytest.approx(accuracy, abs=0.1)


def test_a_task_is_overruled_beside_one_with_more_answers() -> None:
    wrong, _ = reviews((0.9, 0.1, 0.1))
    sorted_, _ = make_crowd((0.9, 0.1, 0.1), n_items=60, n_classes=4)
    both = replace(
        wrong,
        tasks=(*wrong.tasks, Task("kind", tuple("ABCD"))),
        item_ids=(*wrong.item_ids, *(f"kind {item}" for item in sorted_.item_ids)),
        item_task=np.repeat([0, 1], [140, 60]).astype(np.int32),
        item=np.concatenate([wrong.item, sorted_.item + 140]),
        annotator=np.concatenate([wrong.annotator, sorted_.annotator]),
        label=np.concatenate([wrong.label, sorted_.label]),
        prompts=(*(wrong.prompts or ()), *(sorted_.prompts or ())),
    )
    assert start_of(Path(locate("minilm")), both).reading.overruled == (0,)


def test_nobody_is_told_that_all_annotators_are_wrong() -> None:
    """The names are the wrong way round: a slip in the table of answers, which everybody contradicts."""
    annotations, truth = reviews((0.9, 0.8, 0.75))
    swapped = replace(annotations, tasks=(Task("opinion", ("positive", "negative")),))
    start = start_of(Path(locate("minilm")), swapped)
    assert start.reading.meaningless == (0,)
    assert np.mean(start.reading.zero_shot.truth.posterior.argmax(1) == truth) > 0.8


def truth_of(accuracy: list[list[float]]) -> ZeroShot:
    return ZeroShot(np.zeros((1, 1)), 1.0, Truth(np.zeros((1, 1)), np.array(accuracy), None, 0.0))


def test_tasks_are_judged_one_by_one() -> None:
    crowd, _ = make_crowd((0.9, 0.8, 0.7), n_items=90, n_classes=2)
    tasks = tuple(Task(name, ANSWERS[:2]) for name in "abc")
    annotations = replace(crowd, tasks=tasks, item_task=(np.arange(90) // 30).astype(np.int32))
    by_words = truth_of([[0.9, 0.9, 0.2], [0.8, 0.1, 0.2], [0.7, 0.2, 0.2]])
    assert contradicted_tasks(annotations, by_words) == [1, 2]
    assert supported_tasks(annotations, by_words) == [0, 1]
    assert contradicted_tasks(annotations, truth_of([[0.9] * 3, [0.8] * 3, [0.1] * 3])) == []


def test_a_crowd_that_gold_convicts_is_not_acquitted() -> None:
    crowd, truth = make_crowd((0.1, 0.2, 0.2), n_items=90, n_classes=2)
    annotations = replace(crowd, known=truth)
    assert contradicted_tasks(annotations, truth_of([[0.1], [0.2], [0.2]])) == []


def test_answers_of_meaningless_words_start_unsure_and_others_as_sure_as_they_deserve(tiny_bert: Path) -> None:
    scorer = load_scorer(tiny_bert, 32)
    scorer.start_answers((Task("a", ANSWERS), Task("b", ANSWERS)))
    scorer.start_at(20.0, [1])
    norms = [
        float(answers.norm(dim=1).mean())
        for answers in map(torch.detach, scorer.answer_parameters())
        if answers.ndim == 2
    ]
    assert norms == pytest.approx([20.0, 1.0], rel=1e-5)


@pytest.mark.parametrize("options", [False, True])
@pytest.mark.parametrize("family", ["bert", "t5"])
def test_scores_of_other_words_are_those_of_answers_that_are_called_so(
    family: str, options: bool, tiny_bert: Path, tmp_path: Path
) -> None:
    base = tiny_bert if family == "bert" else save_tiny_t5(tmp_path)
    annotations, _ = make_crowd((0.9,), n_items=12)
    if options:
        annotations = replace(annotations, options=tuple((ANSWERS[:3] if item % 2 else None) for item in range(12)))
    scorer = load_scorer(base, 32)
    scorer.start_answers(annotations.tasks)
    embeddings, before = scorer.read(scorer.encode_items(annotations))
    other = _with_drawn_words(annotations, np.random.default_rng(0))
    assert other.tasks[0].descriptions != annotations.tasks[0].descriptions
    scores = scorer.scores_with(other, embeddings)
    afresh = load_scorer(base, 32)
    afresh.start_answers(other.tasks)
    np.testing.assert_allclose(scores, afresh.read(afresh.encode_items(other))[1], atol=1e-4)
    np.testing.assert_allclose(scorer.read(scorer.encode_items(annotations))[1], before, atol=1e-6)


def test_drawn_words_are_as_many_from_the_prompts_and_equal_ones_stay_equal() -> None:
    crowd, _ = make_crowd((0.9,), n_items=6)
    annotations = replace(
        crowd,
        tasks=(Task("topic", ANSWERS, ("two words", "one", "so many as four", "one")),),
        options=(("one", "two words"), None) * 3,
        prompts=("short", "the longest" + "x" * 40, *(crowd.prompts or ())[2:]),
    )
    drawn = _with_drawn_words(annotations, np.random.default_rng(1))
    descriptions = drawn.tasks[0].descriptions
    assert [len(text.split()) for text in descriptions] == [2, 1, 4, 1]
    assert descriptions[1] == descriptions[3]
    assert drawn.options == ((descriptions[1], descriptions[0]), None) * 3
    words = {word[:20] for prompt in annotations.prompts or () for word in prompt.split()}
    assert {word for text in descriptions for word in text.split()} <= words
