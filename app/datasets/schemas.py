"""Requests and answers of the dataset API."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, Json, StringConstraints

from realm_core.formats import OnError

DatasetName = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200, pattern=r"^[^\x00]*$")
]
_MAPPING = 'Our names for your columns: {"worker": "annotator"} reads your column worker as our annotator.'
_LABELS = (
    'The answers: ["yes", "no"], or {"yes": "the text says so", …} with what each means, or one of these for each '
    "task. Other labels are refused. By default the answers are the labels that are seen."
)
_IGNORED = 'Labels that are none, such as ["unsure"]; their rows are left out.'
_PSEUDONYMS = "Call annotators by their opaque ids instead of their names."
_ON_ERROR = "`abort`: one bad row and nothing is kept. `skip`: the good rows are kept, the bad ones listed."


class AppendQuery(BaseModel):
    """How to read rows that are appended, as JSON values in a query, or in the parts of a form beside its file."""

    model_config = ConfigDict(extra="forbid")
    on_error: OnError = Field("abort", description=_ON_ERROR)
    mapping: Json[dict[str, str]] = Field({}, description=_MAPPING)
    ignore_labels: Json[list[str]] = Field([], description=_IGNORED)


class UploadQuery(AppendQuery):
    """How to read a new dataset, as JSON values in a query, or in the parts of a form beside its file."""

    name: DatasetName | None = None
    labels: Json[Any] = Field(None, description=_LABELS)


class AppendParameters(BaseModel):
    """Rows to append, as JSON, and how to read them."""

    model_config = ConfigDict(extra="forbid")
    annotations: list[Any] = Field(
        default_factory=list, description="Objects with prompt or item_id, annotator, label, and what else is known."
    )
    on_error: OnError = Field("abort", description=_ON_ERROR)
    mapping: dict[str, str] = Field(default_factory=dict, description=_MAPPING)
    ignore_labels: list[str] = Field(default_factory=list, description=_IGNORED)


class UploadParameters(AppendParameters):
    """A new dataset as JSON, and how to read it."""

    name: DatasetName | None = None
    labels: Any = Field(None, description=_LABELS)


VersionNumber = Annotated[int, Field(ge=1, lt=2**31)]


class VersionQuery(BaseModel):
    """Which version of a dataset; by default the newest."""

    model_config = ConfigDict(extra="forbid")
    version: VersionNumber | None = None


class ExportQuery(VersionQuery):
    format: Literal["csv", "jsonl"] = "csv"
    pseudonyms: bool = Field(False, description=_PSEUDONYMS)


class DiffQuery(BaseModel):
    model_config = ConfigDict(extra="forbid")
    pseudonyms: bool = Field(False, description=_PSEUDONYMS)


class DatasetChange(BaseModel):
    """What is to be different; the rest stays. What a dataset says never changes: append rows for that."""

    model_config = ConfigDict(extra="forbid")
    name: DatasetName | None = None


class DeletionQuery(BaseModel):
    model_config = ConfigDict(extra="forbid")
    cascade: bool = Field(False, description="Delete its finished jobs too, with their reports and models.")


class RowCounts(BaseModel):
    """What became of the rows of an upload, and what the version holds in all."""

    rows: int = Field(description="added + identical_repeats + conflicting_repeats + ignored + rejected")
    added: int = Field(description="Labels that the upload brought.")
    superseded: int = Field(description="Labels of the version before that some of those took the place of.")
    labels: int
    items: int
    annotators: int
    identical_repeats: int = Field(description="Rows that say of an item what the same annotator says of it later.")
    conflicting_repeats: int = Field(description="Rows that the same annotator's later row on the item contradicts.")
    ignored: int
    rejected: int


class AnswerOption(BaseModel):
    name: str
    description: str


class TaskObject(BaseModel):
    name: str
    declared: bool
    answers: list[AnswerOption]


class DataWarning(BaseModel):
    code: str
    detail: str


class RowFault(BaseModel):
    row: int
    column: str | None
    code: str
    detail: str


class DatasetObject(BaseModel):
    """A dataset as its newest version has it. Times are unix seconds."""

    id: str
    object: Literal["dataset"] = "dataset"
    name: str
    created_at: int
    version: int
    sha256: str = Field(description="Of what the version says, whatever the order of its rows.")
    has_text: bool
    counts: RowCounts
    tasks: list[TaskObject]
    warnings: list[DataWarning] = Field(description="What cannot be learned from it.")


class UploadedDataset(DatasetObject):
    """A dataset that rows were just added to."""

    recognised: str | None = Field(description="Which tool's export the data was taken for, and how it was read.")
    errors: list[RowFault] = Field(description="The rows that `on_error=skip` left out, up to 100 of them.")


class VersionObject(BaseModel):
    """An immutable state of a dataset."""

    id: str = Field(description="ds_…@3, which a job may name as its dataset.")
    object: Literal["dataset.version"] = "dataset.version"
    number: int
    created_at: int
    sha256: str
    counts: RowCounts
    warnings: list[DataWarning]


class ChangeCounts(BaseModel):
    items: int = Field(description="Items that came.")
    added: int = Field(description="Labels that came.")
    superseded: int = Field(description="Labels that went, because their annotator said something else later.")


class ChangedLabel(BaseModel):
    change: Literal["added", "superseded"]
    item_id: str | None
    prompt: str | None
    task: str
    annotator: str
    label: str


class VersionDiff(BaseModel):
    """What changed between two versions of a dataset."""

    object: Literal["dataset.diff"] = "dataset.diff"
    older: str
    newer: str
    counts: ChangeCounts
    data: list[ChangedLabel]


class Spread(BaseModel):
    min: int
    median: float
    mean: float
    max: int


class ItemSpread(Spread):
    histogram: dict[str, int] = Field(description="How many items have 1, 2, 3, … labels.")


class Overlap(BaseModel):
    items_with_several_labels: int
    share: float
    annotators_without_overlap: int


class LabelCount(BaseModel):
    label: str
    count: int
    share: float | None


class Alpha(BaseModel):
    """Krippendorff's α with its 95 % interval, by bootstrap over items; null where nothing can be told."""

    value: float | None
    low: float | None
    high: float | None
    n_items: int = Field(description="With labels of two annotators or more, and without options of their own.")


class TaskStatistics(BaseModel):
    task: str
    items: int
    labels: int
    agreement: float | None = Field(description="Share of equal labels over all pairs on the same item.")
    alpha: Alpha = Field(description="Agreement beyond chance: 1 is perfect, 0 is chance.")
    balance: list[LabelCount] = Field(description="Of the items without options of their own.")


class StatisticsObject(BaseModel):
    """What the labels of a version look like before anything is learned from them."""

    object: Literal["dataset.statistics"] = "dataset.statistics"
    dataset: str
    version: int
    labels: int
    items: int
    annotators: int
    labels_per_item: ItemSpread
    labels_per_annotator: Spread
    overlap: Overlap
    agreement: float | None = Field(description="Share of equal labels over all pairs on the same item.")
    tasks: list[TaskStatistics]
    warnings: list[DataWarning]


def unix(time: datetime) -> int:
    return int(time.timestamp())
