"""PgBouncer's own database, ``pgbouncer``, in which the owner of the tables asks what it does: pools, traffic, reload."""

from __future__ import annotations

import configparser
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import psycopg
from psycopg.rows import dict_row

from daybreak_pipeline.settings import DatabaseSettings, is_loopback

NAME = "pgbouncer"
"""The database under which PgBouncer answers itself."""
_EVERY_ADDRESS = {"*", "0.0.0.0", "::"}  # noqa: S104 - nothing is bound here


def address(db: DatabaseSettings, file: Path) -> DatabaseSettings:
    """Return how to log in to the PgBouncer with this pgbouncer.ini, as the owner of the tables.

    Raises:
        OSError: the file cannot be read.
        configparser.Error: it is not such a file.
        KeyError: it is not complete.
    """
    read = configparser.ConfigParser(interpolation=None, strict=False, allow_no_value=True)
    read.read_string(file.read_text(encoding="utf-8"))
    told = read["pgbouncer"]
    host = told["listen_addr"]
    tls = told.get("client_tls_sslmode", "disable") != "disable"
    # On this machine nobody is in between, and which certificate it shows does not matter.
    return replace(
        db,
        host="127.0.0.1" if host in _EVERY_ADDRESS else host,
        port=int(told["listen_port"]),
        name=NAME,
        sslmode="require"
        if tls and (is_loopback(host) or host in _EVERY_ADDRESS)
        else "verify-full"
        if tls
        else "disable",
        sslrootcert="" if tls and is_loopback(host) else db.sslrootcert,
    )


def show(
    console: DatabaseSettings, what: Literal["POOLS", "STATS", "LISTS", "CLIENTS"]
) -> list[dict[str, Any]]:
    """Return what ``SHOW`` says, a row for each pool or database.

    Raises:
        psycopg.Error: it does not answer, or lets this login not in.
    """
    with _opened(console) as cursor:
        return cursor.execute(f"SHOW {what}".encode()).fetchall()


def reload(console: DatabaseSettings) -> bool:
    """Have PgBouncer read its files again, and return whether there was one."""
    try:
        with _opened(console) as cursor:
            cursor.execute("RELOAD")
    except psycopg.Error:
        return False
    return True


@contextmanager
def _opened(console: DatabaseSettings) -> Iterator[psycopg.Cursor[dict[str, Any]]]:
    # It knows no transactions and no prepared statements.
    with (
        psycopg.connect(
            console.conninfo(connect_timeout=5), autocommit=True, prepare_threshold=None
        ) as connection,
        connection.cursor(row_factory=dict_row) as cursor,
    ):
        yield cursor
