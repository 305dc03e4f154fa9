"""What the settings of a server mean for us, such as which of them leak the encryption key into its log.

They are also the list of what a server should log and count, so that whoever is on call finds out what was slow.

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
from daybreak_pipeline.runbooks import Runbook

if TYPE_CHECKING:
    from daybreak_pipeline.database import Connection

Settings: TypeAlias = Mapping[str, str]
"""Names and values as ``pg_settings`` has them: durations in milliseconds, ``on`` and ``off``."""

_ROLES_CONNECTIONS = sum(role.connections or 0 for role in roles.ROLES)
_OWN_CONNECTIONS = 22  # of importer and Dagster; the server keeps three more for superusers
_MINUTE = 60_000
_SETTINGS = """
    SELECT name, setting FROM pg_settings WHERE setting IS NOT NULL
    UNION ALL
    SELECT 'is_superuser', current_setting('is_superuser')
    UNION ALL
    SELECT 'daybreak.slow_statements', current_setting('daybreak.slow_statements', true)
    WHERE current_setting('daybreak.slow_statements', true) <> ''
    UNION ALL
    SELECT 'extension pg_stat_statements', extversion FROM pg_extension WHERE extname = 'pg_stat_statements'
"""
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
    page: Runbook | None = None

    def __str__(self) -> str:
        """Say it in one line."""
        see = f"; {self.page.see}" if self.page else ""
        return f"{self.meaning}: {self.mend}{see}"


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
    page: Runbook | None = None


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
            rule.page,
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


def _names_no_slow_statement(settings: Settings) -> bool:
    """Say whether our own slow statements stay unknown. PostgreSQL 14 lets only superusers ask for them."""
    can_be = _number(settings, "server_version_num", 0) >= _VERSION_15 or settings.get("is_superuser") == "on"
    return can_be and "daybreak.slow_statements" not in settings


def _counts_no_statements(settings: Settings) -> bool:
    return not {"pg_stat_statements.max", "extension pg_stat_statements"} <= settings.keys()


def _never_rotates(settings: Settings) -> bool:
    """Say whether the server writes a log file of its own, and the same one for ever."""
    return settings.get("logging_collector") == "on" and all(
        _number(settings, f"log_rotation_{limit}", 1) == 0 for limit in ("age", "size")
    )


def _few_connections(settings: Settings) -> bool:
    kept = sum(_number(settings, f"{kind}_connections", 0) for kind in ("superuser_reserved", "reserved"))
    return _number(settings, "max_connections", 0) - kept < _ROLES_CONNECTIONS + _OWN_CONNECTIONS


_VERSION_15 = 150000
_OF_SERVER = "as an administrator: ALTER SYSTEM SET {setting}, then SELECT pg_reload_conf()"
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
    # What the log and the statistics should say, for whoever looks for the reason of a slow or stuck server.
    _Rule(
        "pg_stat_statements",
        _counts_no_statements,
        "nobody can find out which statements are slow",
        "as an administrator: add pg_stat_statements to shared_preload_libraries, restart the server, and in database "
        "{database} run CREATE SCHEMA statements; CREATE EXTENSION pg_stat_statements SCHEMA statements; "
        "GRANT USAGE ON SCHEMA statements TO pg_monitor",
        page=Runbook.SLOW_OR_STUCK,
    ),
    _Rule(
        "pg_stat_statements.track_utility",
        lambda settings: settings.get("pg_stat_statements.track_utility") == "on",
        "pg_stat_statements keeps CREATE ROLE … PASSWORD and its like as they were written",
        f"{_OF_DATABASE} pg_stat_statements.track_utility = off",
        page=Runbook.SLOW_OR_STUCK,
    ),
    _Rule(
        "daybreak.slow_statements",
        _names_no_slow_statement,
        "the server's log does not name slow statements of imports",
        "as an administrator: GRANT SET ON PARAMETER log_min_duration_statement TO {user}; ALTER DATABASE {database} SET "
        "log_parameter_max_length = 0; ALTER DATABASE {database} SET daybreak.slow_statements = '5s'",
        page=Runbook.SLOW_OR_STUCK,
    ),
    _Rule(
        "log_lock_waits",
        lambda settings: settings.get("log_lock_waits") == "off",
        "the server's log does not say who waits for a lock",
        f"{_OF_DATABASE} log_lock_waits = on",
        page=Runbook.SLOW_OR_STUCK,
    ),
    _Rule(
        "log_temp_files",
        lambda settings: _number(settings, "log_temp_files", 0) < 0,
        "the server's log does not say which sorts and joins go to disk",
        f"{_OF_DATABASE} log_temp_files = '64MB'",
        page=Runbook.SLOW_OR_STUCK,
    ),
    _Rule(
        "log_checkpoints",
        lambda settings: settings.get("log_checkpoints") == "off",
        "the server's log does not say when checkpoints slow it down",
        _OF_SERVER.format(setting="log_checkpoints = on"),
        page=Runbook.SLOW_OR_STUCK,
    ),
    _Rule(
        "log_autovacuum_min_duration",
        lambda settings: _number(settings, "log_autovacuum_min_duration", 0) < 0,
        "the server's log does not say what autovacuum does",
        _OF_SERVER.format(setting="log_autovacuum_min_duration = '10min'"),
        page=Runbook.SLOW_OR_STUCK,
    ),
    _Rule(
        "log_rotation_age",
        _never_rotates,
        "the server writes one log file for ever, until the disk is full",
        _OF_SERVER.format(setting="log_rotation_age = '1d'"),
        page=Runbook.DISK_FULL,
    ),
)
