"""Node.js with its PostgreSQL driver `pg` and TypeScript's compiler, for tests of what applications in them do.

``python -m daybreak_pipeline_tests.node`` installs what is missing where that is possible: Node and npm from Debian's packages,
the others by npm into ``build/node``. Without them, those tests are skipped and say so. A test runs a program in a directory
of its own: ``prepare`` lets that find the packages, ``run`` and ``compiled`` start Node and the compiler there.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from daybreak_pipeline.embedded_postgres.bootstrap import provide_package

PACKAGES = {"pg": "8.16.3", "@types/pg": "8.15.5", "@types/node": "20.19.9", "typescript": "5.9.3"}
"""What npm installs, in versions that work with the Node of Debian 12 and of later ones."""
DIRECTORY = Path(__file__).parents[1] / "build" / "node"
_MODULES = DIRECTORY / "node_modules"
_SECONDS = 300


def program() -> str | None:
    """Return the path of Node, if there is one."""
    return shutil.which("node") or shutil.which("nodejs")


def installed() -> bool:
    """Return whether Node and the packages are there, in the versions wanted."""
    return program() is not None and all(_version(name) == wanted for name, wanted in PACKAGES.items())


def _version(package: str) -> str:
    described = _MODULES / package / "package.json"
    return str(json.loads(described.read_text())["version"]) if described.exists() else ""


needs_node = pytest.mark.skipif(
    not installed(), reason="Node.js with pg and typescript is not installed (make node)"
)


def prepare(directory: Path) -> None:
    """Let programs in a directory find the packages."""
    (directory / "node_modules").symlink_to(_MODULES, target_is_directory=True)


def run(directory: Path, *arguments: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run Node in a prepared directory, with these variables beside those of the tests."""
    return _done([str(program()), *arguments], directory, environment)


def compiled(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run TypeScript's compiler in a prepared directory."""
    return _done([str(program()), str(_MODULES / "typescript" / "bin" / "tsc"), *arguments], directory, {})


def _done(
    command: list[str], directory: Path, environment: dict[str, str]
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=directory,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=_SECONDS,
    )


def install() -> bool:
    """Install what is missing where that is possible, and return whether all is there."""
    npm = provide_package("nodejs", program) and provide_package("npm", lambda: shutil.which("npm"))
    if npm and not installed():
        sys.stdout.write(f"installing {', '.join(PACKAGES)} with npm …\n")
        sys.stdout.flush()
        DIRECTORY.mkdir(parents=True, exist_ok=True)
        # A package.json of its own: without, npm would look for one in the directories above.
        (DIRECTORY / "package.json").write_text('{"private": true}\n')
        wanted = [f"{name}@{version}" for name, version in PACKAGES.items()]
        calm = ["--no-audit", "--no-fund", "--no-package-lock", "--ignore-scripts", "--loglevel=error"]
        subprocess.run(
            ["npm", "install", *calm, "--save-exact", *wanted],
            cwd=DIRECTORY,
            stdin=subprocess.DEVNULL,
            check=False,
        )
    return installed()


def main() -> None:
    """Install them where that is possible, and say what the tests will do."""
    if not install():
        sys.stdout.write(
            "no Node.js with pg and typescript, so their tests are skipped: install Node and npm "
            "(Debian: `apt-get install nodejs npm` as root), then run `make node` again\n"
        )


if __name__ == "__main__":
    main()
