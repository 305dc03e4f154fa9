"""The embedded server's archive: pgBackRest's configuration, the key of the repository, the server's own settings.

Written at every start of the server, so that a home of an older version gets an archive too. Making backups and
restoring them belongs to the folder ``backups``.
"""

from __future__ import annotations

import hashlib
import logging
import re
import secrets
import shlex
import shutil
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from daybreak_pipeline import settings
from daybreak_pipeline.embedded_postgres import data_directory, pgbackrest, programs
from daybreak_pipeline.embedded_postgres.pgbackrest import Answer, BackupError
from daybreak_pipeline.errors import UsageError
from daybreak_pipeline.runbooks import Runbook
from daybreak_pipeline.settings import BackupSettings, S3Repository
from daybreak_pipeline.wording import size

if TYPE_CHECKING:
    from daybreak_pipeline.embedded_postgres.programs import Account

LOG = logging.getLogger(__name__)
STANZA = "daybreak"
"""pgBackRest's word for one server's backups in a repository."""
KEY_FILE = "backup.key"
GIVEN_UP = "given-up"
"""The file with the moments at which a part of the write-ahead log was given up."""
FAILING = "failing"
"""The file that is there while the repository takes no write-ahead log."""
OFF = "off"
"""The file that says why the running server archives nothing."""
READY = "ready"
"""The file that names the repository that has been prepared for this server."""
SCRIPT = "pgbackrest-push.sh"
"""What archives one file. pgBackRest backs up no server whose archive_command lacks its name."""
GET_SCRIPT = "pgbackrest-get.sh"
"""What gives one file back."""
SEGMENT = 16 << 20
ARCHIVE_SECONDS = 60
"""How old a change may be before it is archived, where nothing else is written: what a lost disk may cost."""
_CONFIGURATION = "pgbackrest.conf"
_KEY_BYTES = 32
_SCRIPT = """\
#!/bin/sh
# Written by daybreak at every start. The server hands over one file of its write-ahead log, $1, to be archived.
# While that fails, files wait. Once {most} wait, they are given up: a full disk would stop the server.
waiting() {{ ls pg_wal/archive_status | grep -c '\\.ready$'; }}
give_up() {{
    [ "$(waiting)" -gt {most} ] || return 1
    date -u +%Y-%m-%dT%H:%M:%SZ >> {given_up}
    echo "daybreak: the repository takes no write-ahead log; one file was given up" >&2
}}
# It has just failed: trying each of the others again could take longer than the server takes to write more.
if [ -n "$(find {given_up} -mmin -1 2>/dev/null)" ] && give_up; then exit 0; fi
# A server that stops waits for this script: while nothing is taken, what is left waits for the next start.
if [ -e {failing} ] && grep -qs stopping postmaster.pid; then exit 1; fi
if nice -n 5 {command} archive-push "$1"; then
    [ ! -e {failing} ] || rm -f {failing}
    exit 0
fi
: > {failing}
give_up || exit 1
"""
_GET_SCRIPT = """\
#!/bin/sh
# Written by daybreak at every start. A restored server asks for one file of the write-ahead log, $1, to be put at $2.
exec {command} --pg1-path="$(pwd)" archive-get "$1" "$2"
"""


