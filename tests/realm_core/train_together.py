"""`python -m tests.realm_core.train_together BASE OUT`: one of the processes that train tiny models together."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from realm_core import checkpoint
from realm_core.config import Hyperparameters, TrainingConfig
from realm_core.run import Silent, assist, run
from realm_core.team import Team
from realm_core.training import FitEvents, fit
from tests.realm_core.test_training import make_channel, make_plan, make_scorer
from tests.realm_core.tiny_models import make_crowd

CASES = (("gradient", "per_task"), ("em", "confusion"))


def train(team: Team, base: Path, out: Path, update: str, channel_name: str) -> None:
    """A few steps, the last batch of an epoch a single prompt; what came out of them, by the number of the process."""
    annotations, _ = make_crowd((0.9, 0.6, 0.4), n_items=73)
    annotations = annotations.select_labels(annotations.item % 7 + annotations.annotator > 1)  # uneven shares
    plan = make_plan(
        annotations, channel=channel_name, expertise_update=update, batch_size=8, accumulation_steps=2, max_steps=14,
        held_out_fraction=0.2, evaluations=4, patience=100,
    )  # fmt: skip
    scorer, channel = make_scorer(base, annotations), make_channel(annotations, name=channel_name)
    if team.rank:  # another start, which must not matter
        with torch.no_grad():
            for weight in scorer.parameters():
                weight += 1.0
    told: list[dict[str, Any]] = []
    events = FitEvents(
        progress=lambda step, total, done: None,
        metrics=lambda step, values: told.append({"step": step, **values}),
        checkpoint=lambda folder, step, metrics: None,
    )
    fit(scorer, channel, annotations, plan, seed=1, work=out, events=events, team=team)
    (out / f"told-{channel_name}-{team.rank}.json").write_text(json.dumps(told))
    weights = checkpoint.weights_of(scorer, channel)
    file = out / f"weights-{channel_name}-{team.rank}.safetensors"
    save_file({name: tensor.contiguous() for name, tensor in weights.items()}, file)


def job(base: Path, out: Path) -> None:
    """A whole job: the first process reports, the others assist."""
    annotations, _ = make_crowd((0.9, 0.6, 0.4), n_items=60)
    asked = Hyperparameters(max_steps=4, learning_rate=3e-3, batch_size=8, channel="prompt")
    config = TrainingConfig(hyperparameters=asked, seed=1, threads=1)
    if int(os.environ.get("RANK", "0")):
        return assist(annotations, config, base=base, work=out)
    outcome = run(annotations, config, base=base, work=out, observer=Silent())
    rows = [row.model_accuracy for row in outcome.report.annotators]
    (out / "job.json").write_text(json.dumps({"model_accuracy": rows, "model": str(outcome.model)}))
    return None


if __name__ == "__main__":
    torch.set_num_threads(1)
    joined = Team.join()
    for case in CASES:
        train(joined, Path(sys.argv[1]), Path(sys.argv[2]), *case)
    job(Path(sys.argv[1]), Path(sys.argv[2]))
