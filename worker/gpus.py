"""Which GPUs this worker may use: one slot each, pinned to its card."""

from __future__ import annotations

import os
import shutil
import subprocess
from functools import lru_cache


@lru_cache
def visible_gpus() -> tuple[str, ...]:
    """Their values for CUDA_VISIBLE_DEVICES, asked of nvidia-smi: torch is never imported in a worker."""
    listed = os.environ.get("CUDA_VISIBLE_DEVICES")
    if listed is not None:
        return tuple(gpu.strip() for gpu in listed.split(",") if gpu.strip() not in ("", "-1"))
    if shutil.which("nvidia-smi") is None:
        return ()
    query = ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"]
    answer = subprocess.run(query, capture_output=True, text=True, check=False, timeout=30)
    return tuple(answer.stdout.split()) if answer.returncode == 0 else ()
