"""What `auto` makes of several tasks: `pytest -s -m slow tests/realm_core/test_accuracy_by_task.py` prints the table.

Its one_coin has an accuracy per annotator and task. Compared with one accuracy for all tasks: the same labels as those
of a single task.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from realm_core.aggregation import Truth, one_coin
from realm_core.annotations import Annotations, FloatArray, Task
from realm_core.simulation import simulate
from realm_core.truth_candidates import Candidate
from realm_core.truth_choice import best_truth
from realm_core.truth_trials import Tried

LEVELS = np.array([0.9, 0.8, 0.7, 0.6, 0.5, 0.35])
ANSWERS = ("a", "b", "c", "d")
TASKS, PER_ITEM, SEEDS = 3, 3, 10
ONE_COIN = Candidate("one_coin", "uniform")


def crowd_of(differs: bool, per_cell: int, seed: int) -> tuple[Annotations, FloatArray, np.ndarray]:
    """Six annotators, each as good on all tasks or on each task another of the six levels; 3 labels per prompt."""
    rng = np.random.default_rng(seed)
    accuracy = np.stack([rng.permutation(LEVELS) if differs else LEVELS for _ in range(TASKS)], axis=1)
    per_task = per_cell * len(LEVELS) // PER_ITEM
    n = per_task * TASKS
    truth, task = rng.integers(0, 4, n).astype(np.int32), np.repeat(np.arange(TASKS), per_task).astype(np.int32)
    labels = simulate(truth, np.full(n, 4, np.int32), accuracy=accuracy, seed=seed, item_task=task)
    annotations = Annotations(
        tasks=tuple(Task(f"task {number}", ANSWERS) for number in range(TASKS)),
        annotators=tuple(f"annotator {number}" for number in range(len(LEVELS))),
        item_ids=tuple(map(str, range(n))),
        item_task=task,
        item=labels.item,
        annotator=labels.annotator,
        label=labels.label,
    )
    rank = np.argsort(np.argsort(rng.random((n, len(LEVELS))), axis=1), axis=1)
    return annotations.select_labels(rank[annotations.item, annotations.annotator] < PER_ITEM), accuracy, truth


def figures(differs: bool, per_cell: int, seed: int) -> tuple[float, ...]:
    """Whether `auto` takes one_coin; gain in log-likelihood per left-out label of accuracies by task; and RMSE of the
    accuracies, share of right labels, by task and over all tasks."""
    annotations, accuracy, truth = crowd_of(differs, per_cell, seed)
    merged = replace(annotations, tasks=(Task("all", ANSWERS),), item_task=np.zeros(annotations.n_items, np.int32))
    by_task, over_all = (Tried.of(one, None, (ONE_COIN,)).best for one in (annotations, merged))
    gain = np.mean(by_task - over_all)
    chosen = best_truth(annotations).candidate.channel == "one_coin"

    def quality(inferred: Truth) -> tuple[float, float]:
        error = float(np.sqrt(np.mean((inferred.accuracy - accuracy) ** 2)))
        return error, float(np.mean(inferred.posterior.argmax(axis=1) == truth))

    return chosen, float(gain), *quality(one_coin(annotations)), *quality(one_coin(merged))


@pytest.mark.slow
@pytest.mark.parametrize("differs", [True, False])
@pytest.mark.parametrize("per_cell", [15, 50, 200])
def test_accuracies_by_task_pay_where_they_differ_and_cost_little_where_not(differs: bool, per_cell: int) -> None:
    rows = np.array([figures(differs, per_cell, seed) for seed in range(SEEDS)])
    chosen, gain, error, right, error_of_all, right_of_all = rows.mean(axis=0)
    print(
        f"\n{'differs' if differs else 'same'}, {per_cell} labels: one_coin {chosen:.0%}, gain {gain:+.4f} "
        f"({(rows[:, 1] > 0).sum()} of {SEEDS}), RMSE {error:.3f} and {error_of_all:.3f}, "
        f"right {right:.3f} and {right_of_all:.3f}"
    )
    assert chosen == 1  # never a matrix where there is none
    if differs:
        assert gain > 0
        assert error < error_of_all
        assert right > right_of_all
    else:
        assert -0.03 < gain < 0
        assert right > right_of_all - 0.02
