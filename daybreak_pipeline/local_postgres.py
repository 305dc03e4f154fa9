"""The embedded default server: one PostgreSQL for each home directory, started when it is needed.

`serve` is the way in: the commands that run at once share one server, and the last one out stops it.
Below it stand, top-down: who uses the server, its data directory, its configuration, starting and
stopping. Which programs run it, and as which user, is in ``server_programs``; what its databases
contain (schema, roles, keys) is nobody's business here.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import hashlib
import logging
import os
import pwd
import re
import secrets
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING

import psycopg
from psycopg import sql

from daybreak_pipeline import server_programs
from daybreak_pipeline.errors import UsageError
from daybreak_pipeline.settings import DAGSTER_DATABASE, DEFAULT_DATABASE, DatabaseSettings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from daybreak_pipeline.server_programs import Account

LOG = logging.getLogger(__name__)
HOST = "127.0.0.1"
ADMINISTRATOR = "daybreak"
PASSWORD_FILE = "postgres.password"  # noqa: S105 - a file's name
LOCATION_FILE = "postgres.location"
# Ports that are tried first: below those that systems hand out to outgoing connections.
FIRST_PORT, PORTS = 21000, 9000
# After a crash the server replays up to max_wal_size: that is slow, but must not be cut short, because
# the next start would begin again.
START_SECONDS = 600
STOP_SECONDS = 300
CONNECT_SECONDS = 10
NOT_NOW = re.compile("starting up|recovery|shutting down|not yet accepting")
ORPHAN_SECONDS = 30
LEFTOVER_SECONDS = 5
BIND_ATTEMPTS = 5
POLL_SECONDS = 0.01
# Longer than any process number: PostgreSQL finds no process there, whoever got the old number.
NO_PROCESS = 2**31 - 1
MEGABYTE = 1 << 20
LOG_DAYS = 6
LOG_BYTES = 16 * MEGABYTE
# A socket's path may have 103 bytes (macOS) or 107; this leaves room for its directory and its name.
LONGEST_TEMPORARY = 60


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


def dagster_settings(settings: DatabaseSettings) -> DatabaseSettings:
    """Return the same server's database for Dagster's own tables."""
    return dataclasses.replace(settings, name=DAGSTER_DATABASE)


def _make_home(home: Path) -> Path:
    """Create the home directory and return its one true path: the locks and the server go by it."""
    home = home.expanduser().absolute()
    if not home.is_dir():
        server_programs.make_directories(home.parent)
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


def _stop_unless_used(home: Path) -> None:
    """Stop the server if no process holds the shared lock. The caller holds the exclusive one."""
    users = _open_lock(home, "postgres.users")
    try:
        fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
        data = _existing_data(home)
        if data is not None and data.exists():
            _stop(data)
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
    _own_as(home, descriptor)
    return descriptor


def _close_lock(descriptor: int) -> None:
    """Unlock and close; once, because the descriptor's number may be another file's then.

    Closing would not do: a child that is being started at this moment has the descriptor a little longer.
    """
    if descriptor in _USES.descriptors:
        _USES.descriptors.discard(descriptor)
        fcntl.flock(descriptor, fcntl.LOCK_UN)
        os.close(descriptor)


# --- Its data directory --------------------------------------------------------------------------------


def _running_server(home: Path) -> DatabaseSettings:
    """Return the settings of the running server, made and started if need be.

    Raises:
        UsageError: it cannot be started, or does not let us in.
    """
    account = _account(home)
    data = _existing_data(home) or _new_data(home, account)
    started = time.monotonic()
    while True:
        port = _await_ready(data)
        if port is None:
            if not data.exists():
                _initialise(home, data, account)
            port = _start(data, account)
        password = _password(home)
        settings = DatabaseSettings(HOST, port, DEFAULT_DATABASE, ADMINISTRATOR, password, "disable")
        try:
            _create_databases(settings)
        except psycopg.Error as error:
            # It may be dying since we looked (then it is started again), or recovering from a crash.
            said = " | ".join(str(error).splitlines())
            patience = START_SECONDS if NOT_NOW.search(said) else CONNECT_SECONDS
            if "authentication" in said or time.monotonic() - started > patience:
                msg = f"the embedded server on port {port} cannot be used: {said}"
                raise UsageError(msg) from error
            time.sleep(0.1)
        else:
            return settings


def _existing_data(home: Path) -> Path | None:
    """Return the data directory that the home has, if it has one."""
    note = home / LOCATION_FILE
    if note.exists():
        return Path(note.read_text(encoding="utf-8").splitlines()[0])
    data = home / "postgres"
    return data if data.exists() else None


def _new_data(home: Path, account: Account) -> Path:
    """Choose where the data directory goes: into the home if the server's user can get there.

    Root's temporary and private directories are closed to that user. The home itself is ours to open
    (secrets in there have mode 0600), its parents are not.
    """
    if not server_programs.can_enter(home, account):
        home.chmod(stat.S_IMODE(home.stat().st_mode) | 0o011)
    if server_programs.can_enter(home, account):
        return home / "postgres"
    name = hashlib.sha256(os.fsencode(home)).hexdigest()[:16]
    elsewhere = server_programs.ROOT_STATE / "data"
    server_programs.make_directories(elsewhere)
    data = elsewhere / name
    number = 1
    while data.exists():  # the data of an earlier home of this name: not ours, and not ours to delete
        number += 1
        data = elsewhere / f"{name}-{number}"
    explanation = f"{data}\nThe server's user ({account.name}) cannot enter {home}: its data are up there.\n"
    _write_file(home / LOCATION_FILE, explanation, like=home)
    return data


def _account(home: Path) -> Account:
    """Return who runs this home's server.

    For root that is whoever owns the data or the home already, so that a user's server which was
    started once with sudo stays the user's.

    Raises:
        UsageError: the data belong to another user.
    """
    data = _existing_data(home)
    owner = (data if data is not None and data.exists() else home).stat().st_uid
    if owner in {0, os.geteuid()}:
        return server_programs.server_account()
    if os.geteuid() != 0:
        name = server_programs.account_of(owner).name
        msg = f"{home} belongs to user {name}: run as that user, or set DAYBREAK_HOME to a directory of yours"
        raise UsageError(msg)
    with contextlib.suppress(KeyError):
        pwd.getpwuid(owner)  # PostgreSQL does not run as a user without a name
        return server_programs.account_of(owner)
    return server_programs.server_account()


def _initialise(home: Path, data: Path, account: Account) -> None:
    """Make the data directory: completely, or not at all even if the machine stops meanwhile."""
    programs = server_programs.find()
    server_programs.make_directories(data.parent)
    _remove_leftovers(data, account)
    work = Path(tempfile.mkdtemp(prefix=f"{data.name}.new-", dir=data.parent))
    try:
        _give_to(account, work)
        # The caller's password file is closed to the server's user, and a command line is open to all.
        _write_file(work / "password", _password(home, create=True) + "\n", like=work)
        _run_initdb(programs, work, account)
        with (work / "data" / "postgresql.conf").open("a", encoding="utf-8") as configuration:
            configuration.write("\ninclude_if_exists = 'daybreak.conf'\n")
        (work / "data").rename(data)
        _flush_directory(data.parent)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _remove_leftovers(data: Path, account: Account) -> None:
    """Remove what a command left that was killed during initdb; that program may go on in there."""
    for leftover in data.parent.glob(f"{data.name}.new-*"):
        _end_processes(str(leftover), account, signal.SIGKILL)
        deadline = time.monotonic() + LEFTOVER_SECONDS
        while leftover.exists() and time.monotonic() < deadline:
            shutil.rmtree(leftover, ignore_errors=True)
            time.sleep(POLL_SECONDS)


def _run_initdb(programs: Path, work: Path, account: Account) -> None:
    """Run initdb into ``work/data``.

    Raises:
        UsageError: it failed; its last lines say why.
    """
    command = [str(programs / "initdb"), f"--pgdata={work / 'data'}", f"--pwfile={work / 'password'}"]
    command += [f"--username={ADMINISTRATOR}", "--encoding=UTF8", "--data-checksums", "--no-instructions"]
    command += ["--auth-local=scram-sha-256", "--auth-host=scram-sha-256", "--lc-messages=C"]
    for locale in ("C.UTF-8", "C"):  # not every system has the former
        with tempfile.TemporaryFile() as output:
            code = _run([*command, f"--locale={locale}"], account, output)
            lines = _meaning(_text(output))
        if code == 0:
            return
        if not any("invalid locale name" in line for line in lines):
            break
    msg = f"the embedded server's data directory could not be made in {work.parent}: {' | '.join(lines)}"
    raise UsageError(msg)


def _password(home: Path, *, create: bool = False) -> str:
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
    _write_file(path, password + "\n", like=home)
    return password


def _create_databases(settings: DatabaseSettings) -> None:
    """Make sure that both databases exist."""
    exists = "SELECT datname FROM pg_database"
    create = sql.SQL("CREATE DATABASE {} TEMPLATE template0 ENCODING 'UTF8'")
    # Dagster's events tell what happened: a crash may take the last half second of them. In return
    # its many small transactions do not wait for the disk. The data's own database is not like that.
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


# --- Its configuration ---------------------------------------------------------------------------------


def _write_configuration(data: Path, account: Account, port: int, sockets: Path) -> None:
    """Write the part of the configuration that is ours; an administrator's is in postgresql.auto.conf."""
    quoted_sockets = str(sockets).replace("'", "''")
    lines = [
        "# Written by daybreak at every start. ALTER SYSTEM overrides it.",
        f"listen_addresses = '{HOST}'",
        f"port = {port}",
        f"unix_socket_directories = '{quoted_sockets}'",
        "max_connections = 100",
        f"shared_buffers = {_shared_buffers()}MB",
        "huge_pages = off",  # a container that may not use them is killed for trying
        "wal_level = replica",
        "max_wal_size = 4GB",
        "checkpoint_completion_target = 0.9",
        "timezone = 'UTC'",
        # The log, and why it is so quiet: statements, parameters and the details of errors hold
        # personal values.
        "log_timezone = 'UTC'",
        "lc_messages = 'C'",
        "logging_collector = on",
        "log_directory = 'log'",
        "log_filename = 'postgres-%a.log'",
        "log_file_mode = 0600",
        "log_rotation_age = 1d",
        "log_rotation_size = 0",
        "log_truncate_on_rotation = on",
        "log_line_prefix = '%m [%p] %q%u@%d '",
        "log_min_messages = warning",
        "log_min_error_statement = panic",
        "log_error_verbosity = terse",
        "log_parameter_max_length = 0",
        "log_parameter_max_length_on_error = 0",
    ]
    if _little_shared_memory():
        lines.append("dynamic_shared_memory_type = sysv")
    _write_file(data / "daybreak.conf", "\n".join(lines) + "\n", like=data)
    _give_to(account, data / "daybreak.conf")


