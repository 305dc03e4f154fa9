"""The encryption key: where it comes from, whether it is good enough and fits, and how files of keys are exchanged.

Sub-keys are derived in the database (``privacy.key``), which is the only place that uses them.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg

from daybreak_pipeline import database, settings
from daybreak_pipeline.embedded_postgres import data_directory
from daybreak_pipeline.errors import DaybreakError, UsageError
from daybreak_pipeline.schema import locks
from daybreak_pipeline.settings import encryption_keys
from daybreak_pipeline.settings.encryption_keys import HOW_TO_MAKE as _HOW
from daybreak_pipeline.settings.encryption_keys import KEY_BYTES, WHICH

if TYPE_CHECKING:
    from daybreak_pipeline.database import Connection
    from daybreak_pipeline.settings import DatabaseSettings

parse = encryption_keys.parse
TRY_ALONE = "SELECT true FROM ingest.locks WHERE name = 'key' FOR UPDATE SKIP LOCKED"
"""Takes what ``hold`` shares for oneself alone, if nobody has it."""


def load() -> str:
    """Return the encryption key in hex: ``ENCRYPTION_KEY``, or the one kept beside the embedded server.

    With the embedded server a missing key is made, in a file that only its owner can read.

    Raises:
        UsageError: the key is missing for a given server, or is weaker than 32 random bytes.
    """
    given = settings.encryption_key()
    if given:
        return parse(given)
    db = settings.given_database()
    if db:
        raise UsageError(_missing(db))
    return _kept(key_file())


def held() -> str | None:
    """Return the encryption key in hex if there is one: none is made, and none is demanded.

    Raises:
        UsageError: there is one, and it is damaged or weak.
    """
    given = settings.encryption_key()
    if given:
        return parse(given)
    path = key_file()
    return _read(path) if not settings.given_database() and path.exists() else None


def key_file() -> Path:
    """Return where the embedded server's key is kept."""
    return settings.home() / "encryption.key"


def next_key_file() -> Path:
    """Return where the embedded server's new key is kept while a rotation is unfinished."""
    return settings.home() / "encryption.key.next"


@dataclass(frozen=True)
class State:
    """The state of a session's key: whether it is the database's (None: that has none yet), and whether it is
    being rotated.
    """

    fits: bool | None
    rotating: bool


def state(connection: Connection) -> State:
    """Return the state of the session's key. Changes nothing."""
    with connection.transaction():
        found = database.one(
            connection,
            State,
            """
        SELECT coalesce(check_value = privacy.sub_key(
                   privacy.root_key(nullif(current_setting('daybreak.encryption_key', true), '')), 'check'), false) AS fits,
               previous_sealed IS NOT NULL AS rotating
        FROM privacy.key_check
        """,
        )
    return found or State(fits=None, rotating=False)


def verify(connection: Connection) -> None:
    """Refuse a key other than the database's, and any while that is being rotated.

    The first use stores a check value derived from the key, which does not reveal the key.

    Raises:
        UsageError: nothing was written; the message says what to do.
    """
    with connection.transaction():
        if state(connection).fits is None:
            connection.execute(
                "INSERT INTO privacy.key_check (check_value) VALUES (privacy.required_key('check')) "
                "ON CONFLICT DO NOTHING"
            )
        found = state(connection)
        if found.rotating:
            with_both = "" if _from_files() else ", with ENCRYPTION_KEY and NEW_ENCRYPTION_KEY as it began"
            msg = f"a rotation of the encryption key is unfinished: finish it with daybreak keys rotate{with_both}"
            raise UsageError(msg)
        if not found.fits:
            raise UsageError(_other_key())


def hold(connection: Connection, tell: Callable[[str], None] = lambda _text: None) -> None:
    """Keep the key from being rotated until the session's transaction ends.

    Raises:
        UsageError: a rotation is unfinished, or the key is not the database's.
        LockedError: a rotation that begins takes too long (``locks.take``, as ``tell``).
    """
    locks.take(connection, "key", shared=True, tell=tell)
    verify(connection)


@dataclass(frozen=True)
class Exchange:
    """The keys of a rotation: the one in use and the new one, so far as they are there (hex).

    ``kept`` tells that they are the embedded server's files.
    """

    current: str | None
    new: str | None
    kept: bool

    def require_current(self) -> str:
        """Return the key in use.

        Raises:
            UsageError: it is missing.
        """
        if self.current:
            return self.current
        msg = f"{key_file()} is missing: restore it from a backup, what is in the database needs it"
        raise UsageError(msg)

    def require_new(self) -> str:
        """Return the new key; with the embedded server it is made, and on disk when this returns.

        Raises:
            UsageError: it was not given.
        """
        if self.new:
            return self.new
        if self.kept:
            return _kept(next_key_file())
        msg = f"NEW_ENCRYPTION_KEY is not set: it is the key to rotate to, {_HOW}"
        raise UsageError(msg)

    @property
    def missing(self) -> str:
        """Say that the new key of an unfinished rotation is not there."""
        if not self.kept:
            return (
                "a rotation of the encryption key is unfinished, and NEW_ENCRYPTION_KEY is not the key that it "
                "rotates to: set it as it was when the rotation began"
            )
        lacks = "is not the key that it rotates to" if self.new else "is missing"
        return (
            f"a rotation of the encryption key is unfinished, and {next_key_file()} {lacks}: restore that file, "
            "what is re-encrypted already needs it"
        )


