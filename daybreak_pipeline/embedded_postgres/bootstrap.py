"""Makes the virtual environment on a machine that may have nothing but Python. Run by ``make install``.

Standard library only: nothing else is installed yet. Debian keeps what ``python3 -m venv`` needs in a
package of its own; root installs it, anyone else unpacks pip from Debian's package without installing it.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

OLDEST = (3, 11)
_SECONDS_BETWEEN_LINES = 5
_DOING = {"Collecting": "looking for", "Downloading": "downloading"}
"""What pip is at, by the first word of its lines."""


def main(environment: Path, *packages: str) -> int:
    """Make the environment if it is missing or broken, and install packages into it. Returns the exit code.

    Args:
        environment: the directory.
        packages: arguments of ``pip install``.
    """
    return _made(environment) or (_installed(environment, packages) if packages else 0)


def _made(environment: Path) -> int:
    if sys.version_info < OLDEST:
        running = ".".join(map(str, sys.version_info[:3]))
        return _refuse(f"this is Python {running}, and 3.11 or newer is needed: make PYTHON=python3.11 …")
    if _works(environment):
        return 0
    ways = (_with_venv, _with_installed_package, _with_pip_of_the_system, _with_unpacked_package)
    for way in ways:
        shutil.rmtree(environment, ignore_errors=True)
        if way(environment) and _works(environment):
            return 0
    shutil.rmtree(environment, ignore_errors=True)
    return _refuse(
        "this Python cannot make virtual environments, and its package could not be fetched: check the network, "
        "or install it as root (Debian, Ubuntu: `apt-get install python3-venv`), then try again"
    )


def _installed(environment: Path, arguments: Sequence[str]) -> int:
    """Run pip, and say what it is at: a minute of silence looks like a program that hangs."""
    sys.stdout.write("installing Python packages: a minute, or a few on a slow line …\n")
    sys.stdout.flush()
    pip = [str(environment / "bin" / "python"), "-m", "pip", "install", *arguments]
    calm = ["--disable-pip-version-check", "--no-color", "--progress-bar", "off"]
    counted, said = 0, time.monotonic()
    with subprocess.Popen([*pip, *calm], stdout=subprocess.PIPE, text=True, errors="replace") as process:
        for line in process.stdout or ():
            what, _, rest = line.strip().partition(" ")
            counted += what == "Collecting"
            last = what == "Installing" and rest.startswith("collected")
            if last or (what in _DOING and time.monotonic() - said >= _SECONDS_BETWEEN_LINES):
                said = time.monotonic()
                name = re.split(r"[ <>=!~;(\[]", rest, maxsplit=1)[0].rpartition("/")[2]
                doing = "installing all of them" if last else f"{_DOING[what]} {name}"
                packages = "package" if counted == 1 else "packages"
                sys.stdout.write(f"  {counted} {packages} so far: {doing} …\n")
                sys.stdout.flush()
    return process.returncode


def _refuse(message: str) -> int:
    sys.stderr.write(f"daybreak: {message}\n")
    return 2


def _works(environment: Path) -> bool:
    return _succeeds([str(environment / "bin" / "python"), "-m", "pip", "--version"])


def _with_venv(environment: Path) -> bool:
    return _succeeds([sys.executable, "-m", "venv", str(environment)])


def _with_installed_package(environment: Path) -> bool:
    """Install what venv needs, as root on Debian or Ubuntu can."""
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        return False
    sys.stdout.write("installing the package python3-venv …\n")
    return install_package("python3-venv") and _with_venv(environment)


def _with_pip_of_the_system(environment: Path) -> bool:
    """Where pip is installed and venv's own copy is not."""
    bare = [sys.executable, "-m", "venv", "--without-pip", str(environment)]
    target = str(environment / "bin" / "python")
    return _succeeds(bare) and _succeeds(
        [sys.executable, "-m", "pip", "--python", target, "install", "-q", "pip"]
    )


def _with_unpacked_package(environment: Path) -> bool:
    """Take pip out of its Debian package, as an ordinary user can."""
    with tempfile.TemporaryDirectory() as scratch:
        if not unpack_package("python3-pip-whl", Path(scratch)):
            return False
        for wheel in Path(scratch).glob("usr/share/python-wheels/pip-*.whl"):
            bare = [sys.executable, "-m", "venv", "--without-pip", str(environment)]
            pip = [str(environment / "bin" / "python"), str(wheel / "pip")]
            if _succeeds(bare) and _succeeds([*pip, "install", "--no-index", str(wheel)]):
                return True
    return False


def provide_package(package: str, is_there: Callable[[], object]) -> bool:
    """Install a package as root on Debian or Ubuntu can, unless what it brings is there, and return whether it is then."""
    if not is_there() and os.geteuid() == 0 and shutil.which("apt-get"):
        sys.stdout.write(f"installing the package {package} with apt-get …\n")
        sys.stdout.flush()
        install_package(package)
    return bool(is_there())


def install_package(package: str) -> bool:
    """Install a package of Debian or Ubuntu, quietly and without questions, as root; return whether apt-get did."""
    calm = {"DEBIAN_FRONTEND": "noninteractive", "UCF_FORCE_CONFFOLD": "1"}
    apt = ["apt-get", "-qq", "-o", "DPkg::Lock::Timeout=120"]
    install = [*apt, "install", "-y", "--no-install-recommends", package]
    # Package lists that are missing or old make the first attempt fail, within a second.
    if _succeeds(install, calm):
        return True
    _succeeds([*apt, "update"], calm)
    return _succeeds(install, calm)


def unpack_package(package: str, target: Path) -> bool:
    """Unpack a package of Debian or Ubuntu, and what it needs and the machine lacks, without installing it."""
    if not shutil.which("apt-get") or not shutil.which("dpkg-deb"):
        return False
    with tempfile.TemporaryDirectory() as scratch:
        for directory in ("lists/partial", "cache/archives/partial", "packages"):
            Path(scratch, directory).mkdir(parents=True)
        packages = Path(scratch, "packages")
        # The machine's package lists first. Containers come without, old ones name files that are gone, and
        # only root may update them: then lists of our own.
        own = ["-o", f"Dir::State::lists={scratch}/lists", "-o", f"Dir::Cache={scratch}/cache"]
        if not _downloaded(["apt-get"], package, packages) and not (
            _succeeds(["apt-get", *own, "update"]) and _downloaded(["apt-get", *own], package, packages)
        ):
            return False
        return all(_succeeds(["dpkg-deb", "-x", str(file), str(target)]) for file in packages.glob("*.deb"))


def _downloaded(apt: list[str], package: str, where: Path) -> bool:
    trial = [*apt, "--simulate", "--no-install-recommends", "install", package]
    plan = subprocess.run(trial, capture_output=True, text=True, errors="replace", check=False)
    needed = {line.split()[1] for line in plan.stdout.splitlines() if line.startswith("Inst ")}
    return plan.returncode == 0 and _succeeds(
        [*apt, "download", *sorted({package, *needed})], where=str(where)
    )


def _succeeds(command: list[str], variables: dict[str, str] | None = None, where: str | None = None) -> bool:
    try:
        done = subprocess.run(
            command,
            env={**os.environ, **(variables or {})},
            cwd=where,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=False,
        )
    except OSError:
        return False
    return done.returncode == 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), *sys.argv[2:]))