def _shared_buffers() -> int:
    """Return an eighth of the memory in megabytes, from 128 to 2048."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for limit in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        with contextlib.suppress(OSError, ValueError):  # "max" is no number
            memory = min(memory, int(Path(limit).read_text(encoding="ascii")))
    return max(128, min(2048, memory // 8 // MEGABYTE))


def _little_shared_memory() -> bool:
    """Say whether /dev/shm is as small as containers have it: parallel queries would fail there."""
    if not sys.platform.startswith("linux"):
        return False
    try:
        space = os.statvfs("/dev/shm")  # noqa: S108 - looked at, not written to
    except OSError:
        return True
    return space.f_blocks * space.f_frsize < 1024 * MEGABYTE


def _choose_port(data: Path, refused: set[int]) -> int:
    """Return a free port: the last one, or this data directory's own, or any."""
    candidates = [FIRST_PORT + int(_token(data)[-6:], 16) % PORTS]
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


def _make_socket_directory(data: Path, account: Account) -> Path:
    """Return a private directory for the socket, with a short path however long the home's is."""
    bases = _temporary_directories()
    base = next((base for base in bases if server_programs.can_enter(base, account)), bases[-1])
    _remove_sockets(data)
    path = base / _token(data)
    try:
        path.mkdir(0o700)
    except FileExistsError:  # somebody else's: let them keep it
        path = Path(tempfile.mkdtemp(prefix=f"{_token(data)}-", dir=base))
    _give_to(account, path)
    return path


