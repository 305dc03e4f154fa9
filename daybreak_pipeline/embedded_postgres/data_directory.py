"""The embedded server's files: where its data directory is, who owns it, its password, its configuration.

What is read, chosen or written without running one of PostgreSQL's programs belongs here. Making the
data directory with initdb and everything about processes belongs to ``process``; who uses the
server and when it runs to ``server``.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import pwd
import re
import secrets
import socket
import stat
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from daybreak_pipeline.embedded_postgres import programs, server_log
from daybreak_pipeline.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from daybreak_pipeline.embedded_postgres.programs import Account

HOST = "127.0.0.1"
ADMINISTRATOR = "daybreak"
PASSWORD_FILE = "postgres.password"  # noqa: S105 - a file's name
LOCATION_FILE = "postgres.location"
# Ports that are tried first: below those that systems hand out to outgoing connections.
FIRST_PORT, PORTS = 21000, 9000
MEGABYTE = 1 << 20
# A socket's path may have 103 bytes (macOS) or 107; this leaves room for its directory and its name.
LONGEST_TEMPORARY = 60


# --- The data directory --------------------------------------------------------------------------------


def existing_data(home: Path) -> Path | None:
    """Return the data directory that the home has, if it has one."""
    note = home / LOCATION_FILE
    if note.exists():
        return Path(note.read_text(encoding="utf-8").splitlines()[0])
    data = home / "postgres"
    return data if data.exists() else None


def new_data(home: Path, account: Account) -> Path:
    """Choose where the data directory goes: into the home if the server's user can get there.

    Root's temporary and private directories are closed to that user. The home itself is ours to open
    (secrets in there have mode 0600), its parents are not.
    """
    if not programs.can_enter(home, account):
        home.chmod(stat.S_IMODE(home.stat().st_mode) | 0o011)
    if programs.can_enter(home, account):
        return home / "postgres"
    name = hashlib.sha256(os.fsencode(home)).hexdigest()[:16]
    elsewhere = programs.ROOT_STATE / "data"
    programs.make_directories(elsewhere)
    data = elsewhere / name
    number = 1
    while data.exists():  # the data of an earlier home of this name: not ours, and not ours to delete
        number += 1
        data = elsewhere / f"{name}-{number}"
    explanation = f"{data}\nThe server's user ({account.name}) cannot enter {home}: its data are up there.\n"
    write_file(home / LOCATION_FILE, explanation, like=home)
    return data


def account_for(home: Path) -> Account:
    """Return who runs this home's server.

    For root that is the existing owner of the data or the home: a user's server stays the user's, even after one start
    with sudo.

    Raises:
        UsageError: the data belong to another user.
    """
    data = existing_data(home)
    owner = (data if data is not None and data.exists() else home).stat().st_uid
    if owner in {0, os.geteuid()}:
        return programs.server_account()
    if os.geteuid() != 0:
        name = programs.account_of(owner).name
        msg = f"{home} belongs to user {name}: run as that user, or set DAYBREAK_HOME to a directory of yours"
        raise UsageError(msg)
    with contextlib.suppress(KeyError):
        pwd.getpwuid(owner)  # PostgreSQL does not run as a user without a name
        return programs.account_of(owner)
    return programs.server_account()


def password(home: Path, *, create: bool = False) -> str:
    """Return the administrator's password, which is kept in the home for its owner only.

    Raises:
        UsageError: the file is missing.
    """
    path = home / PASSWORD_FILE
    try:
        password = path.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        password = ""
    if password:
        return password
    if not create:
        msg = f"{path} is missing or empty: restore it, since the embedded server asks for this password"
        raise UsageError(msg)
    password = secrets.token_urlsafe(32)
    write_file(path, password + "\n", like=home)
    return password


def token(data: Path) -> str:
    """Return a short name for the server on a data directory: its processes' titles carry it."""
    return f"daybreak-{hashlib.sha256(os.fsencode(data)).hexdigest()[:12]}"


# --- The configuration ---------------------------------------------------------------------------------


def write_configuration(  # noqa: PLR0913, PLR0917 - each is a fact of the one server
    data: Path,
    account: Account,
    port: int,
    sockets: Path,
    programs_directory: Path,
    archive: Sequence[str] = (),
) -> None:
    """Write the part of the configuration that is ours; an administrator's is in postgresql.auto.conf.

    ``archive`` are the lines that have the write-ahead log archived (``archiving``).
    """
    quoted_sockets = str(sockets).replace("'", "''")
    lines = [
        "# Written by daybreak at every start. ALTER SYSTEM overrides it.",
        f"listen_addresses = '{HOST}'",
        f"port = {port}",
        f"unix_socket_directories = '{quoted_sockets}'",
        "max_connections = 100",
        f"shared_buffers = {_shared_buffers()}MB",
        "huge_pages = off",  # a container that may not use them is killed for trying
        # The leader works on the statement too. With more processes than cores, an import is a tenth slower.
        f"max_parallel_workers_per_gather = {_helpers()}",
        f"max_parallel_maintenance_workers = {_helpers()}",
        "wal_level = replica",
        "max_wal_size = 4GB",
        *archive,
        # An import writes hundreds of megabytes of log: the WAL writer writes them out, on another core.
        "wal_writer_delay = 10ms",
        "wal_writer_flush_after = 16MB",
        "checkpoint_completion_target = 0.9",
        # Autovacuum gives up its lock on a table that an import has waited for this long.
        "deadlock_timeout = 100ms",
        "timezone = 'UTC'",
        *server_log.lines(data),
        *_statement_statistics(programs_directory),
    ]
    if _little_shared_memory():
        lines.append("dynamic_shared_memory_type = sysv")
    write_file(data / "daybreak.conf", "\n".join(lines) + "\n", like=data)
    give_to(account, data / "daybreak.conf")


