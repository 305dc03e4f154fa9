"""The embedded server's processes: initdb, starting, stopping, and what the log says when that fails.

Everything that runs, finds or ends a process of one data directory belongs here. What its files and its
configuration contain belongs to ``data_directory``; who uses the server, and the locks that let one process
at a time call this, to ``server``; where the programs are, to ``programs``.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, TypeAlias

from daybreak_pipeline.embedded_postgres import archiving, data_directory, server_log
from daybreak_pipeline.embedded_postgres import programs as server_programs
from daybreak_pipeline.errors import UsageError

if TYPE_CHECKING:
    from daybreak_pipeline.embedded_postgres.programs import Account

LOG = logging.getLogger(__name__)
Archive: TypeAlias = Callable[[int, Path], Sequence[str]]
# After a crash the server replays up to max_wal_size: that is slow, but must not be cut short, because
# the next start would begin again.
START_SECONDS = 600
STOP_SECONDS = 300
PATIENCE_SECONDS = 5
ORPHAN_SECONDS = 30
LEFTOVER_SECONDS = 5
BIND_ATTEMPTS = 5
POLL_SECONDS = 0.01
# Longer than any process number: PostgreSQL finds no process there, whoever got the old number.
NO_PROCESS = 2**31 - 1
# DB_IN_PRODUCTION of PostgreSQL's pg_control.h
_IN_PRODUCTION = 6


# --- Making the data directory -------------------------------------------------------------------------


def initialise(home: Path, data: Path, account: Account, *, major: int | None = None) -> None:
    """Make the data directory: completely, or not at all even if the machine stops meanwhile.

    ``major`` is a version to prefer.
    """
    programs = server_programs.find(major)
    server_programs.make_directories(data.parent)
    _remove_leftovers(data, account)
    work = Path(tempfile.mkdtemp(prefix=f"{data.name}.new-", dir=data.parent))
    try:
        data_directory.give_to(account, work)
        # The caller's password file is closed to the server's user, and a command line is open to all.
        data_directory.write_file(
            work / "password", data_directory.password(home, create=True) + "\n", like=work
        )
        _run_initdb(programs, work, account)
        with (work / "data" / "postgresql.conf").open("a", encoding="utf-8") as configuration:
            configuration.write("\ninclude_if_exists = 'daybreak.conf'\n")
        (work / "data").rename(data)
        data_directory.flush_directory(data.parent)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _remove_leftovers(data: Path, account: Account) -> None:
    """Remove what a command left behind when it was killed during initdb; initdb may still be running in there."""
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
    command += [f"--username={data_directory.ADMINISTRATOR}", "--encoding=UTF8", "--lc-messages=C"]
    command += ["--auth-local=scram-sha-256", "--auth-host=scram-sha-256"]
    command += ["--data-checksums", "--no-instructions"]
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


# --- Starting and stopping -----------------------------------------------------------------------------


def await_ready(data: Path) -> int | None:
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
    msg = (
        f"the embedded server in {data} neither starts nor stops: see its log in {server_log.directory(data)}"
    )
    raise UsageError(msg)


def start(data: Path, account: Account, archive: Archive = lambda _port, _sockets: []) -> int:
    """Start the server and return its port.

    Args:
        data: its data directory.
        account: who runs it.
        archive: prepares the archive for the server on a port and returns the lines for its configuration.

    Raises:
        UsageError: it does not start; the last lines of its log say why.
    """
    programs = _matching_programs(data)
    server_log.provide(data, account)
    _remove_leftovers(data, account)
    sockets = data_directory.make_socket_directory(data, account)
    refused: set[int] = set()
    deadline = time.monotonic() + ORPHAN_SECONDS
    while True:
        _disown_stale_pid(data)
        port = data_directory.choose_port(data, refused)
        data_directory.write_configuration(data, account, port, sockets, programs, archive(port, sockets))
        lines = _launch(programs, data, account)
        if lines is None:
            return port
        said = " | ".join(lines)
        if "could not bind" in said and len(refused) < BIND_ATTEMPTS:
            refused.add(port)  # taken since we looked
        elif "shared memory block" in said and time.monotonic() < deadline:
            # Its children: one in a long query does not notice by itself that its server is gone.
            _end_processes(f"postgres: {data_directory.token(data)}: ", account, signal.SIGQUIT)
            time.sleep(0.1)
        else:
            data_directory.remove_sockets(data)
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
            f"set DAYBREAK_PG_BIN to the programs of PostgreSQL {made_by}; to change version, run pg_dumpall with these and "
            "read its output with psql into a new DAYBREAK_HOME"
        )
        raise UsageError(msg)
    return programs


def _launch(programs: Path, data: Path, account: Account) -> list[str] | None:
    """Try to start the server; return None when it accepts connections, else what it said.

    pg_ctl is in between: the server is then no child of ours, and is collected when it ends.
    """
    command = [str(programs / "pg_ctl"), "start", "--wait", f"--timeout={START_SECONDS}"]
    # No path goes on this command line: pg_ctl hands the options to a shell.
    # Its messages are read here, and so are in English, whatever ALTER SYSTEM says.
    command += ["-o", f"-c cluster_name={data_directory.token(data)} -c lc_messages=C"]
    logs = {path: path.stat().st_size for path in server_log.files(data)}
    with tempfile.TemporaryFile() as output:
        try:
            # Interrupted, wait until the server has a process number, so that it can be stopped.
            code = _run(command, account, output, patience=5, PGDATA=str(data))
        except BaseException:
            stop(data)
            raise
        if code == 0:
            return None
        said = _text(output)
    for path in server_log.files(data):
        with contextlib.suppress(OSError), os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb") as log:
            log.seek(logs.get(path, 0))
            said += log.read(data_directory.MEGABYTE).decode(errors="replace")
    return _meaning(said)


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
            data_directory.write_file(path, f"{NO_PROCESS}\n{rest}", like=data)


def await_recovered(data: Path) -> None:
    """Wait until a server that was started on a restored data directory has got to its target and accepts writes.

    pg_ctl reports success long before. What the server notes about itself needs no login.

    Raises:
        UsageError: it ended before; the last lines of its log say why.
    """
    while not (_state(data) == _IN_PRODUCTION and not (data / "recovery.signal").exists()):
        if _postmaster(data) is None:
            newest = max(server_log.files(data), key=lambda path: path.stat().st_mtime, default=None)
            said = newest.read_bytes()[-data_directory.MEGABYTE :].decode(errors="replace") if newest else ""
            fatal = [line for line in said.splitlines() if "FATAL" in line]
            msg = f"the restored server ended by itself: {' | '.join(_meaning(chr(10).join(fatal[-2:])))}"
            raise UsageError(msg)
        time.sleep(POLL_SECONDS)


def _state(data: Path) -> int:
    """Return what the server notes about its state; the place of that note has never changed."""
    with (data / "global" / "pg_control").open("rb") as control:
        control.seek(16)
        return int.from_bytes(control.read(4), "little")


def set_password(data: Path, account: Account, password: str) -> None:
    """Give the administrator of a server that does not run another password, as after the loss of the home.

    Raises:
        UsageError: that failed.
    """
    programs = _matching_programs(data)
    statement = f"ALTER ROLE {data_directory.ADMINISTRATOR} PASSWORD '{password}'\n"
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as output:
        given.write(statement.encode("ascii"))  # a command line is open to all
        given.seek(0)
        command = [str(programs / "postgres"), "--single", "-D", str(data), "postgres"]
        if _run(command, account, output, given=given):
            msg = f"the administrator's password could not be set: {' | '.join(_meaning(_text(output)))}"
            raise UsageError(msg)


def stop(data: Path) -> None:
    """Stop the server as `pg_ctl stop -m fast` does, which needs no programs and no second user."""
    server = _postmaster(data)
    if server is not None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(server.pid, signal.SIGINT)
        begun = time.monotonic()
        while _is_server(server.pid, data):
            waited = time.monotonic() - begun
            if waited > STOP_SECONDS:
                LOG.warning("the embedded server in %s is still stopping (process %s)", data, server.pid)
                return
            if waited > PATIENCE_SECONDS:
                _end_vain_attempt(data)
            time.sleep(POLL_SECONDS)
    data_directory.remove_sockets(data)


def _end_vain_attempt(data: Path) -> None:
    """End an attempt to archive that a stopping server waits for; it would go on for minutes while the repository is away.

    The file waits for the next start.
    """
    attempt = archiving.vain_attempt(data)
    if attempt:
        account = server_programs.account_of(data.stat().st_uid)
        _end_processes(f" {attempt} ", account, signal.SIGTERM)


# --- Processes -----------------------------------------------------------------------------------------


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


def runs(data: Path) -> bool:
    """Say whether a server runs on a data directory, ready or not."""
    return _postmaster(data) is not None


def _is_server(pid: int, data: Path) -> bool:
    """Say whether a process is this directory's server, and not just the next one with that number."""
    command = _command_line(pid)
    if data_directory.token(data) in command or str(data) in command:
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