def _remove_sockets(data: Path) -> None:
    """Remove the socket's directory, and in it what a killed server left: it may name a live process."""
    owners = {data.stat().st_uid, os.geteuid()}
    for base in _temporary_directories():
        for path in base.glob(f"{_token(data)}*"):
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


# --- Starting and stopping -----------------------------------------------------------------------------


@dataclass(frozen=True)
class _Postmaster:
    """What postmaster.pid says about the running server; a starting one has not said all yet."""

    pid: int
    port: int
    status: str


def _postmaster(data: Path) -> _Postmaster | None:
    """Return the server that runs on a data directory."""
    try:
        lines = (data / "postmaster.pid").read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return None
    lines += [""] * (8 - len(lines))
    if not lines[0].isdecimal() or not _is_server(int(lines[0]), data):
        return None
    port = int(lines[3]) if lines[3].isdecimal() else 0
    return _Postmaster(int(lines[0]), port, lines[7].strip())


def _is_server(pid: int, data: Path) -> bool:
    """Say whether a process is this directory's server, and not just the next one with that number."""
    command = _command_line(pid)
    if _token(data) in command or str(data) in command:
        return True
    try:  # a server that somebody started by hand
        return bool(command) and Path(f"/proc/{pid}/cwd").readlink() == data
    except OSError:
        return False


