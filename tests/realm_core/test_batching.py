"""Batches: every prompt once, one task, like lengths, all labels of a prompt, the same order for the same seed."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from realm_core.annotations import Annotations, Task
from realm_core.batching import PromptBatches
from realm_core.scorers.inputs import EncodedPrompt, by_size, collate
from tests.realm_core.tiny_models import make_crowd

ANNOTATIONS, _ = make_crowd((0.9, 0.5, 0.4), n_items=60)
TWO_TASKS = replace(
    ANNOTATIONS,
    tasks=(ANNOTATIONS.tasks[0], Task("other", ("a", "b", "c", "d"))),
    item_task=(np.arange(60) % 3 == 0).astype(np.int32),
)
TOKENS = [[2] * (1 + (7 * item) % 23) for item in range(60)]


def encoded(task: int, token_ids: list[int], options: tuple[list[int], ...] | None = None) -> EncodedPrompt:
    return EncodedPrompt(
        task, 4 if options is None else len(options), token_ids, len(token_ids), truncated=False, option_ids=options
    )


def batches_of(annotations: Annotations = TWO_TASKS) -> PromptBatches:
    prompts = [encoded(int(task), ids) for task, ids in zip(annotations.item_task, TOKENS, strict=True)]
    return PromptBatches(annotations, prompts, lambda some: collate(some, 0))


@given(batch_size=st.integers(1, 70), seed=st.integers(0, 99))
def test_an_epoch_has_every_item_once_and_one_task_per_batch(batch_size: int, seed: int) -> None:
    seen: list[int] = []
    for items in batches_of().endless(np.arange(60), batch_size, seed):
        assert len(set(TWO_TASKS.item_task[items])) == 1
        assert len(items) <= batch_size
        seen.extend(items)
        if len(seen) >= 60:
            break
    assert sorted(seen) == list(range(60))


def test_the_order_depends_on_the_seed_and_on_the_epoch_alone() -> None:
    def first(seed: int, count: int) -> list[list[int]]:
        return [list(items) for items in islice(batches_of().endless(np.arange(60), 8, seed), count)]

    assert first(1, 20) == first(1, 20)
    assert first(1, 8) != first(2, 8)
    assert first(1, 20)[:8] != first(1, 20)[8:16]


def test_a_batch_carries_all_labels_of_its_prompts() -> None:
    annotations = replace(TWO_TASKS.select_labels(np.arange(180) != 4))
    batch = batches_of(annotations).batch(np.array([1, 4]))
    rows = np.flatnonzero(np.isin(annotations.item, [1, 4]))
    assert batch.prompt.tolist() == [0, 0, 1, 1, 1]
    assert batch.annotator.tolist() == annotations.annotator[rows].tolist() == [0, 2, 0, 1, 2]
    assert batch.label.tolist() == annotations.label[rows].tolist()
    assert batch.inputs.input_ids.shape == batch.inputs.attention_mask.shape == (2, max(len(TOKENS[1]), len(TOKENS[4])))
    assert batch.inputs.attention_mask.sum(1).tolist() == [len(TOKENS[1]), len(TOKENS[4])]


@given(
    rows=st.lists(st.tuples(st.integers(0, 2), st.integers(1, 50)), min_size=1, max_size=40), budget=st.integers(1, 200)
)
def test_batches_stay_within_the_token_budget(rows: list[tuple[int, int]], budget: int) -> None:
    prompts = [encoded(task, [1] * length) for task, length in rows]
    batches = by_size(prompts, budget)
    assert sorted(row for batch in batches for row in batch) == list(range(len(rows)))
    for batch in batches:
        assert len({prompts[row].task for row in batch}) == 1
        assert len(batch) == 1 or len(batch) * max(prompts[row].size for row in batch) <= budget


def test_options_lie_one_after_another_and_beyond_k_is_nothing() -> None:
    inputs = collate([encoded(0, [5, 6], ([1], [2, 3])), encoded(0, [7], ([4], [5], [6]))], 0)
    assert inputs.n_answers.tolist() == [2, 3]
    assert inputs.option_ids is not None
    assert inputs.option_ids.tolist() == [[1, 0], [2, 3], [4, 0], [5, 0], [6, 0]]
    assert inputs.beyond().tolist() == [[False, False, True], [False, False, False]]


def test_prompts_with_options_and_without_are_never_in_one_batch() -> None:
    annotations = replace(ANNOTATIONS, options=tuple(("a", "b") if item % 2 else None for item in range(60)))
    prompts = [encoded(0, ids, ([1], [2]) if item % 2 else None) for item, ids in enumerate(TOKENS)]
    batches = PromptBatches(annotations, prompts, lambda some: collate(some, 0))
    for items in batches.sorted_by_size(np.arange(60), 7):
        assert len({item % 2 for item in items}) == 1
        assert (batches.batch(items).inputs.option_ids is not None) == items[0] % 2
