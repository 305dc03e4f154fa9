"""Where backups go, and for how long they are kept: ``DAYBREAK_BACKUP_REPO`` and the other ``DAYBREAK_BACKUP_*`` variables."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from daybreak_pipeline.errors import UsageError
from daybreak_pipeline.settings import variables

_KEY = re.compile(r"[0-9a-fA-F]{64}|[A-Za-z0-9+/_-]{43}=?")


@dataclass(frozen=True)
class S3Repository:
    """A bucket on an S3-compatible service, reached by https."""

    bucket: str
    path: str
    endpoint: str
    region: str
    key: str = field(repr=False)
    secret: str = field(repr=False)
    authority: str = ""

    def __str__(self) -> str:
        """Say where it is."""
        return f"s3://{self.bucket}{self.path} at {self.endpoint}"


@dataclass(frozen=True)
class BackupSettings:
    """Where backups go (None: beside the server's data), whether any are made, and for how long they are kept.

    ``queue`` is how many bytes of the write-ahead log may wait for the repository.
    """

    wanted: bool
    repository: Path | S3Repository | None
    days: int
    queue: int
    key: str = field(default="", repr=False)


def backups() -> BackupSettings:
    """Return what the environment says about backups.

    Raises:
        UsageError: a variable cannot be used.
    """
    given = variables.BACKUP_REPO.given()
    key = variables.BACKUP_KEY.given() or ""
    if key and not _KEY.fullmatch(key):
        msg = f"{variables.BACKUP_KEY.name} is not 32 random bytes in hex or base64: make one as ENCRYPTION_KEY is made"
        raise UsageError(msg)
    repository: Path | S3Repository | None = None
    if given and given.startswith("s3://"):
        repository = _on_s3(given)
    elif given and given != "none":
        repository = Path(given)
    return BackupSettings(
        wanted=given != "none",
        repository=repository,
        days=variables.BACKUP_DAYS.value(),
        queue=variables.BACKUP_QUEUE.value(),
        key=key,
    )


def drills_from_dump() -> bool:
    """Return whether the drill restores a dump that it makes, and no backup.

    Raises:
        UsageError: the variable cannot be used.
    """
    return variables.DRILL_FROM.value() == "dump"


def _on_s3(address: str) -> S3Repository:
    bucket, _, path = address.removeprefix("s3://").partition("/")
    endpoint, key, secret = (
        one.given()
        for one in (variables.BACKUP_S3_ENDPOINT, variables.BACKUP_S3_USER, variables.BACKUP_S3_PASSWORD)
    )
    if not endpoint or not key or not secret:
        needed = "DAYBREAK_BACKUP_S3_ENDPOINT, DAYBREAK_BACKUP_S3_USER and DAYBREAK_BACKUP_S3_PASSWORD"
        msg = f"DAYBREAK_BACKUP_REPO is on S3, and that needs {needed}: set them all"
        raise UsageError(msg)
    if not f"{endpoint}{key}{secret}".isprintable():
        msg = "one of the DAYBREAK_BACKUP_S3_ variables has a line break or the like in it"
        raise UsageError(msg)
    authority = variables.BACKUP_S3_CA.given() or ""
    return S3Repository(
        bucket=bucket,
        path=f"/{path.rstrip('/')}",
        endpoint=endpoint,
        region=variables.BACKUP_S3_REGION.value(),
        key=key,
        secret=secret,
        authority="" if authority == "system" else authority,
    )
