"""The command line: what it prints where, and how it ends."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from app.access.service import principal_of_key
from app.cli import main
from app.client import News, RealmClient
from app.client.jobs import Jobs
from app.command_line.output import harmless
from app.command_line.tables import annotator_table, answer_table
from app.database.session import transaction
from app.queue import announce_worker, withdraw_worker
from tests.conftest import ProjectKeys

LABELS = "prompt,annotator,label\nred?,ann,yes\nred?,bob,no\nblue?,ann,no\nblue?,bob,no\n"


@dataclass(frozen=True)
class Ended:
    """How a command ended, and what it printed."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        return json.loads(self.out)


Realm = Callable[..., Ended]


@pytest.fixture
def realm(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Realm:
    """Runs the command line in this process, with a data folder of its own."""
    monkeypatch.setenv("REALM_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments: str) -> Ended:
        code = 0
        try:
            main(list(arguments))
        except SystemExit as end:
            code = int(end.code or 0)
        printed = capsys.readouterr()
        return Ended(code, printed.out, printed.err)

    return run


@pytest.fixture
def connected(realm: Realm, live_url: str, project: ProjectKeys, monkeypatch: pytest.MonkeyPatch) -> Realm:
    """The command line with a service that has no worker."""
    monkeypatch.setenv("REALM_URL", live_url)
    monkeypatch.setenv("REALM_API_KEY", project.admin_key)
    return realm


@pytest.fixture
def labels(tmp_path: Path) -> str:
    (tmp_path / "labels.csv").write_text(LABELS)
    return str(tmp_path / "labels.csv")


def test_without_a_service_it_says_how_to_start_one(realm: Realm) -> None:
    ended = realm("jobs")
    assert ended.code == 4
    assert ended.out == ""
    assert "No service is running on the data folder" in ended.err
    assert "`realm up` starts a service" in ended.err


def test_a_service_that_was_killed_is_not_reached(realm: Realm, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "service.json").write_text('{"url": "http://127.0.0.1:9"}')
    (tmp_path / "data" / "api_key").write_text("realm_x\n")
    ended = realm("jobs")
    assert ended.code == 4
    assert "Nothing answers at http://127.0.0.1:9" in ended.err


def test_the_data_folder_names_service_and_key(
    realm: Realm, live_url: str, project: ProjectKeys, tmp_path: Path
) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "service.json").write_text(json.dumps({"url": live_url}))
    (tmp_path / "data" / "api_key").write_text(project.viewer_key + "\n")
    assert realm("jobs", "--json").document == []


def test_the_key_of_the_folder_is_not_shown_to_another_service(realm: Realm, live_url: str, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "api_key").write_text("realm_secret\n")
    ended = realm("jobs", "--url", live_url)
    assert ended.code == 2
    assert "REALM_API_KEY" in ended.err


def test_upload_prints_one_document(connected: Realm, labels: str) -> None:
    ended = connected("upload", labels, "--name", "mine", "--json")
    assert ended.code == 0
    assert ended.document["id"].startswith("ds_")
    assert ended.document["name"] == "mine"


def test_upload_says_what_was_kept_and_what_to_do_next(connected: Realm, labels: str) -> None:
    ended = connected("upload", labels)
    assert ended.code == 0
    id_ = re.search(r"ds_[0-9a-f]+", ended.out)
    assert id_ is not None
    assert "labels 4, annotators 2, items 2" in ended.err
    assert f"realm train {id_[0]} --wait" in ended.err


def test_bad_rows_are_shown_in_a_table(connected: Realm, tmp_path: Path) -> None:
    file = tmp_path / "bad.csv"
    file.write_text(LABELS + "green?,ann,\n\x1b[31mteal?,,yes\n")
    ended = connected("upload", str(file))
    assert ended.code == 1
    assert ended.out == ""
    assert re.search(r"6\s+label\s+", ended.err)
    assert re.search(r"7\s+annotator\s+", ended.err)
    assert "\x1b" not in ended.err


def test_bad_rows_may_be_skipped(connected: Realm, tmp_path: Path) -> None:
    file = tmp_path / "bad.csv"
    file.write_text(LABELS + "green?,ann,\n")
    assert connected("upload", str(file), "--on-error", "skip", "--json").code == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("upload", "labels.csv", "--mapping", "{"), "--mapping is not JSON"),
        (("upload", "/dev/null"), "must end in .csv"),
        (("train", "ds_1", "--set", "n_epochs"), "--set takes NAME=VALUE"),
        (("predict", "ft:m"), "Give either texts or --file"),
        (("predict", "ft:m", "a text", "--file", "x"), "Give either texts or --file"),
        (("train", "ds_1", "--method", "magic"), "magic"),
        (("upload", "no-such-file.csv"), "no-such-file.csv"),
    ],
)
def test_wrong_usage_ends_with_2(
    realm: Realm, labels: str, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], message: str
) -> None:
    monkeypatch.chdir(Path(labels).parent)
    ended = realm(*arguments)
    assert ended.code == 2
    assert ended.out == ""
    assert message in " ".join(re.sub(r"[│╭╰─╮╯]", " ", ended.err).split())


