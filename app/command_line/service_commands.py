"""`realm up` and the processes that it is made of: `api`, `worker`, `reconcile`, `migrate`."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from app.command_line.connection import DEFAULT_DATA_DIR, DataDir, Url, connect
from app.command_line.data_commands import AsJson
from app.command_line.output import console, print_document, say
from app.command_line.tables import worker_view

if TYPE_CHECKING:
    from app.process_tree import ServiceInfo
    from app.settings import Settings

_KEEP_ALIVE_SECONDS = 75  # longer than clients keep idle connections, so that none is cut while it is being used
_SECONDS_TO_FINISH = 10  # requests that still run when the service is told to stop

Host = Annotated[str | None, typer.Option(envvar="REALM_HOST", help="Address to listen on; 127.0.0.1 by default.")]
Port = Annotated[
    int | None, typer.Option(envvar="REALM_PORT", min=0, max=65535, help="8000 by default; 0 takes one that is free.")
]

workers = typer.Typer(name="worker", invoke_without_command=True)


def register(application: typer.Typer) -> None:
    application.command(rich_help_panel="To begin")(up)
    for command in (api, reconcile, migrate):
        application.command(rich_help_panel="The service")(command)
    application.add_typer(workers, rich_help_panel="The service")


def up(host: Host = None, port: Port = None, as_json: AsJson = False, data_dir: DataDir = DEFAULT_DATA_DIR) -> None:
    """Start the whole service and keep it running: API, worker, and a Postgres and a Redis of its own.

    REALM_DATABASE_URL and REALM_REDIS_URL name others. Everything is kept in the data folder; Ctrl-C stops the
    service, and the next `realm up` goes on where it was. `--json` prints where it is once it is ready.

    `realm up --port 8080 --data-dir ~/realm`
    """
    from app.process_tree import run_service

    settings = _settings(host, port)
    on_ready = _print_state if as_json else _welcome
    raise typer.Exit(run_service(data_dir, settings.port, settings.host, on_ready, say=_say_plainly))


def _settings(host: str | None, port: int | None) -> Settings:
    """The settings, with what the command line says."""
    from app.settings import get_settings

    for name, value in (("REALM_HOST", host), ("REALM_PORT", port)):
        if value is not None:
            os.environ[name] = str(value)
    return get_settings()


def _print_state(service: ServiceInfo) -> None:
    print_document(
        {
            "url": service.url,
            "login_link": service.login_link,
            "api_key_file": str(service.api_key_file),
            "data_dir": str(service.data_dir),
        }
    )


def _welcome(service: ServiceInfo) -> None:
    say(f"[bold green]REALM is up[/] at {service.url}")
    if service.login_link is not None:
        say(f"Dashboard: {service.login_link}  (logs one browser in, once, within the hour)")
    if service.api_key_file.exists():
        say(f"API key:   in {escape(str(service.api_key_file))}, where the command line finds it")
    say("Ctrl-C stops it.")


def _say_plainly(message: str) -> None:
    say(escape(message))


def api(host: Host = None, port: Port = None) -> None:
    """Serve HTTP. Needs REALM_DATABASE_URL and REALM_REDIS_URL; `realm up` sets them for its own."""
    from app.inference.supervision import get_models

    settings = _settings(host, port)
    if settings.predict_warm_start:  # first, since its libraries take the longest to import
        get_models().start()

    import uvicorn

    from app.http_protocol import BoundedHttp
    from app.observability import configure_logging

    configure_logging()
    uvicorn.run(
        "app.main:create_app",
        factory=True,
        host=settings.host,
        port=settings.port,
        http=BoundedHttp,
        loop="uvloop",
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=_SECONDS_TO_FINISH,
        access_log=False,  # the application logs requests itself, with their ids
        log_config=None,
        server_header=False,
    )


@workers.callback()
def worker(context: typer.Context) -> None:
    """Run jobs, one after the other. Several workers may run, on several machines."""
    if context.invoked_subcommand is None:
        _become("worker")


@workers.command()
def status(as_json: AsJson = False, url: Url = None, data_dir: DataDir = DEFAULT_DATA_DIR) -> None:
    """Show which workers are alive, what they run, and how long the queue is."""
    with connect(url, data_dir) as client:
        found = client.fine_tuning.workers()
    if as_json:
        print_document(found)
    else:
        console.print(worker_view(found))


def reconcile() -> None:
    """Look after jobs that a lost worker or a restarted Redis left behind. Several may run."""
    _become("worker.reconcile")


def _become(module: str) -> None:
    os.execv(sys.executable, [sys.executable, "-m", module])  # noqa: S606


def migrate() -> None:
    """Bring the tables of REALM_DATABASE_URL to the state that this version expects."""
    from app.database.migrations import migrate as run_migrations
    from app.settings import get_settings

    database_url = get_settings().database_url
    if database_url is None:
        raise typer.BadParameter("REALM_DATABASE_URL is not set. `realm up` migrates its own database by itself.")
    run_migrations(database_url)
    say("The database is up to date.")
