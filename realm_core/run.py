"""One job, from annotations to a report and a fine-tuned model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from realm_core.annotations import Annotations, FloatArray
from realm_core.config import Plan, Reasons, TrainingConfig, resolve
from realm_core.constant_answers import constant_cells, without_constant
from realm_core.cross_fitting import ZeroShot, calibrate_zero_shot, cross_fit, cross_fit_plain
from realm_core.reliability import Report, build_report
from realm_core.topics import topics
from realm_core.truth_choice import best_truth, renamed_by_words

if TYPE_CHECKING:
    from realm_core.channels import Channel
    from realm_core.scorers.scorer import Scorer
    from realm_core.training import FitState


class NotIdentifiable(Exception):
    """The annotations cannot tell what is asked of them; the message is for the user."""


class Observer(Protocol):
    """Who is told what happens while a job runs."""

    def resolved(self, values: Reasons) -> None:
        """What each "auto" became, and why."""

    def progress(self, phase: str, step: int, total_steps: int, fraction: float) -> None:
        """How far the phase and (0 to 1) the whole job are."""

    def event(self, message: str, *, level: str = "info", data: dict[str, Any] | None = None) -> None:
        """Something a user may want to know."""

    def metrics(self, step: int, values: dict[str, Any]) -> None:
        """Numbers of a training step."""

    def checkpoint(self, folder: Path, step: int, metrics: dict[str, Any]) -> None:
        """A whole checkpoint was written; the folder is the observer's from now on."""


class Silent(Observer):
    """An observer who tells nobody."""

    def resolved(self, values: Reasons) -> None: ...

    def progress(self, phase: str, step: int, total_steps: int, fraction: float) -> None: ...

    def event(self, message: str, *, level: str = "info", data: dict[str, Any] | None = None) -> None: ...

    def metrics(self, step: int, values: dict[str, Any]) -> None: ...

    def checkpoint(self, folder: Path, step: int, metrics: dict[str, Any]) -> None: ...


@dataclass(frozen=True, eq=False)
class Outcome:
    """The report, and the folder of the fine-tuned model where one was asked for."""

    report: Report
    model: Path | None


_READING, _TRAINING, _CROSS_FITTING, _REPORTING, _SAVING = (0.0, 0.1), (0.1, 0.8), (0.8, 0.9), (0.9, 0.95), (0.95, 1.0)


def run(
    annotations: Annotations,
    config: TrainingConfig,
    *,
    base: Path | str | None,
    work: Path,
    observer: Observer,
    resume_from: Path | None = None,
) -> Outcome:
    """Do what `config` asks for. Raises NotIdentifiable, BaseModelUnavailable, training.Diverged.

    `base` is the pretrained model (a folder, or a hub's name), `work` a folder to write in, `resume_from` a checkpoint
    of an earlier run with the same annotations and config.
    """
    if annotations.n_labels == 0:
        raise NotIdentifiable("There is no label to learn from.")
    if config.method == "aggregation":
        observer.progress("reporting", 0, 1, 0.1)
        return Outcome(build_report(annotations, None, cross_fitted=False, trained_accuracy=None), None)
    if annotations.prompts is None or base is None:
        raise NotIdentifiable("Fine-tuning needs the text of the prompts; use the method `aggregation` without it.")
    refuse_unanswerable(annotations, config)
    return _fine_tune(annotations, config, base, work, observer, resume_from)


def assist(
    annotations: Annotations, config: TrainingConfig, *, base: Path | str, work: Path, resume_from: Path | None = None
) -> None:
    """What every process of a job on several devices runs but the first, which runs `run` with the same arguments.

    Launchers (`accelerate launch`, torchrun) tell a process its number as RANK. Nothing is reported or saved here.
    """
    _train(annotations, config, base, work, Silent(), resume_from)


@dataclass(frozen=True, eq=False)
class _Trained:
    scorer: Scorer
    channel: Channel
    start: Preparation
    state: FitState


def _train(
    annotations: Annotations,
    config: TrainingConfig,
    base: Path | str,
    work: Path,
    observer: Observer,
    resume_from: Path | None,
) -> _Trained:
    import torch

    from realm_core.scorers.families import load_scorer
    from realm_core.team import Team
    from realm_core.training import FitEvents, fit

    if config.threads is not None:
        torch.set_num_threads(config.threads)
    team = Team.join()
    observer.progress("reading", 0, 1, _READING[0])
    scorer = load_scorer(base, config.hyperparameters.max_length).to(team.device)
    start = team.made_by_first(lambda: prepare(scorer, annotations, config, base))
    if not team.is_first:
        scorer.start_answers(annotations.tasks)  # their weights come from the first process
    plan, channel = start.plan, start.channel.to(team.device)
    observer.resolved(start.reasons)
    torch.manual_seed(config.seed)
    if plan.gradient_checkpointing:
        scorer.save_memory()
    if plan.lora_rank:
        scorer.add_adapters(plan.lora_rank)
        scorer.to(team.device)
    observer.event(start.words, data={"zero_shot_scale": start.zero_shot.scale})
    events = FitEvents(
        progress=_within(observer, "training", _TRAINING), metrics=observer.metrics, checkpoint=observer.checkpoint
    )
    state = fit(
        scorer,
        channel,
        start.annotations,
        plan,
        seed=config.seed,
        work=work,
        events=events,
        z=start.z if plan.channel == "prompt" and config.method == "realm" else None,
        team=team,
        resume_from=resume_from,
        checkpoint_seconds=config.checkpoint_seconds,
    )
    observer.event(
        f"Kept step {state.best_step} of {state.step}, which explains the held-out annotations best.",
        data={"best_step": state.best_step, "held_out_log_likelihood": state.best_log_likelihood},
    )
    return _Trained(scorer, channel, start, state)


