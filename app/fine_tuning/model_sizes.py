"""How large a base model is, read from its files without torch."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from realm_core.base_models import BaseModelUnavailable, locate


@dataclass(frozen=True)
class ModelSize:
    """Parameters, and what the memory of a token's activations depends on; `family` as in realm_core.scorers."""

    parameters: float
    layers: int
    hidden: int
    heads: int
    family: str


# What lies on the hub is not fetched to estimate.
_ON_THE_HUB = {
    "google/flan-t5-small": ModelSize(77e6, 16, 512, 6, "seq2seq"),
    "google/flan-t5-base": ModelSize(248e6, 24, 768, 12, "seq2seq"),
    "google/flan-t5-large": ModelSize(783e6, 48, 1024, 16, "seq2seq"),
}


def size_of(name: str, models_dir: Path | None) -> ModelSize | None:
    """The size of a base model, or None when it is not known here."""
    try:
        place = locate(name, models_dir)
        return _ON_THE_HUB.get(place) if isinstance(place, str) else _read(place)
    except (BaseModelUnavailable, OSError, ValueError, KeyError):
        return None


def _read(folder: Path) -> ModelSize:
    """Of a folder with config.json and safetensors. Raises OSError, ValueError, KeyError."""
    config = json.loads((folder / "config.json").read_text())
    layers = _first(config, "num_hidden_layers", "num_layers", "n_layer")
    two_stacks = bool(config.get("is_encoder_decoder"))
    return ModelSize(
        parameters=float(sum(_parameters(file) for file in folder.glob("*.safetensors"))),
        layers=layers + int(config.get("num_decoder_layers", layers)) if two_stacks else layers,
        hidden=_first(config, "hidden_size", "d_model", "n_embd"),
        heads=_first(config, "num_attention_heads", "num_heads", "n_head"),
        family=_family(config),
    )


def _first(config: dict[str, Any], *names: str) -> int:
    return next((int(config[name]) for name in names if name in config), 0) or 1


def _family(config: dict[str, Any]) -> str:
    if config.get("is_encoder_decoder"):
        return "seq2seq"
    generates = ("ForCausalLM", "LMHeadModel")
    return "causal" if any(name.endswith(generates) for name in config.get("architectures") or ()) else "encoder"


def _parameters(file: Path) -> int:
    """The numbers in a safetensors file, by its header: 8 bytes of length, then JSON with the shapes."""
    with file.open("rb") as weights:
        header = json.loads(weights.read(int.from_bytes(weights.read(8), "little")))
    return sum(math.prod(tensor["shape"]) for name, tensor in header.items() if name != "__metadata__")
