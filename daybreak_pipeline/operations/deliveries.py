"""What was delivered and is not in the tables: the export directory held against the ledger. Changes nothing.

Headers and first blocks are read; a whole file only where its size and beginning are those of a content that was loaded,
and it was written to since. A content that was loaded once is in, even if a newer one was loaded after it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from daybreak_pipeline import database, settings
from daybreak_pipeline.errors import DaybreakError, SourceError, UsageError
from daybreak_pipeline.importer import find
from daybreak_pipeline.importer.filenames import shown
from daybreak_pipeline.importer.find import AbsentSourceError, Source
from daybreak_pipeline.importer.formats import BLOCK
from daybreak_pipeline.locations import Location, of_uri
from daybreak_pipeline.tables import TABLES, Table

if TYPE_CHECKING:
    from daybreak_pipeline.database import Connection

_LAST_SOURCE = """
    SELECT i.source_uri FROM ingest.file_imports i ORDER BY i.id DESC LIMIT 1
"""
_LOADED = """
    SELECT f.table_name, f.source_bytes, f.source_head_sha256, f.source_sha256, f.started_at
    FROM ingest.file_imports f
    JOIN unnest(%s::text[], %s::bigint[]) AS there(name, bytes) ON (f.table_name, f.source_bytes) = (there.name, there.bytes)
    WHERE f.loaded
"""
_CLOCKS_DIFFER = timedelta(minutes=5)
"""The ledger has the server's time, a file this machine's."""


@dataclass(frozen=True)
class Waiting:
    """A delivered file whose content was never loaded; ``reason`` says why it cannot be read, if it cannot."""

    file: str
    since: datetime
    reason: str = ""


@dataclass(frozen=True)
class Deliveries:
    """What an export directory holds, by table. Nothing is known of a directory that is None.

    ``there`` are the tables with a file, ``waiting`` those whose file was never loaded, ``unread`` says of files that
    were left out although they may hold records of a table. ``problem``: why nothing can be said of the directory.
    """

    directory: Location | None = None
    there: frozenset[str] = frozenset()
    waiting: dict[str, Waiting] = field(default_factory=dict)
    unread: dict[str, tuple[str, ...]] = field(default_factory=dict)
    problem: str = ""


@dataclass(frozen=True)
class _Content:
    """What the ledger knows of a content that was loaded."""

    table_name: str
    source_bytes: int
    source_head_sha256: str | None
    source_sha256: str
    started_at: datetime


def look(connection: Connection, directory: Location | None = None) -> Deliveries:
    """Return what was delivered: into a directory, or else where the environment or the last import says.

    A machine that neither has a directory of its own nor the last import's knows nothing of deliveries.
    """
    chosen = directory or settings.given_export_dir()
    if chosen is None:
        chosen = _last_directory(connection)
        if chosen is None:
            return Deliveries()
    try:
        find.check_export(chosen)
    except DaybreakError as error:
        return Deliveries(chosen, problem=str(error))
    return _looked(connection, chosen)


def _last_directory(connection: Connection) -> Location | None:
    uri = database.value(connection, _LAST_SOURCE)
    try:
        found = of_uri(uri).parent if uri else None
        return found if found and found.is_dir() else None
    except (OSError, UsageError):  # a storage that this machine may not, or cannot, look at
        return None


def _looked(connection: Connection, directory: Location) -> Deliveries:
    sources: dict[str, Source] = {}
    waiting: dict[str, Waiting] = {}
    for name, table in TABLES.items():
        try:
            sources[name] = find.find(directory, table)
        except AbsentSourceError:
            continue
        except SourceError as error:
            there = find.candidates(directory, table)
            waiting[name] = Waiting(_name(there, table), _written(there), str(error))
    loaded = _loaded(connection, sources)
    for name, source in sources.items():
        written = _written(part.path for part in source.parts)
        try:
            if not any(_is(source, written, content) for content in loaded.get(name, ())):
                waiting[name] = Waiting(shown(source.path.name), written)
        except OSError as error:
            waiting[name] = Waiting(shown(source.path.name), written, f"cannot be read: {error.strerror}")
    return Deliveries(directory, frozenset(sources) | waiting.keys(), waiting, _unread(directory, sources))


def _loaded(connection: Connection, sources: dict[str, Source]) -> dict[str, list[_Content]]:
    sizes = {}
    for name, source in sources.items():
        try:
            sizes[name] = source.size()
        except OSError:  # it has just gone
            continue
    found: dict[str, list[_Content]] = {}
    for content in database.every(connection, _Content, _LOADED, [list(sizes), list(sizes.values())]):
        found.setdefault(content.table_name, []).append(content)
    return found


def _is(source: Source, written: datetime, content: _Content) -> bool:
    """Return whether a source, of the same size, has a content. A small one is as good as hashed by its beginning."""
    if content.source_head_sha256 and source.head_sha256() != content.source_head_sha256:
        return False
    whole = bool(content.source_head_sha256) and all(part.size <= BLOCK for part in source.parts)
    if whole or written < content.started_at - _CLOCKS_DIFFER:
        return True
    return source.sha256() == content.source_sha256


def _written(paths: Iterable[Location]) -> datetime:
    """Return when something of these files was last written to, or came to their place."""
    latest = 0.0
    for path in paths:
        try:
            status = path.stat()
        except OSError:
            continue
        latest = max(latest, status.st_mtime, status.st_ctime)
    return datetime.fromtimestamp(latest, UTC)


def _unread(directory: Location, sources: dict[str, Source]) -> dict[str, tuple[str, ...]]:
    """Return what may be somebody's records and was left out: not older files, nor second ones of the same content."""
    found: dict[str, list[str]] = {}
    for name, source in sources.items():
        for one in source.ignored:
            if one.may_be_missed:
                found.setdefault(name, []).append(f"{one.file} was not read: {one.why}")
    for other in find.unknown(directory):
        if other.resembles:
            found.setdefault(other.resembles, []).append(
                f"{other.file} belongs to no table and was not read; it resembles {other.resembles}"
            )
    return {name: tuple(told) for name, told in found.items()}


def _name(paths: list[Location], table: Table) -> str:
    return shown(paths[0].name) if paths else table.name
