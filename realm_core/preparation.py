"""Where training starts from: what "auto" becomes, what the pretrained model says of the prompts, and the channel."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from realm_core.annotations import Annotations, FloatArray
from realm_core.base_models import BaseModelUnavailable
from realm_core.config import Plan, Reasons, TrainingConfig, resolve
from realm_core.constant_answers import constant_cells, without_constant
from realm_core.cross_fitting import ZeroShot, calibrate_zero_shot
from realm_core.known_gold import relabelled
from realm_core.topics import topics
from realm_core.truth_choice import best_truth, renamed_by_words
from realm_core.words_or_crowd import contradicted_tasks, supported_tasks, words_are_meant

if TYPE_CHECKING:
    import torch

    from realm_core.channels import Channel
    from realm_core.scorers.scorer import Scorer


NOT_COMPARED = (
    "The channels scalar and per_task were not tried, since they are one_coin for annotators who are never worse than "
    "chance, nor was prompt, which only a training of its own could judge."
)
OVERRULED = (
    "Most annotators are worse than chance by what the model knows of the answers' names, though their labels agree "
    "with each other. The names explain the labels far better than other words would, so they are believed. If most "
    "annotators should be right, check that each answer's name says what its label means."
)
LEFT_OUT = (
    "Before training, what this model makes of the answers' names says that most annotators are worse than chance, and "
    "is not believed: nearly all of them would be, or other words explain the labels as well. So the names are left "
    "out, and the annotators are taken to be better than chance on average."
)


class NotIdentifiable(Exception):
    """The annotations cannot tell what is asked of them; the message is for the user."""


@dataclass(frozen=True, eq=False)
class Reading:
    """What a model makes of the prompts before it learns from their labels: `embeddings` (N, E), and its answers.

    `overruled`: tasks whose crowd is worse than chance by the answers' words, though not by its labels, and the words
    are believed. `meaningless`: the same, but the words are not believed, and left out.
    """

    embeddings: NDArray[np.float32]
    zero_shot: ZeroShot
    overruled: tuple[int, ...] = ()
    meaningless: tuple[int, ...] = ()


@dataclass(frozen=True, eq=False)
class Preparation:
    """Where training starts: the plan and its reasons, the channel, what the base model says.

    `annotations` are those that a model can learn from (more than one answer is possible); `z` (N, D) says what each
    prompt is about.
    """

    plan: Plan
    reasons: Reasons
    channel: Channel
    annotations: Annotations
    z: NDArray[np.float32]
    reading: Reading
    words: str


def prepare(
    scorer: Scorer, annotations: Annotations, config: TrainingConfig, base: Path | str | None = None
) -> Preparation:
    """Resolve what is "auto", read the prompts, and let scorer and channel start from it. Raises NotIdentifiable.

    Where `base` is a fine-tuned model of the same tasks, its answers go on from where they were; else answers start
    from their words.
    """
    from realm_core.checkpoint import restore_answers

    plan, reasons = resolve(
        config,
        n_prompts=round(annotations.n_items * (1 - config.hyperparameters.held_out_fraction)),
        n_tasks=len(annotations.tasks),
        on_gpu=scorer.device.type == "cuda",
        family=scorer.family,
    )
    continues = isinstance(base, Path) and restore_answers(base, scorer, annotations.tasks)
    reading = _read(scorer, annotations, continues=continues)
    zero_shot = reading.zero_shot
    if plan.option_scoring == "pair":  # only now: pairs know nothing yet, cosines say what the words do
        scorer.score_pairs()
    elif scorer.scores_pairs:  # so does the fine-tuned model that goes on
        plan = replace(plan, option_scoring="pair")
    if reasons.get("channel", {}).get("value") == "one_coin" and config.method == "realm":
        choice = best_truth(annotations, zero_shot.log_p)
        plan = replace(plan, channel=choice.candidate.channel)
        reasons["channel"] = {"value": choice.candidate.channel, "why": f"{choice.why} {NOT_COMPARED}"}
    if plan.channel == "confusion" and config.method == "realm":
        zero_shot = replace(zero_shot, truth=renamed_by_words(annotations, zero_shot.log_p, zero_shot.truth))
    informative = annotations.select_labels(annotations.answer_counts[annotations.item] > 1)
    if config.method == "supervised":
        informative = relabelled(informative)
    z = topics(reading.embeddings)
    channel = _start_channel(scorer, informative, z, zero_shot, plan, config)
    words = _start_in_words(reading, continues)
    return Preparation(plan, reasons, channel, informative, z, replace(reading, zero_shot=zero_shot), words)


def _start_in_words(reading: Reading, continues: bool) -> str:
    zero_shot = reading.zero_shot
    if continues:
        return "The answers go on from the fine-tuned model, which knows the same tasks."
    if reading.meaningless:
        return LEFT_OUT
    if zero_shot.scale == 0:
        return "Before training, the meaning of the answers' names does not explain the labels, and is left out."
    sure = float(np.exp(zero_shot.log_p).max(axis=1).mean())
    return f"Before training, the meaning of the answers' names alone is {sure:.0%} sure of its answer on average."


def read_pretrained(
    pretrained: Path | str, annotations: Annotations, max_length: int, device: torch.device
) -> Reading | None:
    """The prompts as a model reads them that no label has touched. None where `pretrained` is no such model."""
    from realm_core.checkpoint import is_fine_tuned
    from realm_core.scorers.families import load_scorer

    if is_fine_tuned(pretrained):
        return None
    try:
        scorer = load_scorer(pretrained, max_length)
    except BaseModelUnavailable:
        return None
    return _read(scorer.to(device), annotations, continues=False)


def refuse_unanswerable(annotations: Annotations, config: TrainingConfig) -> None:
    """Refuse prompts that nothing can be learned from, and channels that do not fit them. Raises NotIdentifiable."""
    counts = annotations.answer_counts
    if not counts.all():
        item = int(np.argmin(counts))
        raise NotIdentifiable(
            f"Item {annotations.item_ids[item]!r} has no options, and its task "
            f"{annotations.tasks[annotations.item_task[item]].name!r} has no answers either."
        )
    if counts[annotations.item].max() < 2:
        raise NotIdentifiable("Every prompt has one possible answer only, so its labels say nothing.")
    own_options = any(own is not None for own in annotations.options or ())
    if own_options and config.hyperparameters.channel == "confusion":
        raise NotIdentifiable(
            "The channel `confusion` needs the same answers for all prompts of a task, and some prompts have options "
            "of their own; use `one_coin`."
        )


def _read(scorer: Scorer, annotations: Annotations, *, continues: bool) -> Reading:
    """Read every prompt with the base model, and let it start as sure of its answers as it deserves.

    A model that continues is left as sure as it was.
    """
    from realm_core.scorers.inputs import UnreadableInput

    if not continues:
        scorer.start_answers(annotations.tasks)
    try:
        encoded = scorer.encode_items(annotations)
    except UnreadableInput as error:
        raise NotIdentifiable(str(error)) from error
    embeddings, scores = scorer.read(encoded)
    labels = without_constant(annotations)
    if continues:
        return Reading(embeddings, calibrate_zero_shot(labels, scores, (1.0,)))
    zero_shot = calibrate_zero_shot(labels, scores, scorer.zero_shot_scales)
    contradicted = contradicted_tasks(labels, zero_shot)
    supported = set(contradicted).intersection(supported_tasks(labels, zero_shot))
    meant = [task for task in supported if words_are_meant(scorer, labels, embeddings, scores, task)]
    meaningless = [task for task in contradicted if task not in meant]
    if meaningless:
        left_out = np.isin(annotations.item_task, meaningless)[:, None] & np.isfinite(scores)
        zero_shot = calibrate_zero_shot(labels, np.where(left_out, 0.0, scores), scorer.zero_shot_scales)
    scorer.start_at(zero_shot.scale, meaningless)
    return Reading(embeddings, zero_shot, tuple(meant), tuple(meaningless))


def _start_channel(
    scorer: Scorer,
    annotations: Annotations,
    z: NDArray[np.float32],
    zero_shot: ZeroShot,
    plan: Plan,
    config: TrainingConfig,
) -> Channel:
    """The channel to train: half trusting everybody in the paper's preset, else where truth inference ended."""
    import torch

    from realm_core.channels import CHANNELS, PerfectChannel, PromptChannel, ScalarChannel

    if config.method == "supervised":
        return PerfectChannel()
    channel_class = CHANNELS.get(plan.channel, ScalarChannel)
    accuracy, count = torch.from_numpy(zero_shot.truth.accuracy), torch.from_numpy(_labels_per_cell(annotations))
    n_answers = torch.from_numpy(_answers_per_task(annotations))
    chance = (1 / n_answers).expand_as(accuracy)
    accuracy = torch.where(torch.from_numpy(constant_cells(annotations)), chance, accuracy)
    start = torch.full_like(accuracy, 0.5)
    if config.hyperparameters.preset == "default":
        start = channel_class.probability_of(accuracy, n_answers)
    if plan.channel in ("scalar", "prompt"):  # one column for all tasks
        start, count = (
            (start * count).sum(1, keepdim=True) / count.sum(1, keepdim=True).clamp(min=1),
            count.sum(1, keepdim=True),
        )
    if plan.channel == "prompt":
        sizes = {"z_size": z.shape[1], "embedding_size": scorer.model.config.hidden_size}
        return PromptChannel(start, count, n_answers, plan.expertise_pooling, **sizes)
    return channel_class(start, count, n_answers, plan.expertise_pooling)


def _labels_per_cell(annotations: Annotations) -> FloatArray:
    counts = np.zeros((annotations.n_annotators, len(annotations.tasks)))
    np.add.at(counts, (annotations.annotator, annotations.item_task[annotations.item]), 1.0)
    return counts


def _answers_per_task(annotations: Annotations) -> FloatArray:
    """K of each task (T,); where prompts have their own options the harmonic mean over labels, so that w + (1−w)/K is
    the mean accuracy.
    """
    task = annotations.item_task[annotations.item]
    share = np.bincount(task, 1 / annotations.answer_counts[annotations.item], minlength=len(annotations.tasks))
    count = np.bincount(task, minlength=len(annotations.tasks))
    declared = np.array([max(len(task.answers), 1) for task in annotations.tasks], dtype=np.float64)
    return np.divide(count, share, out=declared, where=count > 0).round(6)  # a sum of thirds is hardly ever whole
