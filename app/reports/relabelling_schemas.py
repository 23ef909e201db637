"""What the routes about labelling again answer."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class CoverageQuery(BaseModel):
    """What is wanted of the cleaned labels, and how good a label is that somebody gives anew."""

    model_config = ConfigDict(extra="forbid")
    target: float = Field(0.95, gt=0, le=1, description="The share of the labels that should be right.")
    relabelled_accuracy: float = Field(1.0, gt=0, le=1, description="The share of new labels that are right.")


class CoveragePoint(BaseModel):
    """If only the most certain labels are kept, this share of them should be right."""

    coverage: float = Field(description="The share of the items whose label is kept.")
    n_items: int
    accuracy: float = Field(description="Mean probability of the kept labels.")
    threshold: float = Field(description="The least of their probabilities, to a thousandth.")


class Relabelling(BaseModel):
    """The least that must be labelled again to reach the target, the least certain first."""

    n_items: int
    cost: float | None = Field(description="At the mean cost of a label of this crowd; null where none is known.")
    threshold: float = Field(description="The probability up to which to label again, to a thousandth.")


class Coverage(BaseModel):
    """How accuracy grows when the least certain labels are left out, or given anew; by the report's probabilities."""

    job_id: str
    n_items: int
    expected_accuracy: float
    target: float
    relabel: Relabelling | None = Field(description="null where even labelling everything again would not reach it.")
    curve: list[CoveragePoint]


class Reviewer(BaseModel):
    """An annotator whose labels are most probably right, without a flag."""

    id: str
    annotator: str
    n: int
    accuracy: float
    low: float
    high: float
    mean_cost: float | None
