"""What it means that a connection failed, in one line: by the server's code, which is the same in every language.

libpq keeps the code of an error of a statement, but only the text of one that ends the login, and that is in the language of
the server. So a login that failed is made once more, and its messages are looked at (``libpq``'s trace). What libpq itself
says is English: Python leaves the language of a process's messages alone. So is what PgBouncer says.
"""

from __future__ import annotations

import os
import re
import select
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psycopg
from psycopg import pq

from daybreak_pipeline.runbooks import Runbook

if TYPE_CHECKING:
    from psycopg.pq.abc import PGconn

    from daybreak_pipeline.settings import DatabaseSettings

_SECONDS = 5
_ERROR = re.compile(r'ErrorResponse\t(?: [SV] "[^"]*")* C "([0-9A-Z]{5})"')
_PLACE = re.compile(r' F "([^"]*)" L "\d+" R "([^"]*)"')
_CHALLENGE = re.compile(r"AuthenticationSASLContinue\t 'r=[^,]+,s=([A-Za-z0-9+/=]+),i=(\d+)'")


@dataclass(frozen=True)
class Refusal:
    """Why a connection failed: one line, and whether it is in vain to try it again."""

    text: str
    lasts: bool


@dataclass(frozen=True)
class Login:
    """What a login met.

    ``state`` is the server's code, None where it sent none or none is known; ``routine`` where in its source it said so, empty
    for a pooler. ``salt`` and ``iterations`` are what it keeps a password with.
    """

    accepted: bool
    state: str | None = None
    routine: str = ""
    needs_password: bool = False
    salt: str = ""
    iterations: int = 0


def log_in(database: DatabaseSettings) -> Login:
    """Log in once, for no other purpose than to see what the server says. Where nothing can be seen, nothing is known.

    That is where libpq is older than 18, or the system is not Linux.
    """
    connection = pq.PGconn.connect_start(database.conninfo().encode())
    trace = (
        os.memfd_create("daybreak") if hasattr(os, "memfd_create") else -1
    )  # not on disk: it may hold the password
    try:
        if trace >= 0 and connection.socket >= 0:
            connection.trace(trace)
            connection.set_trace_flags(pq.Trace.SUPPRESS_TIMESTAMPS)
        accepted = _finish(connection)
        needs_password = bool(connection.needs_password)
        if trace < 0:
            return Login(accepted, needs_password=needs_password)
        connection.untrace()
        messages = os.pread(trace, 1 << 20, 0).decode(errors="replace")
    except (psycopg.OperationalError, psycopg.NotSupportedError):
        return Login(accepted=False)
    finally:
        connection.finish()
        if trace >= 0:
            os.close(trace)
    last = messages[max(0, messages.rfind("ErrorResponse\t")) :]  # a login without TLS follows one with it
    error = _ERROR.match(last)
    place = _PLACE.search(last) if error else None
    challenge = _CHALLENGE.search(messages)
    return Login(
        accepted,
        error[1] if error else None,
        place[2] if place else "",
        needs_password,
        challenge[1] if challenge else "",
        int(challenge[2]) if challenge else 0,
    )


def _finish(connection: PGconn) -> bool:
    """Bring a login to its end, and return whether it was accepted."""
    deadline = time.monotonic() + _SECONDS
    while True:
        status = connection.connect_poll()
        if status == pq.PollingStatus.OK:
            return True
        if status == pq.PollingStatus.FAILED:
            return False
        waiting = [connection.socket]
        reading = status == pq.PollingStatus.READING
        left = deadline - time.monotonic()
        if left <= 0 or not any(
            select.select(waiting if reading else [], [] if reading else waiting, [], left)
        ):
            return False


def explain(database: DatabaseSettings, error: psycopg.OperationalError) -> str:
    """Return one line that says why a connection failed and what to look at."""
    return refusal(database, error).text


