"""What an error means, in one true sentence: of the server, of the machine, or a fault of our own.

Never a word of the error's own text: it may quote a value. What PostgreSQL means is known by its code, and where one
code has several meanings by the place in its source, which is the same in every language of its messages.
"""

from __future__ import annotations

import os
import re
import sys
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg

from daybreak_pipeline import database, settings
from daybreak_pipeline.wording import shown, shown_lines

if TYPE_CHECKING:
    from daybreak_pipeline.database import Connection

_PACKAGE = Path(__file__).resolve().parent.parent
_FRAME = re.compile(r'File "([^"\n]+)", line (\d+)')
_KEPT = 20
"""How many traces of our own faults are kept."""


@dataclass(frozen=True)
class Meaning:
    """What happened, and what to do about it (a whole sentence, or nothing)."""

    what: str
    remedy: str = ""

    def told(self, besides: str = "") -> str:
        """Return both in one line; ``besides`` says what became of the data."""
        sentence = "; ".join(filter(None, (self.what, besides)))
        return f"{sentence}. {self.remedy}" if self.remedy else sentence


LOST = Meaning(
    "the connection to the server was lost (its log says why: a full disk, for one)", "Try it again"
)
_STORAGE = Meaning("the server went away while Dagster wrote its records (its log says why)", "Try it again")

_AGAIN = "run it again"
_MEANINGS = {
    "25006": Meaning(
        "the server takes no writes: it is a standby, or default_transaction_read_only is on",
        "Set DB_HOST to the primary, or turn the setting off for this user",
    ),
    "40001": Meaning(
        "another transaction was in the way (serialization failure, 40001)", f"Nothing is wrong: {_AGAIN}"
    ),
    "40P01": Meaning("another transaction was in the way (deadlock, 40P01)", f"Nothing is wrong: {_AGAIN}"),
    "53100": Meaning(
        "the server's disk is full",
        "Make room, since an import needs about four times the size of its file (unpacked) while it runs, and "
        f"{_AGAIN}",
    ),
    "53300": Meaning(
        "the server has no connection left (53300)", f"End some sessions or raise its limit, and {_AGAIN}"
    ),
    "53400": Meaning(
        "a limit in the server's configuration was reached (temp_file_limit, for one)",
        f"Its log says which: raise it for this user, and {_AGAIN}",
    ),
    "54001": Meaning(
        "a statement is too complex for the server (max_stack_depth)", f"Raise the setting, and {_AGAIN}"
    ),
    "55P03": Meaning(
        "another session held a lock for longer than this one may wait (lock_timeout, 55P03)",
        f"End that session, or raise the setting for this user, and {_AGAIN}",
    ),
    "57014": Meaning(
        "the server stopped a statement: it took longer than statement_timeout allows, or somebody cancelled it",
        f"Raise the setting for this user if there is one, and {_AGAIN}",
    ),
    "58030": Meaning("the server cannot read or write its files", "Its log says which: look at its disk"),
}
_LACKING = Meaning(
    "the database lacks a table, column or function that is needed",
    "See daybreak migrate status, and what the check database_matches_migrations says",
)
_DAMAGED = Meaning(
    "the server found data of its own damaged",
    "Its log says where: restore a backup, or ask its administrator",
)
_MEANINGS |= dict.fromkeys(("3F000", "42P01", "42703", "42704", "42883"), _LACKING)
_MEANINGS |= dict.fromkeys(("XX001", "XX002"), _DAMAGED)

# Where PostgreSQL puts a row onto a page, and where each kind of index does so with its entries.
_ROWS = ("hio.c", "heaptuple.c", "rewriteheap.c")
_INDEXES = ("indextuple", "nbt", "gin", "hash", "spg", "gist", "brin")
_LOCKS = ("lock.c", "proclock.c", "predicate.c", "shmem.c", "dynahash.c")


def meaning(
    error: psycopg.Error, connection: Connection | None = None, *, columns: int | None = None
) -> Meaning:
    """Return what an error of the database means.

    Args:
        error: as psycopg raised it.
        connection: on which it was raised, where that is known: it tells whether it is lost.
        columns: how many the file has that was imported.
    """
    state = database.state_of(error)
    if state is None and not database.is_lost(error, connection):
        return ours(error)
    if state is None or state.startswith(("08", "57P")):
        return LOST
    if state in {"54000", "54011"}:
        return _too_large(error, state, columns)
    if state == "53200":
        return _out_of_memory(error)
    if state == "42501":
        user = f"user {connection.info.user}" if connection and not connection.closed else "this user"
        return Meaning(
            f"{user} lacks a right that this needs (its log says which)",
            f"Run daybreak roles apply as the owner of the schema, or grant it, and {_AGAIN}",
        )
    return _MEANINGS.get(state) or _refused(error, state)


def _too_large(error: psycopg.Error, state: str, columns: int | None) -> Meaning:
    has = f"; the file has {columns:,} columns" if columns else ""
    if state == "54011":
        return Meaning(
            f"more columns than a table or a query of PostgreSQL can have (1,600){has}",
            "Leave out of the file what nobody needs",
        )
    file = error.diag.source_file or ""
    if file in _ROWS:
        return Meaning(
            f"a record is too long for a row of PostgreSQL (8 kB, where each long text counts with a few bytes){has}",
            "Leave out of the file the columns that nobody needs",
        )
    name = error.diag.constraint_name
    if name or file.startswith(_INDEXES):
        return Meaning(
            f"a value is too large for an index{f' ({shown(name)})' if name else ''}",
            f"Index a part of the column's text or its hash instead, and {_AGAIN}",
        )
    return Meaning(
        f"a row, a value or an entry of an index is larger than PostgreSQL allows{has}",
        "The server's log says which",
    )


