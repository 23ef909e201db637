"""Model folders made to harm: refused before anything in them is opened, and nothing of them runs."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from realm_core.annotations import Task
from realm_core.base_models import BaseModelUnavailable, locate
from realm_core.channels import OneCoinChannel
from realm_core.checkpoint import REALM_JSON, REALM_TENSORS, FineTuned, UnreadableModel, load_model, save_model
from realm_core.scorers.encoder import EncoderScorer
from realm_core.scorers.families import load_scorer

Spoil = Callable[[Path], Any]
INDEX = "model.safetensors.index.json"


class Bomb:
    """Leaves a trace when it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.trace,))


def put(name: str, **values: Any) -> Spoil:
    """Add values to a JSON file of the folder."""

    def spoil(folder: Path) -> None:
        path = folder / name
        path.write_text(json.dumps((json.loads(path.read_text()) if path.exists() else {}) | values))

    return spoil


def link(name: str, target: str) -> Spoil:
    """Let a file of the folder be a link to somewhere else."""

    def spoil(folder: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to(target)

    return spoil


CODE = {"AutoConfig": "evil.Evil", "AutoModel": "evil.Evil", "AutoTokenizer": ["evil.Evil", None]}
UNSAFE = {
    "code of the model": (put("config.json", auto_map=CODE), r"config\.json asks for code"),
    "code of the tokenizer": (put("tokenizer_config.json", auto_map=CODE), r"tokenizer_config\.json asks for code"),
    "code to generate with": (put("generation_config.json", auto_map=CODE), r"generation_config\.json asks for code"),
    "another base": (put("adapter_config.json", base_model_name_or_path="evil/model"), "another model to load"),
    "weights that are a link": (link("model.safetensors", "/etc/passwd"), "leads out of the folder"),
    "weights that lead up": (link("model.safetensors", "../outside.safetensors"), "leads out of the folder"),
    "another file that is a link": (link("vocab.txt", "/etc/passwd"), "leads out of the folder"),
    "a part elsewhere": (put(INDEX, weight_map={"a": "../outside.safetensors"}), "no safetensors file"),
    "a part of the system": (put(INDEX, weight_map={"a": "/etc/passwd"}), "no safetensors file"),
    "a part that is a pickle": (put(INDEX, weight_map={"a": "pytorch_model.bin"}), "no safetensors file"),
    "no configuration": (lambda folder: (folder / "config.json").write_text("[" * 100_000), "cannot be read"),
    "a list": (lambda folder: (folder / "config.json").write_text("[]"), "not a JSON object"),
}


@pytest.fixture
def models(tmp_path: Path, tiny_bert: Path) -> Path:
    """A models_dir with one good model in it."""
    shutil.copytree(tiny_bert, tmp_path / "models" / "mine")
    return tmp_path / "models"


@pytest.mark.parametrize("kind", UNSAFE)
def test_an_unsafe_base_model_is_refused_and_the_reason_said(kind: str, models: Path) -> None:
    spoil, reason = UNSAFE[kind]
    assert locate("mine", models) == models / "mine"
    spoil(models / "mine")
    with pytest.raises(BaseModelUnavailable, match=f"'mine' is not loaded: .*{reason}"):
        locate("mine", models)


def test_links_within_the_folder_are_followed(models: Path) -> None:
    (models / "mine" / "model.safetensors").rename(models / "mine" / "blob")
    (models / "mine" / "model.safetensors").symlink_to("blob")
    assert load_scorer(locate("mine", models), 32).family == "encoder"


@pytest.mark.parametrize("beside_safetensors", [True, False])
def test_a_pickle_never_runs(models: Path, tmp_path: Path, beside_safetensors: bool) -> None:
    for name in ("pytorch_model.bin", "training_args.bin", "model.pkl", "optimizer.pt"):
        (models / "mine" / name).write_bytes(pickle.dumps(Bomb(tmp_path / "ran")))
    if beside_safetensors:
        load_scorer(locate("mine", models), 32)
    else:
        (models / "mine" / "model.safetensors").unlink()
        with pytest.raises(BaseModelUnavailable, match="safetensors"):
            load_scorer(locate("mine", models), 32)
    assert not (tmp_path / "ran").exists()
    pickle.loads((models / "mine" / "model.pkl").read_bytes())
    assert (tmp_path / "ran").exists(), "the bomb would not have gone off at all"


@pytest.fixture
def fine_tuned(tiny_bert: Path, tmp_path: Path) -> Path:
    """The folder of a model that can be loaded."""
    tasks = (Task("topic", ("billing", "praise")),)
    scorer = EncoderScorer.from_pretrained(tiny_bert, 32)
    scorer.start_answers(tasks)
    channel = OneCoinChannel(torch.tensor([[0.9]]), torch.ones(1, 1), torch.tensor([2]))
    folder = save_model(tmp_path / "model", FineTuned(scorer, channel, tasks, ("ann_1",)), {})
    load_model(folder)
    return folder


def keep_the_configuration_only(folder: Path) -> None:
    for path in folder.iterdir():
        if path.name != "config.json":
            path.unlink()


DAMAGE: dict[str, Spoil] = {
    "nothing but a configuration": keep_the_configuration_only,
    "no weights": lambda folder: (folder / "model.safetensors").unlink(),
    "half the weights": lambda folder: (folder / "model.safetensors").write_bytes(
        (folder / "model.safetensors").read_bytes()[:5000]
    ),
    "a pickle for weights": lambda folder: torch.save({}, folder / "model.safetensors"),
    "a pickle for our tensors": lambda folder: torch.save({}, folder / REALM_TENSORS),
    "no tensors of ours": lambda folder: (folder / REALM_TENSORS).unlink(),
    "a header without an end": lambda folder: (folder / REALM_TENSORS).write_bytes(b"\xff" * 64),
    "no description": lambda folder: (folder / REALM_JSON).write_text("{}"),
    "a list for a description": lambda folder: (folder / REALM_JSON).write_text("[]"),
    "another format": put(REALM_JSON, format=99),
    "another family": put(REALM_JSON, family="os.system"),
    "another channel": put(REALM_JSON, channel="eval"),
    "tasks without end": put(REALM_JSON, tasks=[1]),
    "more tasks than answers": put(REALM_JSON, tasks=[{"name": n, "answers": [], "descriptions": []} for n in "ab"]),
    "another shape": put("config.json", hidden_size=64),
    "code": put("config.json", auto_map=CODE),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_what_is_no_whole_model_is_named_as_such(kind: str, fine_tuned: Path) -> None:
    DAMAGE[kind](fine_tuned)
    with pytest.raises(UnreadableModel):
        load_model(fine_tuned)
