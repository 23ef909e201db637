"""One job, from annotations to a report and a fine-tuned model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from realm_core.annotations import UNKNOWN, Annotations, FloatArray
from realm_core.config import Reasons, TrainingConfig
from realm_core.cross_fitting import cross_fit, cross_fit_plain
from realm_core.known_gold import use_gold
from realm_core.preparation import (
    OVERRULED,
    NotIdentifiable,
    Preparation,
    Reading,
    prepare,
    read_pretrained,
    refuse_unanswerable,
)
from realm_core.reliability import Report, build_report
from realm_core.words_or_crowd import expertise_of_labels

if TYPE_CHECKING:
    from realm_core.channels import Channel
    from realm_core.scorers.scorer import Scorer
    from realm_core.training import FitState


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
_SEEN_BEFORE = (
    "The model that this job continues from may have learned from the same prompts, and what it was fine-tuned from "
    "cannot be found to judge them instead. The report's intervals are too narrow, and are marked in_sample."
)
_GUESSWORK = 0.01  # mean product of expertises that says nothing: a crowd of guessers ends on either side of chance


def run(
    annotations: Annotations,
    config: TrainingConfig,
    *,
    base: Path | str | None,
    work: Path,
    observer: Observer,
    pretrained: Path | str | None = None,
    resume_from: Path | None = None,
) -> Outcome:
    """Do what `config` asks for. Raises NotIdentifiable, BaseModelUnavailable, training.Diverged.

    `base` is the model to start from (a folder, or a hub's name), `work` a folder to write in, `resume_from` a
    checkpoint of an earlier run with the same annotations and config. Where `base` is fine-tuned itself, `pretrained`
    is what it was fine-tuned from: it judges the labels in the report, since `base` may have seen them. Without it the
    report is in-sample, and says so.
    """
    if annotations.n_labels == 0:
        raise NotIdentifiable("There is no label to learn from.")
    annotations = _with_known_gold(annotations, config)
    if config.method == "aggregation":
        observer.progress("reporting", 0, 1, 0.1)
        return Outcome(build_report(annotations, None, cross_fitted=False, trained_accuracy=None), None)
    if annotations.prompts is None or base is None:
        raise NotIdentifiable("Fine-tuning needs the text of the prompts; use the method `aggregation` without it.")
    refuse_unanswerable(annotations, config)
    trained = _train(annotations, config, base, work, observer, resume_from)
    reading = None
    if trained.start.plan.cross_fit_folds > 1:
        observer.progress("cross_fitting", 0, 1, _CROSS_FITTING[0])
        reading = _unbiased_reading(trained, annotations, base, pretrained)
        if reading is None:
            observer.event(_SEEN_BEFORE, level="warn")
    return _report_and_save(trained, reading, annotations, config, work, observer)


def assist(
    annotations: Annotations, config: TrainingConfig, *, base: Path | str, work: Path, resume_from: Path | None = None
) -> None:
    """What every process of a job on several devices runs but the first, which runs `run` with the same arguments.

    Launchers (`accelerate launch`, torchrun) tell a process its number as RANK. Nothing is reported or saved here.
    """
    _train(_with_known_gold(annotations, config), config, base, work, Silent(), resume_from)


def _with_known_gold(annotations: Annotations, config: TrainingConfig) -> Annotations:
    if not config.hyperparameters.use_gold:
        return annotations
    if annotations.gold is None or (annotations.gold == UNKNOWN).all():
        raise NotIdentifiable("`use_gold` is set, and no prompt has gold.")
    return use_gold(annotations, config.seed)


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
    team = Team.join(in_parts=config.in_parts)
    observer.progress("reading", 0, 1, _READING[0])
    scorer = load_scorer(base, config.hyperparameters.max_length).to(team.device)
    start = team.made_by_first(lambda: prepare(scorer, annotations, config, base))
    if not team.is_first:
        scorer.start_answers(annotations.tasks)  # their weights come from the first process
    plan, channel = start.plan, start.channel.to(team.device)
    if plan.option_scoring == "pair":
        scorer.score_pairs()
    observer.resolved(start.reasons)
    torch.manual_seed(config.seed)
    scorer.compute_in(plan.precision)
    if plan.gradient_checkpointing:
        scorer.save_memory()
    if plan.lora_rank:
        scorer.add_adapters(plan.lora_rank)
        scorer.to(team.device)
    else:
        scorer.learn_rows(int(start.annotations.answer_counts.max()))
    observer.event(start.words, data={"zero_shot_scale": start.reading.zero_shot.scale})
    if start.reading.overruled:
        names = [annotations.tasks[task].name for task in start.reading.overruled]
        observer.event(OVERRULED, level="warn", data={"tasks": names})
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


def _unbiased_reading(
    trained: _Trained, annotations: Annotations, base: Path | str, pretrained: Path | str | None
) -> Reading | None:
    """The prompts as read by a model that has never seen a label of them, which a report out of fold stands on.

    That is the base itself, or where it is fine-tuned already what it was fine-tuned from: the base may have learned
    from the same prompts, in whatever dataset.
    """
    from realm_core.checkpoint import is_fine_tuned

    if not is_fine_tuned(base):
        return trained.start.reading
    if pretrained is None:
        return None
    return read_pretrained(pretrained, annotations, trained.start.plan.max_length, trained.scorer.device)


def _report_and_save(
    trained: _Trained,
    reading: Reading | None,
    annotations: Annotations,
    config: TrainingConfig,
    work: Path,
    observer: Observer,
) -> Outcome:
    """The report, cross-fitted on a `reading` that no label has touched, or in-sample without one; and the model."""
    from realm_core.checkpoint import FineTuned, save_model
    from realm_core.training import predict_log_p

    scorer, channel, start, plan = trained.scorer, trained.channel, trained.start, trained.start.plan
    trained_accuracy = _trained_accuracy(scorer, channel, start)
    if trained_accuracy is not None:
        refuse_mirrored(annotations, start.reading.zero_shot.truth.accuracy, trained_accuracy)
    plain = None
    if reading is None:
        log_p = predict_log_p(scorer, annotations)
    else:
        fit_on = (annotations, reading.embeddings, reading.zero_shot, plan.cross_fit_folds, config.seed)
        log_p, plain = cross_fit(*fit_on), cross_fit_plain(*fit_on)
    observer.progress("reporting", 0, 1, _REPORTING[0])
    report = build_report(
        annotations,
        log_p,
        cross_fitted=reading is not None,
        trained_accuracy=trained_accuracy,
        plain_log_p=plain,
    )
    observer.progress("saving", 0, 1, _SAVING[0])
    model = FineTuned(scorer, channel, annotations.tasks, annotations.annotators)
    facts = {"method": config.method, "plan": asdict(plan), "seed": config.seed, "best_step": trained.state.best_step}
    return Outcome(report, save_model(work / "model", model, facts))


def _within(observer: Observer, phase: str, share: tuple[float, float]) -> Callable[[int, int, float], None]:
    """Progress of a phase as progress of the job."""
    start, end = share
    return lambda step, total, done: observer.progress(phase, step, total, start + (end - start) * min(done, 1.0))


def _trained_accuracy(scorer: Scorer, channel: Channel, start: Preparation) -> FloatArray | None:
    """What the channel came to believe of each annotator on each task (R, T); None for the supervised baseline."""
    from realm_core.channels import PerfectChannel, PromptChannel
    from realm_core.training import settle

    if isinstance(channel, PerfectChannel):
        return None
    if isinstance(channel, PromptChannel):
        settle(scorer, channel, start.annotations, start.z)
    return np.asarray(channel.accuracy().double().cpu())


def refuse_mirrored(annotations: Annotations, before: FloatArray, after: FloatArray) -> None:
    """Refuse a model that learned the mirror image of the truth, which explains the labels as well as the truth does.

    before, after (R, T): accuracies where training started (words and labels) and ended. Mirrored: the crowd goes from
    one side of chance to the other, and so do the annotators that differ most from it. Raises NotIdentifiable.
    """
    start, end = expertise_of_labels(annotations, before), expertise_of_labels(annotations, after)
    if start.mean() * end.mean() < 0 and (start * end).mean() < -_GUESSWORK:
        side, was = ("worse", "better") if end.mean() < 0 else ("better", "worse")
        raise NotIdentifiable(
            f"Training ended with a crowd that is {side} than chance, where labels and words say before training that "
            f"it is {was}: the model has probably learned every answer upside down, and is not kept. Describe the "
            "answers in words (labels), or add annotators who answer the same prompts."
        )
