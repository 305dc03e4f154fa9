"""The encryption key: where it comes from and whether it is good enough.

Sub-keys are derived in the database (``privacy.key``), which is the only place that uses them.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
import secrets
from pathlib import Path
from typing import TYPE_CHECKING

from daybreak_pipeline import settings
from daybreak_pipeline.errors import UsageError

if TYPE_CHECKING:
    from daybreak_pipeline.database import Connection

KEY_BYTES = 32
_HOW = "generate one with: python3 -c 'import secrets; print(secrets.token_hex(32))'"


def load() -> str:
    """Return the encryption key in hex: ``ENCRYPTION_KEY``, or the one kept beside the embedded server.

    With the embedded server a missing key is made, in a file that only its owner can read.

    Raises:
        UsageError: the key is missing for a given server, or is weaker than 32 random bytes.
    """
    given = os.environ.get("ENCRYPTION_KEY", "").strip()
    if given:
        return parse(given)
    if settings.given_database():
        msg = f"ENCRYPTION_KEY is not set, and without it no personal data can be sealed: {_HOW}"
        raise UsageError(msg)
    return _kept(key_file())


def held() -> str | None:
    """Return the encryption key in hex if there is one: none is made, and none is demanded.

    Raises:
        UsageError: there is one, and it is damaged or weak.
    """
    given = os.environ.get("ENCRYPTION_KEY", "").strip()
    if given:
        return parse(given)
    path = key_file()
    return _read(path) if not settings.given_database() and path.exists() else None


def key_file() -> Path:
    """Return where the embedded server's key is kept."""
    return settings.home() / "encryption.key"


def parse(text: str) -> str:
    """Return a key of 32 bytes, given in hex or base64, as 64 hex digits.

    Raises:
        UsageError: it has another length or form, or too few different bytes to be random.
    """
    raw = b""
    if re.fullmatch(r"[0-9a-fA-F]{64}", text):
        raw = bytes.fromhex(text)
    else:
        try:
            raw = base64.b64decode(text, validate=True, altchars=b"-_" if set(text) & set("-_") else None)
        except (binascii.Error, ValueError):
            raw = b""
    if len(raw) != KEY_BYTES:
        msg = f"ENCRYPTION_KEY is not 32 bytes in hex or base64: {_HOW}"
        raise UsageError(msg)
    if len(set(raw)) < KEY_BYTES // 2:
        # 32 random bytes have 30 different values on average, fewer than 16 practically never.
        msg = f"ENCRYPTION_KEY is not random: {_HOW}"
        raise UsageError(msg)
    return raw.hex()


def verify(connection: Connection) -> None:
    """Refuse a key other than the one this database was first used with.

    The first use stores a check value derived from the key, from which the key cannot be told.

    Raises:
        UsageError: the database was used with another key; nothing was written.
    """
    with connection.transaction():
        connection.execute(
            "INSERT INTO privacy.key_check (check_value) VALUES (privacy.required_key('check')) ON CONFLICT DO NOTHING"
        )
        row = connection.execute(
            "SELECT check_value = privacy.key('check') FROM privacy.key_check"
        ).fetchone()
        if not row or not row[0]:
            msg = "this database was encrypted with another key: set ENCRYPTION_KEY to the key it was first used with"
            raise UsageError(msg)


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
        return _read(path)
    except OSError as error:
        msg = f"cannot keep the encryption key in {path}: {error.strerror}"
        raise UsageError(msg) from None
