"""Parquet that Hugging Face's `datasets` wrote: its labels are numbers, whose names stand in the file's metadata."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


def class_names(metadata: Mapping[str, str]) -> dict[str, list[str]]:
    """The names of the classes of each ClassLabel column, by number; none for any other file."""
    try:
        features = json.loads(metadata["huggingface"])["info"]["features"]
        return {name: feature["names"] for name, feature in features.items() if _is_class_label(feature)}
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError):
        return {}


def _is_class_label(feature: Any) -> bool:
    names = feature.get("names") if isinstance(feature, dict) else None
    return isinstance(names, list) and feature.get("_type") == "ClassLabel" and all(isinstance(n, str) for n in names)