def refusal(database: DatabaseSettings, error: psycopg.OperationalError) -> Refusal:
    """Return what it means that a connection failed."""
    where = f"{database.host}:{database.port}"
    login = Login(accepted=False) if isinstance(error, psycopg.errors.ConnectionTimeout) else log_in(database)
    text = str(error)
    meaning = _by_state(database, login) or _by_pooler(database, login, text)
    if meaning:
        return Refusal(meaning, lasts=True)
    if login.state == "53300":
        return Refusal(
            f"the server at {where} has no connection left for user {database.user}: end some, or raise its limit",
            lasts=False,
        )
    if login.state == "08P01" and "max_client_conn" in text:
        return Refusal(
            f"PgBouncer at {where} takes no more clients: end some, or raise MAX_CLIENTS", lasts=False
        )
    if login.state == "57P03":
        return Refusal(f"the server at {where} is starting or stopping: try again in a moment", lasts=False)
    problem = "" if login.state else _tls(database, text)
    if problem:
        return Refusal(f"no TLS connection to {where}: {problem}", lasts=True)
    reason = text.strip().splitlines()[-1].strip() if text.strip() else "no answer"
    return Refusal(
        f"cannot connect to the PostgreSQL server at {where} ({reason}): check DB_HOST and DB_PORT",
        lasts=False,
    )


def _by_state(database: DatabaseSettings, login: Login) -> str | None:
    """Return why the server itself refuses a login, None when it does not or may accept it in a moment."""
    where = f"{database.host}:{database.port}"
    user, name = database.user, database.name
    if login.state == "28000":
        return _not_let_in(database, login.routine)
    meanings = {
        "28P01": f"the server at {where} refuses user {user}: check DB_USER and DB_PASSWORD",
        "3D000": f"the server at {where} has no database {name}: create it, or set DB_NAME",
        "42501": f"user {user} may not connect to database {name} at {where}: grant it CONNECT",
    }
    return meanings.get("28P01" if login.state is None and login.needs_password else login.state or "")


def _not_let_in(database: DatabaseSettings, routine: str) -> str:
    """Return why a user is not let in, whatever the password."""
    where, user = f"{database.host}:{database.port}", database.user
    if routine == "InitializeSessionUserId":
        return f"user {user} cannot log in at {where}: set its password with daybreak roles apply"
    if routine == "ClientAuthentication" and database.sslmode in {"disable", "allow", "prefer"}:
        return (
            f"no TLS connection to {where}: DB_SSLMODE={database.sslmode} went without, and so the server does not let user "
            f"{user} in: set DB_SSLMODE=verify-full, or let the user in in its pg_hba.conf"
        )
    return f"the server at {where} does not let user {user} in from here: look at its pg_hba.conf"


def _by_pooler(database: DatabaseSettings, login: Login, text: str) -> str | None:
    """Return why PgBouncer refuses a login. It has one code for all its reasons."""
    where = f"{database.host}:{database.port}"
    if login.state != "08P01" or login.routine:
        return None
    if "no such database" in text:
        return f"PgBouncer at {where} knows no database {database.name}: set DB_NAME, or run daybreak pgbouncer config"
    if "authentication failed" in text or "no such user" in text:
        return (
            f"PgBouncer at {where} refuses user {database.user}: check DB_USER and DB_PASSWORD, and run daybreak roles "
            f"apply where it was set up, which writes its list of users again; {Runbook.LOST_PASSWORD.see}"
        )
    return None


def _tls(database: DatabaseSettings, text: str) -> str:
    """Return what is wrong with the server's certificate or ours, empty when it is something else."""
    root = database.sslrootcert or "~/.postgresql/root.crt"
    mode = f"DB_SSLMODE={database.sslmode}"
    # What libpq says (all of it must occur), and what that means here.
    meanings = (
        (
            ("server does not support SSL",),
            f"{mode} asks for it and the server has none; turn on ssl in the server's configuration",
        ),
        (
            ("root certificate file", "does not exist"),
            f"{mode} needs the certificate of the server's authority, and {root} does not exist: set DB_SSLROOTCERT",
        ),
        (
            ("root certificate",),
            f"{root} holds no certificate that can be read: set DB_SSLROOTCERT to the authority's certificate",
        ),
        (
            ("does not match host name",),
            f"the server's certificate is for another host name than {database.host}: set DB_HOST to a name that is in it",
        ),
        (
            ("certificate verify failed",),
            f"the server's certificate has expired, or no authority in {root} signed it: check DB_SSLROOTCERT",
        ),
        *(
            ((sign,), "check DB_SSLMODE, DB_SSLROOTCERT and the server's certificate")
            for sign in ("certificate", "SSL", "sslmode")
        ),
    )
    return next((meaning for signs, meaning in meanings if all(sign in text for sign in signs)), "")
