"""A bare Debian in a directory, as debootstrap makes it, for what must work on a machine that has nothing.

``python -m daybreak_pipeline_tests.bare_debian`` installs debootstrap where that is possible. Without it, and where the packages
of Debian cannot be fetched, its tests are skipped. Seen from inside there is a system of its own: its processes, its temporary
files, no user but root and Debian's. Only the network is the machine's, with what that asks for: names, authorities, proxies.
"""

from __future__ import annotations

import os
import platform
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from daybreak_pipeline.embedded_postgres.bootstrap import provide_package

PACKAGE = "debootstrap"
_PASSED_ON = (
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "PIP_INDEX_URL",
    "PIP_EXTRA_INDEX_URL",
    "PIP_TRUSTED_HOST",
)
_AUTHORITIES = Path("/etc/authorities-of-this-network.pem")
_SECONDS = 1200


def why_not() -> str:
    """Return why there can be no bare Debian here, empty where nothing is known that is in the way."""
    if os.geteuid() != 0 or not sys.platform.startswith("linux"):
        return "only root on Linux may make another system in a directory"
    if release().get("ID") != "debian":
        return "packages are fetched from where apt of Debian has them: this is another system"
    if not all(map(shutil.which, (PACKAGE, "unshare", "chroot"))):
        return "debootstrap is not installed (make bare-debian)"
    return "" if archive() else "apt's configuration names no archive of packages"


def release() -> dict[str, str]:
    """Return what the system says it is."""
    try:
        return platform.freedesktop_os_release()
    except OSError:
        return {}


def archive() -> str:
    """Return where apt has the packages of the running release from; empty where it does not say so."""
    wanted = [
        "apt-get",
        "indextargets",
        "--format",
        "$(SUITE) $(CODENAME) $(REPO_URI)",
        "Created-By: Packages",
    ]
    try:
        lines = subprocess.run(wanted, capture_output=True, text=True, check=True).stdout.splitlines()
    except (OSError, subprocess.CalledProcessError):
        return ""
    name = release().get("VERSION_CODENAME", "")
    found = [line.split()[-1] for line in lines if name in line.split()[:2]]
    return found[0] if name and found else ""


def make(directory: Path) -> None:
    """Make it, or skip the test where packages cannot be fetched."""
    (directory / "etc" / "dpkg" / "dpkg.cfg.d").mkdir(parents=True)
    # It is thrown away: nothing in it need survive a power cut.
    (directory / "etc" / "dpkg" / "dpkg.cfg.d" / "hasty").write_text("force-unsafe-io\n")
    command = [PACKAGE, "--variant=minbase", release()["VERSION_CODENAME"], str(directory), archive()]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_SECONDS)
    if done.returncode:
        pytest.skip(f"debootstrap could not fetch Debian's packages: {' '.join(done.stdout.split()[-20:])}")
    for name in ("resolv.conf", "hosts"):
        if Path("/etc", name).exists():
            shutil.copy(Path("/etc", name).resolve(), directory / "etc" / name)
    authorities = _authorities()
    if authorities:
        shutil.copy(authorities, directory / _AUTHORITIES.relative_to("/"))


def run(directory: Path, script: str) -> str:
    """Run a script of the shell inside, as root with the environment of somebody who has just logged in."""
    inside = f'mount -t tmpfs -o mode=1777 shm dev/shm && exec chroot . /usr/bin/env -i {_environment()} /bin/bash -c "$0"'
    mounts = ["unshare", "--mount", "--pid", "--fork", "--kill-child", f"--mount-proc={directory / 'proc'}"]
    done = subprocess.run(
        [*mounts, "/bin/sh", "-c", inside, script],
        cwd=directory,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=_SECONDS,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def _environment() -> str:
    given = {"HOME": "/root", "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
    given |= {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    if _authorities():
        given["PIP_CERT"] = str(_AUTHORITIES)
    return shlex.join(f"{name}={value}" for name, value in given.items())


def _authorities() -> str:
    """Return the certificates that pip is told to trust here, where it is."""
    asked = [sys.executable, "-m", "pip", "config", "get", "global.cert"]
    said = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()
    return os.environ.get("PIP_CERT") or said


def main() -> None:
    """Install debootstrap where that is possible, and say what its tests will do."""
    if not provide_package(PACKAGE, lambda: shutil.which(PACKAGE)):
        sys.stdout.write(
            f"no debootstrap, so nothing is tried on a bare system: install the package {PACKAGE}\n"
        )


if __name__ == "__main__":
    main()
