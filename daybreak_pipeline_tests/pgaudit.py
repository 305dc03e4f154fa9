"""PostgreSQL's extension pgaudit, for the tests of the servers that have it.

``python -m daybreak_pipeline_tests.pgaudit`` installs it where that is possible; without it its tests are skipped.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from daybreak_pipeline.embedded_postgres import programs
from daybreak_pipeline.embedded_postgres.bootstrap import provide_package
from daybreak_pipeline.errors import DaybreakError


def is_there() -> bool:
    """Return whether the server programs that tests use have the extension's library."""
    asked = _of_programs("pg_config", "--pkglibdir")
    found = programs_directory()
    places = [Path(asked)] if asked else []
    if found:
        places += [found.parent / "lib", found.parent / "lib" / "postgresql"]
    return any((place / "pgaudit.so").exists() for place in places)


def programs_directory() -> Path | None:
    """Return where the server programs are; None where there are none."""
    try:
        return programs.find()
    except DaybreakError:
        return None


def _of_programs(program: str, *arguments: str) -> str:
    found = programs_directory()
    path = found / program if found else None
    if path is None or not path.exists():
        return ""
    return subprocess.run([path, *arguments], capture_output=True, text=True, check=False).stdout.strip()


def package() -> str:
    """Return the package's name for the server's major version, as Debian and Ubuntu have it."""
    version = _of_programs("postgres", "--version").split()
    return f"postgresql-{version[2].split('.')[0]}-pgaudit" if len(version) > 2 else "postgresql-15-pgaudit"


needs_pgaudit = pytest.mark.skipif(not is_there(), reason="pgaudit is not installed (make pgaudit)")


def main() -> None:
    """Install pgaudit where that is possible, and say what its tests will do."""
    if not provide_package(package(), is_there):
        sys.stdout.write(f"no pgaudit, so its tests are skipped: install the package {package()}\n")


if __name__ == "__main__":
    main()
