"""For how long the server's certificate is good, as it shows it to whoever connects. It is read here, and trusted nowhere."""

from __future__ import annotations

import re
import socket
import ssl
import struct
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from daybreak_pipeline.monitoring.metrics import Measurement

if TYPE_CHECKING:
    from daybreak_pipeline.settings import DatabaseSettings

_SECONDS = 5
_TLS_PLEASE = struct.pack("!II", 8, 80877103)
"""PostgreSQL's SSLRequest: TLS begins after the server has answered S."""
_TIME = rb"(?:\x17\x0d(\d{12}Z)|\x18\x0f(\d{14}Z))"
_VALIDITY = re.compile(rb"\x30." + _TIME + _TIME, re.DOTALL)
"""X.509's Validity in DER: a sequence of two times, as UTCTime or GeneralizedTime."""


def read(db: DatabaseSettings, at: datetime) -> list[Measurement]:
    """Return for how long after ``at`` the certificate is good; less than 0 where it has expired."""
    if db.host.startswith(("/", "@")) or db.sslmode == "disable":
        return _unknown("no TLS")
    try:
        shown = _shown(db)
    except OSError:
        return _unknown("the server shows no certificate")
    ends = until(shown) if shown else None
    if ends is None:
        return _unknown("no TLS" if not shown else "the certificate cannot be read")
    return [Measurement("certificate_seconds", (ends - at).total_seconds())]


def _shown(db: DatabaseSettings) -> bytes:
    """Return the certificate as the server shows it, empty where it has no TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # an expired one must be readable too
    with socket.create_connection((db.host, db.port), timeout=_SECONDS) as plain:
        plain.sendall(_TLS_PLEASE)
        if plain.recv(1) != b"S":
            return b""
        with context.wrap_socket(plain, server_hostname=db.host) as encrypted:
            return encrypted.getpeercert(binary_form=True) or b""


def until(certificate: bytes) -> datetime | None:
    """Return when a certificate in DER ends to be good; None where it does not say."""
    found = _VALIDITY.search(certificate)
    if found is None:
        return None
    short, long = found[3], found[4]
    if short:
        # RFC 5280: two digits from 50 on are of the last century.
        century = b"19" if short[:2] >= b"50" else b"20"
        long = century + short
    return datetime.strptime(long.decode(), "%Y%m%d%H%M%SZ").replace(tzinfo=UTC)


def _unknown(note: str) -> list[Measurement]:
    return [Measurement("certificate_seconds", None, note=note)]
