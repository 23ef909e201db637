"""The OpenAPI document against the service: schemathesis makes every call that it describes, as everybody.

Whatever is sent, no answer may be a fault of ours, and every answer must be what the document says.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import httpx
import hypothesis
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, strategies
from hypothesis.errors import Unsatisfiable
from schemathesis import APIOperation, GenerationMode

from app.main import create_app
from app.queue import announce_worker, withdraw_worker
from tests.app.world import ids_of_a_world
from tests.conftest import ProjectKeys

# What JSON Schema cannot say is refused too: a base model that is not allowed, labels that match no answer, …
REFUSALS = ["400", "401", "403", "404", "409", "412", "413", "415", "422", "429"]
ACCEPTANCE = {"expected-statuses": ["2xx", "3xx", *REFUSALS]}
CONFIG = schemathesis.Config.from_dict({"checks": {"positive_data_acceptance": ACCEPTANCE}})
EXAMPLES_SHARE = 30  # of the examples that other tests of random input take: each is a request or more
CALLERS = ("admin", "viewer", "somebody else", "nobody")


@pytest.fixture(scope="module")
def operations(services: object) -> list[APIOperation]:
    """Every call of the document; those that delete come last."""
    schema = schemathesis.openapi.from_dict(create_app().openapi(), config=CONFIG)
    found = [result.ok() for result in schema.get_all_operations()]
    return sorted(found, key=lambda operation: operation.method == "delete")


def authorization(caller: str, project: ProjectKeys, other_project: ProjectKeys) -> dict[str, str]:
    keys = {"admin": project.admin_key, "viewer": project.viewer_key, "somebody else": other_project.admin_key}
    return {"Authorization": f"Bearer {keys[caller]}"} if caller in keys else {}


@pytest.mark.hypothesis
@pytest.mark.parametrize("caller", CALLERS)
def test_every_call_with_anything_in_it(
    live_url: str,
    operations: list[APIOperation],
    project: ProjectKeys,
    other_project: ProjectKeys,
    tmp_path: Path,
    caller: str,
) -> None:
    announce_worker("a worker", {}, 3600)  # without one the service is not ready, and says so with 503
    with httpx.Client(base_url=live_url, headers={"Authorization": f"Bearer {project.admin_key}"}) as client:
        known = ids_of_a_world(client, project, tmp_path)
    headers = authorization(caller, project, other_project)
    faults: list[str] = []
    with requests.Session() as http:
        for operation in operations:
            try:
                call(operation, known, live_url, http, headers)
            except (Exception, BaseExceptionGroup) as error:
                faults.append(f"{operation.label}: {error}")
    withdraw_worker("a worker")
    assert not faults, "\n\n".join(faults)


def call(
    operation: APIOperation, known: dict[str, str], url: str, http: requests.Session, headers: dict[str, str]
) -> None:
    ids = {parameter.name: known[parameter.name] for parameter in operation.path_parameters if parameter.name in known}
    for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
        kinds = [operation.as_strategy(mode)]
        if ids:
            kinds.append(operation.as_strategy(mode, path_parameters=ids))

        @hypothesis.settings(
            max_examples=max(2, hypothesis.settings.default.max_examples // EXAMPLES_SHARE),
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @hypothesis.given(strategies.one_of(kinds))
        def check(case: schemathesis.Case) -> None:
            case.call_and_validate(base_url=url, session=http, headers=headers, timeout=20)

        with suppress(Unsatisfiable):  # a call without parameters cannot be made wrongly
            check()
