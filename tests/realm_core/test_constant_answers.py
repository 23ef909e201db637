"""Annotators who always or often give the same answer: seen, named, and not believed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from realm_core.annotations import Annotations
from realm_core.constant_answers import LEAST_LABELS, constant_cells, without_constant
from realm_core.predictor import Predictor
from tests.realm_core.test_families import agreement, job
from tests.realm_core.test_training import accuracy_on, fit_quietly, make_channel, make_plan, make_scorer
from tests.realm_core.tiny_models import make_crowd


def crowd_with_constant(
    accuracies: tuple[float, ...], n_constant: int, share: float = 1.0, n_items: int = 400
) -> tuple[Annotations, np.ndarray]:
    """The last annotators give the first answer to a share of the prompts, whatever they are asked."""
    annotations, truth = make_crowd(accuracies, n_items=n_items)
    chosen = np.random.default_rng(5).random(annotations.n_labels) < share
    constant = (annotations.annotator >= len(accuracies) - n_constant) & chosen
    return replace(annotations, label=np.where(constant, 0, annotations.label).astype(np.int32)), truth


def test_who_gives_one_answer_is_seen_and_who_has_few_labels_or_meets_one_answer_is_not() -> None:
    annotations, _ = crowd_with_constant((0.8, 0.7, 0.7), 1)
    np.testing.assert_array_equal(constant_cells(annotations), [[False], [False], [True]])
    rest = without_constant(annotations)
    assert set(rest.annotator.tolist()) == {0, 1}
    few = annotations.select_labels((annotations.annotator < 2) | (annotations.item < LEAST_LABELS - 1))
    assert not constant_cells(few).any()
    everybody = replace(annotations, label=np.zeros_like(annotations.label))
    assert not constant_cells(everybody).any()  # the crowd does the same
    assert without_constant(everybody).n_labels == everybody.n_labels


def test_two_who_agree_with_each_other_always_are_not_believed(tiny_bert: Path, tmp_path: Path) -> None:
    annotations, truth = crowd_with_constant((0.8, 0.7, 0.7, 0.8, 0.8), 2)
    outcome = job(annotations, tiny_bert, tmp_path)
    assert outcome.model is not None
    assert agreement(Predictor.load(outcome.model), annotations, truth) > 0.95  # .78 when they are believed at first
    rows = [row for row in outcome.report.annotators if row.task is None]
    for annotator, accuracy in enumerate((0.8, 0.7, 0.7, 0.25, 0.25)):
        assert rows[annotator].accuracy is not None
        assert abs(rows[annotator].accuracy.value - accuracy) < 0.06  # type: ignore[union-attr]
        assert ("always_same" in rows[annotator].flags) == (annotator > 2)


def test_confusion_matrices_learn_who_often_gives_the_same_answer(tiny_bert: Path, tmp_path: Path) -> None:
    """A column of high rates is what a component of its own for such annotators would learn."""
    annotations, truth = crowd_with_constant((0.8, 0.7, 0.7, 0.8, 0.8), 2, share=0.7)
    ends = {}
    for name in ("one_coin", "confusion"):
        scorer, channel = make_scorer(tiny_bert, annotations), make_channel(annotations, name=name)
        state = fit_quietly(scorer, channel, annotations, make_plan(annotations, channel=name), tmp_path)
        ends[name] = (accuracy_on(scorer, annotations, truth), state.best_log_likelihood)
    assert ends["confusion"][0] > 0.95
    assert ends["one_coin"][0] < 0.5  # believes the two who agree most
    assert ends["confusion"][1] > ends["one_coin"][1] + 0.2  # and so held-out labels choose the matrices
    to_first = channel.log_rows[3, 0].exp()[:, 0]  # type: ignore[index, operator, union-attr]
    assert to_first.min() > 0.6
