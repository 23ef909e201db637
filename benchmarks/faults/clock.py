"""Another time of day for one process and all that it starts; libfaketime would break Python's sleep."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

_TEN_MINUTES_AHEAD = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <time.h>

int clock_gettime(clockid_t id, struct timespec *at) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
    int error = real(id, at);
    if (!error && id == CLOCK_REALTIME) at->tv_sec += 600;
    return error;
}
"""


def can_change_clocks() -> bool:
    """Whether there is a C compiler."""
    return shutil.which("cc") is not None


def ten_minutes_ahead(folder: Path) -> tuple[str, ...]:
    """The beginning of a command whose rest sees a clock that is ten minutes fast."""
    library = folder / "clock.so"
    if not library.exists():
        command = ["cc", "-shared", "-fPIC", "-x", "c", "-o", str(library), "-", "-ldl"]
        subprocess.run(command, input=_TEN_MINUTES_AHEAD, text=True, check=True)
    return str(shutil.which("env")), f"LD_PRELOAD={library}"
