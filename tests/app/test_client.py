"""The client against the application behind a real socket."""

from __future__ import annotations

import gzip
import re
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from app.client import RealmClient, RequestFailed, ServiceUnreachable
from app.client.datasets import media_type
from tests.conftest import ProjectKeys

LABELS = "prompt,annotator,label\nred?,ann,yes\nred?,bob,no\nblue?,ann,no\nblue?,bob,no\n"


@pytest.fixture
def api(live_url: str, project: ProjectKeys) -> Iterator[RealmClient]:
    with RealmClient(live_url, project.admin_key) as client:
        yield client


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    file = tmp_path / "labels.csv"
    file.write_text(LABELS)
    return file


def test_upload_tells_of_every_byte_and_names_the_dataset(api: RealmClient, labels: Path) -> None:
    sent: list[int] = []
    dataset = api.datasets.upload(labels, on_sent=sent.append)
    assert sum(sent) == len(LABELS)
    assert api.datasets.retrieve(dataset["id"])["name"] == "labels.csv"


def test_upload_of_a_gzip_with_mapping_and_labels(api: RealmClient, tmp_path: Path) -> None:
    file = tmp_path / "labels.csv.gz"
    file.write_bytes(gzip.compress(LABELS.replace("annotator", "worker").encode()))
    dataset = api.datasets.upload(
        file, name="mine", mapping={"worker": "annotator"}, labels={"yes": "it is", "no": "it is not"}
    )
    assert dataset["name"] == "mine"


def test_a_bad_row_is_told_with_its_number_and_nothing_is_kept(api: RealmClient, tmp_path: Path) -> None:
    file = tmp_path / "bad.csv"
    file.write_text(LABELS + "green?,ann,\n")
    with pytest.raises(RequestFailed) as refused:
        api.datasets.upload(file)
    assert [error["row"] for error in refused.value.errors] == [6]
    assert list(api.datasets.list()) == []


def test_lists_go_on_over_all_pages(api: RealmClient) -> None:
    names = [f"key {number}" for number in range(5)]
    for name in names:
        api.api_keys.create(name=name, role="viewer")
    listed = [key["name"] for key in api.api_keys.list(limit=2, order="asc")]
    assert listed[-5:] == names


def test_a_revoked_key_is_refused(api: RealmClient, live_url: str) -> None:
    key = api.api_keys.create(name="gone", role="viewer")
    api.api_keys.revoke(key["id"])
    with RealmClient(live_url, key["key"]) as stranger, pytest.raises(RequestFailed) as refused:
        list(stranger.datasets.list())
    assert (refused.value.status, refused.value.code) == (401, "invalid_api_key")
    assert refused.value.request_id


def test_a_job_is_followed_until_it_is_cancelled(api: RealmClient, labels: Path) -> None:
    dataset = api.datasets.upload(labels)
    job = api.fine_tuning.jobs.create(dataset=dataset["id"], hyperparameters={"n_epochs": 1}, seed=7, suffix="mine")
    assert (job["status"], job["seed"], job["suffix"]) == ("queued", 7, "mine")
    seen: list[tuple[str, str]] = []
    for news in api.fine_tuning.jobs.follow(job["id"]):
        seen.append((news.kind, news.object["status"] if news.kind == "job" else news.object["message"]))
        if seen[-1] == ("job", "queued"):
            api.fine_tuning.jobs.cancel(job["id"])
    assert seen[-1] == ("job", "cancelled")
    assert ("job", "queued") in seen
    assert [event["message"] for event in api.fine_tuning.jobs.list_events(job["id"], order="asc")] == [
        message for kind, message in seen if kind == "event"
    ]


def test_an_unknown_hyperparameter_is_refused_by_name(api: RealmClient, labels: Path) -> None:
    dataset = api.datasets.upload(labels)
    with pytest.raises(RequestFailed, match="n_epocks"):
        api.fine_tuning.jobs.create(dataset=dataset["id"], hyperparameters={"n_epocks": 1})


def test_ids_cannot_leave_their_place_in_the_path(api: RealmClient) -> None:
    with pytest.raises(RequestFailed) as refused:
        api.datasets.retrieve("../api_keys?limit=1")
    assert refused.value.status == 404


def _silent_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def test_nobody_there_is_another_error_than_a_refusal() -> None:
    with RealmClient(f"http://127.0.0.1:{_silent_port()}", "key") as client, pytest.raises(ServiceUnreachable):
        list(client.datasets.list())


def test_an_answer_that_is_not_ours_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 4\r\n\r\nnope")

        threading.Thread(target=answer).start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        with (
            RealmClient(url, "key") as client,
            pytest.raises(RequestFailed, match="not an answer of the REALM service"),
        ):
            client.datasets.retrieve("ds_1")


def test_a_post_whose_answer_was_lost_is_sent_again_and_done_once(api: RealmClient, live_url: str) -> None:
    """Between the client and the service stands somebody who passes the first request on, and not its answer."""
    target = urlsplit(live_url)
    keys: list[bytes] = []

    def serve(server: socket.socket) -> None:
        for lost in (True, False):
            connection, _ = server.accept()
            with connection, socket.create_connection((str(target.hostname), int(target.port or 0))) as onward:
                request = connection.recv(65536)
                while b"\r\n\r\n{" not in request:
                    request += connection.recv(65536)
                keys.extend(re.findall(rb"(?i)idempotency-key: (\w+)", request))
                onward.sendall(request.replace(b"keep-alive", b"close"))
                answer = b"".join(iter(lambda: onward.recv(65536), b""))
                if not lost:
                    connection.sendall(answer)

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=serve, args=(server,))
        thread.start()
        key = api._transport._http.headers["Authorization"].removeprefix("Bearer ")
        with RealmClient(f"http://127.0.0.1:{server.getsockname()[1]}", key) as client:
            rows = [{"prompt": "red?", "annotator": "ann", "label": "yes"}]
            dataset = client.datasets.create(rows, name="once")
        thread.join()
    assert len(keys) == 2
    assert len(set(keys)) == 1
    assert [one["id"] for one in api.datasets.list()] == [dataset["id"]]


@pytest.mark.parametrize(
    ("name", "kind"),
    [("a.csv", "text/csv"), ("a.tsv.gz", "text/tab-separated-values"), ("A.JSONL", "application/x-ndjson")],
)
def test_the_name_says_what_kind_of_file_it_is(name: str, kind: str) -> None:
    assert media_type(Path(name)) == kind


@pytest.mark.parametrize("name", ["labels", "labels.xlsx", "labels.gz"])
def test_other_kinds_of_files_are_refused_before_they_are_sent(name: str) -> None:
    with pytest.raises(ValueError, match=r"must end in \.csv"):
        media_type(Path(name))
