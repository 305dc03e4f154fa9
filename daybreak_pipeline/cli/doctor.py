"""``daybreak doctor``: looks at everything that ``up`` and ``import`` need, and says how to fix what is missing."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass

import click
from rich.text import Text

from daybreak_pipeline import database, settings
from daybreak_pipeline.backups import health
from daybreak_pipeline.cli.common import USAGE_EXIT, Command, data_dir_option
from daybreak_pipeline.cli.output import console
from daybreak_pipeline.cli.screen import line, styled
from daybreak_pipeline.embedded_postgres import programs
from daybreak_pipeline.errors import DaybreakError
from daybreak_pipeline.importer import find
from daybreak_pipeline.locations import Location
from daybreak_pipeline.operations import server_settings
from daybreak_pipeline.orchestration import webserver
from daybreak_pipeline.pooler import configuration as pooler_configuration
from daybreak_pipeline.pooler import programs as pooler_programs
from daybreak_pipeline.privacy import audit, binding, keys, plain_values, read_log, role_limits, roles
from daybreak_pipeline.runbooks import Runbook
from daybreak_pipeline.schema import extensions, preconditions, runner
from daybreak_pipeline.tables import TABLES

_SHOWN_FILES = 3


@click.command(cls=Command, looks_at_settings=False, exits={2: "something is missing"})
@data_dir_option
def doctor(data_dir: Location | None) -> None:
    """Look at everything that is needed, and say what is missing."""
    screen = console()
    findings = examine(data_dir or settings.export_dir())
    for finding in findings:
        screen.print(line(_mark(finding), f" {finding.subject}: {finding.text}"), soft_wrap=True)
    sys.exit(0 if all(finding.good for finding in findings) else USAGE_EXIT)


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at. ``advice`` marks what works but could be better."""

    subject: str
    good: bool
    text: str
    advice: bool = False


def _mark(finding: Finding) -> Text:
    if not finding.good:
        return styled("missing", "red")
    return styled("advice ", "yellow") if finding.advice else styled("ok     ", "green")


def examine(export: Location) -> list[Finding]:
    """Return findings on Python, server, login, schema, key and export. Changes nothing but starts the server."""
    findings = [
        Finding("python", sys.version_info >= (3, 11), ".".join(map(str, sys.version_info[:3]))),
        _tried("environment", settings.environment),
        _tried("alerts", lambda: str(settings.notifier())),
        _tried("files at rest", lambda: f"after {settings.settle_seconds()} s without a write"),
        _tried("state", lambda: str(settings.home())),
        _export(export),
        _tried("web port", lambda: str(webserver.free_port())),
        _tried("web login", lambda: settings.web().auth),
        _tried("pgbouncer", _pgbouncer),
    ]
    if settings.given_database() is None:
        findings.append(_tried("server programs", lambda: str(programs.find())))
    findings += _server()
    told = "\n".join(finding.text for finding in findings)
    wrong = [Finding("settings", good=False, text=fault) for fault in settings.faults() if fault not in told]
    unknown = [Finding("settings", good=True, text=line, advice=True) for line in settings.unknown()]
    return [*_environment(), *wrong, *unknown, *findings]


def _environment() -> list[Finding]:
    """Show what this installation is made of: each variable that is set, and no secret."""
    others = Finding("settings", good=True, text="all others have their defaults (docs/settings.md)")
    return [*(Finding("settings", good=True, text=line) for line in settings.given()), others]