def _out_of_memory(error: psycopg.Error) -> Meaning:
    if (error.diag.source_file or "") in _LOCKS:
        return Meaning(
            "the server has no room for more locks", f"Raise its max_locks_per_transaction, and {_AGAIN}"
        )
    return Meaning(
        "the server has not enough memory",
        f"Its log says for what: give it more, or ask less at once, and {_AGAIN}",
    )


def _refused(error: psycopg.Error, state: str) -> Meaning:
    parts = [f"the server reports {type(error).__name__} ({state})"]
    if error.diag.constraint_name:
        parts.append(f"constraint {shown(error.diag.constraint_name)}")
    if error.diag.column_name:
        parts.append(f"column {shown(error.diag.column_name)}")
    return Meaning(", ".join(parts))


# --- Everything else ------------------------------------------------------------------------------------


def explain(
    error: Exception, connection: Connection | None = None, *, columns: int | None = None, besides: str = ""
) -> str:
    """Return one line about an error that nothing else has explained; a fault of our own leaves a trace.

    Args:
        error: of any kind.
        connection: as ``meaning`` takes it.
        columns: as ``meaning`` takes them.
        besides: what became of the data.
    """
    if isinstance(error, psycopg.Error):
        known = database.state_of(error) is not None or database.is_lost(error, connection)
        found = meaning(error, connection, columns=columns)
    elif of_dagsters_storage(error):
        known, found = True, _STORAGE
    elif isinstance(error, OSError) and error.strerror:
        where = f" ({shown(error.filename)})" if error.filename else ""
        known, found = True, Meaning(f"{error.strerror}{where}, at {place(error)}")
    elif isinstance(error, ModuleNotFoundError) and error.name:
        found = Meaning(f"the Python package {shown(error.name)} is not installed: run make install")
        known = True
    else:
        known, found = False, ours(error)
    if not known:
        kept = keep_trace(error)
        trace = f"its trace is in {shown(kept)}" if kept else "DAYBREAK_DEBUG=1 shows its trace"
        besides = "; ".join(filter(None, (besides, trace)))
    return found.told(besides)


def of_dagsters_storage(error: BaseException) -> bool:
    """Whether Dagster's own connections to the server failed: SQLAlchemy's and psycopg2's errors."""
    return any(
        type(cause).__module__.split(".")[0] in {"sqlalchemy", "psycopg2"}
        and type(cause).__name__ in {"OperationalError", "InterfaceError"}
        for cause in _causes(error)
    )


def ours(error: BaseException) -> Meaning:
    """Return that this is a fault of our own, and where."""
    return _fault(type(error).__name__, place(error))


def _fault(kind: str, where: str) -> Meaning:
    return Meaning(f"an error in the pipeline itself ({kind} at {where}), please report it")


def explain_stack(kind: str, stack: str) -> str:
    """Return one line about an error when only its class and stack are left, as Dagster keeps them."""
    if kind.startswith(("psycopg2.", "sqlalchemy.")):
        return _STORAGE.told()
    if kind.startswith("psycopg."):  # of the server: reported where it happened, or none of our business
        return f"{shown(kind)}, see the run's log"
    places = [_place(file, line) for file, line in _FRAME.findall(stack) if _ours(file)]
    if not places:
        return f"{shown(kind)}, see the run's log"
    return _fault(shown(kind).rpartition(".")[2], places[-1]).what


def place(error: BaseException) -> str:
    """Return module and line of this package in which an error came up."""
    stack = traceback.extract_tb(error.__traceback__)
    places = [_place(frame.filename, frame.lineno) for frame in stack if _ours(frame.filename)]
    return places[-1] if places else "an unknown place"


def _ours(file: str) -> bool:
    return Path(file).is_relative_to(_PACKAGE)


def _place(file: str, line: object) -> str:
    return f"{Path(file).relative_to(_PACKAGE)}:{line}"


def frames(error: BaseException) -> str:
    """Return the stack of an error and of its causes: kinds and places, no text and no value of any of them."""
    parts = []
    for cause in _causes(error):
        kind = f"{type(cause).__module__}.{type(cause).__qualname__}"
        state = database.state_of(cause) if isinstance(cause, psycopg.Error) else None
        listed = traceback.format_list(traceback.extract_tb(cause.__traceback__))
        parts.append("".join([f"{kind}{f' ({state})' if state else ''}\n", *listed]))
    return "\n".join(parts)


def keep_trace(error: BaseException) -> Path | None:
    """Write the stack of an error into ``errors`` in DAYBREAK_HOME, and return its path; None if it cannot be written.

    With DAYBREAK_DEBUG it is shown too.
    """
    text = frames(error)
    if settings.debug():
        sys.stderr.write(shown_lines(text))
    directory = settings.home() / "errors"
    path = directory / f"{datetime.now(UTC):%Y-%m-%dT%H%M%S.%fZ}-{os.getpid()}.txt"
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.touch(mode=0o600, exist_ok=False)
        path.write_text(text, encoding="utf-8")
        for old in sorted(directory.glob("*.txt"))[:-_KEPT]:
            old.unlink(missing_ok=True)
    except OSError:
        return None
    return path


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and what led to it, the newest first."""
    seen: set[int] = set()
    one: BaseException | None = error
    while one is not None and id(one) not in seen:
        seen.add(id(one))
        yield one
        one = one.__cause__ or one.__context__
