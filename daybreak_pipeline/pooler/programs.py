"""PgBouncer's program: where it is, which version, and how to get it (``make pooler``)."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys

from daybreak_pipeline import settings
from daybreak_pipeline.embedded_postgres.bootstrap import provide_package
from daybreak_pipeline.errors import UsageError
from daybreak_pipeline.runbooks import Runbook

PACKAGE = "pgbouncer"
OLDEST = (1, 18)
_PLACES = ("/usr/sbin", "/usr/local/sbin", "/opt/homebrew/bin", "/usr/local/bin")
_SECONDS = 20
_HOW = (
    "run `make pooler` as root (Debian, Ubuntu), or install the package pgbouncer (Homebrew: `brew install pgbouncer`); "
    + Runbook.FIRST_INSTALLATION.see
)


def find() -> str | None:
    """Return PgBouncer's path, None where it is not installed."""
    return shutil.which(PACKAGE) or shutil.which(PACKAGE, path=os.pathsep.join(_PLACES))


def version(program: str) -> tuple[int, int] | None:
    """Return the version of a PgBouncer, None where it does not say it."""
    try:
        done = subprocess.run(
            [program, "--version"],
            env=settings.child_environment(LC_ALL="C"),
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = re.search(r"PgBouncer (\d+)\.(\d+)", done.stdout, re.IGNORECASE)
    return (int(found[1]), int(found[2])) if found else None


def require() -> str:
    """Return PgBouncer's path.

    Raises:
        UsageError: it is missing or too old, and how to get it.
    """
    program = find()
    if program is None:
        msg = f"PgBouncer is not installed: {_HOW}"
        raise UsageError(msg)
    found = version(program)
    if found is None or found < OLDEST:
        is_ = f"is version {found[0]}.{found[1]}" if found else "does not run"
        msg = f"{program} {is_}, and 1.18 or later is needed: {_HOW}"
        raise UsageError(msg)
    return program


def install() -> None:
    """Install PgBouncer where that is possible, and say so where it is not."""
    if not provide_package(PACKAGE, find):
        sys.stdout.write(f"no PgBouncer, so its tests are skipped: install the package {PACKAGE}\n")


if __name__ == "__main__":
    install()
