"""What an encryption key looks like. Where it comes from and what it is for, ``privacy.keys`` knows."""

from __future__ import annotations

import base64
import binascii
import re

from daybreak_pipeline.errors import UsageError

KEY_BYTES = 32
HOW_TO_MAKE = "generate one with: python3 -c 'import secrets; print(secrets.token_hex(32))'"
IN_USE = "ENCRYPTION_KEY"
WHICH = f"set it to the key that the database is encrypted with; for a new database, {HOW_TO_MAKE}"
"""A database that has a key is never helped by another one."""


def parse(text: str, name: str = IN_USE) -> str:
    """Return a key of 32 bytes, given in hex or base64, as 64 hex digits. Messages call it ``name``.

    Raises:
        UsageError: it has another length or form, or too few different bytes to be random.
    """
    help_ = WHICH if name == IN_USE else HOW_TO_MAKE
    raw = b""
    if re.fullmatch(r"[0-9a-fA-F]{64}", text):
        raw = bytes.fromhex(text)
    else:
        try:
            raw = base64.b64decode(text, validate=True, altchars=b"-_" if set(text) & set("-_") else None)
        except (binascii.Error, ValueError):
            raw = b""
    if len(raw) != KEY_BYTES:
        msg = f"{name} is not 32 bytes in hex or base64: {help_}"
        raise UsageError(msg)
    if len(set(raw)) < KEY_BYTES // 2:
        # 32 random bytes have 30 different values on average, fewer than 16 practically never.
        msg = f"{name} is not random: {help_}"
        raise UsageError(msg)
    return raw.hex()
