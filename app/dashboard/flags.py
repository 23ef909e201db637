"""How pages show a report's flags. Nothing is alarming while its interval crosses the threshold."""

from __future__ import annotations

from app.reports.schemas import AnnotatorRow

FLAG_NAMES = {
    "too_few_labels": "Too few labels",
    "below_chance": "Worse than chance",
    "guesser": "Guesses",
    "always_same": "Always the same",
    "swaps": "Swaps answers",
    "drift": "Changed over time",
}
_TONES = {"below_chance": "bad", "too_few_labels": "quiet"}


def tone_of_flag(flag: str) -> str:
    """How loud a flag is: alarming only when the whole interval is worse than chance."""
    return _TONES.get(flag, "look")


def tone(row: AnnotatorRow) -> str:
    """The loudest of an annotator's flags; to have few labels is no fault."""
    tones = {tone_of_flag(flag) for flag in row.flags}
    return next((loud for loud in ("bad", "look") if loud in tones), "plain")


def explained(row: AnnotatorRow) -> list[tuple[str, str]]:
    """Each flag with its sentence."""
    reasons = [reason.replace(" %", "\u00a0%") for reason in row.reasons]  # a number and its sign stay on one line
    return list(zip(row.flags, reasons, strict=True))


FILTERS = {"flag_name": FLAG_NAMES.__getitem__, "tone_of_flag": tone_of_flag, "tone": tone, "explained": explained}
