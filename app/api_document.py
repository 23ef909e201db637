"""The OpenAPI document: what FastAPI finds out by itself, and what holds for every call alike, keys and problems."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel, Field

from app.access.authentication import PUBLIC_PATHS

_FASTAPIS_OWN_ERRORS = ("HTTPValidationError", "ValidationError")


class ProblemItem(BaseModel):
    """One fault of a request or an uploaded row; `row` is 1-based, the header of a CSV being row 1."""

    row: int | None
    column: str | None
    code: str
    detail: str


class OpenAIError(BaseModel):
    """The same error as OpenAI's clients read it."""

    message: str
    type: str
    param: str | None
    code: str


class Problem(BaseModel):
    """Any error, as RFC 9457 has it. Scripts can rely on `code`."""

    type: str
    title: str
    status: int = Field(ge=400, le=599)
    detail: str
    instance: str
    code: str
    request_id: str
    errors: list[ProblemItem]
    error: OpenAIError


class DocumentedAPI(FastAPI):
    """FastAPI with a document that tells of keys and problems."""

    def openapi(self) -> dict[str, Any]:
        """The document, made once."""
        if self.openapi_schema is None:
            document = super().openapi()
            _add_components(document["components"])
            for path, calls in document["paths"].items():
                for call in calls.values():
                    _add_problems(call["responses"])
                    call["security"] = [] if path in PUBLIC_PATHS else [{"key": []}]
        assert self.openapi_schema is not None
        return self.openapi_schema


def _add_components(components: dict[str, Any]) -> None:
    schemas = components["schemas"]
    for name in _FASTAPIS_OWN_ERRORS:
        schemas.pop(name, None)
    own = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas.update(own.pop("$defs"))
    schemas["Problem"] = own
    components["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer", "description": "An API key."}}


def _add_problems(responses: dict[str, Any]) -> None:
    content = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    if "HTTPValidationError" in str(responses.get("422")):
        del responses["422"]
    for status, response in responses.items():
        if status >= "400":
            response.setdefault("content", content)
    responses["4XX"] = {
        "description": "The request cannot be answered; `code` and `detail` say why.",
        "content": content,
    }
    responses["5XX"] = {"description": "The service cannot answer just now.", "content": content}
