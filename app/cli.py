"""The command line: `realm`.

Exit codes: 0 fine, 1 the request was refused, 2 wrong usage, 3 the job did not succeed, 4 the service cannot be
reached, 130 interrupted. `--json` prints one document on stdout; progress and messages go to stderr.
"""

from __future__ import annotations

import sys

import typer

from app.client import RequestFailed, ServiceUnreachable
from app.command_line import data_commands, demo_command, job_commands, key_commands, service_commands
from app.command_line.output import fail, say, show_refusal
from app.data_folder import StartupError
from app.errors import RealmError

REFUSED, UNREACHABLE = 1, 4

application = typer.Typer(
    name="realm",
    help="Fine-tune language models on noisy crowd labels and learn how reliable each annotator is.\n\n"
    "To begin: `realm demo` shows everything on a sample; `realm up` starts the service and keeps it running.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)
for module in (demo_command, service_commands, data_commands, job_commands):
    module.register(application)
application.add_typer(key_commands.keys, rich_help_panel="The service")


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; what goes wrong becomes a message and an exit code."""
    try:
        application(arguments)
    except RequestFailed as error:
        show_refusal(error)
        sys.exit(REFUSED)
    except (RealmError, StartupError) as error:
        fail(str(error))
        sys.exit(REFUSED)
    except ServiceUnreachable as error:
        fail(str(error))
        say("`realm up` starts a service. For one that runs elsewhere, set REALM_URL and REALM_API_KEY.")
        sys.exit(UNREACHABLE)


if __name__ == "__main__":
    main()
