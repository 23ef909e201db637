"""What the report's routes answer: all figures are fractions from 0 to 1, null where there are too few labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

AnnotatorSort = Literal[
    "concern",
    "name",
    "-name",
    "n",
    "-n",
    "accuracy",
    "-accuracy",
    "expertise",
    "-expertise",
    "agreement",
    "-agreement",
    "median_seconds",
    "-median_seconds",
    "cost_per_correct",
    "-cost_per_correct",
]
ItemSort = Literal["-relabel_gain", "probability", "item"]
Table = Literal["annotators", "items", "labels"]
FileFormat = Literal["csv", "json", "parquet"]
LabelShape = Literal["crowd-kit", "label-studio", "argilla", "doccano", "prodigy", "cleanlab", "hugging-face"]
_PSEUDONYMS = "Call annotators by their opaque ids instead of their names."


class Accuracy(BaseModel):
    """The share of this annotator's own labels that is expected to be right, (Σ q_i(l_ir) + m) / (n_r + 1) with the
    pool's share m as one more label, and a 95 % interval of the rate behind it."""

    value: float | None
    low: float | None
    high: float | None
    method: str | None = Field(
        description="`cross_fitted`: the model did not see the labels that it judges; `in_sample`: it did, so the "
        "interval is too narrow."
    )


class Expertise(BaseModel):
    """Mean of (K·a − 1)/(K − 1): 1 is always right, 0 is chance, below 0 is worse than chance."""

    value: float | None
    low: float | None
    high: float | None


class AnnotatorRow(BaseModel):
    """One annotator on one task, or on all tasks when `task` is null."""

    id: str
    annotator: str
    task: str | None
    n: int = Field(description="Labels of this annotator in the dataset version.")
    accuracy: Accuracy
    model_accuracy: float | None = Field(description="What the trained channel implies, over their prompts.")
    expertise: Expertise
    agreement: float | None = Field(description="Share of equal labels over the pairs with others on shared prompts.")
    flags: list[str] = Field(
        description="`too_few_labels`, `below_chance`, `guesser`, `always_same`, `swaps`, `drift`: tested over all "
        "annotators with a false discovery rate of 5 %."
    )
    reasons: list[str] = Field(description="A sentence for each flag.")
    worst_answer: str | None = Field(description="Where this is probably right, they are right the least often.")
    worst_answer_accuracy: float | None = Field(description="How often, of at least five expected labels.")
    median_seconds: float | None = Field(description="Per label, over all tasks, where `duration_ms` is given.")
    cost_per_correct: float | None = Field(description="Mean `cost` of a label by `accuracy`, over all tasks.")


class Confusion(BaseModel):
    """Expected number of this annotator's labels by probable true answer (rows) and given answer (columns)."""

    task: str
    answers: list[str]
    counts: list[list[float]]


class AnnotatorDetail(AnnotatorRow):
    """One annotator on all tasks, with the rows per task and who they confuse with what."""

    tasks: list[AnnotatorRow]
    confusion: list[Confusion]


class Vote(BaseModel):
    annotator: str
    label: str


class LabelRow(BaseModel):
    """The most probable true label of one item."""

    id: str
    item_id: str | None
    prompt: str | None
    task: str
    label: str
    probability: float = Field(description="That `label` is the true one, given text and votes.")


class ItemRow(LabelRow):
    """The most probable true label of one item, with what it rests on."""

    model_probability: float | None = Field(description="Of `label`, by a model that did not see the item's votes.")
    votes: Sequence[Vote]
    relabel_gain: float = Field(description="Expected gain in probability from one more label.")


class AnswerProbability(BaseModel):
    answer: str
    probability: float
    model_probability: float | None


class WeightedVote(Vote):
    """A vote with the id of the annotator and their accuracy over all tasks."""

    id: str
    accuracy: float | None


