"""The HTTP API as a page, made from its OpenAPI description: no script, no other site."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

_METHODS = ("get", "post", "put", "patch", "delete")


@dataclass(frozen=True)
class Field:
    """A parameter, or a field of a JSON body."""

    name: str
    where: str
    type: str
    required: bool
    description: str


@dataclass(frozen=True)
class Operation:
    """One call."""

    method: str
    path: str
    summary: str
    description: str
    fields: tuple[Field, ...]


def operations_by_tag(openapi: dict[str, Any]) -> dict[str, list[Operation]]:
    """All calls in the order of their routes, under the heading that they belong to."""
    found: dict[str, list[Operation]] = defaultdict(list)
    schemas = openapi.get("components", {}).get("schemas", {})
    for path, item in openapi["paths"].items():
        for method in _METHODS:
            if method in item:
                tag = item[method].get("tags", ["other"])[0]
                found[tag].append(_operation(method, path, item[method], schemas))
    return found


def _operation(method: str, path: str, described: dict[str, Any], schemas: dict[str, Any]) -> Operation:
    parameters = [
        Field(one["name"], one["in"], type_name(one["schema"]), one.get("required", False), one.get("description", ""))
        for one in described.get("parameters", [])
    ]
    description = described.get("description", described.get("summary", ""))
    body = described.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
    return Operation(
        method.upper(),
        path,
        description.partition("\n")[0],
        description,
        (*parameters, *_body_fields(body, schemas)),
    )


def _body_fields(schema: dict[str, Any], schemas: dict[str, Any]) -> list[Field]:
    body = schemas.get(schema.get("$ref", "").rpartition("/")[2], schema)
    return [
        Field(name, "body", type_name(one), name in body.get("required", []), one.get("description", ""))
        for name, one in body.get("properties", {}).items()
    ]


def type_name(schema: dict[str, Any]) -> str:
    """A JSON schema in a word or two."""
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "enum" in schema or "const" in schema:
        return " | ".join(map(str, schema.get("enum", [schema.get("const")])))
    if "anyOf" in schema:
        return " | ".join(type_name(one) for one in schema["anyOf"] if one.get("type") != "null")
    if schema.get("type") == "array":
        return f"list of {type_name(schema.get('items', {}))}"
    return str(schema.get("type", "any"))
