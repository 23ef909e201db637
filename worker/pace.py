"""How fast an attempt goes: the time of each phase, from which later jobs are estimated."""

from __future__ import annotations

import time
from collections.abc import Callable


class Pace:
    """Seconds and steps of each phase, told step by step. Steps of earlier attempts, before a resume, do not count."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._done: dict[str, dict[str, float]] = {}
        self._phase: str | None = None
        self._since, self._first_step = 0.0, 0

    def at(self, phase: str, step: int) -> dict[str, dict[str, float]]:
        """The pace so far, an attempt being at a step of a phase now."""
        now = self._clock()
        if phase != self._phase:
            if self._phase is not None:
                self._done[self._phase]["seconds"] = round(now - self._since, 3)
            self._phase, self._since, self._first_step = phase, now, step
        self._done[phase] = {"seconds": round(now - self._since, 3), "steps": step - self._first_step}
        return {name: dict(values) for name, values in self._done.items()}
