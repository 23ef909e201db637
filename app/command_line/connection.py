"""How the command line finds the service: by --url and REALM_API_KEY, else by what `realm up` leaves in its folder."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated

import typer

from app.client import RealmClient, ServiceUnreachable

DataDir = Annotated[
    Path, typer.Option("--data-dir", envvar="REALM_DATA_DIR", help="Folder of everything that `realm up` keeps.")
]
Url = Annotated[
    str | None,
    typer.Option("--url", envvar="REALM_URL", help="Where the service is, if not the one of the data folder."),
]
DEFAULT_DATA_DIR = Path(".realm")
STATE_FILE, KEY_FILE = "service.json", "api_key"


def connect(url: str | None, data_dir: Path) -> RealmClient:
    """A client of the service. Raises ServiceUnreachable when none is known, Exit(2) when no key is."""
    own = url_of(data_dir)
    address = url or own
    if address is None:
        raise ServiceUnreachable(f"No service is running on the data folder {str(data_dir)!r}.")
    return RealmClient(address, _api_key(data_dir, is_own=address.rstrip("/") == own))


def url_of(data_dir: Path) -> str | None:
    """Where the service of a data folder is, if it is up."""
    try:
        return str(json.loads((data_dir / STATE_FILE).read_text())["url"]).rstrip("/")
    except FileNotFoundError:
        return None


def is_up(data_dir: Path) -> bool:
    """Whether the service of a data folder answers. One that was killed leaves its address behind."""
    url = url_of(data_dir)
    if url is None:
        return False
    try:
        with RealmClient(url, "none") as client:
            return client.request("GET", "/livez").is_success
    except ServiceUnreachable:
        return False


def _api_key(data_dir: Path, *, is_own: bool) -> str:
    """The key to show. The data folder's own is shown to the service of that folder and to nobody else."""
    key = os.environ.get("REALM_API_KEY")
    if not key and is_own and (data_dir / KEY_FILE).exists():
        key = (data_dir / KEY_FILE).read_text().strip()
    if not key:
        raise typer.BadParameter("Set REALM_API_KEY to a key of that service; `realm keys create` makes one.")
    return key
