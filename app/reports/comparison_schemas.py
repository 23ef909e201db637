"""What the comparison of two reports, and the report without some annotators, answer."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from app.reports.schemas import Accuracy, Gold


class Side(BaseModel):
    """One of two reports, in a few figures."""

    job_id: str
    n_items: int
    n_labels: int
    n_annotators: int
    expected_accuracy: float | None
    agreement: float | None
    krippendorff_alpha: float | None
    gold: Gold | None


class ChangedLabel(BaseModel):
    """An item whose cleaned label differs, with the probability that each side gives to its own."""

    id: str
    item_id: str | None
    prompt: str | None
    task: str
    label: str
    probability: float
    other_label: str
    other_probability: float


class MovedAnnotator(BaseModel):
    """An annotator's accuracy on both sides."""

    id: str
    annotator: str
    accuracy: Accuracy
    other_accuracy: Accuracy
    apart: bool = Field(description="The 95 % intervals do not meet.")


class ComparedItems(BaseModel):
    n_common: int
    n_same: int = Field(description="With the same cleaned label.")
    changed: list[ChangedLabel] = Field(description="At most 20, those first of which both reports are sure.")


class ComparedAnnotators(BaseModel):
    n_common: int = Field(description="Of whom both reports know the accuracy.")
    n_apart: int = Field(description="Whose 95 % intervals do not meet.")
    moved: list[MovedAnnotator] = Field(description="At most 20, the largest difference first.")


class Comparison(BaseModel):
    """Two reports side by side."""

    object: Literal["comparison"] = "comparison"
    report: Side
    other: Side
    items: ComparedItems | None = Field(description="Null unless both are about the same dataset, which still exists.")
    annotators: ComparedAnnotators


class CompareQuery(BaseModel):
    model_config = ConfigDict(extra="forbid")

    with_: str = Field(alias="with", description="The id of the other job.")
    pseudonyms: bool = Field(False, description="Call annotators by their opaque ids instead of their names.")


class WhatIfRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")

    without: list[Annotated[str, Field(max_length=40)]] = Field(
        min_length=1, max_length=1000, description="Ids of annotators (ann_…) whose labels are left out."
    )


class WhatIfFigures(BaseModel):
    n_labels: int
    n_items_without_label: int
    expected_accuracy: float | None
    gold_accuracy: float | None
    agreement: float | None
    krippendorff_alpha: float | None


class MovedAccuracy(BaseModel):
    id: str
    annotator: str
    before: float
    after: float


class WhatIf(BaseModel):
    """The report without some annotators: truth inference anew, with the model as it was trained."""

    object: Literal["what_if"] = "what_if"
    job_id: str
    without: list[str]
    before: WhatIfFigures
    after: WhatIfFigures
    n_changed: int = Field(description="Items whose cleaned label would be another.")
    changed: list[ChangedLabel] = Field(
        description="At most 20 of them; `other_…` is what it would be. The surest come first."
    )
    annotators: list[MovedAccuracy] = Field(description="At most 20 whose accuracy would move the most.")