def test_an_estimate_starts_nothing(connected: Realm, labels: str) -> None:
    dataset = connected("upload", labels, "--json").document["id"]
    arguments = ("train", dataset, "--set", "max_steps=7", "--estimate")
    ended = connected(*arguments)
    assert ended.code == 0
    assert re.search(r"steps +7\b", ended.out)
    assert "no job with this model has finished here yet" in ended.out or "of this model that succeeded" in ended.out
    assert "GiB" in ended.out
    assert "Warning: Annotators have 2.0 labels on average" in ended.err
    assert connected(*arguments, "--json").document["steps"] == 7
    assert connected("jobs", "--json").document == []


def test_the_workers(connected: Realm) -> None:
    announce_worker("host-7", {"slots": 1, "gpus": [], "draining": True}, 60)
    ended = connected("worker", "status")
    assert ended.code == 0
    assert re.search(r"host-7 \(draining\) +\d+ s ago +nothing", ended.out)
    assert re.search(r"Alive: \d+ workers?\. (Nothing waits|In the queue)", ended.out)
    document = connected("worker", "status", "--json").document
    assert "host-7" in [worker["id"] for worker in document["workers"]]
    withdraw_worker("host-7")


def test_train_queues_a_job_with_what_was_set(connected: Realm, labels: str) -> None:
    dataset = connected("upload", labels, "--json").document["id"]
    ended = connected(
        "train", dataset, "--set", "n_epochs=2", "--set", "channel=one_coin", "--seed", "3", "--suffix", "x", "--json"
    )
    job = ended.document
    assert ended.code == 0
    assert job["method"]["realm"]["hyperparameters"] == {"n_epochs": 2, "channel": "one_coin"}
    assert (job["seed"], job["suffix"], job["status"]) == (3, "x", "queued")
    assert job["id"] in connected("jobs").out


def test_a_setting_that_does_not_exist_is_refused(connected: Realm, labels: str) -> None:
    dataset = connected("upload", labels, "--json").document["id"]
    ended = connected("train", dataset, "--set", "epochs=2")
    assert ended.code == 1
    assert "epochs" in ended.err


def test_a_cancelled_job_ends_watch_with_3(connected: Realm, labels: str) -> None:
    dataset = connected("upload", labels, "--json").document["id"]
    job = connected("train", dataset, "--json").document["id"]
    assert "is cancelled" in connected("cancel", job).err
    ended = connected("watch", job, "--json")
    assert ended.code == 3
    assert ended.document["status"] == "cancelled"
    assert "cancelled" in ended.err