def _server() -> list[Finding]:
    try:
        with database.serving() as db:
            findings = [_tried("key", lambda: "32 bytes" if keys.load() else "")]
            with database.connect(db) as connection:
                version = database.value(connection, "SHOW server_version")
                findings.append(
                    Finding(
                        "server",
                        good=True,
                        text=f"PostgreSQL {version} at {db.host}:{db.port}",
                    )
                )
                findings.append(_pooler(db, pooled=database.is_pooled(connection)))
                findings += _pooler_users(db)
                findings.append(_tls(db, connection))
                findings.append(_backups(connection))
                conditions = _preconditions(connection)
                findings += [*conditions, *_settings(connection)]
                if not all(condition.good for condition in conditions):
                    return findings  # without these nothing else can be examined: the tables may be another role's
                applied = runner.current_revision(connection)
            newest = runner.newest_revision()
            hint = "" if applied == newest else f", newest is {newest}: run daybreak migrate up"
            findings.append(Finding("schema", applied == newest, f"migration {applied or 'none'}{hint}"))
            findings.append(_tried("importer", lambda: _importer(db)))
            if applied == newest:
                with database.connect(db) as connection:
                    findings.append(_roles(connection))
                    findings.append(_role_limits(connection))
            if applied == newest and findings[0].good:
                findings.append(_tried("key fits the database", lambda: _key_fits(db)))
            if applied == newest:
                findings.append(_tried("audit trail", lambda: _recorded(db)))
                with database.connect(db) as connection:
                    findings += [_reads(connection), _bound(connection)]
                findings.append(_tried("personal values", lambda: _sealed(db)))
            return findings
    except DaybreakError as error:
        return [Finding("server", good=False, text=str(error))]


def _pooler(db: settings.DatabaseSettings, *, pooled: bool) -> Finding:
    """Report whether a pooler is in between. Everything but Dagster's own records works through one."""
    storage = settings.dagster_database(db)
    if not pooled:
        return Finding("pooler", good=True, text="none between here and the server")
    if (storage.host, storage.port) == (db.host, db.port):
        text = (
            "there is one, and Dagster cannot keep its records through it: set DAYBREAK_DAGSTER_HOST and "
            "DAYBREAK_DAGSTER_PORT to the server"
        )
        return Finding("pooler", good=False, text=text)
    return Finding(
        "pooler", good=True, text=f"there is one; Dagster's records go to {storage.host}:{storage.port}"
    )


def _pgbouncer() -> str:
    """Say which PgBouncer there is. Nothing but ``up --pgbouncer`` needs one."""
    pools = settings.pooler()
    if pooler_programs.find() is None:
        return "not installed, and only daybreak up --pgbouncer needs it: run make pooler"
    program = pooler_programs.require()
    version = ".".join(map(str, pooler_programs.version(program) or ()))
    return f"{version} at {program}, {pools.size} connections for each login, at most {pools.clients} clients"


def _pooler_users(db: settings.DatabaseSettings) -> list[Finding]:
    """Say whether the lists of users that were written for PgBouncer are as the roles are."""
    current = pooler_configuration.is_current(db)
    if current is None:
        return []
    text = (
        "as the roles are"
        if current
        else (
            f"older than the roles' passwords: run daybreak pgbouncer config; {Runbook.ROTATE_KEYS_AND_PASSWORDS.see}"
        )
    )
    return [Finding("pgbouncer users", current, text)]


def _preconditions(connection: database.Connection) -> list[Finding]:
    """Say what would keep migrations from being applied, and where the extensions are."""
    found = preconditions.obstacles(connection)
    if found:
        return [Finding(obstacle.subject, good=False, text=str(obstacle)) for obstacle in found]
    needed = extensions.needed(connection)
    places = ", ".join(
        f"{one.name} in {one.schema}" if one.schema else f"{one.name} can be made" for one in needed
    )
    return [Finding("extensions", good=True, text=places)]


def _settings(connection: database.Connection) -> list[Finding]:
    """Report the server's settings that should be different."""
    judged = server_settings.judge(connection)
    if not judged:
        return [
            Finding("server settings", good=True, text="none lets values into the log or gets in the way")
        ]
    return [Finding(one.setting, good=not one.bad, text=str(one), advice=True) for one in judged]


