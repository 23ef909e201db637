"""Models and training states as flat folders of safetensors and JSON; nothing pickled, nothing half-written.

A model folder is a Hugging Face folder (config.json, model.safetensors, tokenizer files) with two files of ours:
realm.json (family, tasks, annotators, channel) and realm.safetensors (answer vectors, scale, channel).
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from realm_core.annotations import Task
from realm_core.base_models import BaseModelUnavailable
from realm_core.channels import CHANNELS, Channel, PerfectChannel, PromptChannel, SigmoidChannel
from realm_core.model_folder import refuse_unsafe
from realm_core.scorers.families import SCORERS
from realm_core.scorers.scorer import Scorer
from realm_core.shards import part_like, whole

Weights = dict[str, Tensor]
FORMAT = 1
REALM_JSON, REALM_TENSORS = "realm.json", "realm.safetensors"


class UnreadableModel(Exception):
    """A folder that is no whole model of ours; the message says why."""


def weights_of(scorer: nn.Module, channel: nn.Module, *, keep: bool = True) -> Weights:
    """A copy of all weights of scorer and channel, on the CPU.

    Of a model in parts every process has to ask for it; who does not `keep` it only gets the channel's.
    """
    weights = {}
    for prefix, module in (("scorer", scorer), ("channel", channel)):
        for name, tensor in module.state_dict().items():
            together = whole(tensor.detach())
            if keep or module is channel:
                weights[f"{prefix}.{name}"] = together.cpu().clone()
    return weights


def restore_weights(scorer: nn.Module, channel: nn.Module, weights: Weights) -> None:
    """Put a copy made by `weights_of` back, as far as it was kept."""
    for prefix, module in (("scorer.", scorer), ("channel.", channel)):
        if kept := _under(prefix, weights):
            module.load_state_dict(kept)


def write_folder(target: Path, write: Callable[[Path], None]) -> Path:
    """Let `write` fill a temporary folder, flush it to disk, and put it in place of `target` at once."""
    partial = target.with_name(f"{target.name}.{os.getpid()}.part")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    write(partial)
    for path in (*partial.iterdir(), partial):
        descriptor = os.open(path, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)
    shutil.rmtree(target, ignore_errors=True)
    os.replace(partial, target)
    return target


def save_training(
    work: Path,
    scorer: nn.Module,
    channel: nn.Module,
    optimizer: torch.optim.Optimizer,
    state: Any,
    best: Weights,
    *,
    write: bool = True,
) -> Path | None:
    """A folder that `read_training` reads: weights now and at the best step, optimiser, random state.

    Of a model in parts every process has to call this, and one to `write`; None for the others.
    """
    moments = {
        f"optimizer.{index}.{name}": whole(tensor).cpu()
        for index, of_parameter in optimizer.state_dict()["state"].items()
        for name, tensor in of_parameter.items()
    }
    now = {f"now.{name}": tensor for name, tensor in weights_of(scorer, channel, keep=write).items()}
    if not write:
        return None

    def fill(folder: Path) -> None:
        then = {f"best.{name}": tensor for name, tensor in best.items()}
        save_file({**now, **then, **moments, "random_state": torch.get_rng_state()}, folder / "training.safetensors")
        (folder / "training.json").write_text(json.dumps(asdict(state)))

    return write_folder(work / f"checkpoint-{state.step}", fill)


@dataclass(frozen=True, eq=False)
class SavedTraining:
    """What `save_training` wrote: weights then, at the best step, the optimiser's moments, the state of the loop."""

    now: Weights
    best: Weights
    random_state: Tensor
    state: dict[str, Any]
    _moments: Weights

    def restore(self, optimizer: torch.optim.Optimizer) -> None:
        """Put the optimiser's moments and the random state back."""
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        moments: dict[int, dict[str, Tensor]] = {}
        for key, tensor in self._moments.items():
            index, _, name = key.partition(".")
            moments.setdefault(int(index), {})[name] = part_like(tensor, parameters[int(index)])
        optimizer.load_state_dict({"state": moments, "param_groups": optimizer.state_dict()["param_groups"]})
        torch.set_rng_state(self.random_state)


def read_training(folder: Path) -> SavedTraining:
    """Where a run stood that is to go on."""
    tensors = load_file(folder / "training.safetensors")
    state = json.loads((folder / "training.json").read_text())
    now, best, moments = (_under(prefix, tensors) for prefix in ("now.", "best.", "optimizer."))
    return SavedTraining(now, best, tensors["random_state"], state, moments)