def test_interrupting_the_wait_leaves_the_job_alone(
    connected: Realm, labels: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = connected("upload", labels, "--json").document["id"]

    def interrupt(*_: object) -> News:
        raise KeyboardInterrupt

    monkeypatch.setattr(Jobs, "follow", interrupt)
    ended = connected("train", dataset, "--wait")
    assert ended.code == 130
    job = re.search(r"ftjob-\w+", ended.err)
    assert job is not None
    assert f"realm watch {job[0]}" in ended.err
    assert f"realm cancel {job[0]}" in ended.err
    assert connected("jobs", "--json").document[0]["status"] == "queued"


def test_a_report_that_is_not_there_yet_says_so(connected: Realm, labels: str) -> None:
    dataset = connected("upload", labels, "--json").document["id"]
    job = connected("train", dataset, "--json").document["id"]
    ended = connected("report", job, "--format", "csv")
    assert ended.code == 1
    assert ended.out == ""
    assert "waits for a worker" in ended.err


def test_keys_through_the_service(connected: Realm, live_url: str) -> None:
    made = connected("keys", "create", "--name", "ci", "--role", "viewer", "--json").document
    assert made["role"] == "viewer"
    assert made["key"] not in connected("keys", "list").out
    with RealmClient(live_url, made["key"]) as client:
        assert list(client.datasets.list()) == []
    assert connected("keys", "revoke", made["id"]).code == 0
    listed = {key["id"]: key for key in connected("keys", "list", "--json").document}
    assert listed[made["id"]]["revoked_at"] is not None


def test_keys_straight_from_the_database(realm: Realm, services: object) -> None:
    made = realm("keys", "create", "--json").document
    with transaction() as session:
        principal = principal_of_key(session, made["key"])
    assert principal is not None
    assert principal.role == "admin"
    assert made["id"] in {key["id"] for key in realm("keys", "list", "--json").document}
    assert realm("keys", "revoke", made["id"]).code == 0
    with transaction() as session:
        assert principal_of_key(session, made["key"]) is None
    unknown = realm("keys", "revoke", "key_nobody")
    assert unknown.code == 1
    assert "key_nobody" in unknown.err


def test_an_annotators_own_key(connected: Realm, realm: Realm, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = ("keys", "create", "--annotator", "ann_7", "--json")
    through_the_service = connected(*asked).document
    listed = connected("keys", "list", "--annotator", "ann_7", "--json").document
    assert [key["id"] for key in listed] == [through_the_service["id"]]
    monkeypatch.delenv("REALM_URL")
    from_the_database = realm(*asked).document
    assert from_the_database["id"] in {
        key["id"] for key in realm("keys", "list", "--annotator", "ann_7", "--json").document
    }
    for made in (through_the_service, from_the_database):
        assert (made["name"], made["role"], made["scopes"]) == ("ann_7", "viewer", ["annotator:ann_7"])
    assert "annotator:ann_7" in realm("keys", "list").out
    assert realm("keys", "revoke", from_the_database["id"]).code == 0
    unknown = realm("keys", "create", "--annotator", "ana")
    assert (unknown.code, "no id of an annotator" in unknown.err) == (2, True)


def test_the_secret_alone_is_on_stdout(realm: Realm, services: object) -> None:
    ended = realm("keys", "create", "--role", "viewer")
    assert re.fullmatch(r"realm_[\w-]{43}\n", ended.out)


def test_torch_and_the_worker_are_not_imported() -> None:
    heavy = "('torch', 'worker', 'polars', 'fastapi', 'sqlalchemy')"
    code = f"import sys, app.cli; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_every_command_explains_itself(realm: Realm) -> None:
    for command in ("demo", "up", "api", "worker", "reconcile", "migrate", "upload", "predict", "train", "jobs"):
        ended = realm(command, "--help")
        assert ended.code == 0
        assert re.search(rf"Usage: .*{command} \[OPTIONS\]", ended.out)


def test_hostile_names_are_shown_on_one_line_and_not_obeyed() -> None:
    assert harmless("a\x1b[2Jb\nc\u202ed").plain == "a [2Jb c d"
    assert harmless("[red]x[/]").plain == "[red]x[/]"
    assert harmless("x" * 50, 10).plain == "x" * 9 + "…"


def _printed(table: Any) -> str:
    from io import StringIO

    from rich.console import Console

    console = Console(file=StringIO(), width=160)
    console.print(table)
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


def test_the_report_draws_intervals_and_leaves_unknown_ones_empty() -> None:
    known = {"value": 0.5, "low": 0.25, "high": 0.75, "method": "cross_fitted"}
    unknown = {"value": None, "low": None, "high": None, "method": None}
    rows = [
        {"annotator": "[b]ann", "n": 1200, "accuracy": known, "agreement": 0.4, "flags": ["drift"]},
        {"annotator": "bob", "n": 2, "accuracy": unknown, "agreement": None, "flags": ["too_few_labels"]},
    ]
    first, second = _printed(annotator_table(rows)).splitlines()[1:]
    assert re.match(r"\[b\]ann +1,200 +0\.50 +\[0\.25, 0\.75\] +·+─+●─+·+ +0\.40 +drift", first)
    assert re.match(r"bob +2 +– +– +·+ +– +too_few_labels", second)


def test_answers_have_bars_and_bad_inputs_their_error() -> None:
    answers = [
        [{"label": "spam", "score": 0.75}, {"label": "ham", "score": 0.25}],
        {"error": {"code": "empty_prompt", "message": "The prompt is empty."}},
    ]
    shown = _printed(answer_table(["buy now", ""], answers))
    assert re.search(r"buy now +spam 0\.75 █{15} *\n +ham +0\.25 █{5} *\n", shown)
    assert "The prompt is empty." in shown
