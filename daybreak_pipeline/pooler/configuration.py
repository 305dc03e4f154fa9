"""What PgBouncer is told: pgbouncer.ini and userlist.txt in one directory, for transaction mode, SCRAM and TLS.

Nothing in them is a password in clear, and both are for the account that runs PgBouncer alone.
"""

from __future__ import annotations

import configparser
import contextlib
import re
from dataclasses import dataclass, field, replace
from pathlib import Path

from daybreak_pipeline import settings
from daybreak_pipeline.embedded_postgres import data_directory, programs
from daybreak_pipeline.embedded_postgres.programs import Account
from daybreak_pipeline.errors import UsageError
from daybreak_pipeline.pooler import certificate, console, users
from daybreak_pipeline.pooler.users import User
from daybreak_pipeline.runbooks import Runbook
from daybreak_pipeline.settings import DatabaseSettings, PoolerSettings

CONFIGURATION, USERS, LOG = "pgbouncer.ini", "userlist.txt", "pgbouncer.log"
_WRITTEN = "pgbouncer.directories"
"""In the home: the directories that were written to, one a line. Their lists of users follow the roles."""
_SYSTEM_ROOTS = (
    Path("/etc/ssl/certs/ca-certificates.crt"),
    Path("/etc/pki/tls/certs/ca-bundle.crt"),
    Path("/etc/ssl/cert.pem"),
)


@dataclass(frozen=True)
class Written:
    """A configuration as it was written: where, what clients connect to, and who cannot yet."""

    directory: Path
    through: DatabaseSettings
    missing: list[str] = field(default_factory=list)

    @property
    def file(self) -> Path:
        """What PgBouncer is started with."""
        return self.directory / CONFIGURATION


def write(db: DatabaseSettings, pooler: PoolerSettings, directory: Path, account: Account) -> Written:
    """Write everything that PgBouncer needs into a directory.

    Args:
        db: the database, by the login of the tables' owner.
        pooler: what the environment says of PgBouncer.
        directory: where to write; it is made.
        account: who runs PgBouncer.

    Raises:
        UsageError: it cannot be written, or the environment cannot be expressed.
    """
    db = _itself(db)
    found = users.read(db)
    try:
        if not directory.exists():  # one that was there, such as /etc/pgbouncer, keeps its owner
            programs.make_directories(directory.parent)
            directory.mkdir(mode=0o700)
            data_directory.give_to(account, directory)
        chain, key = pooler.certificate, pooler.key
        if pooler.self_signed:
            chain, key = map(str, certificate.provide(directory))
            for path in (Path(chain), Path(key)):
                data_directory.give_to(account, path)
        _write(account, directory / USERS, users.listed(found))
        _write(account, directory / CONFIGURATION, _text(db, pooler, directory, found, (chain, key)))
        _remember(directory)
    except OSError as error:
        msg = (
            f"cannot write {error.filename or directory}: {error.strerror}; {Runbook.FIRST_INSTALLATION.see}"
        )
        raise UsageError(msg) from None
    root = {"sslmode": "verify-full", "sslrootcert": chain if pooler.self_signed else ""}
    through = DatabaseSettings(
        pooler.host,
        pooler.port,
        db.name,
        db.user,
        db.password,
        **(root if chain else {"sslmode": "disable"}),
    )
    return Written(directory, through, users.missing(found))


def refresh(db: DatabaseSettings) -> list[Path]:
    """Write the lists of users again, where the roles' passwords have changed since; return the files.

    A PgBouncer that runs with one on this machine reads it at once.

    Raises:
        UsageError: one cannot be written.
    """
    texts = None
    changed = []
    for directory in _remembered():
        path = directory / USERS
        try:
            before, owner = path.read_text(encoding="utf-8"), path.stat()
            texts = users.listed(users.read(_itself(db))) if texts is None else texts
            if before != texts:
                _write(Account("", owner.st_uid, owner.st_gid), path, texts)
                with contextlib.suppress(OSError, ValueError, KeyError, configparser.Error):
                    console.reload(console.address(db, directory / CONFIGURATION))
                changed.append(path)
        except FileNotFoundError:
            continue
        except OSError as error:
            msg = (
                f"cannot write {path}: {error.strerror}; run daybreak pgbouncer config again; "
                f"{Runbook.ROTATE_KEYS_AND_PASSWORDS.see}"
            )
            raise UsageError(msg) from None
    return changed


def is_current(db: DatabaseSettings) -> bool | None:
    """Return whether the lists of users are as the roles are, None where none was written."""
    found = [directory / USERS for directory in _remembered() if (directory / USERS).exists()]
    if not found:
        return None
    wanted = users.listed(users.read(_itself(db)))
    try:
        return all(path.read_text(encoding="utf-8") == wanted for path in found)
    except OSError:
        return False


