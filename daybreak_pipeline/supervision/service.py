"""Installs ``daybreak up`` as a service of systemd, says how it is, removes it: for the machine, or for one user."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from daybreak_pipeline import settings
from daybreak_pipeline.errors import UsageError
from daybreak_pipeline.locations import Location, ObjectPath
from daybreak_pipeline.runbooks import Runbook
from daybreak_pipeline.settings import PROJECT_ROOT
from daybreak_pipeline.supervision import alone
from daybreak_pipeline.supervision.alone import Presence
from daybreak_pipeline.supervision.units import Unit, environment_file

DEFAULT_NAME = "daybreak"
SYSTEM_UNITS = Path("/etc/systemd/system")
SYSTEM_SETTINGS = Path("/etc/daybreak")
BOOTED = Path("/run/systemd/system")
"""Is there while systemd runs the machine (sd_booted)."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,60}")
_PORT = re.compile(r"^ExecStart=.* --port (\d+)$", re.MULTILINE)
_SECONDS = 120
_SECRET, _PUBLIC = 0o600, 0o644
_FACTS = (
    "ActiveState",
    "SubState",
    "UnitFileState",
    "MainPID",
    "NRestarts",
    "StateChangeTimestamp",
    "StatusText",
)


@dataclass(frozen=True)
class Service:
    """One service by its name, of the machine or of the user who asks.

    Raises:
        UsageError: the name will not do.
    """

    name: str = DEFAULT_NAME
    of_user: bool = False

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            msg = "a service's name is made of letters, digits, dots, dashes and underscores"
            raise UsageError(msg)

    @property
    def unit_file(self) -> Path:
        """Where systemd looks for the unit."""
        units = Path.home() / ".config/systemd/user" if self.of_user else SYSTEM_UNITS
        return units / f"{self.name}.service"

    @property
    def settings_file(self) -> Path:
        """Where the service's settings are."""
        directory = Path.home() / ".config/daybreak" if self.of_user else SYSTEM_SETTINGS
        return directory / f"{self.name}.env"

    def unit(self, variables: Mapping[str, str], *, port: int | None = None) -> Unit:
        """Return the unit that runs ``daybreak up`` with settings, on a port of the web UI if one is named."""
        ports = ("--port", str(port)) if port else ()
        return Unit(
            name=self.name,
            command=(str(Path(sys.executable).with_name("daybreak")), "up", "--no-open", *ports),
            directory=PROJECT_ROOT,
            settings=self.settings_file,
            of_user=self.of_user,
            paths=(
                Path(sys.base_prefix),
                *(Path(value) for value in variables.values() if value.startswith("/")),
            ),
        )

    def require_rights(self) -> None:
        """Refuse to write for the machine where that is not allowed.

        Raises:
            UsageError: only root may.
        """
        if not self.of_user and os.geteuid() != 0:
            msg = "a service of the machine needs root: use sudo, or --user for one of your own"
            raise UsageError(msg)


def variables(export: Location | None) -> dict[str, str]:
    """Return the settings for the service: those of this environment, and the places that must not depend on it.

    Where the export is on an object storage, also what the library needs to get at it.
    """
    place = export or settings.export_dir()
    return {
        **settings.given_texts(),
        **(settings.of_storages() if isinstance(place, ObjectPath) else {}),
        "DAYBREAK_HOME": str(settings.home()),
        "DAYBREAK_EXPORT_DIR": str(place),
    }


def install(service: Service, given: Mapping[str, str], *, port: int | None = None) -> list[str]:
    """Write unit and settings, and have systemd start the service now and at boot. Returns what was done, in lines.

    Settings that are there already are kept: they may have been edited, and hold the only copy of a key.

    Raises:
        UsageError: a file cannot be written, or systemd refuses.
    """
    service.require_rights()
    told = []
    if service.settings_file.exists():
        told.append(f"kept {service.settings_file}, as it is")
    else:
        _write(service.settings_file, environment_file(given), _SECRET)
        told.append(f"wrote {service.settings_file}, for you alone: edit the service's settings there")
    _write(service.unit_file, service.unit(read_settings(service), port=port).text(), _PUBLIC)
    told.append(f"wrote {service.unit_file}")
    scope = "--user " if service.of_user else ""
    if not BOOTED.is_dir():
        return [
            *told,
            f"systemd does not run here; where it does: systemctl {scope}enable --now {service.name}",
        ]
    _systemctl(service, "daemon-reload")
    other = present(service)
    _systemctl(service, "enable", service.name)
    by_itself = _by_itself(service)
    if other and _show(service).get("MainPID") != str(other.pid):
        told.append(
            f"it starts {by_itself}, and not now: daybreak up runs already (process {other.pid}); stop that, then "
            f"systemctl {scope}start {service.name}"
        )
        return told
    # Ready comes after the server's recovery: nobody has to wait for it here.
    _systemctl(service, "restart", "--no-block", service.name)
    return [*told, f"it starts now and {by_itself}; what it says: journalctl {scope}-u {service.name}"]


