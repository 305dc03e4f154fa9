"""What the environment says: where state lives, where exports are, which server to use.

The one place that reads environment variables (the plan, "Required Environment Variables").
Nothing here opens a file or a connection.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from psycopg.conninfo import make_conninfo

from daybreak_pipeline.errors import UsageError

PROJECT_ROOT = Path(__file__).resolve().parent.parent
DEFAULT_PORT = 5432
DEFAULT_DATABASE = "daybreak_health"
DAGSTER_DATABASE = "dagster"
DEFAULT_USER = "daybreak_importer"
MOST_CONNECTIONS = 262143  # PostgreSQL's own bound
SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
AUDIT_MONTHS = 72
"""Six years: 45 CFR 164.316(b)(2)(i)."""
ENVIRONMENTS = ("development", "staging", "production")


@dataclass(frozen=True)
class DatabaseSettings:
    """One PostgreSQL database and how to log in to it.

    ``sslrootcert`` is the file with the certificates that the server's is checked against; empty for libpq's own
    default, ``~/.postgresql/root.crt``.
    """

    host: str
    port: int
    name: str
    user: str
    password: str
    sslmode: str = "prefer"
    sslrootcert: str = ""

    @property
    def is_local(self) -> bool:
        """Whether the server is on this machine, as far as its name tells: a socket, or a loopback address."""
        return self.host.startswith(("/", "@", "127.")) or self.host in {"localhost", "::1"}

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
        if self.sslrootcert:
            parameters["sslrootcert"] = self.sslrootcert
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
            "DB_SSLROOTCERT": self.sslrootcert,
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
    root = os.environ.get("DB_SSLROOTCERT", "")
    # Who names a root certificate wants it to be used, which only the verify modes do.
    sslmode = os.environ.get("DB_SSLMODE", "") or ("verify-full" if root else "prefer")
    if sslmode not in SSL_MODES:
        msg = f"DB_SSLMODE is not one of {', '.join(SSL_MODES)}"
        raise UsageError(msg)
    return DatabaseSettings(
        host=host,
        port=int(port),
        name=os.environ.get("DB_NAME", "") or DEFAULT_DATABASE,
        user=os.environ.get("DB_USER", "") or DEFAULT_USER,
        password=os.environ.get("DB_PASSWORD", ""),
        sslmode=sslmode,
        sslrootcert=_absolute(root or os.environ.get("PGSSLROOTCERT", "")),
    )


def _absolute(certificate: str) -> str:
    """Return a path that child processes understand as well; ``system`` is libpq's word for the system's own."""
    return certificate if certificate in {"", "system"} else str(Path(certificate).expanduser().absolute())


@dataclass(frozen=True)
class RoleLogin:
    """What the environment says of a database role: its password, and how many connections it may have."""

    password: str = field(repr=False)
    connections: int | None


def role_login(role: str) -> RoleLogin:
    """Return password and connection limit of a role; empty and None where the environment has none.

    Raises:
        UsageError: the limit is no number of connections.
    """
    variable = role_variable(role, "CONNECTION_LIMIT")
    limit = os.environ.get(variable, "")
    if limit and not (limit.isascii() and limit.isdecimal() and 0 < int(limit) <= MOST_CONNECTIONS):
        msg = f"{variable} is not a number of connections: set it to a number from 1 to {MOST_CONNECTIONS}"
        raise UsageError(msg)
    return RoleLogin(os.environ.get(role_variable(role, "PASSWORD"), ""), int(limit) if limit else None)


def role_variable(role: str, what: str) -> str:
    """Return the name of the variable that holds what belongs to a role, such as ``DAYBREAK_APP_PASSWORD``."""
    return f"{role.upper()}_{what}"


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


def debug() -> bool:
    """Return whether the trace of an error is to be shown too: ``DAYBREAK_DEBUG``."""
    return os.environ.get("DAYBREAK_DEBUG", "").lower() not in {"", "0", "false", "no"}


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


DEFAULT_WEB_URL = "http://127.0.0.1:3000"
_SETTLE_SECONDS = (1, 3600, 10)
_SMTP_PORT = 587


def settle_seconds() -> int:
    """Return for how long a file must not have been written to before it is imported by itself:
    ``DAYBREAK_SETTLE_SECONDS``, from 1 to 3600, default 10.

    Raises:
        UsageError: it is no such number.
    """
    least, most, default = _SETTLE_SECONDS
    given = os.environ.get("DAYBREAK_SETTLE_SECONDS", "") or str(default)
    if not given.isdecimal() or not least <= int(given) <= most:
        msg = f"DAYBREAK_SETTLE_SECONDS is not a number of seconds from {least} to {most}"
        raise UsageError(msg)
    return int(given)


@dataclass(frozen=True)
class MailSettings:
    """A mail server, and from whom to whom failures are told."""

    host: str
    port: int
    sender: str
    recipients: tuple[str, ...]
    starttls: bool
    user: str = ""
    password: str = field(default="", repr=False)


@dataclass(frozen=True)
class NotifierSettings:
    """Where failures are told, besides the log. A webhook's URL is a secret: whoever has it can post."""

    web_url: str
    webhook_url: str = field(default="", repr=False)
    mail: MailSettings | None = None

    def __str__(self) -> str:
        """Say who hears of failures, without any secret."""
        heard = [f"webhook at {urlsplit(self.webhook_url).hostname}"] if self.webhook_url else []
        if self.mail:
            heard.append(
                f"mail to {', '.join(self.mail.recipients)} through {self.mail.host}:{self.mail.port}"
            )
        return (
            " and ".join(heard)
            or "log only: set DAYBREAK_WEBHOOK_URL or DAYBREAK_SMTP_HOST to hear of failures"
        )