def _command_line(pid: int) -> str:
    """Return a live process's arguments; nothing for a dead one, even if nobody has collected it."""
    if not Path("/proc/self/stat").exists():  # not Linux
        ps = ["ps", "-ww", "-o", "stat=,args=", "-p", str(pid)]
        answer = subprocess.run(ps, capture_output=True, text=True, check=False, errors="replace").stdout
        return "" if answer.startswith("Z") else answer
    try:
        if Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0] in {b"Z", b"X"}:
            return ""
        return os.fsdecode(Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" "))
    except OSError:
        return ""


def _token(data: Path) -> str:
    """Return a short name for the server on a data directory: its processes' titles carry it."""
    return f"daybreak-{hashlib.sha256(os.fsencode(data)).hexdigest()[:12]}"


def _await_ready(data: Path) -> int | None:
    """Return the port of the running server once it accepts connections; None if none runs.

    Raises:
        UsageError: it neither gets ready nor ends.
    """
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        server = _postmaster(data)
        if server is None:
            return None
        if server.status == "ready":
            return server.port
        time.sleep(POLL_SECONDS)
    msg = f"the embedded server in {data} neither starts nor stops: see its log in {data / 'log'}"
    raise UsageError(msg)


def _start(data: Path, account: Account) -> int:
    """Start the server and return its port.

    Raises:
        UsageError: it does not start; the last lines of its log say why.
    """
    programs = _matching_programs(data)
    _trim_log(data)
    _remove_leftovers(data, account)
    sockets = _make_socket_directory(data, account)
    refused: set[int] = set()
    deadline = time.monotonic() + ORPHAN_SECONDS
    while True:
        _disown_stale_pid(data)
        port = _choose_port(data, refused)
        _write_configuration(data, account, port, sockets)
        lines = _launch(programs, data, account)
        if lines is None:
            return port
        said = " | ".join(lines)
        if "could not bind" in said and len(refused) < BIND_ATTEMPTS:
            refused.add(port)  # taken since we looked
        elif "shared memory block" in said and time.monotonic() < deadline:
            # Its children: one in a long query does not notice by itself that its server is gone.
            _end_processes(f"postgres: {_token(data)}: ", account, signal.SIGQUIT)
            time.sleep(0.1)
        else:
            _remove_sockets(data)
            msg = f"the embedded server in {data} did not start: {said or 'it left no message'}"
            raise UsageError(msg)


def _matching_programs(data: Path) -> Path:
    """Return the programs of the version that made the data.

    Raises:
        UsageError: there are only others.
    """
    made_by = (data / "PG_VERSION").read_text(encoding="ascii").strip()
    programs = server_programs.find(int(made_by) if made_by.isdecimal() else None)
    found = server_programs.version(programs)
    if str(found) != made_by:
        msg = (
            f"the data in {data} were made by PostgreSQL {made_by}, but {programs} holds PostgreSQL {found}: "
            f"set DAYBREAK_PG_BIN to the programs of PostgreSQL {made_by} (and `daybreak backup` there, then "
            "`daybreak restore` in a new DAYBREAK_HOME to change version)"
        )
        raise UsageError(msg)
    return programs


def _launch(programs: Path, data: Path, account: Account) -> list[str] | None:
    """Try to start the server; return None when it accepts connections, else what it said.

    pg_ctl stands between: the server is then no child of ours, and is collected when it ends.
    """
    command = [str(programs / "pg_ctl"), "start", "--wait", f"--timeout={START_SECONDS}"]
    # No path goes on this command line: pg_ctl hands the options to a shell.
    command += ["-o", f"-c cluster_name={_token(data)}"]
    logs = {path: path.stat().st_size for path in _logs(data)}
    with tempfile.TemporaryFile() as output:
        try:
            # Interrupted, wait until the server has a process number, so that it can be stopped.
            code = _run(command, account, output, patience=5, PGDATA=str(data))
        except BaseException:
            _stop(data)
            raise
        if code == 0:
            return None
        said = _text(output)
    for path in _logs(data):
        with contextlib.suppress(OSError), os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb") as log:
            log.seek(logs.get(path, 0))
            said += log.read(MEGABYTE).decode(errors="replace")
    return _meaning(said)