def remove(service: Service) -> list[str]:
    """Stop the service and remove its unit. Returns what was done, in lines.

    Raises:
        UsageError: it is not installed, or systemd refuses.
    """
    if not service.unit_file.exists():
        msg = f"there is no {service.unit_file}: nothing to remove"
        raise UsageError(msg)
    service.require_rights()
    if BOOTED.is_dir():
        _systemctl(service, "disable", "--now", service.name)
    service.unit_file.unlink()
    if BOOTED.is_dir():
        _systemctl(service, "daemon-reload")
    told = [f"removed {service.unit_file}"]
    if service.settings_file.exists():
        told.append(f"kept {service.settings_file}: it may hold the only copy of a password or key")
    return told


@dataclass(frozen=True)
class State:
    """How a service is. What systemd knows is None where it does not run."""

    name: str
    of_user: bool
    installed: bool
    up_to_date: bool | None
    starts_at_boot: bool | None
    active: str | None
    since: str | None
    restarts: int | None
    pid: int | None
    doing: str | None
    url: str | None

    def as_json(self) -> dict[str, Any]:
        """Return the object that ``--json`` prints."""
        facts = dict(vars(self))
        facts["scope"] = "user" if facts.pop("of_user") else "system"
        return facts


def state(service: Service) -> State:
    """Return how a service is."""
    installed = service.unit_file.exists()
    shown = _show(service) if installed and BOOTED.is_dir() else {}
    here = present(service)
    return State(
        name=service.name,
        of_user=service.of_user,
        installed=installed,
        up_to_date=_is_up_to_date(service) if installed else None,
        starts_at_boot=shown["UnitFileState"] == "enabled" if "UnitFileState" in shown else None,
        active=shown.get("ActiveState") or None,
        since=shown.get("StateChangeTimestamp") or None,
        restarts=int(shown["NRestarts"]) if shown.get("NRestarts", "").isdecimal() else None,
        pid=here.pid if here and here.pid else None,
        doing=shown.get("StatusText") or None,
        url=here.url if here and here.url else None,
    )


def present(service: Service) -> Presence | None:
    """Return the ``daybreak up`` that runs with the service's home, whoever started it."""
    home = read_settings(service).get("DAYBREAK_HOME")
    return alone.present(Path(home)) if home else None


def read_settings(service: Service) -> dict[str, str]:
    """Return the service's settings; none where they may not be read."""
    try:
        text = service.settings_file.read_text(encoding="utf-8")
    except OSError:
        return {}
    found = {}
    for word in shlex.split(text, comments=True):
        name, equals, value = word.partition("=")
        if equals:  # shlex leaves two of the four characters escaped that ``environment_file`` escapes
            found[name] = value.replace("\\$", "$").replace("\\`", "`")
    return found


def _is_up_to_date(service: Service) -> bool:
    """Return whether the unit is what would be written now: not after the project or the version moved."""
    text = service.unit_file.read_text(encoding="utf-8")
    port = _PORT.search(text)
    return text == service.unit(read_settings(service), port=int(port[1]) if port else None).text()


def _write(path: Path, text: str, mode: int) -> None:
    new = path.with_name(f"{path.name}.new")
    try:
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        new.unlink(missing_ok=True)
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            os.fchmod(descriptor, mode)  # whatever the umask
            file.write(text)
        new.rename(path)
    except OSError as error:
        msg = f"cannot write {path}: {error.strerror}; {Runbook.FIRST_INSTALLATION.see}"
        raise UsageError(msg) from None


def _by_itself(service: Service) -> str:
    """Return when it starts by itself: a user's services at boot too, and not only with the user's login, if that can be had."""
    if not service.of_user:
        return "at boot"
    done = _run(["loginctl", "enable-linger", settings.account_name()])
    if done is None or done.returncode:
        return f"when you log in (at boot, after an administrator's loginctl enable-linger {settings.account_name()})"
    return "at boot"


def _systemctl(service: Service, *arguments: str) -> None:
    done = _run(["systemctl", *(["--user"] if service.of_user else []), *arguments])
    if done is None:
        msg = f"systemctl is not there, or does not answer; {Runbook.FIRST_INSTALLATION.see}"
        raise UsageError(msg)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"code {done.returncode}"])[-1]
        msg = f"systemctl {' '.join(arguments)} failed: {last}; {Runbook.SERVER_GONE.see}"
        raise UsageError(msg)


def _show(service: Service) -> dict[str, str]:
    asked = [f"--property={','.join(_FACTS)}", f"{service.name}.service"]
    done = _run(["systemctl", *(["--user"] if service.of_user else []), "show", *asked])
    if done is None or done.returncode:
        return {}
    lines = (line.partition("=") for line in done.stdout.splitlines())
    return {name: value for name, _, value in lines}


def _run(command: Sequence[str]) -> subprocess.CompletedProcess[str] | None:
    if not shutil.which(command[0]):
        return None
    try:
        return subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
