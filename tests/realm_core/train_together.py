"""`python -m tests.realm_core.train_together BASES OUT`: one of the processes that train tiny models together."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

from realm_core import checkpoint
from realm_core.annotations import UNKNOWN, Annotations
from realm_core.config import Hyperparameters, TrainingConfig
from realm_core.known_gold import use_gold
from realm_core.run import Silent, assist, run
from realm_core.scorers.families import load_scorer
from realm_core.scorers.scorer import Scorer
from realm_core.team import Team
from realm_core.training import FitEvents, fit
from tests.realm_core.test_training import make_channel, make_plan
from tests.realm_core.tiny_models import ANSWERS, make_crowd


@dataclass(frozen=True)
class Case:
    """How some steps are taken. `data`: plain, with options scored as pairs, or with gold that is used."""

    name: str
    update: str
    channel: str
    base: str = "bert"
    data: str = "plain"
    in_parts: bool = False
    lora_rank: int = 0


CASES = (
    Case("gradient", "gradient", "per_task"),
    Case("em", "em", "confusion"),
    Case("pairs", "em", "one_coin", data="pairs"),
    Case("gold", "em", "one_coin", data="gold"),
    Case("parts", "gradient", "per_task", in_parts=True),
    Case("parts-em-pairs", "em", "one_coin", data="pairs", in_parts=True),
    Case("parts-t5", "em", "confusion", base="t5", in_parts=True),
    Case("parts-t5-lora", "em", "one_coin", base="t5", in_parts=True, lora_rank=2),
)
STEPS = 14


def crowd_of(case: Case) -> Annotations:
    """73 prompts, so that the last batch of an epoch is a single one; uneven shares of labels."""
    annotations, truth = make_crowd((0.9, 0.6, 0.4), n_items=73)
    if case.data == "gold":
        annotations = use_gold(replace(annotations, gold=np.where(np.arange(73) % 3, truth, UNKNOWN)), seed=1)
    if case.data == "pairs":
        options = tuple(ANSWERS if item % 2 else None for item in range(73))
        annotations = replace(annotations, options=options)
    return annotations.select_labels(annotations.item % 7 + annotations.annotator > 1)


def scorer_of(case: Case, bases: Path, annotations: Annotations) -> Scorer:
    scorer = load_scorer(bases / case.base, 32)
    scorer.start_answers(annotations.tasks)
    if case.data == "pairs":
        scorer.score_pairs()
    if case.lora_rank:
        torch.manual_seed(0)
        scorer.add_adapters(case.lora_rank)
    else:
        scorer.learn_rows(len(ANSWERS))
    return scorer


def train(team: Team, bases: Path, out: Path, case: Case) -> None:
    """A few steps; what came out of them, by the number of the process. Then again, from a checkpoint on."""
    annotations = crowd_of(case)
    plan = make_plan(
        annotations, channel=case.channel, expertise_update=case.update, batch_size=8, accumulation_steps=2,
        max_steps=STEPS, held_out_fraction=0.2, evaluations=4, patience=100,
    )  # fmt: skip
    folders: list[Path] = []
    for name, resumes in ((case.name, False), (f"{case.name}-again", True)):
        scorer, channel = scorer_of(case, bases, annotations), make_channel(annotations, name=case.channel)
        if team.rank:  # another start, which must not matter
            with torch.no_grad():
                for weight in scorer.parameters():
                    weight += 1.0
        told: list[dict[str, Any]] = []
        events = FitEvents(
            progress=lambda step, total, done: None,
            metrics=lambda step, values, told=told: told.append({"step": step, **values}),  # type: ignore[misc]
            checkpoint=lambda folder, step, metrics: folders.append(folder),
        )
        fit(
            scorer, channel, annotations, plan, seed=1, work=out / name, events=events, team=team,
            checkpoint_seconds=1e9 if resumes else 0.0,
            resume_from=team.as_first_says(folders[5] if folders else None) if resumes else None,
        )  # fmt: skip
        (out / f"told-{name}-{team.rank}.json").write_text(json.dumps(told))
        weights = checkpoint.weights_of(scorer, channel, keep=team.keeps_weights)
        file = out / f"weights-{name}-{team.rank}.safetensors"
        save_file({name: tensor.contiguous() for name, tensor in weights.items()}, file)


JOBS = ("whole", "parts")


def job(bases: Path, out: Path, name: str) -> None:
    """A whole job, with a model that each process has whole or a part of: the first reports, the others assist."""
    annotations, _ = make_crowd((0.9, 0.6, 0.4), n_items=60)
    asked = Hyperparameters(max_steps=4, learning_rate=3e-3, batch_size=8, channel="prompt")
    config = TrainingConfig(hyperparameters=asked, seed=1, threads=1, in_parts=name == "parts")
    if int(os.environ.get("RANK", "0")):
        return assist(annotations, config, base=bases / "bert", work=out / name)
    outcome = run(annotations, config, base=bases / "bert", work=out / name, observer=Silent())
    rows = [row.model_accuracy for row in outcome.report.annotators]
    (out / f"job-{name}.json").write_text(json.dumps({"model_accuracy": rows, "model": str(outcome.model)}))
    return None


if __name__ == "__main__":
    torch.set_num_threads(1)
    joined, in_parts = Team.join(), Team.join(in_parts=True)
    for case in CASES:
        train(in_parts if case.in_parts else joined, Path(sys.argv[1]), Path(sys.argv[2]), case)
    for asked in JOBS:
        job(Path(sys.argv[1]), Path(sys.argv[2]), asked)
