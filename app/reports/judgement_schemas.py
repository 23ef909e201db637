"""What the routes about one annotator's labels answer."""

from __future__ import annotations

from pydantic import BaseModel, Field

from app.reports.schemas import Part


class JudgedLabel(BaseModel):
    """A label that the annotator gave, and how probable it is that it is right."""

    id: str = Field(description="Of the item.")
    item_id: str | None
    prompt: str | None
    task: str
    label: str = Field(description="What the annotator said.")
    probability: float = Field(description="That `label` is the true one, given text and votes.")
    probable_label: str = Field(description="The most probable label.")
    created_at: int | None


class JudgedLabelQuery(Part):
    """Which of the annotator's labels to list; the least probable come first."""

    task: str | None = None
    label: str | None = Field(None, max_length=1000, description="Only labels that say this; needs `task`.")
    probable_label: str | None = Field(
        None, max_length=1000, description="Only on items whose most probable label is this; needs `task`."
    )


class Period(BaseModel):
    """Some labels that follow each other in time; outside `low` to `high` chance is no likely explanation."""

    start: int
    end: int
    n: int
    accuracy: float = Field(description="Mean probability of being right.")
    low: float = Field(description="Three standard errors below the mean over all periods.")
    high: float = Field(description="Three standard errors above it.")


class LabelShare(BaseModel):
    """How much of what was said is this answer."""

    task: str
    answer: str
    count: int
    share: float
    share_of_all: float = Field(description="The same over the labels of everybody, this annotator among them.")


class Behaviour(BaseModel):
    """What an annotator says, and how well over time."""

    label_shares: list[LabelShare] = Field(description="Of tasks whose prompts have the same answers.")
    periods: list[Period] = Field(description="Empty without `created_at`, or with too few labels for two periods.")
