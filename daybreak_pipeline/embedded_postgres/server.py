"""The embedded default server: one PostgreSQL for each home directory, started when it is needed.

`serve` is the way in: the commands that run at once share one server, and the last command to exit stops it.
This module tracks who uses the server, and provides it to them with both databases. Where its files are and what its
configuration says belongs to ``data_directory``; starting and stopping it to ``process``; which programs run it, and
as which user, to ``programs``. None of these modules deals with what its databases contain (schema, roles, keys).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
from psycopg import sql

from daybreak_pipeline.embedded_postgres import archiving, data_directory, programs, replacing
from daybreak_pipeline.embedded_postgres import process as server_process
from daybreak_pipeline.errors import UsageError
from daybreak_pipeline.settings import DAGSTER_DATABASE, DEFAULT_DATABASE, DatabaseSettings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from daybreak_pipeline.embedded_postgres.programs import Account

CONNECT_SECONDS = 10
NOT_NOW = re.compile("starting up|recovery|shutting down|not yet accepting")


# --- Users: this process's threads, and other processes ------------------------------------------------


@dataclass
class _Use:
    """One home's server, as used by this process: by however many callers."""

    users: int  # the descriptor that holds the shared lock
    count: int = 0


@dataclass
class _Uses:
    """What this process holds. A forked child holds nothing: it did not ask for a server."""

    guard: threading.Lock = field(default_factory=threading.Lock)
    by_home: dict[Path, _Use] = field(default_factory=dict)
    descriptors: set[int] = field(default_factory=set)

    def forget(self) -> None:
        """Drop what a fork inherited. The parent's locks stay: this closes, and does not unlock."""
        for descriptor in self.descriptors:
            with contextlib.suppress(OSError):
                os.close(descriptor)
        self.guard = threading.Lock()
        self.by_home.clear()
        self.descriptors.clear()


_USES = _Uses()
os.register_at_fork(after_in_child=_USES.forget)


@contextmanager
def serve(home: Path) -> Iterator[DatabaseSettings]:
    """Provide the embedded server for as long as the block runs, started if it is not running.

    Args:
        home: the directory that keeps the server's data; it is created.

    Yields:
        The settings of its database ``daybreak_health``.

    Raises:
        UsageError: the server cannot run here, and why.
    """
    process = os.getpid()
    try:
        home = _make_home(home)
        settings = _enter(home)
    except OSError as error:
        msg = f"the embedded server cannot use {error.filename or home}: {error.strerror or error}"
        raise UsageError(msg) from error
    try:
        yield settings
    finally:
        # A child that was forked inside the block leaves it, too, but never entered it.
        if os.getpid() == process:
            _leave(home)


def _make_home(home: Path) -> Path:
    """Create the home directory and return its one true path: the locks and the server go by it."""
    home = home.expanduser().absolute()
    if not home.is_dir():
        programs.make_directories(home.parent)
        with contextlib.suppress(FileExistsError):
            home.mkdir(0o700)
    return home.resolve(strict=True)


def _enter(home: Path) -> DatabaseSettings:
    """Become a user of the server and make it run."""
    with _USES.guard, _locked(home):
        use = _USES.by_home.get(home)
        if use is None:
            use = _Use(_open_lock(home, "postgres.users"))
            fcntl.flock(use.users, fcntl.LOCK_SH)
        try:
            settings = _running_server(home)
        except BaseException:
            # Also on Ctrl-C: nothing half-started stays behind.
            if not use.count:
                _close_lock(use.users)
                _stop_unless_used(home)
            raise
        use.count += 1
        _USES.by_home[home] = use
        return settings


def _leave(home: Path) -> None:
    """Stop being a user of the server, and stop it after the last one."""
    with _USES.guard:
        use = _USES.by_home[home]
        use.count -= 1
        if use.count:
            return
        del _USES.by_home[home]
        try:
            # A home that was deleted meanwhile has no locks; its server ends by itself.
            with contextlib.suppress(FileNotFoundError), _locked(home):
                _close_lock(use.users)
                _stop_unless_used(home)
        finally:
            _close_lock(use.users)


def is_gone(home: Path) -> bool:
    """Return whether a server that should run is not there, and nobody is about to start or stop it."""
    home = home.expanduser().resolve()
    if _is_running(home):
        return False
    lock = _open_lock(home, "postgres.lock")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return not _is_running(home)
    except BlockingIOError:
        return False  # whoever holds the lock knows what they do
    finally:
        _close_lock(lock)


def revive(home: Path, port: int) -> None:
    """Start the server of a home that this process uses, if it is gone, on the port that its users know.

    Raises:
        UsageError: it does not start, or its port was taken meanwhile.
    """
    home = home.expanduser().resolve()
    try:
        with _locked(home):
            # The children of a killed server may hold its port for a moment.
            deadline = time.monotonic() + CONNECT_SECONDS
            while not _is_running(home) and not data_directory.is_free(port):
                if time.monotonic() > deadline:
                    msg = f"another program has taken the embedded server's port {port}"
                    raise UsageError(msg)
                time.sleep(0.1)
            found = _running_server(home)
    except OSError as error:
        msg = f"the embedded server cannot use {error.filename or home}: {error.strerror or error}"
        raise UsageError(msg) from error
    if found.port != port:
        msg = (
            f"another command has started the embedded server on port {found.port}; here port {port} is known"
        )
        raise UsageError(msg)


