"""A certificate for connections within this machine, signed by itself. It is made again a month before it expires."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from daybreak_pipeline import settings
from daybreak_pipeline.errors import UsageError
from daybreak_pipeline.runbooks import Runbook

CERTIFICATE, KEY = "server.crt", "server.key"
_DAYS = 800
_MONTH = 30 * 86400
_SECONDS = 60
_NAMES = "subjectAltName=DNS:localhost,IP:127.0.0.1,IP:::1"


def provide(directory: Path) -> tuple[Path, Path]:
    """Return certificate and key in a directory, made if they are missing or expire soon.

    Raises:
        UsageError: there is no openssl, or it fails.
    """
    certificate, key = directory / CERTIFICATE, directory / KEY
    if certificate.exists() and key.exists() and _openssl("x509", "-in", certificate, "-checkend", _MONTH):
        return certificate, key
    new_certificate, new_key = certificate.with_suffix(".crt.new"), key.with_suffix(".key.new")
    for file in (new_certificate, new_key):
        file.unlink(missing_ok=True)
        os.close(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))  # openssl keeps the mode
    made = _openssl(
        *("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-sha256", "-days", _DAYS),
        *("-subj", "/CN=localhost", "-addext", _NAMES, "-addext", "basicConstraints=critical,CA:TRUE"),
        *("-keyout", new_key, "-out", new_certificate),
    )
    if not made:
        msg = (
            f"openssl could not make a certificate in {directory}: set DAYBREAK_PGBOUNCER_CERT to one of yours; "
            f"{Runbook.FIRST_INSTALLATION.see}"
        )
        raise UsageError(msg)
    new_key.rename(key)
    new_certificate.rename(certificate)
    return certificate, key


def _openssl(*arguments: object) -> bool:
    """Run openssl, and return whether it succeeded.

    Raises:
        UsageError: there is none.
    """
    program = shutil.which("openssl")
    if program is None:
        msg = (
            "openssl is not installed, so no certificate can be made: install it, or set DAYBREAK_PGBOUNCER_CERT to yours; "
            f"{Runbook.FIRST_INSTALLATION.see}"
        )
        raise UsageError(msg)
    try:
        done = subprocess.run(
            [program, *map(str, arguments)],
            env=settings.child_environment(LC_ALL="C"),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0
