"""Which GPUs this worker may use: each slot is pinned to its own, one or as many as a job trains on together."""

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


def slots_of(gpus: tuple[str, ...], size: int) -> tuple[str, ...]:
    """CUDA_VISIBLE_DEVICES of each slot: `size` cards each; what is left over is not used. Raises ValueError."""
    if 0 < len(gpus) < size:
        raise ValueError(f"REALM_PROCESSES_PER_JOB is {size}, and this worker sees {len(gpus)} GPUs only")
    whole = len(gpus) - len(gpus) % size
    return tuple(",".join(gpus[start : start + size]) for start in range(0, whole, size))