class ItemDetail(ItemRow):
    """One item with who voted and the probability of each of its answers."""

    votes: Sequence[WeightedVote]
    answers: list[AnswerProbability]


class Baseline(BaseModel):
    """What truth inference that does not read the text says of the same items."""

    expected_accuracy: float | None = Field(description="What it expects of its own labels.")
    same_as_report: float | None = Field(description="Share of items on which it says what the report says.")
    gold_accuracy: float | None


class Gold(BaseModel):
    """Shares of the `n` items with gold labels that are right; ties count by their chance."""

    n: int
    posterior_accuracy: float | None = Field(description="The cleaned labels.")
    majority_accuracy: float | None
    model_accuracy: float | None = Field(description="The model alone, on items whose votes it had not seen.")


class Agreement(BaseModel):
    """How far the annotators agree, and what the report expects of the cleaned labels."""

    job_id: str
    n_items: int
    n_labels: int
    n_annotators: int
    agreement: float | None = Field(description="Share of equal labels over all pairs on the same item.")
    krippendorff_alpha: float | None = Field(description="Agreement beyond chance: 1 is perfect, 0 is chance.")
    krippendorff_alpha_low: float | None = Field(None, description="Of its 95 % interval.")
    krippendorff_alpha_high: float | None = None
    expected_accuracy: float | None = Field(description="Mean probability of the cleaned labels.")
    channel: str = Field(description="How annotators' labels were explained: `one_coin` or `confusion`.")
    model_weight: float | None = Field(
        None,
        description="How much the model's own answers count, p(y | x)^weight, chosen by how well labels that were left "
        "out are guessed: 1 as they are, 0 not at all, null without a model.",
    )
    posterior_power: float = Field(
        1.0, description="The posterior was raised to this power: below 1 where annotators err together."
    )
    baselines: dict[str, Baseline | None] = Field(description="By `majority_vote` and `dawid_skene`, without the text.")
    gold: Gold | None = Field(description="Where gold labels are given.")
    n_flagged: int = Field(description="Annotators with a flag that says more than `too_few_labels`.")
    flags: dict[str, int] = Field(description="How many annotators carry each flag.")
    notes: list[str] = Field(description="What cannot be told from these data.")


class Part(BaseModel):
    """Which part of a list: the `limit` rows that follow the row with id `after`."""

    model_config = ConfigDict(extra="forbid")
    after: str | None = None
    limit: int = Field(20, ge=1, le=1000)


class AnnotatorQuery(Part):
    """What a list of annotators shows."""

    name: str | None = Field(None, max_length=1000, description="Part of the annotator's name, in any case.")
    task: str | None = Field(None, description="The rows of one task instead of those over all tasks.")
    sort: AnnotatorSort = Field(
        "concern",
        description="`concern`: flagged first, then by lower accuracy. `-` is descending.",
    )
    pseudonyms: bool = Field(False, description=_PSEUDONYMS)


class ItemQuery(Part):
    """What a list of items shows."""

    item_id: str | None = Field(None, max_length=1000, description="Only the items with this item_id.")
    task: str | None = None
    label: str | None = Field(None, max_length=1000, description="Only those with this label; needs `task`.")
    text: str | None = Field(None, max_length=1000, description="Part of the prompt, in any case.")
    probability_min: float | None = Field(None, ge=0, le=1)
    probability_max: float | None = Field(None, ge=0, le=1)
    sort: ItemSort = Field(
        "-relabel_gain",
        description="`-relabel_gain`: what to label again first; `probability`: the least certain first; `item`: as "
        "uploaded.",
    )
    pseudonyms: bool = Field(False, description=_PSEUDONYMS)


class ExportQuery(BaseModel):
    """How a table is written."""

    model_config = ConfigDict(extra="forbid")

    pseudonyms: bool = Field(False, description=_PSEUDONYMS)
    shape: LabelShape | None = Field(None, description="Of labels: in the columns that this tool reads back.")
