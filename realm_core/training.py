"""fit(): learn a scorer and a channel together from what annotators said.

The loop reads top to bottom. It selects the step with the best held-out likelihood of annotations (split by prompt),
never by gold, and can go on from any checkpoint with bit-equal results on one thread.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from realm_core import checkpoint
from realm_core.annotations import Annotations, FloatArray
from realm_core.batching import Batch, PromptBatches
from realm_core.channels import Channel, PerfectChannel, PromptChannel, ReadPrompts, SigmoidChannel
from realm_core.config import LikelihoodName, Plan
from realm_core.objective import (
    joint_log_likelihood,
    joint_posterior,
    marginal_log_likelihood,
    marginal_posterior,
    only_known,
)
from realm_core.scorers.inputs import by_size
from realm_core.scorers.scorer import Scorer
from realm_core.shards import clip_gradients
from realm_core.splits import split_items
from realm_core.team import ALONE, Team

_EVALUATION_BATCH = 64
_EVALUATION_TOKENS = 8192
_REPORTED_STEPS = 200  # points on a loss curve

LIKELIHOODS = {
    "marginal": (marginal_log_likelihood, marginal_posterior),
    "joint": (joint_log_likelihood, joint_posterior),
}


class Diverged(Exception):
    """Training produced numbers that are none; the message is for the user."""


@dataclass
class FitState:
    """Where the loop stands. Everything that a resumed run needs besides tensors; kept as JSON."""

    step: int = 0
    elapsed_seconds: float = 0.0
    best_step: int = 0
    best_log_likelihood: float = -math.inf
    evaluations_without_gain: int = 0
    history: list[dict[str, float]] = field(default_factory=list)


@dataclass(frozen=True)
class FitEvents:
    """What fit() tells while it runs."""

    progress: Callable[[int, int, float], None]  # step, total steps, share of the whole fit
    metrics: Callable[[int, dict[str, Any]], None]
    checkpoint: Callable[[Path, int, dict[str, Any]], None]


def fit(
    scorer: Scorer,
    channel: Channel,
    annotations: Annotations,
    plan: Plan,
    *,
    seed: int,
    work: Path,
    events: FitEvents,
    z: NDArray[np.float32] | None = None,
    team: Team = ALONE,
    resume_from: Path | None = None,
    checkpoint_seconds: float = 60.0,
) -> FitState:
    """Train scorer and channel in place, and leave both at the best held-out step. Raises Diverged.

    `z` (N, D) says what each prompt is about, for a channel whose expertise depends on it. With a `team`, all processes
    run this with the same arguments, and the first one's events count; of a model in parts, only its scorer is left.
    """
    torch.manual_seed(seed + team.rank)
    train, held_out = split_items(annotations, plan.held_out_fraction, seed)
    saved = None if resume_from is None else checkpoint.read_training(resume_from)
    if saved is not None:
        checkpoint.restore_weights(scorer, channel, saved.now)
    learner, learned = team.wrap(scorer)
    batches = PromptBatches(annotations, learned.encode_items(annotations), learned.collate, z)
    optimizer = make_optimizer(learned, channel, plan)
    state, best = FitState(), checkpoint.weights_of(learned, channel, keep=team.keeps_weights)
    if saved is not None:
        state = FitState(**saved.state)
        best.update({name: saved.best[name] for name in best})
        saved.restore(optimizer)
    micro_batches = batches.endless(train, plan.batch_size, seed)
    _skip(micro_batches, state.step * plan.accumulation_steps)
    evaluate_every = max(1, math.ceil(plan.total_steps / plan.evaluations))
    report_every = max(1, plan.total_steps // _REPORTED_STEPS)
    started, already = time.monotonic(), state.elapsed_seconds
    saved_at = already
    learner.train()

    while (done := _share_done(state, plan)) < 1 and state.evaluations_without_gain < plan.patience:
        if state.step % evaluate_every == 0:
            _evaluate(learner, learned, channel, batches, held_out, plan.likelihood, state, best, events, team)
        _set_learning_rates(optimizer, done, plan)
        if isinstance(channel, SigmoidChannel):
            channel.advance(done)
        step_batches = [batches.batch(next(micro_batches), team) for _ in range(plan.accumulation_steps)]
        loss = train_step(learner, channel, optimizer, step_batches, plan, team)
        state.step += 1
        state.elapsed_seconds = team.as_first_says(already + time.monotonic() - started)
        if state.step % report_every == 0:
            events.metrics(state.step, {"train_loss": loss, "learning_rate": optimizer.param_groups[0]["lr"]})
        events.progress(state.step, plan.total_steps, _share_done(state, plan))
        if state.elapsed_seconds - saved_at > checkpoint_seconds:
            saved_at = state.elapsed_seconds
            folder = checkpoint.save_training(work, learned, channel, optimizer, state, best, write=team.is_first)
            if folder is not None:
                values = {"train_loss": loss, "held_out_log_likelihood": state.best_log_likelihood}
                events.checkpoint(folder, state.step, values)

    _evaluate(learner, learned, channel, batches, held_out, plan.likelihood, state, best, events, team)
    checkpoint.restore_weights(scorer, channel, best)
    team.bring_back(scorer)
    return state


def make_optimizer(scorer: Scorer, channel: Channel, plan: Plan) -> torch.optim.AdamW:
    """AdamW with a learning rate each for the language model (or its adapters), the answers and the expertise.

    Only matrices of the language model decay: decay on the expertise would pull it, silently, to w = .5.
    """
    learned = scorer.model_parameters()
    matrices, vectors = [p for p in learned if p.ndim > 1], [p for p in learned if p.ndim <= 1]
    groups = [
        {"params": matrices, "lr": plan.learning_rate, "weight_decay": plan.weight_decay, "scheduled": True},
        {"params": vectors, "lr": plan.learning_rate, "scheduled": True},
        {"params": scorer.answer_parameters(), "lr": plan.answer_learning_rate, "scheduled": True},
    ]
    if plan.expertise_update == "gradient" and isinstance(channel, SigmoidChannel):
        for parameter, rate in channel.learning_rates(plan.expertise_learning_rate):
            groups.append({"params": [parameter], "lr": rate, "scheduled": False})
    for group in groups:
        group["base_lr"] = group["lr"]
    return torch.optim.AdamW(groups, weight_decay=0.0, betas=(0.9, 0.99), fused=True)


def train_step(
    learner: nn.Module,
    channel: Channel,
    optimizer: torch.optim.Optimizer,
    batches: list[Batch],
    plan: Plan,
    team: Team = ALONE,
) -> float:
    """One optimiser step over some micro-batches; the mean negative log likelihood per label. Raises Diverged.

    The loss is divided by the labels (joint: prompts) of the whole step, not by those of each micro-batch, nor of each
    process's share; `learner` averages gradients over the processes, so that each loss counts `team.size` times.
    """
    log_likelihood, posterior = LIKELIHOODS[plan.likelihood]
    labels, prompts = _sizes(batches, team)
    terms = prompts if plan.likelihood == "joint" else labels
    total = torch.zeros((), device=batches[0].n_answers.device)
    for batch in batches:
        log_p, log_channel = _read(learner, channel, batch)
        loss = -log_likelihood(log_p, log_channel, batch.prompt).sum()
        torch.autograd.backward(loss * team.size / terms)
        total += loss.detach()
        if plan.expertise_update == "em" and isinstance(channel, SigmoidChannel):
            q = posterior(log_p.detach(), log_channel.detach(), batch.prompt)
            channel.absorb(q, batch.annotator, batch.label, batch.task, batch.n_answers, team.total)
    mean_loss = team.total(total).item() / labels
    if not math.isfinite(mean_loss):
        raise Diverged("The loss is no longer a number; try a smaller learning_rate.")
    if plan.expertise_update == "gradient" and isinstance(channel, SigmoidChannel):
        team.average_gradients(channel)
        share_of_pass = labels / float(channel.label_count.sum().clamp(min=1.0))
        torch.autograd.backward(-channel.log_prior() * share_of_pass / terms)
    clip_gradients(learner.parameters(), plan.max_grad_norm)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    if isinstance(channel, SigmoidChannel):
        channel.clamp()
    return mean_loss


def _sizes(batches: list[Batch], team: Team) -> tuple[int, int]:
    """Labels and prompts of a step, over all processes."""
    mine = [(len(batch.label), len(torch.unique(batch.prompt))) for batch in batches]
    labels, prompts = team.total(torch.tensor(mine, device=batches[0].n_answers.device).sum(0)).tolist()
    return labels, prompts


def _read(learner: nn.Module, channel: Channel, batch: Batch) -> tuple[Tensor, Tensor]:
    """log p_θ(y | x) of the prompts (B, Kmax), −∞ beside a known truth; log π_r(l | y) of their labels (M, Kmax)."""
    prompts = None if batch.z is None else ReadPrompts(batch.z, batch.prompt)
    log_p = only_known(learner(batch.inputs), batch.known)
    if not len(batch.label):  # this process has no share of the batch
        return log_p, log_p.new_zeros((0, log_p.shape[1]))
    return log_p, channel.log_likelihood(batch.annotator, batch.label, batch.task, batch.n_answers, prompts)


@torch.no_grad()
def mean_log_likelihood(
    learner: nn.Module,
    channel: Channel,
    batches: PromptBatches,
    items: NDArray[np.int64],
    likelihood: LikelihoodName,
    team: Team = ALONE,
) -> float:
    """Log likelihood of the annotations of `items`, per label."""
    learner.eval()
    log_likelihood, _ = LIKELIHOODS[likelihood]
    total, labels = 0.0, 0
    for of_batch in batches.sorted_by_size(items, _EVALUATION_BATCH):
        batch = batches.batch(of_batch, team)
        log_p, log_channel = _read(learner, channel, batch)
        total += float(log_likelihood(log_p, log_channel, batch.prompt).sum())
        labels += len(batch.label)
    learner.train()
    device = next(learner.parameters()).device
    of_all, n = team.total(torch.tensor([total, labels], dtype=torch.float64, device=device)).tolist()
    return float(of_all / max(n, 1))


@torch.inference_mode()
def predict_log_p(scorer: Scorer, annotations: Annotations) -> FloatArray:
    """log p_θ(y | x) of every item by the scorer as it stands, −∞ beyond K_i. (N, Kmax)"""
    scorer.eval()
    batches = PromptBatches(annotations, scorer.encode_items(annotations), scorer.collate)
    out = np.full((annotations.n_items, int(annotations.answer_counts.max())), -np.inf)
    for items in batches.sorted_by_size(np.arange(annotations.n_items), _EVALUATION_BATCH):
        batch = batches.batch(items)
        log_p = scorer(batch.inputs)
        out[items, : log_p.shape[1]] = log_p.double().cpu().numpy()
    return out


@torch.inference_mode()
def settle(scorer: Scorer, channel: PromptChannel, annotations: Annotations, z: NDArray[np.float32]) -> None:
    """Average the channel's accuracies over the prompts that each annotator labelled, and let it read new prompts."""
    scorer.eval()
    encoded = scorer.encode_items(annotations)
    embedding = torch.zeros(annotations.n_items, scorer.model.config.hidden_size, device=scorer.device)
    for rows in by_size(encoded, _EVALUATION_TOKENS):
        embedding[rows] = scorer.embed_and_answer(scorer.collate([encoded[row] for row in rows]))[0]
    z_of_items = torch.from_numpy(z).to(scorer.device)
    channel.fit_reader(embedding, z_of_items)
    item, annotator = annotations.item.astype(np.int64), annotations.annotator.astype(np.int64)
    task, n_answers = annotations.item_task[item].astype(np.int64), annotations.answer_counts[item]
    prompts = ReadPrompts(z_of_items, torch.from_numpy(item).to(scorer.device))
    who, of_task, k = (torch.from_numpy(one).to(scorer.device) for one in (annotator, task, n_answers))
    channel.settle(who, of_task, k, prompts)


