"""docs/api.md is true: its examples run, from top to bottom, and it has every call."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from app.main import create_app
from tests.conftest import Services, WholeService

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "docs" / "api.md").read_text()


def script(language: str) -> str:
    """All examples in one language."""
    return "\n".join(re.findall(rf"^```{language}\n(.*?)^```", DOCUMENT, re.MULTILINE | re.DOTALL))


def run(command: list[str], service: WholeService, folder: Path) -> None:
    ours = {"REALM_URL": service.base_url, "REALM_API_KEY": service.api_key, "PYTHONPATH": str(ROOT)}
    ended = subprocess.run(command, cwd=folder, env=os.environ | ours, capture_output=True, text=True, timeout=240)
    assert ended.returncode == 0, ended.stdout[-3000:] + ended.stderr[-3000:]


@pytest.mark.slow  # it trains twice; the tests of the calls themselves are quick
@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")
def test_the_examples_run(service: WholeService, tmp_path: Path) -> None:
    """Those with curl first: they write the file that those in Python upload."""
    run(["bash", "-euo", "pipefail", "-c", script("bash")], service, tmp_path)
    (tmp_path / "examples.py").write_text(script("python"))
    run([sys.executable, "examples.py"], service, tmp_path)


def test_every_call_is_shown(services: Services) -> None:
    shown = set(re.findall(r"(?:GET|POST|PUT|PATCH|DELETE) (/v1/[^ \n]*)", DOCUMENT))
    abbreviated = set(re.findall(r"…(/[^ \n`]*)", DOCUMENT))
    for path in create_app().openapi()["paths"]:
        if path.startswith("/v1/"):
            assert path in shown or any(path.endswith(end) for end in abbreviated), path