def _under(prefix: str, tensors: Weights) -> Weights:
    return {key.removeprefix(prefix): tensor for key, tensor in tensors.items() if key.startswith(prefix)}


@dataclass(frozen=True, eq=False)
class FineTuned:
    """What a model folder holds: a scorer with its answers, and the channel with the annotators whom it knows."""

    scorer: Scorer
    channel: Channel
    tasks: tuple[Task, ...]
    annotators: tuple[str, ...]


def save_model(target: Path, model: FineTuned, facts: dict[str, Any]) -> Path:
    """Write a model folder, adapters merged. `facts` go into realm.json as they are (base model, plan, seed)."""
    scorer, channel = model.scorer, model.channel
    scorer.become_plain()

    def write(folder: Path) -> None:
        scorer.model.save_pretrained(folder)
        scorer.tokenizer.save_pretrained(folder)
        tensors = {f"channel.{name}": tensor for name, tensor in channel.state_dict().items()}
        tensors |= {f"scorer.{name}": tensor for name, tensor in scorer.own_tensors().items()}
        save_file({name: tensor.cpu().contiguous() for name, tensor in tensors.items()}, folder / REALM_TENSORS)
        description = {
            "format": FORMAT,
            "family": scorer.family,
            "max_length": scorer.max_length,
            "tasks": [asdict(task) for task in model.tasks],
            "annotators": model.annotators,
            "channel": channel.name,
            **facts,
        }
        (folder / REALM_JSON).write_text(json.dumps(description, indent=1, ensure_ascii=False))

    return write_folder(target, write)


def load_model(folder: Path) -> FineTuned:
    """Read a model folder that `save_model` wrote. Raises UnreadableModel for anything else."""
    try:
        return _load_model(refuse_unsafe(folder))
    except torch.OutOfMemoryError:
        raise  # a RuntimeError too, but not the folder's fault
    except (OSError, ValueError, LookupError, TypeError, RuntimeError, SafetensorError, BaseModelUnavailable) as error:
        raise UnreadableModel(f"{type(error).__name__}: {error}") from error


def _load_model(folder: Path) -> FineTuned:
    description = json.loads((folder / REALM_JSON).read_text())
    if description["format"] != FORMAT or description["family"] not in SCORERS:
        raise ValueError("this version cannot read a model of this format")
    tensors = load_file(folder / REALM_TENSORS)
    tasks = tuple(
        Task(task["name"], tuple(task["answers"]), tuple(task["descriptions"])) for task in description["tasks"]
    )
    scorer = SCORERS[description["family"]].from_pretrained(folder, description["max_length"])
    scorer.restore_answers(tasks, _under("scorer.", tensors))
    channel = _load_channel(description["channel"], _under("channel.", tensors))
    return FineTuned(scorer.eval(), channel, tasks, tuple(description["annotators"]))


def is_fine_tuned(base: Path | str) -> bool:
    """Whether a base model is one that `save_model` wrote, so that it has learned from labels."""
    return isinstance(base, Path) and (base / REALM_JSON).is_file()


def restore_answers(folder: Path, scorer: Scorer, tasks: tuple[Task, ...]) -> bool:
    """Give a scorer the answers of the fine-tuned model in `folder`; False where there is none, or of other tasks."""
    if not is_fine_tuned(folder):
        return False
    described = json.loads((folder / REALM_JSON).read_text())["tasks"]
    if [tuple(map(tuple, (task["answers"], task["descriptions"]))) for task in described] != [
        (task.answers, task.descriptions) for task in tasks
    ]:
        return False
    device = scorer.device
    scorer.restore_answers(tasks, _under("scorer.", load_file(folder / REALM_TENSORS)))
    scorer.to(device)
    return True


def _load_channel(name: str, tensors: Weights) -> Channel:
    if name == PerfectChannel.name:
        return PerfectChannel()
    cells = torch.sigmoid(tensors["logit"]), tensors["label_count"], tensors["n_answers"]
    channel: SigmoidChannel
    if name == PromptChannel.name:
        embedding_size, z_size = tensors["reader"].shape
        channel = PromptChannel(*cells, z_size=z_size, embedding_size=embedding_size - 1)
    else:
        channel = CHANNELS[name](*cells)
    channel.load_state_dict(tensors)
    return channel
