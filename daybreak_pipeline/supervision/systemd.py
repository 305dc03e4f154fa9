"""What a service says to systemd, and whether its output goes to the journal. Outside of a service nothing happens."""

from __future__ import annotations

import os
import socket
import sys
from contextlib import suppress

from daybreak_pipeline import settings


def notify(*states: str) -> None:
    """Tell systemd of states such as ``READY=1`` or ``STATUS=…`` (sd_notify)."""
    address = settings.notify_socket()
    if not address:
        return
    if address.startswith("@"):  # an abstract socket
        address = "\0" + address[1:]
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
        channel.sendto("\n".join(states).encode(), address)


def logs_to_journal() -> bool:
    """Return whether standard error is the journal's, and so what child processes print belongs there too."""
    stream = settings.journal_stream()
    try:
        status = os.fstat(sys.stderr.fileno())
    except (OSError, ValueError):
        return False
    return stream == f"{status.st_dev}:{status.st_ino}"
