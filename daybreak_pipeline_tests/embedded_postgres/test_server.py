"""The embedded server: first start, sharing, and everything that may be killed or in the way.

The children are forked and not executed again: that is quicker, and works for another user even where
the running Python is closed to it.
"""

from __future__ import annotations

import contextlib
import fcntl
import multiprocessing
import os
import pwd
import re
import resource
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from daybreak_pipeline import database
from daybreak_pipeline.embedded_postgres import data_directory, process, programs, server_log
from daybreak_pipeline.embedded_postgres import server as embedded_server
from daybreak_pipeline.embedded_postgres.server import serve
from daybreak_pipeline.errors import UsageError
from daybreak_pipeline_tests.conftest import KEY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from multiprocessing.connection import Connection

    from daybreak_pipeline.settings import DatabaseSettings

FORK = multiprocessing.get_context("fork")
NOBODY = pwd.getpwnam("nobody")
IS_ROOT = os.geteuid() == 0
linux = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks into /proc")
# Half of the time goes into making, copying and removing small files: less if they stay in memory.
MEMORY = Path("/dev/shm")  # noqa: S108
FILES = MEMORY if MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > 1 << 30 else None
root_only = pytest.mark.skipif(not IS_ROOT, reason="takes another user's part")


# --- Helpers -------------------------------------------------------------------------------------------


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory that every user may enter; afterwards no server and no socket is left of it."""
    directory = Path(tempfile.mkdtemp(prefix="daybreak-test-", dir=FILES)).resolve()
    directory.chmod(0o755)
    monkeypatch.setattr(programs, "ROOT_STATE", directory / "state")
    tokens: set[str] = set()
    token = data_directory.token

    def noted(data: Path) -> str:
        tokens.add(token(data))
        return token(data)

    monkeypatch.setattr(data_directory, "token", noted)
    yield directory
    for data in (*directory.rglob("postgres"), *directory.glob("state/data/*")):
        tokens.add(token(data))
    try:
        # The log collector ends a moment after the server.
        wait_until(lambda: not [line for name in tokens for line in processes(name)])
        sockets = [found for name in tokens for found in Path(tempfile.gettempdir()).glob(f"{name}*")]
        assert not sockets
        assert not list(directory.rglob("*.new*"))
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def new_home(place: Path) -> Path:
    """A home that was never used."""
    return place / "home"


@pytest.fixture(scope="session")
def used_home() -> Iterator[Path]:
    """A home whose server was made and stopped: the source of copies, which are quicker than new ones."""
    directory = Path(tempfile.mkdtemp(prefix="daybreak-test-", dir=FILES)).resolve()
    directory.chmod(0o755)
    with serve(directory / "home"):
        pass
    yield directory / "home"
    shutil.rmtree(directory)


@pytest.fixture
def home(place: Path, used_home: Path) -> Path:
    """A home with a stopped server."""
    subprocess.run(["cp", "-a", used_home, place / "home"], check=True)
    return place / "home"


def processes(token: str) -> list[tuple[int, str]]:
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        line = process._command_line(int(entry.name))
        if token in line:
            found.append((int(entry.name), line))
    return found


def data_of(home: Path) -> Path:
    data = data_directory.existing_data(home.resolve())
    assert data is not None
    return data


def pid_of(home: Path) -> int:
    server = process._postmaster(data_of(home))
    assert server is not None
    return server.pid


def is_running(home: Path) -> bool:
    return process._postmaster(data_of(home)) is not None


def owner_of(pid: int) -> int:
    return Path(f"/proc/{pid}").stat().st_uid


def ask(settings: DatabaseSettings, question: str) -> Any:
    with psycopg.connect(settings.conninfo(), autocommit=True) as connection:
        cursor = connection.execute(question)
        row = cursor.fetchone() if cursor.description else None
        return row and row[0]


def wait_until(condition: Callable[[], bool], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


class Child:
    """A process that runs a function, which gets our end of a pipe to talk through."""

    def __init__(self, function: Callable[[Connection], None], uid: int | None = None) -> None:
        self.pipe, theirs = FORK.Pipe()
        self.process = FORK.Process(target=self._run, args=(function, theirs, uid))
        self.process.start()
        theirs.close()

    @staticmethod
    def _run(function: Callable[[Connection], None], pipe: Connection, uid: int | None) -> None:
        if uid is not None:
            os.setgroups([])
            os.setgid(NOBODY.pw_gid)
            os.setuid(uid)
        function(pipe)

    def says(self) -> Any:
        assert self.pipe.poll(30)
        return self.pipe.recv()

    def end(self) -> int | None:
        """Let it go on, and return its exit code."""
        with contextlib.suppress(BrokenPipeError):
            self.pipe.send("go on")
        return self.wait()

    def wait(self) -> int | None:
        self.process.join(30)
        return self.process.exitcode

    def kill(self) -> None:
        os.kill(self.process.pid or 0, signal.SIGKILL)
        assert self.wait() == -signal.SIGKILL


def user_of(home: Path) -> Callable[[Connection], None]:
    """Return what a child does: use the server until it is told to go on."""

    def use(pipe: Connection) -> None:
        with serve(home) as settings:
            pipe.send((settings.port, ask(settings, "SELECT count(*) FROM pg_database"), pid_of(home)))
            pipe.recv()

    return use


# --- The server ----------------------------------------------------------------------------------------


def test_the_first_start_makes_a_private_server_with_both_databases(new_home: Path) -> None:
    with serve(new_home) as settings:
        assert (settings.host, settings.name, settings.sslmode) == ("127.0.0.1", "daybreak_health", "disable")
        expected = {
            "listen_addresses": "127.0.0.1",
            "server_encoding": "UTF8",
            "data_checksums": "on",
            "fsync": "on",
            "synchronous_commit": "on",
            "wal_level": "replica",
            "max_wal_size": "4GB",
            "max_connections": "100",
            "TimeZone": "UTC",
            "log_timezone": "UTC",
            "log_parameter_max_length": "0",
            "log_parameter_max_length_on_error": "0",
            "log_min_error_statement": "panic",
            "log_min_messages": "log",
            "log_error_verbosity": "terse",
        }
        for name, value in expected.items():
            assert ask(settings, f"SHOW {name}") == value, name
        dagster = replace(settings, name="dagster")
        assert ask(dagster, "SHOW synchronous_commit") == "off"
        assert ask(dagster, "SHOW server_encoding") == "UTF8"
        password = new_home / "postgres.password"
        assert password.read_text(encoding="ascii").strip() == settings.password
        assert stat.S_IMODE(password.stat().st_mode) == 0o600
        assert password.stat().st_uid == os.geteuid()
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            psycopg.connect(settings.conninfo(password="guess"))
    assert not is_running(new_home)


@linux
@pytest.mark.parametrize(("cores", "helpers"), [(1, 0), (2, 1), (16, 4)])
def test_each_core_but_the_first_helps_with_a_statement(
    place: Path, monkeypatch: pytest.MonkeyPatch, cores: int, helpers: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)))
    data_directory.write_configuration(place, programs.server_account(), 1, place, programs.find())
    written = (place / "daybreak.conf").read_text()
    assert f"max_parallel_workers_per_gather = {helpers}\n" in written
    assert f"max_parallel_maintenance_workers = {helpers}\n" in written


def test_the_socket_asks_for_the_password_too_and_is_private(home: Path) -> None:
    with serve(home) as settings:
        directory = Path(ask(settings, "SHOW unix_socket_directories"))
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700
        assert directory.stat().st_uid == data_of(home).stat().st_uid
        if IS_ROOT or os.geteuid() == directory.stat().st_uid:
            psycopg.connect(settings.conninfo(host=str(directory))).close()
            with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
                psycopg.connect(settings.conninfo(host=str(directory), password="guess"))
    assert not directory.exists()


@linux
def test_the_server_is_on_its_own(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENCRYPTION_KEY", "not for the server")
    monkeypatch.setenv("PGPORT", "1")
    monkeypatch.setenv("PGDATA", "/nowhere")
    with serve(home) as settings:
        pid = pid_of(home)
        assert os.getsid(pid) != os.getsid(0)  # the terminal's Ctrl-C does not reach it
        assert owner_of(pid) == (data_of(home).stat().st_uid if IS_ROOT else os.geteuid())
        if IS_ROOT or os.access(f"/proc/{pid}/environ", os.R_OK):
            assert b"not for" not in Path(f"/proc/{pid}/environ").read_bytes()
            links = [str(entry.readlink()) for entry in Path(f"/proc/{pid}/fd").iterdir()]
            assert not [link for link in links if "postgres.lock" in link or "postgres.users" in link]
        for _, line in processes(data_directory.token(data_of(home))):
            assert settings.password not in line


def test_the_log_keeps_no_personal_values(home: Path) -> None:
    with serve(home) as settings:
        with psycopg.connect(settings.conninfo(), autocommit=True) as connection:
            connection.execute("CREATE TABLE people (phone text PRIMARY KEY, age int CHECK (age > 0))")
            for statement, values in (
                ("INSERT INTO people VALUES ('555-SECRET', 1), ('555-SECRET', 2)", None),
                ("INSERT INTO people VALUES (%s, -1)", ["555-SECRET"]),
                ("SELECT '555-SECRET', nothing", None),
                ("SELECT %s::text::date", ["555-SECRET"]),
                ("DO $$ BEGIN RAISE WARNING '555-SECRET'; RAISE EXCEPTION '555-SECRET'; END $$", None),
            ):
                with pytest.raises(psycopg.Error):
                    connection.execute(statement, values)
        with pytest.raises(psycopg.OperationalError):
            psycopg.connect(settings.conninfo(password="guess"))
    logs = server_log.files(data_of(home))

    def log() -> str:
        return "".join(path.read_text(encoding="utf-8") for path in logs)

    # What concerns the server itself is kept; its last line may come a moment after its end.
    wait_until(lambda: log().rstrip().endswith("LOG:  database system is shut down"))
    assert "FATAL:  password authentication failed" in log()
    assert "SECRET" not in log()
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in logs)


def test_old_files_of_the_log_and_those_beyond_the_most_go_at_the_next_start(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_log, "MOST_FILES", 3)
    place = server_log.directory(data_of(home))
    now = time.time()
    ages = {"long-ago": now - 31 * 86_400, "third": now - 30, "second": now - 20, "first": now - 10}
    for name, at in ages.items():
        path = place / f"postgres-{name}.log"
        path.write_text("x", encoding="utf-8")
        os.utime(path, (at, at))
    unrelated = place / "notes.txt"
    unrelated.write_text("x", encoding="utf-8")
    for path in server_log.files(data_of(home)):
        if path.stem.removeprefix("postgres-") not in ages:
            path.unlink()
    with serve(home):
        pass
    *kept, newest = [path.name for path in server_log.files(data_of(home))]
    assert kept == ["postgres-third.log", "postgres-second.log", "postgres-first.log"]
    assert newest.startswith("postgres-2")
    assert unrelated.exists()


def test_the_log_rotates_outside_the_data_and_an_older_homes_moves_there_at_the_next_start(
    home: Path,
) -> None:
    before = data_of(home) / "log"
    before.mkdir(exist_ok=True)
    (before / "postgres-Mon.log").write_text("said earlier", encoding="utf-8")
    with serve(home) as settings:
        place = data_of(home) / ask(settings, "SHOW log_directory")
        assert place.resolve() == home / "postgres-log"
        assert stat.S_IMODE(place.stat().st_mode) == 0o700
        assert (place / "postgres-Mon.log").read_text(encoding="utf-8") == "said earlier"
        assert list(before.iterdir()) == []
        first = ask(settings, "SELECT pg_current_logfile()")
        assert (data_of(home) / first).exists()
        assert (ask(settings, "SHOW log_rotation_age"), ask(settings, "SHOW log_rotation_size")) == (
            "1d",
            "16MB",
        )
        time.sleep(1.1)  # files are named by the second
        ask(settings, "SELECT pg_rotate_logfile()")
        wait_until(lambda: ask(settings, "SELECT pg_current_logfile()") != first)


def test_the_log_names_slow_statements_waits_and_temporary_files_without_any_value(home: Path) -> None:
    with serve(home) as settings:
        with psycopg.connect(settings.conninfo(), autocommit=True) as administrator:
            administrator.execute("ALTER DATABASE daybreak_health SET daybreak.slow_statements = '0'")
            administrator.execute("ALTER DATABASE daybreak_health SET log_temp_files = 0")
            administrator.execute("CREATE TABLE visits (who text)")
        with database.connect(settings, key=KEY, autocommit=True, log_slow=True) as ours:
            ours.execute("SELECT 'our own' FROM pg_sleep(0.01) WHERE %s <> ''", ["Kanarie"])
        with database.connect(settings, key=KEY, autocommit=True) as other:
            other.execute("SELECT 'Kanarie' FROM pg_sleep(0.01)")
        with psycopg.connect(settings.conninfo(), autocommit=True) as somebody:
            somebody.execute("SELECT 'Kanarie typed' FROM pg_sleep(0.01)")
            somebody.execute("SET work_mem = '64kB'")
            somebody.execute("SELECT 'Kanarie' || n FROM generate_series(1, 50000) n ORDER BY 1")
            with psycopg.connect(settings.conninfo()) as holder:
                holder.execute("LOCK TABLE visits")
                somebody.execute("SET statement_timeout = '300ms'")
                with pytest.raises(psycopg.errors.QueryCanceled):
                    somebody.execute("INSERT INTO visits VALUES ('Kanarie waits')")

    def log() -> str:
        return "".join(path.read_text(encoding="utf-8") for path in server_log.files(data_of(home)))

    wait_until(lambda: log().rstrip().endswith("LOG:  database system is shut down"))
    text = log()
    assert re.search(r"duration: [\d.]+ ms +\S+ <unnamed>: SELECT 'our own'", text)
    assert "still waiting for RowExclusiveLock" in text
    assert "LOG:  temporary file: path" in text
    assert "checkpoint complete" in text
    assert "Kanarie" not in text
    assert KEY not in text


def test_the_server_counts_statements_without_values_and_without_passwords(home: Path) -> None:
    if not programs.has_library(programs.find(), "pg_stat_statements"):
        pytest.skip("this server has no pg_stat_statements")
    with serve(home) as settings:
        ask(settings, "CREATE EXTENSION pg_stat_statements")
        ask(settings, "SELECT 'Kanarie' AS watched")
        ask(settings, "CREATE ROLE watched_login PASSWORD 'Kanarie'")
        with psycopg.connect(settings.conninfo()) as connection:
            texts = [text for (text,) in connection.execute("SELECT query FROM pg_stat_statements")]
    assert "SELECT $1 AS watched" in texts
    assert "watched_login" not in "".join(texts)
    assert "Kanarie" not in "".join(texts)


def test_data_port_and_password_last(home: Path) -> None:
    with serve(home) as first:
        ask(first, "CREATE TABLE kept AS SELECT 1 AS n")
    started = time.monotonic()
    with serve(home) as second:
        seconds = time.monotonic() - started
        assert ask(second, "SELECT n FROM kept") == 1
    assert second == first
    assert seconds < 5


# --- Who uses it ---------------------------------------------------------------------------------------


def test_nested_uses_share_the_server(home: Path) -> None:
    with serve(home) as outer:
        pid = pid_of(home)
        with serve(home) as inner:
            assert inner == outer
        assert pid_of(home) == pid
        assert ask(outer, "SELECT 1") == 1
    assert not is_running(home)


def test_threads_share_the_server(home: Path) -> None:
    together = threading.Barrier(6)

    def use(number: int) -> int:
        with serve(home) as settings:
            together.wait(30)
            return int(ask(settings, f"SELECT {number}"))

    with ThreadPoolExecutor(6) as pool:
        assert sorted(pool.map(use, range(6))) == list(range(6))
    assert not is_running(home)


def test_a_link_to_the_home_is_the_same_home(new_home: Path, place: Path) -> None:
    (place / "link").symlink_to(new_home)
    new_home.mkdir()
    with serve(new_home) as settings, serve(place / "link") as same:
        assert same == settings
    assert not is_running(new_home)


def test_two_homes_have_two_servers(home: Path, place: Path) -> None:
    with serve(home) as one, serve(place / "two") as two:
        assert one.port != two.port
        assert one.password != two.password
        assert ask(one, "SHOW data_directory") != ask(two, "SHOW data_directory")
        with pytest.raises(psycopg.OperationalError, match="password"):
            psycopg.connect(one.conninfo(port=two.port))


def test_five_processes_at_once_make_one_server(new_home: Path) -> None:
    children = [Child(user_of(new_home)) for _ in range(5)]
    answers = {child.says() for child in children}
    assert len(answers) == 1
    assert {answer[1] for answer in answers} == {5}  # three templates' and our two
    for child in children[:4]:
        assert child.end() == 0
        assert is_running(new_home)
    assert children[4].end() == 0
    assert not is_running(new_home)


def test_coming_and_going_all_the_time(home: Path) -> None:
    def visit(pipe: Connection) -> None:
        for _ in range(6):
            with serve(home) as settings:
                pipe.send(ask(settings, "SELECT 1"))

    children = [Child(visit) for _ in range(3)]
    assert [child.wait() for child in children] == [0, 0, 0]
    assert not is_running(home)


def test_a_forked_child_does_not_hold_or_stop_the_server(home: Path) -> None:
    def outlive(pipe: Connection) -> None:
        pipe.send("here")
        pipe.recv()

    with serve(home) as settings:
        child = os.fork()
        if not child:
            # Leaves the block in the child as well, as an exception would.
            with contextlib.suppress(BaseException):
                embedded_server._leave(home)
            os._exit(0)
        os.waitpid(child, 0)
        assert ask(settings, "SELECT 1") == 1
        long_lived = Child(outlive)
        long_lived.says()
    assert not is_running(home)
    assert long_lived.end() == 0


def test_a_generator_left_by_a_forked_child_stops_nothing(home: Path) -> None:
    with contextlib.ExitStack() as stack:
        settings = stack.enter_context(serve(home))
        child = os.fork()
        if not child:
            try:
                stack.close()
            finally:
                os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        assert ask(settings, "SELECT 1") == 1


def test_a_program_started_meanwhile_does_not_keep_the_server(home: Path) -> None:
    with serve(home):
        program = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, close_fds=False)
    try:
        assert not is_running(home)
    finally:
        program.kill()
        program.communicate()


# --- What may be killed --------------------------------------------------------------------------------


def test_the_server_of_a_killed_owner_is_taken_over_and_stopped(home: Path) -> None:
    owner = Child(user_of(home))
    port, _, pid = owner.says()
    owner.kill()
    assert is_running(home)
    with serve(home) as settings:
        assert (settings.port, pid_of(home)) == (port, pid)
        assert ask(settings, "SELECT 1") == 1
    assert not is_running(home)


def test_a_killed_server_recovers(home: Path) -> None:
    with serve(home) as settings:
        ask(settings, "CREATE TABLE kept AS SELECT 1 AS n")
        pid = pid_of(home)
        os.kill(pid, signal.SIGKILL)
        with serve(home) as again:  # at once, while its children are still there
            assert pid_of(home) != pid
            assert ask(again, "SELECT n FROM kept") == 1
    assert not is_running(home)


def kill_server(home: Path) -> None:
    pid = pid_of(home)
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not process._command_line(pid))


def test_a_killed_server_is_noticed_and_revived_where_it_was(home: Path) -> None:
    with serve(home) as settings:
        assert not embedded_server.is_gone(home)
        kill_server(home)
        assert embedded_server.is_gone(home)
        for _ in range(2):  # the second time there is nothing to do
            embedded_server.revive(home, settings.port)
            assert not embedded_server.is_gone(home)
            assert ask(settings, "SELECT 1") == 1
    assert not is_running(home)


def test_a_server_whose_port_was_taken_meanwhile_waits_for_it(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded_server, "CONNECT_SECONDS", 0.5)
    with serve(home) as settings:
        kill_server(home)
        wait_until(lambda: data_directory.is_free(settings.port))
        with (
            socket.create_server(("127.0.0.1", settings.port)),
            pytest.raises(
                UsageError, match=f"another program has taken the embedded server's port {settings.port}"
            ),
        ):
            embedded_server.revive(home, settings.port)
        assert embedded_server.is_gone(home)  # and was not started where nobody looks for it
        embedded_server.revive(home, settings.port)
        with serve(home) as again:
            assert again.port == settings.port


def test_a_server_that_another_command_started_elsewhere_is_another_one(home: Path) -> None:
    with serve(home) as settings, pytest.raises(UsageError, match=f"here port {settings.port + 1} is known"):
        embedded_server.revive(home, settings.port + 1)


def test_a_server_that_another_command_is_about_to_start_or_restore_is_not_gone(home: Path) -> None:
    with serve(home):
        kill_server(home)
        with (home / "postgres.lock").open("rb+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            assert not embedded_server.is_gone(home)
        assert embedded_server.is_gone(home)


def test_a_killed_server_leaves_no_socket(home: Path) -> None:
    with serve(home) as settings:
        sockets = Path(ask(settings, "SHOW unix_socket_directories"))
        pid = pid_of(home)
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not process._command_line(pid))
        assert sockets.exists()
    assert not sockets.exists()


@linux
def test_a_busy_child_of_a_killed_server_does_not_block_the_next(home: Path) -> None:
    """A backend that computes does not look whether its server is still there."""
    busy = "SELECT count(*) FROM generate_series(1, 100000) a, generate_series(1, 100000) b"

    def compute(settings: DatabaseSettings) -> None:
        with contextlib.suppress(psycopg.Error):
            ask(settings, f"SET max_parallel_workers_per_gather = 0; {busy}")

    with serve(home) as settings:
        thread = threading.Thread(target=compute, args=(settings,))
        thread.start()
        token = data_directory.token(data_of(home))
        wait_until(lambda: any("SELECT" in line for _, line in processes(token)))
        os.kill(pid_of(home), signal.SIGKILL)
        with serve(home) as again:
            assert ask(again, "SELECT 1") == 1
        thread.join(10)
        assert not thread.is_alive()


@pytest.mark.parametrize("same_user", [True, False])
def test_a_process_number_that_another_program_got(home: Path, *, same_user: bool) -> None:
    with serve(home):
        os.kill(pid_of(home), signal.SIGKILL)
        arguments = programs.server_account().popen() if same_user else {}
        stranger = subprocess.Popen(["sleep", "60"], **arguments)
        try:
            path = data_of(home) / "postmaster.pid"
            rest = path.read_text(encoding="utf-8").partition("\n")[2]
            path.write_text(f"{stranger.pid}\n{rest}", encoding="utf-8")
            with serve(home) as settings:
                assert ask(settings, "SELECT 1") == 1
            assert stranger.poll() is None
        finally:
            stranger.kill()
            stranger.wait()


@pytest.mark.parametrize("delay", [0.1, 0.25, 0.4])
def test_killed_during_the_first_start(new_home: Path, delay: float) -> None:
    child = Child(user_of(new_home))
    time.sleep(delay)
    child.kill()
    with serve(new_home) as settings:
        assert ask(settings, "SELECT count(*) FROM pg_database") == 5
    assert not is_running(new_home)


@pytest.mark.parametrize("delay", [0.1, 0.3, 0.6])
def test_interrupted_during_the_first_start(new_home: Path, delay: float) -> None:
    def interrupted(pipe: Connection) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        pipe.send("here")
        with contextlib.suppress(KeyboardInterrupt), serve(new_home):
            pipe.recv()

    child = Child(interrupted)
    child.says()
    time.sleep(delay)
    os.kill(child.process.pid or 0, signal.SIGINT)
    assert child.end() == 0
    assert not list(new_home.glob("postgres.new*"))
    if (new_home / "postgres").exists():
        assert not is_running(new_home)
    with serve(new_home) as settings:
        assert ask(settings, "SELECT count(*) FROM pg_database") == 5


def test_terminated_with_a_handler(home: Path) -> None:
    def use(pipe: Connection) -> None:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(3))
        user_of(home)(pipe)

    child = Child(use)
    child.says()
    os.kill(child.process.pid or 0, signal.SIGTERM)
    assert child.wait() == 3
    assert not is_running(home)


def test_a_home_that_is_deleted_meanwhile(home: Path) -> None:
    with serve(home) as settings:
        pid = pid_of(home)
        sockets = Path(ask(settings, "SHOW unix_socket_directories"))
        shutil.rmtree(home)
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGQUIT)
    shutil.rmtree(sockets, ignore_errors=True)
    assert not home.exists()


# --- What may be in the way ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["with space", "Größe 数据 🌞", 'it\'s "$HOME" `x`; %d \\', "long" * 45])
def test_odd_names(place: Path, name: str) -> None:
    home = place / name / "home"
    with serve(home) as settings:
        assert ask(settings, "SELECT 1") == 1
        assert not (home / "postgres.location").exists()
    assert not is_running(home)


def test_a_port_that_is_taken_is_not_used_again(home: Path) -> None:
    with serve(home) as first:
        pass
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", first.port))
        other.listen()
        with serve(home) as second:
            assert second.port != first.port
            assert ask(second, "SELECT 1") == 1
    with serve(home) as third:
        assert third.port == second.port


def test_a_port_that_is_taken_while_we_start(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    choose = data_directory.choose_port
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = other.getsockname()[1]
        monkeypatch.setattr(data_directory, "choose_port", lambda data, no: choose(data, no) if no else taken)
        with serve(home) as settings:
            assert settings.port != taken


def test_a_socket_directory_that_somebody_else_made(new_home: Path) -> None:
    new_home.mkdir()
    squatted = Path(tempfile.gettempdir(), data_directory.token(new_home.resolve() / "postgres"))
    squatted.mkdir()
    (squatted / "something").touch()
    squatted.chmod(0o777)
    if IS_ROOT:
        os.chown(squatted, NOBODY.pw_uid, NOBODY.pw_gid)
    try:
        with serve(new_home) as settings:
            used = Path(ask(settings, "SHOW unix_socket_directories"))
            assert used != squatted
            assert stat.S_IMODE(used.stat().st_mode) == 0o700
    finally:
        assert (squatted / "something").exists()
        shutil.rmtree(squatted)


def test_data_of_another_version(home: Path) -> None:
    version = data_of(home) / "PG_VERSION"
    version.write_text("9\n", encoding="ascii")
    with (
        pytest.raises(UsageError, match=r"were made by PostgreSQL 9, but .* holds PostgreSQL 1\d"),
        serve(home),
    ):
        pass
    assert version.read_text(encoding="ascii") == "9\n"


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ("shared_preload_libraries = 'no_such_library'", 'FATAL:  could not access file "no_such_library"'),
        ("max_connections = lots", 'LOG:  invalid value for parameter "max_connections": "lots"'),
        ("hba_file = '/nowhere/hba'", 'LOG:  could not open .*file "/nowhere/hba"'),
    ],
)
def test_a_server_that_does_not_start_says_why(home: Path, wrong: str, reason: str) -> None:
    with (data_of(home) / "postgresql.auto.conf").open("a", encoding="utf-8") as configuration:
        configuration.write(f"{wrong}\n")
    with pytest.raises(UsageError, match=f"did not start: {reason}") as caught, serve(home):
        pass
    assert "\n" not in str(caught.value)
    assert not is_running(home)


def test_a_lost_password(home: Path) -> None:
    (home / "postgres.password").unlink()
    with pytest.raises(UsageError, match=r"postgres\.password is missing"), serve(home):
        pass
    (home / "postgres.password").write_text("another", encoding="ascii")
    with pytest.raises(UsageError, match="password authentication failed"), serve(home):
        pass
    assert not is_running(home)


def test_a_full_disk_during_the_first_start(new_home: Path) -> None:
    def limited(pipe: Connection) -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
        try:
            with serve(new_home):
                pass
        except UsageError as error:
            pipe.send(str(error))

    child = Child(limited)
    assert "data directory could not be made" in child.says()
    assert child.wait() == 0
    assert not (new_home / "postgres").exists()
    with serve(new_home) as settings:
        assert ask(settings, "SELECT 1") == 1


def test_a_home_that_is_a_file(place: Path) -> None:
    (place / "file").touch()
    with pytest.raises(UsageError, match=r"cannot use .*file"), serve(place / "file" / "home"):
        pass
    with pytest.raises(UsageError, match=r"cannot use .*file"), serve(place / "file"):
        pass


# --- Users of the machine ------------------------------------------------------------------------------


@root_only
def test_an_ordinary_user_runs_it_as_oneself(place: Path) -> None:
    home = place / "theirs" / "home"
    home.parent.mkdir()
    os.chown(home.parent, NOBODY.pw_uid, NOBODY.pw_gid)
    home.parent.chmod(0o700)
    child = Child(user_of(home), NOBODY.pw_uid)
    pid = child.says()[2]
    assert owner_of(pid) == NOBODY.pw_uid
    assert child.end() == 0
    assert not is_running(home)
    assert {path.stat().st_uid for path in (home, *home.iterdir())} == {NOBODY.pw_uid}
    # And once as root: the files stay theirs.
    with serve(home):
        assert owner_of(pid_of(home)) == NOBODY.pw_uid
    assert {path.stat().st_uid for path in (home, *home.rglob("*"))} == {NOBODY.pw_uid}
    child = Child(user_of(home), NOBODY.pw_uid)
    child.says()
    assert child.end() == 0


@root_only
def test_a_home_of_another_user_is_refused(home: Path, place: Path) -> None:
    def refused(pipe: Connection) -> None:
        for path in (home, place / "new"):
            try:
                with serve(path):
                    pass
            except UsageError as error:
                pipe.send(str(error))

    child = Child(refused, NOBODY.pw_uid)
    assert child.says() == f"the embedded server cannot use {home}/postgres.lock: Permission denied"
    assert child.says() == f"the embedded server cannot use {place}/new: Permission denied"
    assert child.wait() == 0


@root_only
def test_root_opens_its_home_to_the_server_but_not_its_secrets(new_home: Path) -> None:
    new_home.mkdir(mode=0o700)
    with serve(new_home):
        owner = data_of(new_home).stat().st_uid
        assert owner_of(pid_of(new_home)) == owner != 0
        assert data_of(new_home) == new_home / "postgres"
    assert stat.S_IMODE(new_home.stat().st_mode) == 0o711
    assert stat.S_IMODE(data_of(new_home).stat().st_mode) == 0o700
    assert {path.stat().st_uid for path in data_of(new_home).rglob("*")} == {owner}
    for path in new_home.glob("postgres.*"):
        assert (path.stat().st_uid, stat.S_IMODE(path.stat().st_mode)) == (0, 0o600)


@root_only
def test_a_home_below_a_closed_directory_keeps_its_data_elsewhere(place: Path) -> None:
    closed = place / "closed"
    closed.mkdir(mode=0o700)
    home = closed / "home"
    with pytest.MonkeyPatch.context() as broken:
        broken.setenv("DAYBREAK_PG_BIN", "/nowhere")
        with pytest.raises(UsageError, match="DAYBREAK_PG_BIN=/nowhere"), serve(home):
            pass
    with serve(home) as settings:
        ask(settings, "CREATE TABLE kept AS SELECT 1 AS n")
    data = data_of(home)
    assert data.parent == place / "state" / "data"
    assert stat.S_IMODE(data.stat().st_mode) == 0o700
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700
    assert [stat.S_IMODE(part.stat().st_mode) for part in (data.parent, data.parent.parent)] == [0o755] * 2
    with serve(home) as settings:
        assert ask(settings, "SELECT n FROM kept") == 1
    # Another home of that name does not get these data, and does not destroy them.
    shutil.rmtree(home)
    with serve(home) as settings:
        assert ask(settings, "SELECT to_regclass('kept')") is None
    assert data_of(home) != data
    assert data.is_dir()


@root_only
def test_root_makes_directories_that_the_server_can_enter(place: Path) -> None:
    before = os.umask(0o077)
    try:
        with serve(place / "a" / "b" / "home"):
            assert (place / "a" / "b" / "home" / "postgres").is_dir()
    finally:
        os.umask(before)


def test_locks_are_free_afterwards(home: Path) -> None:
    descriptors, homes = set(embedded_server._USES.descriptors), set(embedded_server._USES.by_home)
    with serve(home):
        pass
    for name in ("postgres.lock", "postgres.users"):
        with (home / name).open("r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    assert embedded_server._USES.descriptors == descriptors
    assert set(embedded_server._USES.by_home) == homes
