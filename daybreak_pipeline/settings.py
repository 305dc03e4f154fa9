"""What the environment says: where state lives, where exports are, which server to use.

The one place that reads environment variables (the plan, "Required Environment Variables").
Nothing here opens a file or a connection.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from psycopg.conninfo import make_conninfo

from daybreak_pipeline.errors import UsageError

PROJECT_ROOT = Path(__file__).resolve().parent.parent
DEFAULT_PORT = 5432
DEFAULT_DATABASE = "daybreak_health"
DAGSTER_DATABASE = "dagster"
SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
AUDIT_MONTHS = 72
"""Six years: 45 CFR 164.316(b)(2)(i)."""
ENVIRONMENTS = ("development", "staging", "production")


@dataclass(frozen=True)
class DatabaseSettings:
    """One PostgreSQL database and how to log in to it."""

    host: str
    port: int
    name: str
    user: str
    password: str
    sslmode: str = "prefer"

    def conninfo(self, **overrides: str | int) -> str:
        """Return a libpq connection string; keyword arguments are further libpq parameters."""
        parameters: dict[str, str | int] = {
            "host": self.host,
            "port": self.port,
            "dbname": self.name,
            "user": self.user,
            "password": self.password,
            "sslmode": self.sslmode,
            "application_name": "daybreak",
            "connect_timeout": 10,
        }
        return make_conninfo("", **(parameters | overrides))

    def environment(self) -> dict[str, str]:
        """Return the ``DB_*`` variables that describe this database (for child processes)."""
        return {
            "DB_HOST": self.host,
            "DB_PORT": str(self.port),
            "DB_NAME": self.name,
            "DB_USER": self.user,
            "DB_PASSWORD": self.password,
            "DB_SSLMODE": self.sslmode,
        }

    def __repr__(self) -> str:
        """Describe the database without the password."""
        return f"DatabaseSettings({self.user}@{self.host}:{self.port}/{self.name})"


def given_database() -> DatabaseSettings | None:
    """Return the server that ``DB_HOST`` names, or None when the embedded one is to be used.

    Raises:
        UsageError: a ``DB_*`` variable cannot be used.
    """
    host = os.environ.get("DB_HOST", "")
    if not host:
        return None
    port = os.environ.get("DB_PORT", "") or str(DEFAULT_PORT)
    if not port.isdecimal() or not 0 < int(port) < 65536:  # noqa: PLR2004 - the range of TCP ports
        msg = "DB_PORT is not a port number: set it to a number from 1 to 65535"
        raise UsageError(msg)
    sslmode = os.environ.get("DB_SSLMODE", "") or "prefer"
    if sslmode not in SSL_MODES:
        msg = f"DB_SSLMODE is not one of {', '.join(SSL_MODES)}"
        raise UsageError(msg)
    return DatabaseSettings(
        host=host,
        port=int(port),
        name=os.environ.get("DB_NAME", "") or DEFAULT_DATABASE,
        user=os.environ.get("DB_USER", "") or "daybreak_app",
        password=os.environ.get("DB_PASSWORD", ""),
        sslmode=sslmode,
    )


def home() -> Path:
    """Return the directory for state: ``DAYBREAK_HOME``, ``.daybreak/`` of the checkout, or for root
    one directory for each checkout below ``/var/lib/daybreak`` (see ADR 0003).
    """
    given = os.environ.get("DAYBREAK_HOME", "")
    if given:
        return Path(given).expanduser().absolute()
    if os.geteuid() == 0:
        checkout = hashlib.sha256(os.fsencode(PROJECT_ROOT)).hexdigest()[:12]
        return Path("/var/lib/daybreak") / checkout
    return PROJECT_ROOT / ".daybreak"


def export_dir() -> Path:
    """Return the directory that holds the export: ``DAYBREAK_EXPORT_DIR`` or the sample."""
    given = os.environ.get("DAYBREAK_EXPORT_DIR", "")
    return Path(given).expanduser().absolute() if given else PROJECT_ROOT / "data" / "sample"


def environment() -> str:
    """Return development, staging or production: ``DAYBREAK_ENV``, falling back to ``NODE_ENV``.

    Raises:
        UsageError: the variable holds another word.
    """
    name = os.environ.get("DAYBREAK_ENV") or os.environ.get("NODE_ENV") or "development"
    if name not in ENVIRONMENTS:
        msg = f"DAYBREAK_ENV is not one of {', '.join(ENVIRONMENTS)}"
        raise UsageError(msg)
    return name


def audit_months() -> int:
    """Return for how many months the audit trail is kept: ``DAYBREAK_AUDIT_MONTHS``, six years by default.

    Raises:
        UsageError: the variable is not a number of months.
    """
    text = os.environ.get("DAYBREAK_AUDIT_MONTHS", "") or str(AUDIT_MONTHS)
    if not text.isascii() or not text.isdecimal() or int(text) < 1:
        msg = "DAYBREAK_AUDIT_MONTHS is not a number of months: set it to 1 or more, or leave it out for 72"
        raise UsageError(msg)
    return int(text)
