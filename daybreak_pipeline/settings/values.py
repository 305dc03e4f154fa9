"""Reads single values from the environment: directories, keys, intervals, and how this installation runs."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from daybreak_pipeline.errors import UsageError
from daybreak_pipeline.locations import Location
from daybreak_pipeline.settings import variables
from daybreak_pipeline.settings.variables import PROJECT_ROOT, SAMPLE


def home() -> Path:
    """Return the directory for state: ``DAYBREAK_HOME``, ``.daybreak/`` of the checkout, or for root
    one directory for each checkout below ``/var/lib/daybreak`` (see ADR 0003).
    """
    given = variables.HOME.given()
    if given:
        return given
    if os.geteuid() == 0:
        checkout = hashlib.sha256(os.fsencode(PROJECT_ROOT)).hexdigest()[:12]
        return Path("/var/lib/daybreak") / checkout
    return PROJECT_ROOT / ".daybreak"


def export_dir() -> Location:
    """Return the directory that holds the export: ``DAYBREAK_EXPORT_DIR`` or the sample."""
    return variables.EXPORT_DIR.given() or SAMPLE


def given_export_dir() -> Location | None:
    """Return the export's directory as ``DAYBREAK_EXPORT_DIR`` names it; None where it does not."""
    return variables.EXPORT_DIR.given()


def export_roots() -> tuple[Location, ...]:
    """Return what else a run may import from, besides the export: ``DAYBREAK_EXPORT_ROOTS``.

    Raises:
        UsageError: one of them is not a path.
    """
    return variables.EXPORT_ROOTS.given() or ()


def server_programs() -> Path | None:
    """Return the directory of the embedded server's programs, ``DAYBREAK_PG_BIN``, or None to look for them."""
    return variables.SERVER_PROGRAMS.given()


def given_dagster_home() -> Path | None:
    """Return the directory for Dagster that ``DAGSTER_HOME`` names, None when it belongs in the home."""
    return variables.DAGSTER_HOME.given()


def settle_seconds() -> int:
    """Return for how long a file must not have been written to before it is imported by itself:
    ``DAYBREAK_SETTLE_SECONDS``.

    Raises:
        UsageError: it is not such a number.
    """
    return variables.SETTLE_SECONDS.value()


def staging_tablespace() -> str | None:
    """Return where an import's working tables go: ``DAYBREAK_STAGING_TABLESPACE``, None for where the database is."""
    return variables.STAGING_TABLESPACE.given()


def lock_seconds() -> int:
    """Return for how long to wait for a lock that somebody else holds: ``DAYBREAK_LOCK_SECONDS``.

    Raises:
        UsageError: it is no number of seconds.
    """
    return variables.LOCK_SECONDS.value()


def max_cell() -> int:
    """Return how many bytes one cell of a file may have: ``DAYBREAK_MAX_CELL``.

    Raises:
        UsageError: it is not such a size.
    """
    return variables.MAX_CELL.value()


def sensor_seconds() -> int:
    """Return how long a sensor may take: ``DAGSTER_SENSOR_GRPC_TIMEOUT_SECONDS``.

    Raises:
        UsageError: it is no number of seconds.
    """
    return variables.SENSOR_SECONDS.value()


def monitor_minutes() -> int:
    """Return how often the server is looked at: ``DAYBREAK_MONITOR_MINUTES``.

    Raises:
        UsageError: it is no number of minutes.
    """
    return variables.MONITOR_MINUTES.value()


def audit_months() -> int:
    """Return for how many months the audit trail is kept: ``DAYBREAK_AUDIT_MONTHS``, six years by default.

    Raises:
        UsageError: the variable is not a number of months.
    """
    return variables.AUDIT_TRAIL_MONTHS.value()


def ledger_months() -> int:
    """Return for how many months the ledger keeps imports that loaded nothing: ``DAYBREAK_LEDGER_MONTHS``.

    Raises:
        UsageError: the variable is not a number of months.
    """
    return variables.LEDGER_MONTHS.value()


def check_results_months() -> int:
    """Return for how many months results of checks are kept: ``DAYBREAK_CHECK_RESULTS_MONTHS``.

    Raises:
        UsageError: the variable is not a number of months.
    """
    return variables.CHECK_RESULTS_MONTHS.value()


def resolved_months() -> int:
    """Return for how many months resolved records and values are kept: ``DAYBREAK_RESOLVED_MONTHS``.

    Raises:
        UsageError: the variable is not a number of months.
    """
    return variables.RESOLVED_MONTHS.value()


def runs_days() -> int:
    """Return for how many days Dagster's runs are kept: ``DAYBREAK_RUNS_DAYS``.

    Raises:
        UsageError: the variable is not a number of days.
    """
    return variables.RUNS_DAYS.value()


def reports_days() -> int:
    """Return for how many days reports and traces are kept: ``DAYBREAK_REPORTS_DAYS``.

    Raises:
        UsageError: the variable is not a number of days.
    """
    return variables.REPORTS_DAYS.value()


def log_days() -> int:
    """Return for how many days the embedded server's log is kept: ``DAYBREAK_LOG_DAYS``.

    Raises:
        UsageError: the variable is not a number of days.
    """
    return variables.LOG_DAYS.value()


def slow_seconds() -> int:
    """Return how long a statement may take before the embedded server's log names it: ``DAYBREAK_SLOW_SECONDS``.

    Raises:
        UsageError: the variable is not a number of seconds.
    """
    return variables.SLOW_SECONDS.value()


def encryption_key() -> str:
    """Return ``ENCRYPTION_KEY`` as it is, empty where it is not set. ``privacy.keys`` decides whether it is good."""
    return variables.ENCRYPTION_KEY.given() or ""


def new_encryption_key() -> str:
    """Return ``NEW_ENCRYPTION_KEY`` as it is, empty where it is not set."""
    return variables.NEW_ENCRYPTION_KEY.given() or ""


def environment() -> str:
    """Return development, staging or production: ``DAYBREAK_ENV``, falling back to ``NODE_ENV``.

    Raises:
        UsageError: the variable holds another word.
    """
    return variables.ENVIRONMENT.given() or variables.NODE_ENV.value()


def executor() -> str:
    """Return how steps run, in_process or multiprocess: ``DAYBREAK_EXECUTOR``.

    Raises:
        UsageError: the variable holds another word.
    """
    return variables.EXECUTOR.value()


def staging_connections() -> int:
    """Return how many connections copy a large file at once: ``DAYBREAK_STAGING_CONNECTIONS``.

    Raises:
        UsageError: the variable is not a number of connections.
    """
    return variables.STAGING_CONNECTIONS.value()


def debug() -> bool:
    """Return whether the trace of an error is to be shown too: ``DAYBREAK_DEBUG``.

    Any other word means yes: this is read while an error is being reported, which another error would hide.
    """
    try:
        return variables.DEBUG.value()
    except UsageError:
        return True


def notify_socket() -> str:
    """Return where a service says that it is ready, ``NOTIFY_SOCKET``; empty outside of one."""
    return variables.NOTIFY_SOCKET.given() or ""


def journal_stream() -> str:
    """Return the device and inode of the journal's stream, ``JOURNAL_STREAM``; empty where there is none."""
    return variables.JOURNAL_STREAM.given() or ""


def has_display() -> bool:
    """Return whether the environment names a browser, or a display that one could show itself on."""
    return any(one.given() for one in variables.DISPLAYS.values())
