"""Where the answers' words and the crowd contradict each other: which of them tells right from wrong.

Labels have a mirror image, in which annotators are as wrong as they were right; with two answers nothing in the labels
tells the two apart. Labels alone are read as those of a crowd that is better than chance. What a pretrained model makes
of the answers' words may say the opposite, and where it knows the language it is to be believed: most annotators then
are wrong. But a model that knows nothing has an opinion too: its random features tell prompts apart all the same, and
which answer goes with which is a toss of a coin.

So words overrule the crowd only where some annotators side with them, since a crowd in which hardly anybody is right is
rarer than a model that misunderstands a name, and only where they explain the labels better than other words would: a
randomisation test, against as many words drawn from the prompts, put in the answers' place. For a model that knows
nothing, the answers' own words are just another draw.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from realm_core.aggregation import one_coin
from realm_core.annotations import Annotations, FloatArray
from realm_core.cross_fitting import ZeroShot, calibrate_zero_shot

if TYPE_CHECKING:
    from realm_core.scorers.scorer import Scorer

LEAST_SUPPORT = 0.25  # of the labels: by annotators who are better than chance if the words are believed
DRAWS = 39
EXCEPTIONS = 1  # so many draws may do as well as the words: (1 + 1) / (39 + 1), 5 % of models that know nothing
TESTED_PROMPTS = 500
LONGEST_WORD = 20  # letters; a language that is written without spaces has words as long as its sentences


def expertise_of_labels(annotations: Annotations, accuracy: FloatArray) -> FloatArray:
    """(K·a − 1)/(K − 1) of each label's annotator on its task; below 0: worse than chance. accuracy (R, T) -> (L,)"""
    n_answers = annotations.answer_counts[annotations.item]
    right = accuracy[annotations.annotator, annotations.item_task[annotations.item]]
    return np.asarray((n_answers * right - 1) / np.maximum(n_answers - 1, 1))


def _mean_by_task(annotations: Annotations, of_label: NDArray[Any]) -> FloatArray:
    """(L,) -> (T,), 0 where a task has no labels."""
    task, n_tasks = annotations.item_task[annotations.item], len(annotations.tasks)
    return np.bincount(task, of_label, n_tasks) / np.maximum(np.bincount(task, minlength=n_tasks), 1)


def contradicted_tasks(annotations: Annotations, zero_shot: ZeroShot) -> list[int]:
    """Tasks whose crowd is better than chance by its labels (and known gold), and worse by the words."""
    by_words = _mean_by_task(annotations, expertise_of_labels(annotations, zero_shot.truth.accuracy))
    if (by_words >= 0).all():
        return []
    by_labels = _mean_by_task(annotations, expertise_of_labels(annotations, one_coin(annotations).accuracy))
    return np.flatnonzero((by_words < 0) & (by_labels >= 0)).tolist()


def supported_tasks(annotations: Annotations, zero_shot: ZeroShot) -> list[int]:
    """Tasks of which a fair share of the labels is by annotators who are better than chance by the words."""
    better = expertise_of_labels(annotations, zero_shot.truth.accuracy) > 0
    return np.flatnonzero(_mean_by_task(annotations, better) >= LEAST_SUPPORT).tolist()


def words_are_meant(
    scorer: Scorer,
    annotations: Annotations,
    embeddings: NDArray[np.float32],
    scores: FloatArray,
    task: int,
    seed: int = 0,
) -> bool:
    """Whether the words of a task's answers explain its labels better than words drawn from its prompts do.

    embeddings (N, E), scores (N, Kmax): what the scorer made of the prompts, and of the answers' own words. Compared is
    the likelihood of the labels at the best scale, whichever way round the words then point.
    """
    rng = np.random.default_rng(seed)
    items = np.flatnonzero((annotations.item_task == task) & _labelled(annotations))
    if len(items) > TESTED_PROMPTS:
        items = np.sort(rng.choice(items, TESTED_PROMPTS, replace=False))
    few = annotations.select_items(items)
    own_scores = scores[items, : int(few.answer_counts.max())]  # other tasks may have more answers
    own = calibrate_zero_shot(few, own_scores, scorer.zero_shot_scales).truth.log_likelihood
    as_good = 0
    for _ in range(DRAWS):
        drawn = scorer.scores_with(_with_drawn_words(few, rng), embeddings[items])
        as_good += calibrate_zero_shot(few, drawn, scorer.zero_shot_scales).truth.log_likelihood >= own
        if as_good > EXCEPTIONS:
            return False
    return True


def _labelled(annotations: Annotations) -> NDArray[np.bool_]:
    return np.asarray(np.bincount(annotations.item, minlength=annotations.n_items) > 0)


def _with_drawn_words(annotations: Annotations, rng: np.random.Generator) -> Annotations:
    """The same prompts, every answer and option described by as many words out of a prompt; equal ones by the same."""
    prompts = annotations.prompts or ()
    drawn: dict[str, str] = {}

    def instead_of(texts: Sequence[str]) -> tuple[str, ...]:
        for text in texts:
            if text not in drawn:
                drawn[text] = _words_of_prompts(prompts, len(text.split()), rng)
        return tuple(drawn[text] for text in texts)

    tasks = tuple(replace(task, descriptions=instead_of(task.descriptions)) for task in annotations.tasks)
    options = annotations.options and tuple(own and instead_of(own) for own in annotations.options)
    return replace(annotations, tasks=tasks, options=options)


def _words_of_prompts(prompts: Sequence[str], count: int, rng: np.random.Generator) -> str:
    """So many words in a row, from as many prompts as that takes."""
    words: list[str] = []
    while len(words) < max(count, 1):
        words += (word[:LONGEST_WORD] for word in prompts[int(rng.integers(len(prompts)))].split())
    start = int(rng.integers(len(words) - max(count, 1) + 1))
    return " ".join(words[start : start + max(count, 1)])