def _run(
    command: list[str], account: Account, output: IO[bytes], patience: float = 0, **variables: str
) -> int:
    """Run a server program to its end, out of reach of the terminal's Ctrl-C, and return its code.

    Interrupted, it lets the program go on for some seconds (`patience`), then kills it. A file takes
    the output: a server that keeps a pipe open would make us wait for its end.
    """
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        cwd="/",
        env=server_programs.environment(**variables),
        start_new_session=True,
        umask=0o077,
        **account.popen(),
    )
    try:
        return process.wait()
    except BaseException:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(patience)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        raise


def _disown_stale_pid(data: Path) -> None:
    """Make the postmaster.pid of a killed server name no process.

    PostgreSQL refuses to start while *any* process has that number: a stranger that got it, or a
    killed server that its container's first process never collects. The rest of the file stays,
    because from it PostgreSQL learns whether the old server's children still use the shared memory.
    """
    path = data / "postmaster.pid"
    with contextlib.suppress(FileNotFoundError):
        number, newline, rest = path.read_text(encoding="utf-8", errors="surrogateescape").partition("\n")
        if not newline:
            path.unlink()  # a full disk or a power cut left it without content
        elif number != str(NO_PROCESS):
            _write_file(path, f"{NO_PROCESS}\n{rest}", like=data)


def _end_processes(mark: str, account: Account, how: signal.Signals) -> None:
    """End the server user's processes whose command line or title contains a mark that only we use."""
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if entry.stat().st_uid == account.uid and mark in _command_line(int(entry.name)):
                os.kill(int(entry.name), how)


def _stop(data: Path) -> None:
    """Stop the server as `pg_ctl stop -m fast` does, which needs no programs and no second user."""
    server = _postmaster(data)
    if server is not None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(server.pid, signal.SIGINT)
        deadline = time.monotonic() + STOP_SECONDS
        while _is_server(server.pid, data):
            if time.monotonic() > deadline:
                LOG.warning("the embedded server in %s is still stopping (process %s)", data, server.pid)
                return
            time.sleep(POLL_SECONDS)
    _remove_sockets(data)


def _logs(data: Path) -> list[Path]:
    return [path for path in (data / "log").glob("postgres-*.log") if not path.is_symlink()]


def _trim_log(data: Path) -> None:
    """Remove old and big log files: the server empties one only if it runs when the day changes."""
    for path in _logs(data):
        status = path.stat()
        if status.st_size > LOG_BYTES or time.time() - status.st_mtime > LOG_DAYS * 86400:
            path.unlink(missing_ok=True)


def _text(output: IO[bytes]) -> str:
    output.seek(0)
    return output.read(MEGABYTE).decode(errors="replace")


def _meaning(said: str) -> list[str]:
    """Return the last lines that say what is wrong, without time stamps."""
    lines = [re.sub(r"^[\d-]+ [\d:.]+ \S+ \[\d+\] ", "", line).strip() for line in said.splitlines()]
    telling = [line for line in lines if re.search(r"\b(FATAL|PANIC|ERROR|error|DETAIL|could not)\b", line)]
    return (telling or [line for line in lines if line])[-4:]


# --- Files ---------------------------------------------------------------------------------------------


def _write_file(path: Path, text: str, *, like: Path) -> None:
    """Write a file (mode 0600) that is there whole or not at all and belongs to whom `like` belongs."""
    new = path.with_name(f"{path.name}.new")
    new.unlink(missing_ok=True)
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8", errors="surrogateescape") as file:
        _own_as(like, descriptor)
        file.write(text)
        file.flush()
        os.fsync(descriptor)
    new.rename(path)
    _flush_directory(path.parent)


def _own_as(directory: Path, descriptor: int) -> None:
    """Give root's file to the owner of the directory, so that a user's home stays usable after sudo."""
    if os.geteuid() == 0:
        owner = directory.stat()
        os.fchown(descriptor, owner.st_uid, owner.st_gid)


def _give_to(account: Account, path: Path) -> None:
    """Give root's file or directory to the server's user."""
    if os.geteuid() == 0:
        os.chown(path, account.uid, account.gid, follow_symlinks=False)


def _flush_directory(directory: Path) -> None:
    """Make a rename in a directory survive a power cut."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
