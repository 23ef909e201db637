"""`realm keys`: make, list and revoke API keys.

When the service is up, its API does it, asked with the data folder's first key or REALM_API_KEY. Otherwise it is done
in the database itself, which `realm up`'s own is started for.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal, Protocol

import typer
from rich.markup import escape

from app.client import Json
from app.command_line.connection import DEFAULT_DATA_DIR, DataDir, Url, connect, is_up
from app.command_line.data_commands import AsJson
from app.command_line.output import console, print_document, say
from app.command_line.tables import key_table


def _annotator_id(given: str | None) -> str | None:
    if given is not None and re.fullmatch("ann_[1-9][0-9]{0,8}", given) is None:
        raise typer.BadParameter("This is no id of an annotator, such as ann_7.")
    return given


OfAnnotator = Annotated[
    str | None,
    typer.Option(
        "--annotator",
        metavar="ANN_ID",
        callback=_annotator_id,
        help="ann_…, as the annotator's page and `realm report --format json` show it.",
    ),
]

keys = typer.Typer(
    name="keys",
    no_args_is_help=True,
    help="Make, list and revoke API keys: through the service when it is up, else in the database itself.",
)


class Role(StrEnum):
    """What a key may do."""

    viewer = "viewer"
    editor = "editor"
    admin = "admin"


RoleName = Literal["viewer", "editor", "admin"]


class KeyStore(Protocol):
    """Where keys are made: the API, or the database."""

    def create(
        self, *, name: str, role: RoleName, scopes: Sequence[str] | None = None, expires_in_days: float | None = None
    ) -> Json: ...
    def list(self, *, annotator: str | None = None) -> Iterable[Json]: ...
    def revoke(self, key: str) -> None: ...


@contextmanager
def _key_store(url: str | None, data_dir: Path) -> Iterator[KeyStore]:
    if url is not None or is_up(data_dir):
        with connect(url, data_dir) as client:
            yield client.api_keys
    else:
        from app.command_line.database_keys import DatabaseKeys, database_of

        with database_of(data_dir):
            yield DatabaseKeys()


@keys.command()
def create(
    name: Annotated[str, typer.Option(help="What the key is for.")] = "",
    role: Annotated[
        Role, typer.Option(help="`viewer` reads, `editor` also uploads and trains, `admin` also manages keys.")
    ] = Role.admin,
    expires_in_days: Annotated[float | None, typer.Option(min=0.01, help="The key ends by itself.")] = None,
    annotator: OfAnnotator = None,
    as_json: AsJson = False,
    url: Url = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
) -> None:
    """Make a key. Its secret is printed this once and kept nowhere.

    `realm keys create --name ci --role editor --json`

    With `--annotator` it is that annotator's own, with the role `viewer`: who logs into the dashboard with it sees what
    reports say of their own labels, and nothing else.
    """
    own = annotator is not None
    with _key_store(url, data_dir) as store:
        key = store.create(
            name=name or annotator or "",
            role="viewer" if own else role.value,
            scopes=[f"annotator:{annotator}"] if own else None,
            expires_in_days=expires_in_days,
        )
    if as_json:
        print_document(key)
    else:
        console.print(key["key"])
        say(f"This is shown once. `realm keys revoke {key['id']}` ends it.")


@keys.command("list")
def list_(
    annotator: OfAnnotator = None, as_json: AsJson = False, url: Url = None, data_dir: DataDir = DEFAULT_DATA_DIR
) -> None:
    """List the keys, without their secrets; with `--annotator` those of an annotator's own."""
    with _key_store(url, data_dir) as store:
        found = list(store.list(annotator=annotator))
    if as_json:
        print_document(found)
    else:
        console.print(key_table(found))


@keys.command()
def revoke(
    key: Annotated[str, typer.Argument(metavar="KEY_ID", help="key_…, as `realm keys list` shows it.")],
    as_json: AsJson = False,
    url: Url = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
) -> None:
    """End a key for good, and the browser sessions that were opened with it."""
    with _key_store(url, data_dir) as store:
        store.revoke(key)
    if as_json:
        print_document({"id": key, "revoked": True})
    else:
        say(f"{escape(key)} is revoked.")