def abandon_start(home: Path) -> None:
    """Stop a server that another thread is starting, which then fails."""
    data = data_directory.existing_data(home.expanduser().resolve())
    if data is not None and data.exists():
        server_process.stop(data)


def _is_running(home: Path) -> bool:
    data = data_directory.existing_data(home)
    return data is not None and server_process.runs(data)


@contextmanager
def stopped(home: Path) -> Iterator[tuple[Path, Account]]:
    """Yield the server's data directory and its user, with the server stopped and nobody able to start it.

    The data directory need not exist.

    Raises:
        UsageError: another command uses the server.
    """
    home = _make_home(home)
    with _USES.guard, _locked(home):
        users = _open_lock(home, "postgres.users")
        try:
            fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
            account = data_directory.account_for(home)
            data = data_directory.existing_data(home) or data_directory.new_data(home, account)
            replacing.put_back_unfinished(home, data, account)
            if data.exists():
                server_process.stop(data)
            yield data, account
        except BlockingIOError:
            msg = "other daybreak commands use the server, such as daybreak up: stop them first"
            raise UsageError(msg) from None
        finally:
            _close_lock(users)


def _stop_unless_used(home: Path) -> None:
    """Stop the server if no process holds the shared lock. The caller holds the exclusive one."""
    users = _open_lock(home, "postgres.users")
    try:
        fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
        data = data_directory.existing_data(home)
        if data is not None and data.exists():
            server_process.stop(data)
    except BlockingIOError:
        pass
    finally:
        _close_lock(users)


@contextmanager
def _locked(home: Path) -> Iterator[None]:
    """Hold the home's exclusive lock: one process at a time decides about starting and stopping."""
    descriptor = _open_lock(home, "postgres.lock")
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        _close_lock(descriptor)


def _open_lock(home: Path, name: str) -> int:
    descriptor = os.open(home / name, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    _USES.descriptors.add(descriptor)
    data_directory.own_as(home, descriptor)
    return descriptor


def _close_lock(descriptor: int) -> None:
    """Unlock and close; once, because the descriptor's number may be another file's then.

    Closing would not do: a child that is being started at this moment has the descriptor a little longer.
    """
    if descriptor in _USES.descriptors:
        _USES.descriptors.discard(descriptor)
        fcntl.flock(descriptor, fcntl.LOCK_UN)
        os.close(descriptor)


# --- The server ----------------------------------------------------------------------------------------


def _running_server(home: Path) -> DatabaseSettings:
    """Return the settings of the running server, made and started if need be.

    Raises:
        UsageError: it cannot be started, or does not let us in.
    """
    account = data_directory.account_for(home)
    data = data_directory.existing_data(home) or data_directory.new_data(home, account)
    replacing.put_back_unfinished(home, data, account)
    started = time.monotonic()
    while True:
        port = server_process.await_ready(data)
        if port is None:
            if not data.exists():
                server_process.initialise(home, data, account)
            port = server_process.start(data, account, partial(_archive, home, data, account))
        login = (data_directory.ADMINISTRATOR, data_directory.password(home))
        settings = DatabaseSettings(data_directory.HOST, port, DEFAULT_DATABASE, *login, sslmode="disable")
        try:
            _create_databases(settings)
        except psycopg.Error as error:
            # It may be dying since we looked (then it is started again), or recovering from a crash.
            said = " | ".join(str(error).splitlines())
            patience = server_process.START_SECONDS if NOT_NOW.search(said) else CONNECT_SECONDS
            if "authentication" in said or time.monotonic() - started > patience:
                msg = f"the embedded server on port {port} cannot be used: {said}"
                raise UsageError(msg) from error
            time.sleep(0.1)
        else:
            return settings


def _archive(home: Path, data: Path, account: Account, port: int, sockets: Path) -> list[str]:
    return archiving.prepare(home, data, account, port=port, sockets=sockets)


def _create_databases(settings: DatabaseSettings) -> None:
    """Make sure that both databases exist."""
    exists = "SELECT datname FROM pg_database"
    create = sql.SQL("CREATE DATABASE {} TEMPLATE template0 ENCODING 'UTF8'")
    # Dagster's events only report what happened: a crash may lose the last half second of them. In return its many
    # small transactions do not wait for the disk. Those of the data's own database do.
    relax = sql.SQL("ALTER DATABASE {} SET synchronous_commit = off")
    relaxed = (
        "SELECT d.datname FROM pg_database d JOIN pg_db_role_setting s ON s.setdatabase = d.oid"
        " WHERE s.setrole = 0 AND 'synchronous_commit=off' = ANY (s.setconfig)"
    )
    with psycopg.connect(settings.conninfo(dbname="postgres"), autocommit=True) as connection:
        there = {row[0] for row in connection.execute(exists)}
        for name in (DEFAULT_DATABASE, DAGSTER_DATABASE):
            if name not in there:
                connection.execute(create.format(sql.Identifier(name)))
        if (DAGSTER_DATABASE,) not in connection.execute(relaxed).fetchall():
            connection.execute(relax.format(sql.Identifier(DAGSTER_DATABASE)))
