"""What is written for systemd: the unit, and the file with the service's settings. Pure: facts in, text out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

_HOMES = (Path("/home"), Path("/root"), Path("/run/user"))
_HEAD = "# Written by daybreak service install. To change something: systemctl {scope}edit {name}\n"
_SERVICE = """\
[Service]
# Ready when the database can be used. The import that follows may take long, and so may recovery after a crash.
Type=notify
NotifyAccess=main
TimeoutStartSec=infinity
WorkingDirectory={directory}
EnvironmentFile={settings}
ExecStart={command}
# SIGTERM goes to daybreak up alone, which ends the others in order: the embedded server last, as its disk allows.
KillMode=mixed
TimeoutStopSec=360
Restart=on-failure
RestartSec=60
# daybreak up starts again what the kernel kills when memory is short.
OOMPolicy=continue
StandardOutput=journal
StandardError=journal
SyslogIdentifier={name}
UMask=0077
"""
# Without a root of its own, the embedded server's socket is in /tmp, where commands look for it: no PrivateTmp. Its JIT
# compiler makes memory executable: no MemoryDenyWriteExecute.
_FOR_ALL = """\
NoNewPrivileges=yes
LockPersonality=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
RestrictNamespaces=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
SystemCallArchitectures=native
"""
_FOR_ROOT = """\
ProtectSystem=full
PrivateDevices=yes
ProtectClock=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectControlGroups=yes
# The embedded server runs as another user, to whom root gives its files.
CapabilityBoundingSet=CAP_CHOWN CAP_DAC_OVERRIDE CAP_FOWNER CAP_KILL CAP_SETGID CAP_SETUID
"""


@dataclass(frozen=True)
class Unit:
    """One service.

    Args:
        name: without ``.service``.
        command: the program, as an absolute path, and its arguments.
        directory: where it runs.
        settings: the file with its environment.
        of_user: whether a user's own systemd runs it, and not the machine's.
        paths: all other places that it needs.
    """

    name: str
    command: tuple[str, ...]
    directory: Path
    settings: Path
    of_user: bool
    paths: tuple[Path, ...] = ()

    def text(self) -> str:
        """Return the unit file."""
        wanted_by = "default.target" if self.of_user else "multi-user.target"
        network = "" if self.of_user else "Wants=network-online.target\nAfter=network-online.target\n"
        return "\n".join(
            [
                _HEAD.format(name=self.name, scope="--user " if self.of_user else "")
                + "[Unit]\nDescription=Daybreak pipeline: database, imports and web UI\n"
                + network
                # Ten failures within an hour are for a person to look at.
                + "StartLimitIntervalSec=3600\nStartLimitBurst=10\n",
                _SERVICE.format(
                    name=self.name,
                    directory=_path(self.directory),
                    settings=_path(self.settings),
                    # Variables are expanded in arguments, and not in the name of the program.
                    command=" ".join(
                        [
                            _word(self.command[0]),
                            *(_word(part.replace("$", "$$")) for part in self.command[1:]),
                        ]
                    ),
                )
                + _FOR_ALL
                + ("" if self.of_user else _FOR_ROOT + self._homes()),
                f"[Install]\nWantedBy={wanted_by}\n",
            ]
        )

    def _homes(self) -> str:
        """Close people's homes to the service where nothing that it needs is in there."""
        needed = (self.directory, Path(self.command[0]), *self.paths)
        inside = any(path.is_relative_to(home) for path in needed for home in _HOMES)
        return "" if inside else "ProtectHome=yes\n"


def environment_file(variables: Mapping[str, str], *, hidden: Iterable[str] = ()) -> str:
    """Return a file that systemd reads as an environment.

    Args:
        variables: by name.
        hidden: names whose values are not shown, for people to look at.
    """
    lines = ["# The settings of the service: see docs/settings.md. Restart it after a change."]
    for name, value in variables.items():
        lines.append(f"{name}=(not shown)" if name in set(hidden) else f"{name}={_quoted(value)}")
    return "\n".join(lines) + "\n"


def _quoted(value: str) -> str:
    for special in ("\\", '"', "$", "`"):
        value = value.replace(special, f"\\{special}")
    return f'"{value}"'


def _word(text: str) -> str:
    """Return one word of a command: systemd splits at blanks, and expands %."""
    text = text.replace("%", "%%")
    if any(character.isspace() or character in "\"'\\;" for character in text):
        return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return text


def _path(path: Path) -> str:
    """Return a path as the whole value of a setting, where blanks do no harm."""
    return str(path).replace("%", "%%")