def _tls(db: settings.DatabaseSettings, connection: database.Connection) -> Finding:
    """Report whether others could listen, or pose as the server. On this machine nobody is in between."""
    encrypted = bool(connection.pgconn.ssl_in_use)
    if db.is_local:
        return Finding("tls", good=True, text="on" if encrypted else "off; the server is on this machine")
    if not encrypted and database.value(connection, "SHOW ssl") == "off":
        text = "off: as an administrator turn on ssl in the server's configuration, then set DB_SSLMODE=verify-full"
        return Finding("tls", good=False, text=text)
    if not encrypted:
        return Finding("tls", good=False, text="off: set DB_SSLMODE=verify-full and DB_SSLROOTCERT")
    if db.sslmode != "verify-full":
        text = f"on, but DB_SSLMODE={db.sslmode} trusts whoever answers: set DB_SSLMODE=verify-full"
        return Finding("tls", good=False, text=text)
    return Finding("tls", good=True, text="on, the server's certificate is verified")


def _backups(connection: database.Connection) -> Finding:
    """Report whether the data could be restored. A developer's machine may do without backups, production may not."""
    found = health.judge(connection)
    return Finding("backups", found.good, found.text, advice=found.advice)


def _importer(db: settings.DatabaseSettings) -> str:
    roles.require_importer(db)
    return db.user


def _roles(connection: database.Connection) -> Finding:
    current = roles.is_current(connection)
    missing = "missing, or not as they should be: run daybreak roles apply"
    return Finding("roles", current, "all there, grants complete" if current else missing)


def _role_limits(connection: database.Connection) -> Finding:
    """Report what a role has set for itself. What the server leaves open is reported too, but is not a failure."""
    tampered = role_limits.tampered(connection)
    if tampered:
        text = f"{'; '.join(tampered)}: find out who did that, then run daybreak roles apply"
        return Finding("role limits", good=False, text=text)
    open_ = role_limits.left_open(connection)
    return Finding("role limits", good=True, text="; ".join(["as they should be", *open_]))


def _key_fits(db: settings.DatabaseSettings) -> str:
    with database.connect(db, key=keys.load()) as connection:
        keys.verify(connection)
    return "yes"


def _recorded(db: settings.DatabaseSettings) -> str:
    with database.connect(db) as connection:
        audit.require_whole(connection)
    return "changes of every table are recorded"


def _reads(connection: database.Connection) -> Finding:
    """Say whether the server logs reads by SQL. Many servers lack pgaudit: that is reported, but is not a failure."""
    found = read_log.state(connection)
    return Finding("reads", found.good, found.describe())


def _bound(connection: database.Connection) -> Finding:
    """Say whether every sealed value is bound to its column. One that is not can still be read."""
    unbound = binding.unbound(connection)
    if not unbound:
        return Finding("sealed values", good=True, text="bound to their columns")
    text = f"those of {', '.join(unbound)} are not all bound to their columns yet: run daybreak keys bind"
    return Finding("sealed values", good=True, text=text, advice=True)


def _sealed(db: settings.DatabaseSettings) -> str:
    with database.connect(db) as connection:
        plain_values.require_none(connection)
    return "none is stored in plain, and every table refuses one"


def _export(export: Location) -> Finding:
    try:
        find.check_export(export)
    except DaybreakError as error:
        return Finding("export", good=False, text=str(error))
    missing = []
    for table in TABLES.values():
        try:
            find.find(export, table)
        except DaybreakError:
            missing.append(table.name)
    found = f"{len(TABLES) - len(missing)} of {len(TABLES)} files in {export}"
    unknown = "".join(f"; {one}" for one in find.unknown(export)[:_SHOWN_FILES])
    none = f", none for {', '.join(missing)}" if missing else ""
    return Finding("export", not missing, found + none + unknown)


def _tried(subject: str, look: Callable[[], str]) -> Finding:
    try:
        return Finding(subject, good=True, text=look())
    except DaybreakError as error:
        return Finding(subject, good=False, text=str(error))