def notifier() -> NotifierSettings:
    """Return where failures are told: ``DAYBREAK_WEBHOOK_URL``, ``DAYBREAK_SMTP_HOST`` and the other
    ``DAYBREAK_SMTP_*`` variables; links in messages begin with ``DAYBREAK_WEB_URL``.

    Raises:
        UsageError: a variable cannot be used; the message does not repeat a secret.
    """
    return NotifierSettings(
        web_url=(_url("DAYBREAK_WEB_URL") or DEFAULT_WEB_URL).rstrip("/"),
        webhook_url=_url("DAYBREAK_WEBHOOK_URL"),
        mail=_mail(),
    )


def _url(variable: str) -> str:
    given = os.environ.get(variable, "")
    if not given:
        return ""
    try:
        parts = urlsplit(given)
        good = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if not good or any(character.isspace() for character in given):
        msg = f"{variable} is not a URL that begins with http:// or https:// and a host"
        raise UsageError(msg)
    return given


def _mail() -> MailSettings | None:
    host, user, password, sender, to, port, starttls = (
        os.environ.get(f"DAYBREAK_SMTP_{name}", "").strip()
        for name in ("HOST", "USER", "PASSWORD", "FROM", "TO", "PORT", "STARTTLS")
    )
    if not host:
        if sender or to or user:
            msg = "DAYBREAK_SMTP_HOST is not set, other DAYBREAK_SMTP_ variables are: set it to the mail server's name"
            raise UsageError(msg)
        return None
    recipients = tuple(address.strip() for address in to.split(",") if address.strip())
    if not sender or not recipients or not all(_is_address(address) for address in (sender, *recipients)):
        msg = "DAYBREAK_SMTP_FROM and DAYBREAK_SMTP_TO are not mail addresses (several in TO: with commas)"
        raise UsageError(msg)
    port = port or str(_SMTP_PORT)
    if not port.isdecimal() or not 0 < int(port) < 65536:  # noqa: PLR2004 - the range of TCP ports
        msg = "DAYBREAK_SMTP_PORT is not a port number: set it to a number from 1 to 65535"
        raise UsageError(msg)
    if starttls.lower() not in {"", "true", "false", "1", "0", "yes", "no"}:
        msg = "DAYBREAK_SMTP_STARTTLS is not true or false"
        raise UsageError(msg)
    if bool(user) != bool(password):
        msg = "DAYBREAK_SMTP_USER and DAYBREAK_SMTP_PASSWORD are only of use together"
        raise UsageError(msg)
    encrypted = starttls.lower() not in {"false", "0", "no"}
    if user and not encrypted:
        msg = "DAYBREAK_SMTP_PASSWORD would be sent unencrypted: leave DAYBREAK_SMTP_STARTTLS on, or the password out"
        raise UsageError(msg)
    return MailSettings(host, int(port), sender, recipients, encrypted, user, password)


def _is_address(text: str) -> bool:
    name, _, domain = text.rpartition("@")
    return bool(name and domain) and not any(character.isspace() or character in "<>,;" for character in text)
