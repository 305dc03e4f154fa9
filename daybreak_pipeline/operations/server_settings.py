"""What the settings of a server mean for us, such as which of them leak the encryption key into its log.

All knowledge about server settings is here, one rule for each; ``daybreak doctor`` shows what they find. What keeps
migrations from being applied at all belongs to ``schema.preconditions``.

A rule sees the settings as an ordinary session of ``DB_USER`` has them. What it finds is bad where the key or bound
personal values get into the log, and advice where people may have reasons of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from daybreak_pipeline.privacy import roles

if TYPE_CHECKING:
    from daybreak_pipeline.database import Connection

Settings: TypeAlias = Mapping[str, str]
"""Names and values as ``pg_settings`` has them: durations in milliseconds, ``on`` and ``off``."""

_ROLES_CONNECTIONS = sum(role.connections or 0 for role in roles.ROLES)
_OWN_CONNECTIONS = 22  # of importer and Dagster; the server keeps three more for superusers
_MINUTE = 60_000
_SETTINGS = "SELECT name, setting FROM pg_settings WHERE setting IS NOT NULL"
_NAMES = "SELECT quote_ident(session_user), quote_ident(current_database())"


@dataclass(frozen=True)
class Judgement:
    """One setting that is not as it should be: what that means, and the one line that mends it.

    ``bad`` says that secrets get into the server's log; else this is advice.
    """

    setting: str
    meaning: str
    mend: str
    bad: bool = False

    def __str__(self) -> str:
        """Say it in one line."""
        return f"{self.meaning}: {self.mend}"


@dataclass(frozen=True)
class _Rule:
    """When a setting is wrong, and what to say then.

    ``{value}`` is put into ``meaning``, ``{user}`` and ``{database}`` into ``mend``.
    """

    setting: str
    wrong: Callable[[Settings], bool]
    meaning: str
    mend: str
    bad: bool = False


def judge(connection: Connection) -> list[Judgement]:
    """Return what is wrong with the server's settings, the bad first. One look; changes nothing.

    The connection must not hold the key: one that does is already protected as far as an ordinary user can do it.
    """
    settings: dict[str, str] = dict(connection.execute(_SETTINGS).fetchall())
    user, name = connection.execute(_NAMES).fetchone() or ("", "")
    found = [
        Judgement(
            rule.setting,
            rule.meaning.format(value=settings.get(rule.setting)),
            rule.mend.format(user=user, database=name),
            rule.bad,
        )
        for rule in _RULES
        if rule.wrong(settings)
    ]
    return sorted(found, key=lambda judgement: not judgement.bad)


def _number(settings: Settings, name: str, otherwise: float) -> float:
    return float(settings.get(name, otherwise))


def _logs_changes(settings: Settings) -> bool:
    return settings["log_statement"] in {"mod", "all"}


def _logs_statements(settings: Settings) -> bool:
    """Say whether statements that succeed are ever logged: by their kind, because they take long, or as a sample."""
    return (
        _logs_changes(settings)
        or _number(settings, "log_min_duration_statement", -1) >= 0
        or (
            _number(settings, "log_min_duration_sample", -1) >= 0
            and _number(settings, "log_statement_sample_rate", 1) > 0
        )
        or _number(settings, "log_transaction_sample_rate", 0) > 0
    )


def _logs_parameters(settings: Settings) -> bool:
    return _logs_statements(settings) and settings.get("log_parameter_max_length", "-1") != "0"


def _logs_errors(settings: Settings) -> bool:
    return settings["log_min_messages"] not in {"log", "fatal", "panic"}


def _explains(settings: Settings) -> bool:
    """Say whether auto_explain is loaded and logs plans."""
    return (
        _number(settings, "auto_explain.log_min_duration", -1) >= 0
        and _number(settings, "auto_explain.sample_rate", 1) > 0
    )


def _explains_parameters(settings: Settings) -> bool:
    """Say whether plans show parameters: in their columns, or beside them (from PostgreSQL 16, by default)."""
    return _explains(settings) and (
        settings.get("auto_explain.log_verbose") == "on"
        or settings.get("auto_explain.log_parameter_max_length", "0") != "0"
    )


def _positive(name: str, below: float = float("inf")) -> Callable[[Settings], bool]:
    """Say whether a limit, which 0 switches off, is set to less than this many milliseconds."""
    return lambda settings: 0 < _number(settings, name, 0) < below


def _few_connections(settings: Settings) -> bool:
    kept = sum(_number(settings, f"{kind}_connections", 0) for kind in ("superuser_reserved", "reserved"))
    return _number(settings, "max_connections", 0) - kept < _ROLES_CONNECTIONS + _OWN_CONNECTIONS


_OF_DATABASE = "as an administrator: ALTER DATABASE {database} SET"
_OF_USER = "ALTER ROLE {user} IN DATABASE {database} SET"
_RULES = (
    _Rule(
        "log_parameter_max_length",
        _logs_parameters,
        "the server logs statements with their parameters: personal values, and the encryption key",
        f"{_OF_DATABASE} log_parameter_max_length = 0",
        bad=True,
    ),
    _Rule(
        "log_parameter_max_length_on_error",
        lambda settings: (
            settings.get("log_parameter_max_length_on_error", "0") != "0" and _logs_errors(settings)
        ),
        "the server logs the parameters of an application's failed statements: personal values, and the encryption key",
        "ALTER DATABASE {database} SET log_parameter_max_length_on_error = 0",
        bad=True,
    ),
    _Rule(
        "auto_explain.log_min_duration",
        _explains_parameters,
        "auto_explain logs plans with the parameters of statements: personal values, and the encryption key",
        f"{_OF_DATABASE} auto_explain.log_min_duration = -1",
        bad=True,
    ),
    _Rule(
        "auto_explain.log_min_duration",
        lambda settings: _explains(settings) and not _explains_parameters(settings),
        "auto_explain logs plans with the values that they compare with, such as an e-mail address that is searched for",
        f"{_OF_DATABASE} auto_explain.log_min_duration = -1",
    ),
    _Rule(
        "log_statement",
        _logs_changes,
        "the server logs statements with the values that a client writes into their text",
        f"{_OF_DATABASE} log_statement = 'ddl'",
    ),
    _Rule(
        "log_min_duration_statement",
        lambda settings: _number(settings, "log_min_duration_statement", -1) >= 0,
        "the server logs slow statements with the values that a client writes into their text",
        f"{_OF_DATABASE} log_min_duration_statement = -1",
    ),
    _Rule(
        "log_min_error_statement",
        lambda settings: (
            _logs_errors(settings) and settings["log_min_error_statement"] not in {"log", "fatal", "panic"}
        ),
        "the server logs failed statements with the values that a client writes into their text",
        f"{_OF_DATABASE} log_min_error_statement = 'panic'",
    ),
    _Rule(
        "log_error_verbosity",
        lambda settings: _logs_errors(settings) and settings["log_error_verbosity"] != "terse",
        "the server logs the details of an error, which quote the row that was refused",
        f"{_OF_DATABASE} log_error_verbosity = 'terse'",
    ),
    _Rule(
        "data_checksums",
        lambda settings: settings.get("data_checksums") == "off",
        "a page that the disk has damaged is read as if it were whole",
        "stop the server and run pg_checksums --enable -D its data directory",
    ),
    _Rule(
        "statement_timeout",
        _positive("statement_timeout"),
        "an import is cut off, and its table left as it was, when a statement takes longer than {value} ms",
        f"{_OF_USER} statement_timeout = 0",
    ),
    _Rule(
        "transaction_timeout",
        _positive("transaction_timeout"),
        "an import is cut off, and its table left as it was, when the table takes longer than {value} ms",
        f"{_OF_USER} transaction_timeout = 0",
    ),
    _Rule(
        "idle_in_transaction_session_timeout",
        _positive("idle_in_transaction_session_timeout", _MINUTE),
        "an import is cut off when its files keep it waiting for {value} ms",
        f"{_OF_USER} idle_in_transaction_session_timeout = '10min'",
    ),
    _Rule(
        "max_connections",
        _few_connections,
        f"the roles may have {_ROLES_CONNECTIONS} connections at once, and importer and Dagster need some beside them",
        "as an administrator: ALTER SYSTEM SET max_connections = 100, and restart the server",
    ),
)
