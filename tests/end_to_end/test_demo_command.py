"""`realm demo --data`: a service of its own that ends with it, whatever the file."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.conftest import no_settings, processes_of


def demo(file: Path, data_dir: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "app.cli", "demo", "--data", str(file), "--data-dir", str(data_dir)]
    with no_settings():
        env = os.environ | {"REALM_PORT": "1"}
        done = subprocess.run(command, capture_output=True, text=True, timeout=200, env=env)
    assert processes_of(data_dir) == []
    return done


def test_a_file_without_texts_gets_a_report(tmp_path: Path) -> None:
    file = tmp_path / "votes.csv"
    labels = {"ann": "no yes", "bob": "yes yes", "eve": "no yes"}
    rows = [f"{item},{who},{labels[who].split()[item % 2]}" for item in range(40) for who in labels]
    file.write_text("\n".join(["item_id,annotator,label", *rows]))
    done = demo(file, tmp_path / "data")
    assert done.returncode == 0, done.stderr
    assert "always_same" in done.stdout
    assert "bob: Answers “yes” 100 % of the time" in done.stdout
    assert f"realm up --data-dir {tmp_path / 'data'}" in done.stderr.replace("\n", "")


def test_a_bad_file_ends_it_with_the_rows_at_fault(tmp_path: Path) -> None:
    file = tmp_path / "bad.csv"
    file.write_text("prompt,annotator,label\na text,ann,\n")
    done = demo(file, tmp_path / "data")
    assert done.returncode == 1
    assert "The label is empty." in done.stderr