def _statement_statistics(programs_directory: Path) -> list[str]:
    """Return the settings that count statements by their text without values, where the server has the library."""
    if not programs.has_library(programs_directory, "pg_stat_statements"):
        return []
    return [
        "shared_preload_libraries = 'pg_stat_statements'",
        # A utility statement is kept as it was written: CREATE ROLE … PASSWORD too.
        "pg_stat_statements.track_utility = off",
        # A statement whose entry is evicted while it runs is kept with its values: there is room for all.
        "pg_stat_statements.max = 10000",
    ]


def _shared_buffers() -> int:
    """Return an eighth of the memory in megabytes, from 128 to 2048."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for limit in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        with contextlib.suppress(OSError, ValueError):  # "max" is not a number
            memory = min(memory, int(Path(limit).read_text(encoding="ascii")))
    return max(128, min(2048, memory // 8 // MEGABYTE))


def _helpers() -> int:
    """Return how many processes may help with a statement: one for each core but the first, four at most."""
    cores = len(os.sched_getaffinity(0)) if sys.platform.startswith("linux") else os.cpu_count() or 1
    return min(4, cores - 1)


def _little_shared_memory() -> bool:
    """Say whether /dev/shm is as small as containers have it: parallel queries would fail there."""
    if not sys.platform.startswith("linux"):
        return False
    try:
        space = os.statvfs("/dev/shm")  # noqa: S108 - looked at, not written to
    except OSError:
        return True
    return space.f_blocks * space.f_frsize < 1024 * MEGABYTE


def is_free(port: int) -> bool:
    """Say whether a server could listen on a port."""
    with socket.socket() as probe:
        # As the server does: the connections of the last server may linger.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True


def choose_port(data: Path, refused: set[int]) -> int:
    """Return a free port: the last one, or this data directory's own, or any."""
    candidates = [FIRST_PORT + int(token(data)[-6:], 16) % PORTS]
    with contextlib.suppress(OSError):
        last = re.search(
            r"^port = (\d+)$", (data / "daybreak.conf").read_text(encoding="utf-8"), re.MULTILINE
        )
        candidates[:0] = [int(last[1])] if last else []
    for port in (*candidates, 0):
        with socket.socket() as probe, contextlib.suppress(OSError):
            # As the server does: the connections of the last server may linger.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((HOST, port))
            free = int(probe.getsockname()[1])
            if free not in refused:
                return free
    msg = f"no free port on {HOST} for the embedded server"
    raise UsageError(msg)


def make_socket_directory(data: Path, account: Account) -> Path:
    """Return a private directory for the socket, with a short path however long the home's is."""
    bases = _temporary_directories()
    base = next((base for base in bases if programs.can_enter(base, account)), bases[-1])
    remove_sockets(data)
    path = base / token(data)
    try:
        path.mkdir(0o700)
    except FileExistsError:  # somebody else's: let them keep it
        path = Path(tempfile.mkdtemp(prefix=f"{token(data)}-", dir=base))
    give_to(account, path)
    return path


def remove_sockets(data: Path) -> None:
    """Remove the socket's directory, and in it what a killed server left: it may name a live process."""
    owners = {data.stat().st_uid, os.geteuid()}
    for base in _temporary_directories():
        for path in base.glob(f"{token(data)}*"):
            with contextlib.suppress(OSError):
                if path.lstat().st_uid in owners and not path.is_symlink():
                    for leftover in path.glob(".s.PGSQL.*"):
                        leftover.unlink(missing_ok=True)
                    path.rmdir()


def _temporary_directories() -> list[Path]:
    """Return where the socket's directory may be; a long path would not leave room for its name."""
    system = Path("/tmp").resolve()  # noqa: S108 - only a directory of mode 0700 goes there
    chosen = Path(tempfile.gettempdir()).resolve()
    return [chosen, system] if len(os.fsencode(chosen)) <= LONGEST_TEMPORARY else [system]


# --- Files ---------------------------------------------------------------------------------------------


def write_file(path: Path, text: str, *, like: Path) -> None:
    """Write a file (mode 0600), completely or not at all, with the owner of `like`."""
    new = path.with_name(f"{path.name}.new")
    new.unlink(missing_ok=True)
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8", errors="surrogateescape") as file:
        own_as(like, descriptor)
        file.write(text)
        file.flush()
        os.fsync(descriptor)
    new.rename(path)
    flush_directory(path.parent)


def own_as(directory: Path, descriptor: int) -> None:
    """Give root's file to the owner of the directory, so that a user's home stays usable after sudo."""
    if os.geteuid() == 0:
        owner = directory.stat()
        os.fchown(descriptor, owner.st_uid, owner.st_gid)


def give_to(account: Account, path: Path) -> None:
    """Give root's file or directory to the server's user."""
    if os.geteuid() == 0:
        os.chown(path, account.uid, account.gid, follow_symlinks=False)


def flush_directory(directory: Path) -> None:
    """Make a rename in a directory survive a power cut."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
