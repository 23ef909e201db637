"""Requests and answers of models and predict, in the shapes of OpenAI (models) and Hugging Face (predict)."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SkipValidation

from app.database.model_queries import ModelRow

MAX_PROMPT_CHARACTERS = 100_000  # beyond what any model reads; keeps hostile texts from the tokenizer
MAX_OPTION_CHARACTERS = 10_000
MAX_OPTIONS = 1000


class PredictItem(BaseModel):
    """A prompt with the task it belongs to, or with choices of its own."""

    model_config = ConfigDict(extra="forbid")

    prompt: str = Field(min_length=1, max_length=MAX_PROMPT_CHARACTERS)
    task: str | None = Field(None, description="Needed when the model knows several tasks.")
    options: list[Annotated[str, Field(min_length=1, max_length=MAX_OPTION_CHARACTERS)]] | None = Field(
        None, min_length=2, max_length=MAX_OPTIONS, description="This prompt's own choices."
    )


class PredictParameters(BaseModel):
    model_config = ConfigDict(extra="forbid")

    top_k: int | None = Field(None, ge=1, description="Only the most probable labels; all by default.")
    truncation: Literal["error", "right"] = Field(
        "error",
        description="A prompt with more tokens than the model reads is refused (`error`), or cut at its end (`right`), "
        "and then each of its labels says `truncated: true`.",
    )


class PredictOptions(BaseModel):
    """How to answer."""

    model_config = ConfigDict(extra="forbid")

    parameters: PredictParameters = PredictParameters()
    annotator: str | None = Field(
        None, description="ann_… or a name: answer what that annotator would have said, not what is true."
    )


class PredictRequest(PredictOptions):
    """One input or a list. A list of two texts is two inputs, never a pair.

    Inputs are validated one by one later: a bad one gets an error in its slot and leaves the others alone.
    """

    inputs: SkipValidation[str | PredictItem | list[str | PredictItem]]


class LineOptions(PredictParameters):
    """The query parameters that go with application/x-ndjson."""

    annotator: str | None = Field(None, description="As in the JSON body.")

    def as_predict_options(self) -> PredictOptions:
        return PredictOptions.model_validate(
            {"parameters": self.model_dump(exclude={"annotator"}), "annotator": self.annotator}
        )


class LabelScore(BaseModel):
    label: str
    score: float
    truncated: bool | None = Field(None, description="true where the prompt was cut; absent elsewhere.")


class InputFault(BaseModel):
    code: str
    message: str


class FailedInput(BaseModel):
    """Stands in the slot of an input that could not be answered."""

    error: InputFault


Answer = list[LabelScore] | FailedInput


class ModelTask(BaseModel):
    name: str
    answers: list[str]


class ModelAnswer(BaseModel):
    """A fine-tuned model."""

    object: Literal["model"] = "model"
    id: str
    created: int
    owned_by: str
    base: str = Field(description="The base model that all fine-tuning started from.")
    aliases: list[str]
    job: str | None
    dataset: str | None
    tasks: list[ModelTask]
    bytes: int

    @classmethod
    def of(cls, row: ModelRow) -> Self:
        model, job_id, dataset_id, dataset_version, aliases = row
        return cls(
            id=model.id,
            created=int(model.created_at.timestamp()),
            owned_by=model.project_id,
            base=model.base,
            aliases=aliases,
            job=job_id,
            dataset=None if dataset_id is None else f"{dataset_id}@{dataset_version}",
            tasks=[ModelTask.model_validate(task) for task in model.tasks],
            bytes=sum(file["bytes"] for file in model.manifest.values()),
        )


class AliasAnswer(BaseModel):
    """A name that stands for a model wherever a model's id does."""

    object: Literal["model.alias"] = "model.alias"
    id: str = Field(description="The alias.")
    model: str


class DeletedAlias(BaseModel):
    object: Literal["model.alias"] = "model.alias"
    id: str
    deleted: bool


class DeletedModel(BaseModel):
    object: Literal["model"] = "model"
    id: str
    deleted: bool


def _inlined(schema: Any, definitions: dict[str, Any]) -> Any:
    """The schema with its references replaced by what they name."""
    if isinstance(schema, list):
        return [_inlined(one, definitions) for one in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        return _inlined(definitions[schema["$ref"].rsplit("/", 1)[-1]], definitions)
    return {key: _inlined(value, definitions) for key, value in schema.items() if key != "$defs"}


def _predict_body() -> dict[str, Any]:
    """The route reads its body itself, so FastAPI cannot describe it."""
    schema = PredictRequest.model_json_schema()
    lines = {"type": "string", "description": "One input per line: a JSON string or {prompt, task, options}."}
    json_body = {"schema": _inlined(schema, schema["$defs"])}
    content = {"application/json": json_body, "application/x-ndjson": {"schema": lines}}
    return {"requestBody": {"required": True, "content": content}}


PREDICT_BODY = _predict_body()
PREDICT_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {
        "content": {"application/x-ndjson": {"schema": {"type": "string"}}},
        "headers": {
            "X-Model-Id": {"schema": {"type": "string"}},
            "Server-Timing": {"schema": {"type": "string"}, "description": "load, tokenize, queue, infer"},
        },
    },
    429: {"description": "Too many inputs wait; Retry-After says when to try again."},
    504: {"description": "The model did not answer in time."},
}