def exchange() -> Exchange:
    """Return the keys to rotate: ``ENCRYPTION_KEY`` and ``NEW_ENCRYPTION_KEY``, or the embedded server's files.

    Raises:
        UsageError: a key is missing or weak.
    """
    new = settings.new_encryption_key()
    if not _from_files():
        return Exchange(load(), parse(new, "NEW_ENCRYPTION_KEY") if new else None, kept=False)
    if new:
        msg = "NEW_ENCRYPTION_KEY is set without ENCRYPTION_KEY: the embedded server's new key is made, leave it out"
        raise UsageError(msg)
    if not next_key_file().exists():
        return Exchange(load(), None, kept=True)
    current = _read(key_file()) if key_file().exists() else None
    return Exchange(current, _read(next_key_file()), kept=True)


def promote() -> Path | None:
    """Make the embedded server's new key its key, and return where the old one is kept (None: nothing to do).

    At every moment there is a key; repeating this after a crash does what is left.
    """
    fresh, path = next_key_file(), key_file()
    if not fresh.exists():
        return None
    earlier = [old for old in path.parent.glob(f"{path.name}.old-*") if path.exists() and old.samefile(path)]
    old = earlier[0] if earlier else path.with_name(f"{path.name}.old-{datetime.now(UTC):%Y%m%dT%H%M%S%fZ}")
    try:
        if path.exists() and not earlier:
            path.chmod(0o600)
            os.link(path, old)
        fresh.replace(path)
        data_directory.flush_directory(path.parent)
    except OSError as error:
        msg = f"cannot exchange the key files in {path.parent}: {error.strerror}; then run daybreak keys rotate again"
        raise UsageError(msg) from None
    return old


def _missing(db: DatabaseSettings) -> str:
    """Say which key is missing: a database that has one must not be given another."""
    try:
        with database.connect(db) as connection:
            there = database.value(connection, "SELECT to_regclass('privacy.key_check') IS NOT NULL")
            has_key = there and database.value(connection, "SELECT EXISTS (SELECT FROM privacy.key_check)")
    except (DaybreakError, psycopg.Error):
        has_key = False
    if has_key:
        return "ENCRYPTION_KEY is not set: set it to the key that this database is encrypted with; a new one opens nothing in it"
    return f"ENCRYPTION_KEY is not set, and without it no personal data can be sealed: {WHICH}"


def _from_files() -> bool:
    """Say whether the key is the embedded server's, kept in files."""
    return not settings.encryption_key() and settings.given_database() is None


def _other_key() -> str:
    if _from_files() and next_key_file().exists():
        return f"the key was rotated, but {key_file()} is still the old one: run daybreak keys rotate to exchange it"
    return (
        "this database was encrypted with another key: set ENCRYPTION_KEY to the key it was first used with or last "
        "rotated to"
    )


def _read(path: Path) -> str:
    try:
        return parse(path.read_text(errors="replace").strip())
    except UsageError:
        msg = f"the key in {path} is damaged: restore it from a backup, what was sealed with it needs it"
        raise UsageError(msg) from None


def _kept(path: Path) -> str:
    """Return the key in a file, made on first use; two commands at once agree on one."""
    try:
        if not path.exists():
            _refuse_to_make_a_third(path)
            path.parent.mkdir(parents=True, exist_ok=True)
            fresh = path.with_name(f".{path.name}.{os.getpid()}")
            descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "w") as file:
                file.write(secrets.token_hex(KEY_BYTES) + "\n")
                file.flush()
                os.fsync(file.fileno())
            try:
                os.link(fresh, path)  # fails where another command was first: then that key counts
            except FileExistsError:
                pass
            finally:
                fresh.unlink()
            data_directory.flush_directory(path.parent)
        return _read(path)
    except OSError as error:
        msg = f"cannot keep the encryption key in {path}: {error.strerror}"
        raise UsageError(msg) from None


def _refuse_to_make_a_third(path: Path) -> None:
    """Make no key where one was lost beside the files of a rotation: a fresh one would open nothing."""
    if path == key_file() and next_key_file().exists():
        msg = f"{path} is missing: run daybreak keys rotate, which finishes the exchange of keys if one has begun"
        raise UsageError(msg)
