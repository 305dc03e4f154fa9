"""Every variable of the environment that the project reads, declared once: name, kind, default, meaning.

The page docs/settings.md is made of this, in this order. What is said of a variable is one or two plain sentences of Markdown.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from daybreak_pipeline.settings.kinds import (
    Address,
    Addresses,
    Certificates,
    Choice,
    Directory,
    Flag,
    HeaderName,
    Key,
    Number,
    OwnCertificate,
    Password,
    Place,
    Places,
    Port,
    PrivateKeyFile,
    Repository,
    Setting,
    Size,
    Text,
    Url,
)

PROJECT_ROOT = Path(__file__).resolve().parent.parent.parent
SAMPLE = PROJECT_ROOT / "data" / "sample"
DEFAULT_POOLER_HOST = "127.0.0.1"
DEFAULT_PORT = 5432
DEFAULT_POOLER_PORT = 6432
DEFAULT_DATABASE = "daybreak_health"
DAGSTER_DATABASE = "dagster"
DEFAULT_USER = "daybreak_importer"
DEFAULT_WEB_URL = "http://127.0.0.1:3000"
MOST_CONNECTIONS = 262143  # PostgreSQL's own bound
SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
AUDIT_MONTHS = 72
"""Six years: 45 CFR 164.316(b)(2)(i)."""
ENVIRONMENTS = ("development", "staging", "production")
EXECUTORS = ("in_process", "multiprocess")
WEB_LOGINS = ("token", "proxy", "none")
DRILLS = ("backup", "dump")

PLACES = "Where things are, and how files are read"
SERVER = "The server"
KEPT = "What is kept, and for how long"
POOLER = "PgBouncer"
BACKUPS = "Backups"
WEB = "The web UI"
TOLD = "Who is told"
OTHERS = "Variables of other programs"
SECTIONS = {
    PLACES: "",
    SERVER: "",
    KEPT: "`daybreak maintain` and a daily job drop what is older, but nothing that rows, checks or later imports depend on:",
    POOLER: "For `daybreak pgbouncer config` and `daybreak up --pgbouncer`:",
    BACKUPS: "Of the embedded server, made by pgBackRest where that is installed:",
    WEB: "",
    TOLD: "To hear of failed runs, of absent files and of failed checks of severity ERROR:",
    OTHERS: "These belong to others, and mean the same here:",
}
"""The sections of the page in their order, each with the sentence that it begins with."""

# --- Where things are ---------------------------------------------------------------------------------------

EXPORT_DIR = Place(
    "DAYBREAK_EXPORT_DIR",
    section=PLACES,
    meaning="Where the export is: a directory, or `s3://BUCKET/PREFIX`, also `gs://` and `az://`. `--data-dir` overrides it.",
    otherwise="`data/sample`",
)
EXPORT_ROOTS = Places(
    "DAYBREAK_EXPORT_ROOTS",
    section=PLACES,
    meaning=(
        "What else a run of the web UI may import from: these directories and all below them, besides the export. Commands "
        "read where they are told to."
    ),
    otherwise="nothing else",
)
HOME = Directory(
    "DAYBREAK_HOME",
    section=PLACES,
    meaning="State: the embedded server, its key, reports, traces.",
    otherwise=(
        "`.daybreak/` of the checkout, for root one directory for each checkout below `/var/lib/daybreak`"
    ),
)
SERVER_PROGRAMS = Directory(
    "DAYBREAK_PG_BIN",
    section=PLACES,
    meaning="The programs of PostgreSQL for the embedded server.",
    otherwise="what is found",
)
SETTLE_SECONDS = Number(
    "DAYBREAK_SETTLE_SECONDS",
    section=PLACES,
    meaning="For how long nothing must have been written to a file before it is imported by itself.",
    of="seconds",
    most=3600,
    default=10,
)
MAX_CELL = Size(
    "DAYBREAK_MAX_CELL",
    section=PLACES,
    meaning="How large one cell of a file may be. A record with a larger one is refused, and the others load.",
    most=128,
    default=64 << 20,
    otherwise="`64`",
)

# --- The server ---------------------------------------------------------------------------------------------

DAGSTER_HOST = Text(
    "DAYBREAK_DAGSTER_HOST",
    section=SERVER,
    meaning=(
        "Where Dagster keeps its own records. It cannot work through a pooler in transaction mode: where `DB_HOST` is one, "
        "this must be the server itself."
    ),
    otherwise="`DB_HOST`",
)
DAGSTER_PORT = Port(
    "DAYBREAK_DAGSTER_PORT", section=SERVER, meaning="The port of that server.", otherwise="`DB_PORT`"
)
DAGSTER_DB = Text(
    "DAYBREAK_DAGSTER_DB",
    section=SERVER,
    meaning="The database for Dagster's own records. Several environments on one server must not share one.",
    default=DAGSTER_DATABASE,
)
STAGING_TABLESPACE = Text(
    "DAYBREAK_STAGING_TABLESPACE",
    section=SERVER,
    meaning="The tablespace for what an import keeps in plain while it runs: working tables, and what sorts and joins write to "
    "disk. See [security](security.md#what-is-not-protected).",
    otherwise="where the database is",
)
LOCK_SECONDS = Number(
    "DAYBREAK_LOCK_SECONDS",
    section=SERVER,
    meaning="For how long an import waits for another one of the same table, for a rotation of the key, or for what an "
    "application has locked.",
    of="seconds",
    most=86_400,
    default=3600,
)

DB_HOST = Text(
    "DB_HOST",
    section=SERVER,
    meaning="The server. It is used as it is, and nothing is started.",
    otherwise="the embedded server",
)
DB_PORT = Port("DB_PORT", section=SERVER, meaning="The server's port.", default=DEFAULT_PORT)
DB_NAME = Text("DB_NAME", section=SERVER, meaning="The database on it.", default=DEFAULT_DATABASE)
DB_USER = Text("DB_USER", section=SERVER, meaning="Who logs in, and owns the tables.", default=DEFAULT_USER)
DB_PASSWORD = Password("DB_PASSWORD", section=SERVER, meaning="That user's password.", otherwise="none")
DB_SSLMODE = Choice(
    "DB_SSLMODE",
    section=SERVER,
    meaning=(
        "`verify-full` for anything but your own machine; `DB_HOST` must be a name in the server's certificate."
    ),
    choices=SSL_MODES,
    otherwise="`prefer`, with `DB_SSLROOTCERT` `verify-full`",
)
DB_SSLROOTCERT = Certificates(
    "DB_SSLROOTCERT",
    section=SERVER,
    meaning="The certificate of the server's authority; `system` for the system's own.",
    otherwise="`PGSSLROOTCERT`",
)
ENCRYPTION_KEY = Key(
    "ENCRYPTION_KEY",
    section=SERVER,
    meaning=(
        "Seals the personal data: `python3 -c 'import secrets; print(secrets.token_hex(32))'` makes one. Keep it safe: without "
        "it the personal data is lost."
    ),
    otherwise="the embedded server makes one, another server needs it",
)
NEW_ENCRYPTION_KEY = Key(
    "NEW_ENCRYPTION_KEY",
    section=SERVER,
    meaning="The next key, for `daybreak keys rotate` on a given server.",
    otherwise="none",
)
ENVIRONMENT = Choice(
    "DAYBREAK_ENV",
    section=SERVER,
    meaning="Which installation this is; the report says so.",
    choices=ENVIRONMENTS,
    otherwise="`NODE_ENV`",
)
DEBUG = Flag(
    "DAYBREAK_DEBUG",
    section=SERVER,
    meaning=(
        "`true` also shows the trace of an error in the pipeline itself; it has places and no values, and is kept in `errors` in "
        "`DAYBREAK_HOME`."
    ),
    default=False,
)
EXECUTOR = Choice(
    "DAYBREAK_EXECUTOR",
    section=SERVER,
    meaning="How steps run: `multiprocess` on big servers.",
    choices=EXECUTORS,
    default="in_process",
)
STAGING_CONNECTIONS = Number(
    "DAYBREAK_STAGING_CONNECTIONS",
    section=SERVER,
    meaning="How many connections copy a large file to the server at once; more than its processors are of no use.",
    of="connections",
    most=64,
    default=2,
)
MONITOR_MINUTES = Number(
    "DAYBREAK_MONITOR_MINUTES",
    section=SERVER,
    meaning="How often the server is looked at: sessions, sizes, WAL, the age of imports and backups.",
    of="minutes",
    most=59,
    default=10,
)
SLOW_SECONDS = Number(
    "DAYBREAK_SLOW_SECONDS",
    section=SERVER,
    meaning="The embedded server's log names statements of imports and checks that take so long, without any value.",
    of="seconds",
    most=86_400,
    default=5,
)


def role_variable(role: str, what: str) -> str:
    """Return the name of the variable that holds what belongs to a role, such as ``DAYBREAK_APP_PASSWORD``."""
    return f"{role.upper()}_{what}"


_LOGINS = ("daybreak_app", "daybreak_readonly", "daybreak_admin")
ROLE_PASSWORDS = {
    role: Password(
        role_variable(role, "PASSWORD"),
        section=SERVER,
        meaning=f"Lets the role `{role}` log in: see [your own server](own-server.md).",
        otherwise="none",
    )
    for role in _LOGINS
}
ROLE_CONNECTION_LIMITS = {
    role: Number(
        role_variable(role, "CONNECTION_LIMIT"),
        section=SERVER,
        meaning=f"How many connections the role `{role}` may have.",
        of="connections",
        most=MOST_CONNECTIONS,
        otherwise="as it is",
    )
    for role in _LOGINS
}

# --- What is kept -------------------------------------------------------------------------------------------

AUDIT_TRAIL_MONTHS = Number(
    "DAYBREAK_AUDIT_MONTHS",
    section=KEPT,
    meaning="For how long the audit trail is kept.",
    of="months",
    default=AUDIT_MONTHS,
)
LEDGER_MONTHS = Number(
    "DAYBREAK_LEDGER_MONTHS",
    section=KEPT,
    meaning="For how long the ledger keeps imports that loaded nothing: skipped and failed ones. Those that loaded a file stay.",
    of="months",
    default=24,
)
CHECK_RESULTS_MONTHS = Number(
    "DAYBREAK_CHECK_RESULTS_MONTHS",
    section=KEPT,
    meaning=(
        "For how long results of checks, and who was alerted, are kept. The newest results, and those that say since when a "
        "check fails, stay."
    ),
    of="months",
    default=24,
)
RESOLVED_MONTHS = Number(
    "DAYBREAK_RESOLVED_MONTHS",
    section=KEPT,
    meaning="For how long quarantined records and repaired values are kept after they were resolved. Open ones stay.",
    of="months",
    default=12,
)
RUNS_DAYS = Number(
    "DAYBREAK_RUNS_DAYS",
    section=KEPT,
    meaning="For how long Dagster's runs and their events are kept. Each asset's and each check's newest stay.",
    of="days",
    default=90,
)
REPORTS_DAYS = Number(
    "DAYBREAK_REPORTS_DAYS",
    section=KEPT,
    meaning="For how long reports and traces of errors in `DAYBREAK_HOME` are kept. The newest report stays.",
    of="days",
    default=90,
)
LOG_DAYS = Number(
    "DAYBREAK_LOG_DAYS",
    section=KEPT,
    meaning="For how long the embedded server's log is kept, which is in `postgres-log` in `DAYBREAK_HOME`.",
    of="days",
    default=30,
)

# --- PgBouncer ----------------------------------------------------------------------------------------------

POOL_SIZE = Number(
    "POOL_SIZE",
    section=POOLER,
    meaning="How many connections to the server PgBouncer keeps for each login. A lower limit of the role's own wins.",
    of="connections",
    most=MOST_CONNECTIONS,
    default=20,
)
MAX_CLIENTS = Number(
    "MAX_CLIENTS",
    section=POOLER,
    meaning="How many clients may be connected to PgBouncer at once.",
    of="clients",
    most=MOST_CONNECTIONS,
    default=100,
)
POOLER_HOST = Text(
    "DAYBREAK_POOLER_HOST",
    section=POOLER,
    meaning="A PgBouncer whose pools are to be watched: `DB_USER` must be one of its `stats_users`.",
    otherwise="the one that `daybreak up --pgbouncer` runs, while it does",
)
POOLER_PORT = Port(
    "DAYBREAK_POOLER_PORT", section=POOLER, meaning="The port of that PgBouncer.", default=DEFAULT_POOLER_PORT
)
PGBOUNCER_HOST = Text(
    "DAYBREAK_PGBOUNCER_HOST",
    section=POOLER,
    meaning="The address that PgBouncer listens on. Any but this machine's own needs a certificate.",
    default=DEFAULT_POOLER_HOST,
)
PGBOUNCER_PORT = Port(
    "DAYBREAK_PGBOUNCER_PORT",
    section=POOLER,
    meaning="The port that it listens on.",
    default=6432,
    otherwise="`6432`; `up` takes the next free one",
)
PGBOUNCER_CERT = OwnCertificate(
    "DAYBREAK_PGBOUNCER_CERT",
    section=POOLER,
    meaning="The certificate that PgBouncer shows to its clients, which then must use TLS; `self-signed` makes one for "
    "connections within this machine.",
    otherwise="no TLS, and connections from this machine only",
)
PGBOUNCER_CERT_KEY = PrivateKeyFile(
    "DAYBREAK_PGBOUNCER_CERT_KEY",
    section=POOLER,
    meaning="The private key of that certificate.",
    otherwise="none",
)
# --- Backups ------------------------------------------------------------------------------------------------

BACKUP_REPO = Repository(
    "DAYBREAK_BACKUP_REPO",
    section=BACKUPS,
    meaning="Where backups go, encrypted. `none` turns them off. A disk of its own, or S3, survives the loss of this one.",
    otherwise="beside the server's data, which does not survive the loss of that disk",
)
BACKUP_KEY = Key(
    "DAYBREAK_BACKUP_KEY",
    section=BACKUPS,
    meaning="Encrypts the backups. Keep it safe, and elsewhere: without it they cannot be read.",
    otherwise="one is made, in `backup.key` of `DAYBREAK_HOME`",
)
BACKUP_DAYS = Number(
    "DAYBREAK_BACKUP_DAYS",
    section=BACKUPS,
    meaning="For how long every moment can be restored. What is older is deleted with the next full backup.",
    of="days",
    most=3650,
    default=35,
)
BACKUP_QUEUE = Size(
    "DAYBREAK_BACKUP_QUEUE",
    section=BACKUPS,
    meaning=(
        "How much of the write-ahead log may wait for a repository that does not take it. Beyond it the log is given up, so "
        "that the disk does not fill up: moments are then missing until the next backup."
    ),
    least=64,
    most=1 << 20,
    default=4096 << 20,
    otherwise="`4096`",
)
DRILL_FROM = Choice(
    "DAYBREAK_DRILL_FROM",
    section=BACKUPS,
    meaning=(
        "What the drill restores: the newest `backup`, or a `dump` that it makes of a server whose backups are its provider's "
        "(`DB_HOST`). See [backups](backups.md#a-managed-server)."
    ),
    choices=DRILLS,
    default="backup",
)
BACKUP_S3_ENDPOINT = Text(
    "DAYBREAK_BACKUP_S3_ENDPOINT",
    section=BACKUPS,
    meaning="The S3 service's host name, and port if it is not 443.",
    otherwise="none",
)
BACKUP_S3_REGION = Text(
    "DAYBREAK_BACKUP_S3_REGION", section=BACKUPS, meaning="The bucket's region.", default="us-east-1"
)
BACKUP_S3_USER = Text(
    "DAYBREAK_BACKUP_S3_USER", section=BACKUPS, meaning="Who logs in to it: the access key.", otherwise="none"
)
BACKUP_S3_PASSWORD = Password(
    "DAYBREAK_BACKUP_S3_PASSWORD", section=BACKUPS, meaning="The secret that belongs to it.", otherwise="none"
)
BACKUP_S3_CA = Certificates(
    "DAYBREAK_BACKUP_S3_CA",
    section=BACKUPS,
    meaning="The certificate of the service's authority.",
    otherwise="the system's own",
)

# --- The web UI ---------------------------------------------------------------------------------------------

WEB_AUTH = Choice(
    "DAYBREAK_WEB_AUTH",
    section=WEB,
    meaning=(
        "Who is let in. `token`: who opens the link that `up` prints. `proxy`: whom a reverse proxy on this machine names; it "
        "needs `DAYBREAK_WEB_URL`. `none`: everybody who has an account here."
    ),
    choices=WEB_LOGINS,
    default="token",
)
WEB_PROXY_HEADER = HeaderName(
    "DAYBREAK_WEB_PROXY_HEADER",
    section=WEB,
    meaning="The header in which the proxy names the user. The proxy must drop it from what clients send.",
    default="X-Forwarded-User",
)

METRICS_TOKEN = Password(
    "DAYBREAK_METRICS_TOKEN",
    section=WEB,
    meaning=(
        "Lets Prometheus read `/metrics`, and nothing else, as `Authorization: Bearer …`: at least 20 random characters. See "
        "[monitoring](monitoring.md)."
    ),
    otherwise="only who is logged in may",
)

# --- Who is told --------------------------------------------------------------------------------------------

WEBHOOK_URL = Url(
    "DAYBREAK_WEBHOOK_URL",
    section=TOLD,
    meaning="Gets one message for each run (JSON with `text`, as Slack takes it).",
    otherwise="none",
    secret=True,
)
SMTP_HOST = Text(
    "DAYBREAK_SMTP_HOST", section=TOLD, meaning="The mail server: the same by mail.", otherwise="none"
)
SMTP_PORT = Port("DAYBREAK_SMTP_PORT", section=TOLD, meaning="The mail server's port.", default=587)
SMTP_FROM = Address(
    "DAYBREAK_SMTP_FROM", section=TOLD, meaning="Who sends the mail; needed for mail.", otherwise="none"
)
SMTP_TO = Addresses(
    "DAYBREAK_SMTP_TO", section=TOLD, meaning="Who gets the mail; needed for mail.", otherwise="none"
)
SMTP_USER = Text(
    "DAYBREAK_SMTP_USER", section=TOLD, meaning="Who logs in to the mail server.", otherwise="no login"
)
SMTP_PASSWORD = Password(
    "DAYBREAK_SMTP_PASSWORD", section=TOLD, meaning="That user's password.", otherwise="no login"
)
SMTP_STARTTLS = Flag(
    "DAYBREAK_SMTP_STARTTLS",
    section=TOLD,
    meaning="Whether the connection is encrypted. A password is sent over no other.",
    default=True,
)
WEB_URL = Url(
    "DAYBREAK_WEB_URL",
    section=TOLD,
    meaning="Begins the links in messages, and is the address of the web UI behind a proxy.",
    default=DEFAULT_WEB_URL,
    otherwise="where `up` serves the UI",
)

# --- Variables of other programs ----------------------------------------------------------------------------

NODE_ENV = Choice(
    "NODE_ENV",
    section=OTHERS,
    meaning="The application's word for `DAYBREAK_ENV`, read where that is not set.",
    choices=ENVIRONMENTS,
    default="development",
)
PGSSLROOTCERT = Certificates(
    "PGSSLROOTCERT",
    section=OTHERS,
    meaning="libpq's word for `DB_SSLROOTCERT`, read where that is not set.",
    otherwise="`~/.postgresql/root.crt`",
)
DAGSTER_HOME = Directory(
    "DAGSTER_HOME",
    section=OTHERS,
    meaning="Dagster's directory. One with a `dagster.yaml` of its own is used as it is.",
    otherwise="`dagster` in `DAYBREAK_HOME`",
)
SENSOR_SECONDS = Number(
    "DAGSTER_SENSOR_GRPC_TIMEOUT_SECONDS",
    section=OTHERS,
    meaning="How long a sensor may take under `daybreak up`: by default so long that a file of 100 GB can be hashed.",
    of="seconds",
    default=900,
)
NOTIFY_SOCKET = Text(
    "NOTIFY_SOCKET",
    section=OTHERS,
    meaning="systemd sets it for a service: where `daybreak up` says that it is ready.",
    otherwise="none",
)
JOURNAL_STREAM = Text(
    "JOURNAL_STREAM",
    section=OTHERS,
    meaning="systemd sets it for a service: what `daybreak up` and its processes print goes to the journal.",
    otherwise="`web.log` in `DAYBREAK_HOME`",
)
DISPLAYS = {
    name: Text(
        name,
        section=OTHERS,
        meaning="On Linux `daybreak report --open` shows the page if this or one of its like is set.",
        otherwise="none",
    )
    for name in ("BROWSER", "DISPLAY", "WAYLAND_DISPLAY")
}

_NAMED = [one for one in list(globals().values()) if isinstance(one, Setting)]
_FAMILIES = (ROLE_PASSWORDS, ROLE_CONNECTION_LIMITS, DISPLAYS)
SETTINGS: tuple[Setting[Any], ...] = (*_NAMED, *(one for family in _FAMILIES for one in family.values()))
"""All of the above."""