def _fine_tune(
    annotations: Annotations,
    config: TrainingConfig,
    base: Path | str,
    work: Path,
    observer: Observer,
    resume_from: Path | None,
) -> Outcome:
    from realm_core.checkpoint import FineTuned, save_model
    from realm_core.training import predict_log_p

    trained = _train(annotations, config, base, work, observer, resume_from)
    scorer, channel, start, plan = trained.scorer, trained.channel, trained.start, trained.start.plan
    zero_shot = start.zero_shot
    trained_accuracy = _trained_accuracy(scorer, channel, start)
    if trained_accuracy is not None:
        refuse_mirrored(annotations, zero_shot.truth.accuracy, trained_accuracy)
    observer.progress("cross_fitting", 0, 1, _CROSS_FITTING[0])
    cross_fitted = plan.cross_fit_folds > 1
    log_p = (
        cross_fit(annotations, start.embeddings, zero_shot, plan.cross_fit_folds, config.seed)
        if cross_fitted
        else predict_log_p(scorer, annotations)
    )
    observer.progress("reporting", 0, 1, _REPORTING[0])
    plain = (
        cross_fit_plain(annotations, start.embeddings, zero_shot, plan.cross_fit_folds, config.seed)
        if cross_fitted
        else None
    )
    report = build_report(
        annotations, log_p, cross_fitted=cross_fitted, trained_accuracy=trained_accuracy, plain_log_p=plain
    )
    observer.progress("saving", 0, 1, _SAVING[0])
    model = FineTuned(scorer, channel, annotations.tasks, annotations.annotators)
    facts = {"method": config.method, "plan": asdict(plan), "seed": config.seed, "best_step": trained.state.best_step}
    return Outcome(report, save_model(work / "model", model, facts))


@dataclass(frozen=True, eq=False)
class Preparation:
    """Where training starts: the plan and its reasons, the channel, what the pretrained model says.

    `annotations` are those that a model can learn from (more than one answer is possible); `embeddings` (N, E); `z`
    (N, D) says what each prompt is about.
    """

    plan: Plan
    reasons: Reasons
    channel: Channel
    annotations: Annotations
    embeddings: NDArray[np.float32]
    z: NDArray[np.float32]
    zero_shot: ZeroShot
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
    embeddings, zero_shot = _read(scorer, annotations, continues=continues)
    if reasons.get("channel", {}).get("value") == "one_coin" and config.method == "realm":
        choice = best_truth(annotations, zero_shot.log_p)
        plan = replace(plan, channel=choice.candidate.channel)
        reasons["channel"] = {"value": choice.candidate.channel, "why": choice.why}
    if plan.channel == "confusion" and config.method == "realm":
        zero_shot = replace(zero_shot, truth=renamed_by_words(annotations, zero_shot.log_p, zero_shot.truth))
    informative = annotations.select_labels(annotations.answer_counts[annotations.item] > 1)
    z = topics(embeddings)
    channel = _start_channel(scorer, informative, z, zero_shot, plan, config)
    words = f"Before training, the words of the answers count with a scale of {zero_shot.scale:g}."
    if continues:
        words = "The answers go on from the fine-tuned model, which knows the same tasks."
    return Preparation(plan, reasons, channel, informative, embeddings, z, zero_shot, words)


def _within(observer: Observer, phase: str, share: tuple[float, float]) -> Callable[[int, int, float], None]:
    """Progress of a phase as progress of the job."""
    start, end = share
    return lambda step, total, done: observer.progress(phase, step, total, start + (end - start) * min(done, 1.0))


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


def _read(
    scorer: Scorer, annotations: Annotations, *, continues: bool
) -> tuple[np.ndarray[Any, np.dtype[np.float32]], ZeroShot]:
    """Read every prompt with the pretrained model, and let it start as sure of its answers as it deserves.

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
    scales = (1.0,) if continues else scorer.zero_shot_scales
    zero_shot = calibrate_zero_shot(without_constant(annotations), scores, scales)
    if not continues:
        scorer.start_at(zero_shot.scale)
    return embeddings, zero_shot


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


def _trained_accuracy(scorer: Scorer, channel: Channel, start: Preparation) -> FloatArray | None:
    """What the channel came to believe of each annotator on each task (R, T); None for the supervised baseline."""
    from realm_core.channels import PerfectChannel, PromptChannel
    from realm_core.training import settle

    if isinstance(channel, PerfectChannel):
        return None
    if isinstance(channel, PromptChannel):
        settle(scorer, channel, start.annotations, start.z)
    return np.asarray(channel.accuracy().double().cpu())


def mean_expertise(annotations: Annotations, accuracy: FloatArray) -> float:
    """Expertise (K·a − 1)/(K − 1) averaged over the labels; negative: the crowd is worse than chance. (R, T)"""
    task = annotations.item_task[annotations.item]
    n_answers = annotations.answer_counts[annotations.item]
    right = accuracy[annotations.annotator, task]
    return float(np.mean((n_answers * right - 1) / np.maximum(n_answers - 1, 1)))


def refuse_mirrored(annotations: Annotations, before: FloatArray, after: FloatArray) -> None:
    """Refuse a model that learned the mirror image of the truth, which explains the labels as well as the truth does.

    before, after (R, T): accuracies where training started (words and labels) and ended. Raises NotIdentifiable.
    """
    if mean_expertise(annotations, after) < 0 <= mean_expertise(annotations, before):
        raise NotIdentifiable(
            "Training ended with a crowd that is worse than chance, which the labels before training do not say: the "
            "model has probably learned every answer upside down, and is not kept. Describe the answers in words "
            "(labels), or add annotators who answer the same prompts."
        )