def _evaluate(
    learner: nn.Module,
    learned: Scorer,
    channel: Channel,
    batches: PromptBatches,
    held_out: NDArray[np.int64],
    likelihood: LikelihoodName,
    state: FitState,
    best: dict[str, Tensor],
    events: FitEvents,
    team: Team,
) -> None:
    """Measure the held-out likelihood, and keep the weights in `best` when it is the best so far."""
    value = mean_log_likelihood(learner, channel, batches, held_out, likelihood, team)
    state.history.append({"step": state.step, "held_out_log_likelihood": value})
    events.metrics(state.step, {"held_out_log_likelihood": value, **_expertise(channel)})
    if value > state.best_log_likelihood:
        state.best_step, state.best_log_likelihood, state.evaluations_without_gain = state.step, value, 0
        best.update(checkpoint.weights_of(learned, channel, keep=team.keeps_weights))
    else:
        state.evaluations_without_gain += 1


def _expertise(channel: Channel) -> dict[str, Any]:
    """The channel's probability of each annotator, averaged over tasks, for the trajectories on the job's page."""
    if isinstance(channel, PerfectChannel):
        return {}
    return {"probability": torch.sigmoid(channel.logit.detach()).mean(dim=1).tolist()}


def _share_done(state: FitState, plan: Plan) -> float:
    """How much of the run is over, 0 to 1, by steps or by time, whichever ends it first."""
    return max(state.step / plan.total_steps, state.elapsed_seconds / plan.time_budget_seconds)


def _set_learning_rates(optimizer: torch.optim.Optimizer, done: float, plan: Plan) -> None:
    """Linear warm-up, then cosine to zero; the expertise keeps its own constant rate."""
    warmup = min(1.0, (done + 1 / plan.total_steps) / plan.warmup_fraction) if plan.warmup_fraction else 1.0
    factor = warmup * 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))
    for group in optimizer.param_groups:
        group["lr"] = group["base_lr"] * (factor if group["scheduled"] else 1.0)


def _skip(batches: Iterator[Any], count: int) -> None:
    for _ in range(count):
        next(batches)
