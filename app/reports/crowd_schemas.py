"""What the routes about the whole crowd answer: all shares are fractions from 0 to 1."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

from app.reports.schemas import Agreement, Part


class CertaintyBin(BaseModel):
    """How many items have a cleaned label whose probability is from `low` to `high`."""

    low: float
    high: float
    n_items: int


class AnswerAgreement(BaseModel):
    """Krippendorff's alpha of one answer against all the others, with its 95 % interval."""

    task: str
    answer: str
    n_labels: int = Field(description="That give this answer, on items with several labels.")
    alpha: float | None
    low: float | None
    high: float | None


class ConfusedAnswers(BaseModel):
    """How often `answer` is given where `probable_answer` is probably right."""

    task: str
    probable_answer: str
    answer: str
    n_labels: float = Field(description="Expected number of labels that do this.")
    n_seen: float = Field(description="Expected number of labels where `probable_answer` is right.")
    rate: float
    better_rate: float | None = Field(description="The rate among the more accurate half of the annotators.")
    better_low: float | None
    better_high: float | None
    n_annotators: int = Field(description="Who saw at least five such prompts.")
    share_of_annotators: float | None = Field(description="Of them, who do it at half the rate of all, or more.")
    everybody: bool = Field(
        description="Most do it, the better half surely in over 5 % of the cases: the guideline is likelier at fault "
        "than the people."
    )


class MethodScore(BaseModel):
    """How probable a method found labels that were hidden from it, as a mean log-likelihood, with 95 % intervals."""

    method: Literal["realm", "majority_vote", "dawid_skene", "plain_fine_tuning"]
    n: int
    log_likelihood: float
    low: float
    high: float
    difference: float = Field(description="To `realm`, label by label: above 0 is better than ours.")
    difference_low: float
    difference_high: float


class CalibrationBin(BaseModel):
    """Predictions of about the same probability, and the share of them that came true, with its 95 % interval."""

    predicted: float
    observed: float
    low: float
    high: float
    n: int


class AnnotatorPairRow(BaseModel):
    """Two annotators who labelled at least ten items in common."""

    id: str
    first_id: str
    first: str
    second_id: str
    second: str
    shared: int = Field(description="Items that both labelled.")
    agreement: float = Field(description="The share of them with equal labels.")
    agreement_low: float
    agreement_high: float
    same_mistakes: float = Field(description="Expected number of items on which both gave the same wrong label.")
    expected_mistakes: float = Field(description="That many would be, if they worked independently of each other.")
    suspicious: bool = Field(
        description="More of the same mistakes than chance explains, all pairs tested at a false discovery rate of "
        "5 %: copying, or a mistaken rule that only they share."
    )


class PairQuery(Part):
    """Which pairs to list; those who share the most come first."""

    annotator: str | None = Field(None, description="Only pairs with this one (ann_…).")
    suspicious: bool | None = Field(None, description="Only those with more of the same mistakes than chance explains.")
    pseudonyms: bool = Field(False, description="Call annotators by their opaque ids instead of their names.")


class CrowdAgreement(Agreement):
    """The overview, with the figures that are about everybody."""

    certainty: list[CertaintyBin]
    answers: list[AnswerAgreement]
    confused_answers: list[ConfusedAnswers] = Field(description="The most important first.")
    comparison: list[MethodScore] = Field(description="Empty where there are too few labels to hide some.")
    calibration: list[CalibrationBin] = Field(description="Of labels that were hidden from the method.")
    gold_calibration: list[CalibrationBin] = Field(description="Of the cleaned labels, where there is enough gold.")
