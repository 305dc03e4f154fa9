"""The environment as a whole: what a child process is given, what libraries in this one look for, and who runs it.

Nothing else writes to the environment.
"""

from __future__ import annotations

import os
import pwd
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from daybreak_pipeline.settings import variables
from daybreak_pipeline.settings.kinds import Certificates, Places

_OF_A_SESSION = {
    *variables.DISPLAYS,
    variables.NEW_ENCRYPTION_KEY.name,
    variables.NOTIFY_SOCKET.name,
    variables.JOURNAL_STREAM.name,
}

_OF_STORAGES = ("AWS_", "GOOGLE_", "AZURE_")


def names() -> list[str]:
    """Return the names of all variables of the environment that say something."""
    return sorted(name for name, value in os.environ.items() if value)


def child_environment(*, only: Collection[str] | None = None, **variables: str) -> dict[str, str]:
    """Return the environment for a child process: this process's own, overridden by ``variables``.

    Args:
        only: the variables that are passed on from this process; all where it is left out.
        variables: the child's additional variables.
    """
    passed = {name: value for name, value in os.environ.items() if only is None or name in only}
    return passed | variables


def libpq_variables() -> dict[str, str]:
    """Return what the environment says to libpq itself, such as where a client's certificate is."""
    return {name: os.environ[name] for name in names() if name.startswith("PG")}


def given_texts() -> dict[str, str]:
    """Return every setting that this environment gives, as text that means the same in any directory.

    What belongs to one session or one command is left out.
    """
    found = {}
    for one in variables.SETTINGS:
        text = os.environ.get(one.name, "")
        if not text.strip() or one.name in _OF_A_SESSION:
            continue
        value = one.given()
        if isinstance(value, Path):
            text = str(value)
        elif isinstance(one, Places) and value:
            text = os.pathsep.join(map(str, value))
        elif isinstance(one, Certificates) and value:
            text = value
        found[one.name] = text.strip("\r\n")
    return found


def of_storages() -> dict[str, str]:
    """Return the variables from which the libraries of object storages take credentials and addresses."""
    return {name: value for name, value in os.environ.items() if name.startswith(_OF_STORAGES)}


def secret_names() -> set[str]:
    """Return the names of the settings that are secrets."""
    return {one.name for one in variables.SETTINGS if one.secret}


@contextmanager
def own_environment(**variables: str) -> Iterator[None]:
    """Have variables in this process's environment while the block runs, for a library that looks nowhere else."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def account() -> str:
    """Return the machine's account that runs this process, or the one that became root with sudo to run it, in words."""
    number = os.getuid()
    if number == 0 and os.environ.get("SUDO_USER"):
        return f"account {os.environ['SUDO_USER']}"
    return f"account {account_name()}"


def account_name() -> str:
    """Return the name of the machine's account that runs this process; in a container a number may have none."""
    number = os.getuid()
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)