@dataclass(frozen=True)
class Agent:
    """pgBackRest for one server: as whom it runs, where its files and the repository are.

    ``state`` has its configuration and locks, and belongs to the server's user. Whoever may read that may read
    the repository.
    """

    program: str
    account: Account
    home: Path
    data: Path
    state: Path
    repository: Path | S3Repository
    choices: BackupSettings
    key: str = field(repr=False)
    port: int = 0
    sockets: Path = Path("/nowhere")

    @property
    def configuration(self) -> Path:
        """The file of the configuration."""
        return self.state / _CONFIGURATION

    @property
    def command(self) -> list[str]:
        """The program with the options that choose the server."""
        return [self.program, *_choosing(self.data)]

    @property
    def on_the_same_disk(self) -> bool:
        """Whether losing the disk of the data would lose the backups too."""
        if isinstance(self.repository, S3Repository):
            return False
        try:
            return self.repository.stat().st_dev == self.data.parent.stat().st_dev
        except OSError:
            return False

    @property
    def where(self) -> str:
        """Where the backups are, in words."""
        warning = "; the same disk as the data: no protection against its loss, set DAYBREAK_BACKUP_REPO"
        return f"{self.repository}{warning if self.on_the_same_disk else ''}"

    def try_to(self, *arguments: str, without_stanza: bool = False) -> Answer:
        """Run one of its commands and return what it answered. Some take no stanza."""
        command = self.command[:-1] if without_stanza else self.command
        return pgbackrest.run([*command, *arguments], self.account, PGPASSFILE=str(self.state / "password"))

    def do(self, *arguments: str, without_stanza: bool = False) -> str:
        """Run one of its commands and return what it printed.

        Raises:
            BackupError: it failed, and what to do.
        """
        answer = self.try_to(*arguments, without_stanza=without_stanza)
        if answer.code:
            error = pgbackrest.problem(answer)
            if "unable to write" not in str(error):
                raise error
            if "restore" in arguments:  # pgBackRest does not say when a disk is full
                msg = f"the directory that is restored to cannot be written to: make room on its disk; {Runbook.DISK_FULL.see}"
                raise BackupError(msg)
            raise self._full()
        return answer.text

    def _full(self) -> BackupError:
        """Return the error of a repository that cannot be written to."""
        free = (
            f"; its disk has {size(shutil.disk_usage(self.repository).free)} free"
            if isinstance(self.repository, Path)
            else ""
        )
        return BackupError(
            f"the repository {self.repository} cannot be written to{free}: make room there, or set "
            f"DAYBREAK_BACKUP_REPO to another place; {Runbook.DISK_FULL.see}"
        )

    def text(self) -> str:
        """Return the configuration file."""
        lines = [
            "# Written by daybreak at every start of the server.",
            "[global]",
            *repository_lines(self.repository),
            "repo1-cipher-type=aes-256-cbc",
            f"repo1-cipher-pass={self.key}",
            "repo1-retention-full-type=time",
            f"repo1-retention-full={self.choices.days}",
            "repo1-bundle=y",
            "compress-type=zst",
            # The next level takes twice the time from an import and saves a tenth of the space.
            "compress-level=1",
            "start-fast=y",
            "neutral-umask=n",  # else it makes files that its user's group may read
            "log-level-console=off",
            "log-level-file=off",
            "log-level-stderr=error",
            f"log-path={self.state / 'log'}",
            f"lock-path={self.state / 'lock'}",
            f"spool-path={self.state / 'spool'}",
            f"[{STANZA}]",
            f"pg1-path={self.data}",
            f"pg1-port={self.port}",
            f"pg1-socket-path={self.sockets}",
            f"pg1-user={data_directory.ADMINISTRATOR}",
            "pg1-database=postgres",
        ]
        return "\n".join(lines) + "\n"

    def server_lines(self) -> list[str]:
        """Return the lines of the server's configuration that have its write-ahead log archived."""
        return [
            "archive_mode = on",
            f"archive_command = '{self._called(SCRIPT, '%p')}'",
            f"archive_timeout = {ARCHIVE_SECONDS}",
        ]

    @property
    def recovery(self) -> str:
        """The option of a restore that has the restored server ask for the log; pgBackRest's own breaks at a quote in a path."""
        return f"--recovery-option=restore_command={self._called(GET_SCRIPT, '%f %p')}"

    def _called(self, name: str, arguments: str) -> str:
        """Return the command that runs a script, as it is written between quotes in the server's configuration."""
        script = shlex.quote(str(self.state / name)).replace("%", "%%")
        return f"/bin/sh {script} {arguments}".replace("'", "''")

    def write(self) -> None:
        """Write its files, for the server's user alone."""
        own_directory(self.state, self.account)
        for name in ("log", "lock", "spool"):
            own_directory(self.state / name, self.account)
        if isinstance(self.repository, Path):
            own_directory(self.repository, self.account)
        script = _SCRIPT.format(
            most=max(1, self.choices.queue // SEGMENT),
            given_up=shlex.quote(str(self.state / GIVEN_UP)),
            failing=shlex.quote(str(self.state / FAILING)),
            command=shlex.join(self.command),
        )
        for name, text in (
            (self.configuration.name, self.text()),
            (SCRIPT, script),
            (GET_SCRIPT, _GET_SCRIPT.format(command=shlex.join(self.command))),
            ("password", _password_line(self.home)),
        ):
            data_directory.write_file(self.state / name, text, like=self.state)


def repository_lines(repository: Path | S3Repository) -> list[str]:
    """Return the lines of the configuration that say where the repository is."""
    if isinstance(repository, Path):
        return [f"repo1-path={repository}"]
    lines = [
        "repo1-type=s3",
        f"repo1-path={repository.path}",
        f"repo1-s3-bucket={repository.bucket}",
        f"repo1-s3-endpoint={repository.endpoint}",
        f"repo1-s3-region={repository.region}",
        f"repo1-s3-key={repository.key}",
        f"repo1-s3-key-secret={repository.secret}",
        "repo1-s3-uri-style=path",
        "io-timeout=10",  # else it takes a minute to find out that the service is away
    ]
    return [*lines, f"repo1-storage-ca-file={repository.authority}"] if repository.authority else lines


def state_directory(data: Path) -> Path:
    """Return where pgBackRest's files for a server are: beside its data, where the server's user can get."""
    return data.with_name(f"{data.name}-backups")


def _choosing(data: Path) -> list[str]:
    return [f"--config={state_directory(data) / _CONFIGURATION}", f"--stanza={STANZA}"]


def vain_attempt(data: Path) -> str:
    """Return the arguments by which an attempt to archive is known that is in vain; empty while files are taken."""
    failing = (state_directory(data) / FAILING).exists()
    return " ".join([*_choosing(data), "archive-push"]) if failing else ""


def agent(home: Path, data: Path, account: Account) -> Agent | None:
    """Return the agent of the home's server; None where backups are not wanted or the program is not there.

    Raises:
        UsageError: a setting cannot be used, or the repository's key was lost.
    """
    choices = settings.backups()
    found = pgbackrest.program()
    if not choices.wanted or found is None:
        return None
    state = state_directory(data)
    repository = choices.repository or state / "repository"
    key = choices.key or kept_key(home, repository)
    return Agent(found, account, home, data, state, repository, choices, key, *listens(data))


def prepare(home: Path, data: Path, account: Account, *, port: int, sockets: Path) -> list[str]:
    """Prepare the archive for a server that is about to start, and return the lines for its configuration.

    Where there can be none, the server starts without: the write-ahead log is then not kept for it.
    """
    state = state_directory(data)
    try:
        found = agent(home, data, account)
        if found is None:
            return []
        found = replace(found, port=port, sockets=sockets)
        found.write()
        create_stanza(found)
    except (UsageError, OSError) as error:
        reason = error.strerror or "" if isinstance(error, OSError) else str(error)
        LOG.warning("nothing is backed up: %s", reason)
        own_directory(state, account)
        data_directory.write_file(state / OFF, f"{reason}\n", like=state)
        return []
    (state / OFF).unlink(missing_ok=True)
    return found.server_lines()


def create_stanza(found: Agent) -> None:
    """Prepare the repository for this server, which need not run; done once for each repository.

    Raises:
        BackupError: the repository cannot be used, or belongs to another server.
    """
    mark = found.state / READY
    key = hashlib.sha256(found.key.encode()).hexdigest()[:12]
    wanted = f"{found.repository}\n{identifier(found.data)}\n{key}\n"
    there = isinstance(found.repository, S3Repository) or (found.repository / "archive" / STANZA).exists()
    if there and mark.exists() and mark.read_text(encoding="utf-8") == wanted:
        return
    found.do("--no-online", "stanza-create")
    data_directory.write_file(mark, wanted, like=found.state)


def why_off(data: Path) -> str:
    """Return why the server that was started last archives nothing, empty where there is no reason on record."""
    note = state_directory(data) / OFF
    return note.read_text(encoding="utf-8").strip() if note.exists() else ""


def identifier(data: Path) -> int:
    """Return the number that PostgreSQL gave the server when its data directory was made."""
    with (data / "global" / "pg_control").open("rb") as control:
        return int.from_bytes(control.read(8), "little")


def listens(data: Path) -> tuple[int, Path]:
    """Return port and socket directory of the server, as its configuration has them since its last start."""
    try:
        text = (data / "daybreak.conf").read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return 0, Path("/nowhere")
    port = re.search(r"^port = (\d+)$", text, re.MULTILINE)
    sockets = re.search(r"^unix_socket_directories = '(.*)'$", text, re.MULTILINE)
    return int(port[1]) if port else 0, Path(sockets[1].replace("''", "'") if sockets else "/nowhere")


def kept_key(home: Path, repository: Path | S3Repository) -> str:
    """Return the repository's key, which is kept in the home for its owner only and made on first use.

    Raises:
        UsageError: the file is missing, and there are backups that it would open.
    """
    path = home / KEY_FILE
    if path.exists():
        kept = path.read_text(encoding="ascii").strip()
        if kept:
            return kept
    if isinstance(repository, Path) and (repository / "backup" / STANZA).exists():
        msg = f"{path} is missing, and {repository} has backups that only this key opens: put it back; {Runbook.LOST_KEY.see}"
        raise UsageError(msg)
    key = secrets.token_hex(_KEY_BYTES)
    data_directory.write_file(path, f"{key}\n", like=home)
    return key


def _password_line(home: Path) -> str:
    """Return the administrator's password as libpq's file of passwords has it; empty where it was lost with the home."""
    if not (home / data_directory.PASSWORD_FILE).exists():
        return ""
    password = data_directory.password(home).replace("\\", "\\\\").replace(":", "\\:")
    return f"*:*:*:{data_directory.ADMINISTRATOR}:{password}\n"


def own_directory(path: Path, account: Account) -> None:
    """Make a directory of the server's user. One that exists stays whose it is."""
    if path.is_dir():
        return
    programs.make_directories(path.parent)
    path.mkdir(0o700)
    data_directory.give_to(account, path)