def _run(
    command: list[str],
    account: Account,
    output: IO[bytes],
    patience: float = 0,
    *,
    given: IO[bytes] | None = None,
    **variables: str,
) -> int:
    """Run a server program to its end, out of reach of the terminal's Ctrl-C, and return its code.

    Interrupted, it lets the program go on for some seconds (`patience`), then kills it. A file takes
    the output: a server that keeps a pipe open would make us wait for its end.
    """
    process = subprocess.Popen(
        command,
        stdin=given or subprocess.DEVNULL,
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


def end_all(argument: str, account: Account) -> None:
    """Kill the server user's processes that have an argument that only we use, and wait until they have ended."""
    deadline = time.monotonic() + LEFTOVER_SECONDS
    while _end_processes(f" {argument} ", account, signal.SIGKILL) and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)


def _end_processes(mark: str, account: Account, how: signal.Signals) -> int:
    """End the server user's processes whose command line or title contains a mark; return how many there were."""
    found = 0
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if entry.stat().st_uid == account.uid and mark in _command_line(int(entry.name)):
                os.kill(int(entry.name), how)
                found += 1
    return found


# --- What programs say -------------------------------------------------------------------------------------------


def _text(output: IO[bytes]) -> str:
    output.seek(0)
    return output.read(data_directory.MEGABYTE).decode(errors="replace")


def _meaning(said: str) -> list[str]:
    """Return the last lines that say what is wrong, without time stamps and without "could not start"."""
    ahead = r"^(waiting for server to start\.+)?([\d-]+ [\d:.]+ \S+ \[\d+\] )?"
    lines = [re.sub(ahead, "", line).strip() for line in said.splitlines()]
    # A wrong setting is named in a LOG line; the FATAL one only names the file.
    words = r"\b(FATAL|PANIC|ERROR|error|DETAIL|could not|invalid|unrecognized|must be)\b"
    telling = [line for line in lines if re.search(words, line) and line != "pg_ctl: could not start server"]
    return (telling or [line for line in lines if line])[-4:]