def _itself(db: DatabaseSettings) -> DatabaseSettings:
    """Return the server itself: where ``DB_HOST`` is a pooler already, Dagster's records go there."""
    server = settings.dagster_database(db)
    return replace(db, host=server.host, port=server.port)


def _text(
    db: DatabaseSettings, pooler: PoolerSettings, directory: Path, found: list[User], tls: tuple[str, str]
) -> str:
    """Return pgbouncer.ini."""
    settings_ = {
        "listen_addr": pooler.host,
        "listen_port": pooler.port,
        "unix_socket_dir": "",
        "pool_mode": "transaction",
        "default_pool_size": pooler.size,
        "max_client_conn": pooler.clients,
        "auth_type": "scram-sha-256",
        "auth_file": directory / USERS,
        # SHOW POOLS, SHOW STATS, RELOAD: in the database pgbouncer, for the owner of the tables.
        "admin_users": db.user,
        **_towards_clients(*tls),
        **_towards_server(db),
        "logfile": directory / LOG,
        "log_connections": 0,
        "log_disconnections": 0,
        "log_stats": 0,
    }
    limited = [
        f"{user.name} = max_user_connections={min(user.connections, pooler.size)}"
        for user in found
        if 0 <= user.connections < pooler.size and user.name != db.user
    ]
    # PgBouncer 1.18 takes no other names here. For those every database has to do, and who may enter which is the server's.
    named = re.fullmatch(r"[A-Za-z0-9_.-]+", db.name)
    target = f"host={_value(db.host)} port={db.port}" + (f" dbname={_value(db.name)}" if named else "")
    lines = [
        "; Written by daybreak. It is written again: change the settings instead (docs/settings.md).",
        "[databases]",
        f"{db.name if named else '*'} = {target}",
        "",
        "[users]",
        *limited,
        "",
        "[pgbouncer]",
        *(_line(name, value) for name, value in settings_.items()),
        "; Clients' start-up options are dropped, since PgBouncer would write refused ones into its log, with a key that",
        "; somebody put there. Settings go into the transaction.",
        "ignore_startup_parameters = extra_float_digits,options",
    ]
    return "\n".join(lines) + "\n"


def _towards_clients(chain: str, key: str) -> dict[str, object]:
    if not chain:
        return {"client_tls_sslmode": "disable"}
    return {"client_tls_sslmode": "require", "client_tls_cert_file": chain, "client_tls_key_file": key}


def _towards_server(db: DatabaseSettings) -> dict[str, object]:
    """Return how PgBouncer connects to the server: as we do."""
    if db.host.startswith(("/", "@")) or db.sslmode == "disable":
        return {"server_tls_sslmode": "disable"}
    root = db.sslrootcert
    if root == "system":
        root = next((str(path) for path in _SYSTEM_ROOTS if path.exists()), "")
        if not root:
            msg = (
                "PgBouncer needs a file of certificates, and this system's was not found: set DB_SSLROOTCERT to it; "
                f"{Runbook.FIRST_INSTALLATION.see}"
            )
            raise UsageError(msg)
    if not root and db.sslmode.startswith("verify"):
        root = str(Path("~/.postgresql/root.crt").expanduser())
    return {
        "server_tls_sslmode": db.sslmode,
        **({"server_tls_ca_file": root} if root else {}),
    }


def _line(name: str, value: object) -> str:
    return f"{name} = {_one_line(str(value))}".rstrip()


def _value(text: str) -> str:
    return f"'{_one_line(text).replace(chr(39), chr(39) * 2)}'"


def _one_line(text: str) -> str:
    if any(ord(character) < ord(" ") for character in text):
        msg = (
            "a name or path in the settings has a control character, which PgBouncer's configuration cannot have; "
            f"{Runbook.FIRST_INSTALLATION.see}"
        )
        raise UsageError(msg)
    return text


def _write(account: Account, path: Path, text: str) -> None:
    data_directory.write_file(path, text, like=path.parent)
    data_directory.give_to(account, path)


def _remember(directory: Path) -> None:
    """Note where a configuration is, so that its list of users follows the roles."""
    home = settings.home()
    lines = [str(one) for one in _remembered() if one != directory] + [str(directory)]
    programs.make_directories(home.parent)
    home.mkdir(mode=0o700, exist_ok=True)
    data_directory.write_file(home / _WRITTEN, "\n".join(lines) + "\n", like=home)


def _remembered() -> list[Path]:
    with contextlib.suppress(OSError):
        text = (settings.home() / _WRITTEN).read_text(encoding="utf-8", errors="surrogateescape")
        return [Path(line) for line in text.splitlines()]
    return []
