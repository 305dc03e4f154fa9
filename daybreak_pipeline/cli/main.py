"""The ``daybreak`` command: which commands there are, and what all of them do with signals.

0: done, no blocking check failed. 1: problems in the data that block. 2: wrong usage or environment, or a fault of our
own. 141: nobody reads the output any more.
Nothing is decided here that a test or the UI could not reach without it.
"""

from __future__ import annotations

import signal
from contextlib import suppress
from types import FrameType
from typing import Any

import click

from daybreak_pipeline import settings
from daybreak_pipeline.cli.common import LazyGroup, errors_in_one_line, say, soften_output
from daybreak_pipeline.supervision import stopping

_CLI = "daybreak_pipeline.cli"
COMMANDS = {
    "audit": (
        f"{_CLI}.audit:audit",
        "See who changed or read which row, when and from where; drop what is older than must be kept.",
    ),
    "backup": (
        f"{_CLI}.backup:backup",
        "Back up the embedded server, encrypted; what has expired is deleted.",
    ),
    "backups": (
        f"{_CLI}.backups:backups",
        "List the backups and restore points, oldest first, and where they are.",
    ),
    "check": (
        f"{_CLI}.check:check",
        "Check every table as it is now, without importing; what fails is shown first.",
    ),
    "checks": (
        f"{_CLI}.checks:checks",
        "See what the checks find, accept what is known and bearable, and take that back.",
    ),
    "doctor": (
        f"{_CLI}.doctor:doctor",
        "Look at everything that is needed, and say what is missing.",
    ),
    "erase": (
        f"{_CLI}.erase:erase",
        "Erase one person's values everywhere: in the row, search tokens, quarantine, repaired values and the audit trail.",
    ),
    "frames": (
        f"{_CLI}.frames:frames",
        "Hand over numbers for analysts (funnel, time to care, coverage, capacity); without a name, list what there is.",
    ),
    "generate": (
        f"{_CLI}.generate:generate",
        "Write a synthetic export of 16 files, or of some tables; nobody in it exists.",
    ),
    "import": (
        f"{_CLI}.import_export:import_",
        "Import the export: every file that has changed, parents first, and check every table.",
    ),
    "keys": (
        f"{_CLI}.keys:keys",
        "Look at the encryption key, and rotate it.",
    ),
    "maintain": (
        f"{_CLI}.maintain:maintain",
        "Vacuum, build bloated indexes again, and drop what need not be kept any longer; say what that freed.",
    ),
    "metrics": (
        f"{_CLI}.metrics:metrics",
        "Print what is measured of the server in Prometheus' text format, or write alert rules and a dashboard.",
    ),
    "migrate": (
        f"{_CLI}.migrate:migrate",
        "Apply or roll back the schema's migrations.",
    ),
    "models": (
        f"{_CLI}.models:models",
        "Write types for applications, as the database has its tables and views: for TypeScript or for Python.",
    ),
    "pgbouncer": (
        f"{_CLI}.pgbouncer:pgbouncer",
        "Write the configuration of PgBouncer, which shares few connections to the server among many clients.",
    ),
    "psql": (
        f"{_CLI}.run:psql",
        "Open psql on the database; arguments are psql's.",
    ),
    "quarantine": (
        f"{_CLI}.quarantine:quarantine",
        "Look at the records that did not load, and try them again.",
    ),
    "references": (
        f"{_CLI}.references:references",
        "Have references without a foreign key enforced for applications, or not; see what leads nowhere.",
    ),
    "report": (
        f"{_CLI}.report:report",
        "Write the data-quality report: can the data be trusted, what broke, since when, what to do.",
    ),
    "restore": (
        f"{_CLI}.restore:restore_",
        "Restore the embedded server: everything, or as of a time, or as before an import.",
    ),
    "roles": (
        f"{_CLI}.roles:roles",
        "Make the database roles and grant them what they may do.",
    ),
    "run": (
        f"{_CLI}.run:run",
        "Run any command with the server up, and DB_*, ENCRYPTION_KEY and DAGSTER_HOME set (run -- CMD …).",
    ),
    "service": (
        f"{_CLI}.service:service",
        "Run all of this without a terminal, from boot on: install, look at or remove a service of systemd.",
    ),
    "status": (
        f"{_CLI}.status:status",
        "Say whether the data can be trusted, and show every table: last import, age, what waits, failed checks.",
    ),
    "trace": (
        f"{_CLI}.trace:trace",
        "Tell the story of one row: files, hashes, record numbers, what was wrong, repaired and changed by whom.",
    ),
    "up": (
        f"{_CLI}.up:up",
        "Start everything: server, schema, import, scorecard, and the web UI until Ctrl-C.",
    ),
}
"""Where each command is, and its short help: a test enforces that it equals the command's own."""


class Program(LazyGroup):
    """The command itself. Loading the called command counts as part of it: with Dagster it takes seconds."""

    def make_context(self, *arguments: Any, **options: Any) -> click.Context:
        """Read the options before the command's name; report wrong ones in one line."""
        soften_output()
        with errors_in_one_line():
            return super().make_context(*arguments, **options)

    def invoke(self, ctx: click.Context) -> Any:
        """Import and run the called command; report any error on the way in one line."""
        # SIGINT too: a shell makes its background jobs ignore it.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, _interrupt)
        settings.close_files()
        with errors_in_one_line():
            settings.refuse_open_home()
            return super().invoke(ctx)


@click.group(cls=Program, lazy=COMMANDS, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="daybreak-pipeline")
def main() -> None:
    """Bring Daybreak's exports into PostgreSQL, and show what became of every record."""


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    """Treat a signal as Ctrl-C, so that everything that was started is stopped. Later ones do not disturb that."""
    if stopping.begin():
        raise KeyboardInterrupt
    with suppress(RuntimeError):  # it may have interrupted a line that is being printed
        say("daybreak: it is stopping already", err=True)
