"""PgBouncer: how large its pools are, where it listens, and which certificate it shows."""

from __future__ import annotations

from dataclasses import dataclass

from daybreak_pipeline.errors import UsageError
from daybreak_pipeline.settings import variables
from daybreak_pipeline.settings.kinds import SELF_SIGNED


@dataclass(frozen=True)
class PoolerSettings:
    """What the environment says of PgBouncer.

    ``certificate`` and ``key`` are paths, empty where it does without TLS; with ``self_signed`` a certificate is to be made.
    ``port_given`` tells a port that somebody asked for from the default.
    """

    host: str
    port: int
    port_given: bool
    size: int
    clients: int
    certificate: str = ""
    key: str = ""
    self_signed: bool = False


def is_loopback(host: str) -> bool:
    """Return whether only this machine can reach an address."""
    return host.startswith("127.") or host in {"localhost", "::1"}


def pooler() -> PoolerSettings:
    """Return what ``POOL_SIZE``, ``MAX_CLIENTS`` and the ``DAYBREAK_PGBOUNCER_*`` variables say.

    Raises:
        UsageError: a variable cannot be used, or two contradict each other.
    """
    host, size, clients = (
        variables.PGBOUNCER_HOST.value(),
        variables.POOL_SIZE.value(),
        variables.MAX_CLIENTS.value(),
    )
    certificate, key = variables.PGBOUNCER_CERT.given() or "", variables.PGBOUNCER_CERT_KEY.given() or ""
    self_signed = certificate == SELF_SIGNED
    msg = ""
    if size > clients:
        msg = "POOL_SIZE is greater than MAX_CLIENTS: connections that no client can use; raise MAX_CLIENTS"
    elif self_signed and key:
        msg = "DAYBREAK_PGBOUNCER_CERT is self-signed, and its key is made with it: leave DAYBREAK_PGBOUNCER_CERT_KEY out"
    elif self_signed and not is_loopback(host):
        msg = (
            "DAYBREAK_PGBOUNCER_CERT is self-signed, which nobody elsewhere can trust, and DAYBREAK_PGBOUNCER_HOST is not "
            "this machine's own address: set it to a certificate that an authority has signed"
        )
    elif not self_signed and bool(certificate) != bool(key):
        msg = "DAYBREAK_PGBOUNCER_CERT and DAYBREAK_PGBOUNCER_CERT_KEY are only of use together"
    elif not certificate and not is_loopback(host):
        msg = (
            "DAYBREAK_PGBOUNCER_HOST is not this machine's own address, and without TLS others could listen: set "
            "DAYBREAK_PGBOUNCER_CERT and DAYBREAK_PGBOUNCER_CERT_KEY"
        )
    if msg:
        raise UsageError(msg)
    return PoolerSettings(
        host,
        variables.PGBOUNCER_PORT.value(),
        variables.PGBOUNCER_PORT.given() is not None,
        size,
        clients,
        "" if self_signed else certificate,
        key,
        self_signed,
    )
