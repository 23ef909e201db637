"""Every text that a request can hold, filled with what attackers send: an answer, and never a fault of ours."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from app.main import create_app
from tests.app.world import ids_of_a_world
from tests.conftest import ProjectKeys

HOSTILE: dict[str, Any] = {
    "script": "<script>alert(1)</script><img src=x onerror=alert(1)>",
    "formula": '=HYPERLINK("https://evil.example","x")',
    "nul": "a\x00b",
    "bidi": "\u202eabc\u2066\u2069\ufeff",
    "half a character": "\ud800",
    "long word": "w" * 1_000_000,
    "path": "../../../../etc/passwd",
    "percent": "%00%2e%2e%2f{{7*7}}${jndi:ldap://x}",
    "sql": "'; DROP TABLE projects; --",
    "line": "x\r\nX-Evil: 1",
    "number": 10**400,
    "minus": -(2**63) - 1,
    "tiny": 1e-320,
    "deep": json.loads("[" * 300 + "]" * 300),
    "list": [None, {}, []],
    "null": None,
    "true": True,
}
# Good bodies of the calls that take one; each value in them is replaced in turn.
BODIES: dict[tuple[str, str], Any] = {
    ("POST", "/v1/datasets"): {
        "name": "n",
        "annotations": [{"prompt": "p", "annotator": "a", "label": "l", "task": "t", "item_id": "i"}],
        "labels": {"t": ["l", "m"]},
        "on_error": "abort",
    },
    ("POST", "/v1/datasets/{dataset_id}/annotations"): {
        "annotations": [{"prompt": "sun", "annotator": "ana", "label": "yes", "created_at": 1, "cost": 1, "gold": "no"}]
    },
    ("POST", "/v1/fine_tuning/jobs"): {
        "model": "minilm",
        "dataset": "{dataset_id}",
        "method": {"type": "realm", "realm": {"hyperparameters": {"n_epochs": 1, "learning_rate": "auto"}}},
        "seed": 1,
        "suffix": "s",
        "metadata": {"k": "v"},
    },
    ("POST", "/v1/fine_tuning/jobs/{job_id}/annotators/{annotator_id}/decisions"): {"action": "keep", "note": "n"},
    ("POST", "/v1/models/{model_id}/predict"): {
        "inputs": [{"prompt": "a parcel", "task": "default", "options": ["a"]}, "the invoice"],
        "parameters": {"top_k": 1, "truncation": "right"},
        "annotator": "ann_1",
    },
    ("POST", "/v1/api_keys"): {"name": "n", "role": "viewer", "scopes": ["jobs"], "expires_in_days": 1},
    ("POST", "/v1/projects"): {"name": "n"},
    ("POST", "/v1/webhooks"): {"url": "https://example.org/", "events": ["job.failed"], "description": "d"},
    ("PATCH", "/v1/webhooks/{webhook_id}"): {"url": "https://example.org/", "description": "d", "enabled": True},
}


def spoiled(body: Any, value: Any) -> Iterator[Any]:
    """The body once for each place in it, with `value` there; and with `value` as the name of a field."""
    if isinstance(body, dict):
        for name in body:
            for part in spoiled(body[name], value):
                yield body | {name: part}
        if isinstance(value, str):
            yield copy.copy(body) | {value: 1}
    elif isinstance(body, list):
        for i, one in enumerate(body):
            for part in spoiled(one, value):
                yield [*body[:i], part, *body[i + 1 :]]
    yield value


def encoded(body: Any) -> bytes:
    return json.dumps(body).encode()


@pytest.fixture
def ids(client: TestClient, project: ProjectKeys, tmp_path: Path) -> dict[str, str]:
    return ids_of_a_world(client, project, tmp_path)


def check(answer: Any, what: object) -> None:
    assert answer.status_code < 500, (what, answer.text[:500])
    assert "inference_failed" not in answer.text, what
    assert "X-Evil" not in answer.headers
    if answer.status_code >= 400:
        problem = answer.json()
        assert problem["status"] == answer.status_code
        assert "Traceback" not in answer.text


@pytest.mark.parametrize(("method", "path"), BODIES)
def test_every_field_of_every_body(client: TestClient, ids: dict[str, str], method: str, path: str) -> None:
    good = json.loads(json.dumps(BODIES[method, path]).replace("{dataset_id}", ids["dataset_id"]))
    url = path.format(**ids)
    answer = client.request(method, url, json=good)
    assert answer.status_code in (200, 201, 403), answer.text  # or one refusal would be tried again and again
    for name, value in HOSTILE.items():
        for body in spoiled(good, value):
            headers = {"Content-Type": "application/json"}
            check(client.request(method, url, content=encoded(body), headers=headers), (path, name))


def test_every_place_of_every_path_and_query(client: TestClient, ids: dict[str, str]) -> None:
    texts = [str(HOSTILE[name]) for name in ("script", "nul", "path", "line")]
    shown = 0
    for path, calls in create_app().openapi()["paths"].items():
        call = calls.get("get", {})
        for parameter in call.get("parameters", []):
            for text in (text[:5000] for text in texts):
                if parameter["in"] == "path":
                    url, query = path, {}
                    values = ids | {parameter["name"]: _quoted(text)}
                elif parameter["in"] == "query":
                    url, query, values = path, {parameter["name"]: text}, ids
                else:
                    continue
                check(client.get(url.format(**values), params=query), (path, parameter["name"], text[:20]))
                shown += 1
    assert shown > 200


def _quoted(text: str) -> str:
    return "".join(f"%{byte:02x}" for byte in text.encode())


def test_bodies_that_are_too_much(client: TestClient) -> None:
    deep = b"[" * 200_000 + b"]" * 200_000
    for content in (deep, b'{"name": ' + deep + b"}", b'{"name": 1' + b"0" * 5000 + b"}", b"\xff\xfe", b"", b"nul"):
        check(client.post("/v1/api_keys", content=content, headers={"Content-Type": "application/json"}), content[:20])
    big = client.post("/v1/api_keys", content=b" " * (17 * 1024**2), headers={"Content-Type": "application/json"})
    assert big.status_code == 413
