"""What a model folder must not hold: code of its own, weights that run code when they are read, files from elsewhere.

transformers is told so as well (`trust_remote_code=False`, `use_safetensors=True`). This looks before it opens anything
and covers what it would follow all the same: an adapter's base, an index that names pickles or files of other folders.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

_INDEX = "model.safetensors.index.json"
_ADAPTER = "adapter_config.json"


class UnsafeModel(ValueError):
    """A model folder that is not opened; the message says why."""


def refuse_unsafe(folder: Path) -> Path:
    """The folder, if transformers may read it. Raises UnsafeModel.

    Pickles beside safetensors are left alone: nothing reads them.
    """
    for path in sorted(folder.iterdir()):
        if path.is_symlink() and not path.resolve().is_relative_to(folder.resolve()):
            raise UnsafeModel(f"{path.name} is a link that leads out of the folder")
    if (folder / _ADAPTER).exists():
        raise UnsafeModel(f"{_ADAPTER} names another model to load; merge the adapter into it")
    for path in sorted(folder.glob("*config.json")):
        if "auto_map" in _read(path):
            raise UnsafeModel(f"{path.name} asks for code of the model's own (auto_map)")
    if (folder / _INDEX).exists():
        _refuse_parts(_read(folder / _INDEX))
    return folder


def _refuse_parts(index: dict[str, Any]) -> None:
    parts = index.get("weight_map")
    for name in set(parts.values()) if isinstance(parts, dict) else ():
        if Path(name).name != name or not name.endswith(".safetensors"):
            raise UnsafeModel(f"{_INDEX} names {name!r}, which is no safetensors file of the folder")


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise UnsafeModel(f"{path.name} cannot be read") from error
    if not isinstance(found, dict):
        raise UnsafeModel(f"{path.name} is not a JSON object")
    return found
