"""`realm demo`: everything that the service does, from the labels of a crowd to the answers of a model."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from app.client import RealmClient
from app.command_line.connection import DataDir
from app.command_line.output import say

_DEMO_DATA_DIR = Path(".realm-demo")


def register(application: typer.Typer) -> None:
    application.command(rich_help_panel="To begin")(demo)


def demo(
    data: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="Labels of your own instead of the sample.")
    ] = None,
    data_dir: DataDir = _DEMO_DATA_DIR,
) -> None:
    """Show everything on a sample: upload, training, the report beside the truth, predictions. Takes some minutes.

    It brings a service of its own, on a free port, which ends with it; the data folder stays.

    `realm demo --data labels.csv` does the same with a file of yours: columns prompt, annotator and label.
    """
    from app.demo.tours import tour_of_file, tour_of_sample
    from app.running_service import running_service

    say("Starting the service …")
    every_core = {"REALM_TORCH_THREADS": str(os.cpu_count() or 1)}  # nobody else uses this service
    with running_service(data_dir, every_core) as service, RealmClient(service.url, service.api_key) as client:
        say(f"It is at {service.url} while the demo runs. This link opens its dashboard, once:\n  {service.login_link}")
        job = tour_of_sample(client) if data is None else tour_of_file(client, data)
    folder = escape(str(data_dir))
    say(f"\n[bold]The end.[/] The service has stopped; everything is kept in {folder}. For its dashboard,")
    say(f"  realm up --data-dir {folder}    or    make up DATA_DIR={folder}")
    say(f"prints a link that opens it; this job is at /jobs/{job['id']}.")
