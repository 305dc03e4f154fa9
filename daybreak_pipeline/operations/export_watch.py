"""What is in the export directory, and since when it has not changed: the sensor's view of it.

Pure: files in, a state that can be kept as text out. What to do about a change is decided in ``sensors``.
A file is hashed only when its size or times have changed and it has come to rest: seen unchanged twice, and not
written to for ``settle_seconds``. A copy that pauses for longer than that looks complete. What has been copied is
imported, the truncated record is quarantined, and the rest follows when the file has grown again. To avoid that, copy
under a name without one of the suffixes of ``sources``, then rename.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from daybreak_pipeline.errors import SourceAwayError, SourceError
from daybreak_pipeline.importer import find
from daybreak_pipeline.importer.filenames import shown
from daybreak_pipeline.importer.find import Source
from daybreak_pipeline.importer.formats import unreadable
from daybreak_pipeline.locations import Location, ObjectPath, locate
from daybreak_pipeline.tables import TABLES, Table

FIRST_PAUSE, LONGEST_PAUSE = 60.0, 3600.0
"""Seconds until a content is asked for again whose import failed for a reason outside of it: doubled each time. Where it is
seen that the reason is gone, it is asked for at once.
"""
COMPARED_EVERY = 60.0
"""Seconds between two looks at the ledger where no file has changed."""
_VERSION = 1
_NEEDED = {"stamp", "size", "mtime"}
_OF_THE_WHOLE = ("compared_at", "obstacle")
_NANOSECONDS = 10**9


@dataclass(frozen=True)
class Seen:
    """One table's source as it was last seen.

    ``stamp`` changes when any part's name, size or times do; ``size`` is in bytes, ``mtime`` in seconds since 1970.
    ``sha256`` is of the content with that stamp, empty until it came to rest. ``problem`` says why there is
    none. ``asked`` is the content with that stamp once it was asked to be imported, or found to be imported: a file
    that comes back as it was may have been missed or refused meanwhile, which only the ledger knows. ``request`` names
    the request as long as nobody knows what became of it. ``failures`` counts imports that failed for a reason
    outside the content, ``again_at`` is when to ask for it again (seconds since 1970). ``noticed`` is the attempt of the
    ledger after which it was asked for although the content was known.
    """

    stamp: str
    size: int
    mtime: int
    sha256: str = ""
    problem: str = ""
    asked: str = ""
    request: str = ""
    failures: int = 0
    again_at: float = 0.0
    noticed: int = 0


@dataclass(frozen=True)
class State:
    """All that is known of one export directory between two looks.

    ``compared_at`` is when the ledger was looked at last (seconds since 1970). ``obstacle`` says why nothing could be
    imported then, although nothing is wrong with the files.
    """

    directory: str
    tables: dict[str, Seen] = field(default_factory=dict)
    compared_at: float = 0.0
    obstacle: str = ""

    def dump(self) -> str:
        """Return the state as compact JSON; what is empty is left out."""
        tables = {
            name: {key: value for key, value in asdict(seen).items() if value or key in _NEEDED}
            for name, seen in sorted(self.tables.items())
        }
        kept = {"version": _VERSION, "directory": self.directory, "tables": tables}
        kept |= {name: getattr(self, name) for name in _OF_THE_WHOLE if getattr(self, name)}
        return json.dumps(kept, separators=(",", ":"))


def load(text: str | None, directory: Location) -> State:
    """Return the state that ``dump`` wrote. A state of another directory, or in another form, counts as empty."""
    fresh = State(str(directory))
    try:
        kept = json.loads(text or "{}")
        if (kept.get("version"), kept.get("directory")) != (_VERSION, str(directory)):
            return fresh
        tables = {name: Seen(**seen) for name, seen in kept["tables"].items() if name in TABLES}
        return State(str(directory), tables, **{name: kept[name] for name in _OF_THE_WHOLE if name in kept})
    except (ValueError, TypeError, AttributeError, KeyError):
        return fresh


@dataclass(frozen=True)
class Look:
    """What one look found: the new state, and by table what is not ready and why.

    ``unsettled`` has files that are still being written, ``unread`` those that wait for the next look because
    this one took long enough, ``problems`` those that cannot be imported as they are.
    """

    state: State
    unsettled: dict[str, str] = field(default_factory=dict)
    unread: dict[str, str] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)

    @property
    def changed(self) -> dict[str, str]:
        """Return the content of every table that is at rest and was not asked for yet."""
        return {
            name: seen.sha256
            for name, seen in self.state.tables.items()
            if seen.sha256 and seen.sha256 != seen.asked
        }

    @property
    def requests(self) -> dict[str, list[str]]:
        """Return the requests of which the outcome is not known, with their tables."""
        found: dict[str, list[str]] = {}
        for name, seen in self.state.tables.items():
            if seen.request:
                found.setdefault(seen.request, []).append(name)
        return found

    @property
    def postponed(self) -> dict[str, float]:
        """Return when tables are asked for again (seconds since 1970)."""
        return {name: seen.again_at for name, seen in self.state.tables.items() if seen.again_at}

    def answered(self, tables: Iterable[str]) -> Look:
        """Return the look with the content of these tables noted as dealt with."""
        return self._with(
            tables, lambda seen: replace(seen, asked=seen.sha256, request="", failures=0, again_at=0.0)
        )

    def asked_for(self, tables: Iterable[str], request: str) -> Look:
        """Return the look with the content of these tables noted as asked for."""
        return self._with(
            tables, lambda seen: replace(seen, asked=seen.sha256, request=request, again_at=0.0)
        )

    def failed(self, tables: Iterable[str], now: float) -> Look:
        """Return the look with these tables to be asked for again after a pause: their contents are not to blame."""
        return self._with(
            tables,
            lambda seen: replace(
                seen,
                request="",
                failures=seen.failures + 1,
                again_at=now + min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(seen.failures, 20)),
            ),
        )

    def is_to_be_compared(self, now: float) -> bool:
        """Return whether the ledger is to be looked at: something is to be asked for, or waits, or a minute has passed."""
        waits = self.changed or self.requests or self.postponed or self.state.obstacle
        return bool(waits) or not 0 <= now - self.state.compared_at < COMPARED_EVERY

    def obstructed(self, reason: str, now: float) -> Look:
        """Return the look with the reason noted for which nothing can be imported now."""
        return replace(self, state=replace(self.state, obstacle=reason, compared_at=now))

    def unobstructed(self, now: float) -> Look:
        """Return the look with nothing in the way; what was postponed is due at once if something was."""
        freed = replace(self, state=replace(self.state, obstacle="", compared_at=now))
        return freed.due(float("inf")) if self.state.obstacle else freed

    def noticed(self, attempts: Mapping[str, int], now: float) -> Look:
        """Return the look with known contents to be asked for again, each once after an attempt of the ledger."""
        known = self.state.tables
        again = [
            name
            for name, attempt in attempts.items()
            if name in known and known[name].noticed != attempt and self._is_settled(known[name])
        ]
        tables = {name: replace(known[name], noticed=attempts[name]) for name in again}
        return replace(self, state=replace(self.state, tables=known | tables)).failed(again, now)

    @staticmethod
    def _is_settled(seen: Seen) -> bool:
        """Return whether a content is at rest and was asked for, and nothing is to follow."""
        return bool(seen.sha256) and seen.sha256 == seen.asked and not seen.request and not seen.again_at

    def due(self, now: float) -> Look:
        """Return the look with the tables whose pause is over as changed ones."""
        over = [name for name, again_at in self.postponed.items() if now >= again_at]
        return self._with(over, lambda seen: replace(seen, asked="", again_at=0.0))

    def _with(self, tables: Iterable[str], change: Callable[[Seen], Seen]) -> Look:
        known = self.state.tables
        changed = {name: change(known[name]) for name in tables}
        return replace(self, state=replace(self.state, tables=known | changed))


def look(
    before: State,
    *,
    settle_seconds: float,
    hash_seconds: float,
    now: Callable[[], float] = time.time,
) -> Look:
    """Look at the directory once more.

    Args:
        before: what the last look found.
        settle_seconds: for how long a file must not have been written to.
        hash_seconds: after this long no further file is read; the rest wait for the next look.
        now: seconds since 1970, for tests.

    Raises:
        UsageError: the directory is missing, cannot be read, or holds nothing of an export.
    """
    directory = locate(before.directory)
    find.check_export(directory)
    begun = time.monotonic()
    found = Look(replace(before, tables={}))
    for name, table in TABLES.items():
        last = before.tables.get(name)
        try:
            seen, written = _glance(directory, table, last)
        except OSError as error:
            found.problems[name] = (
                f"cannot read {shown(Path(str(error.filename or directory)).name)}: {error.strerror}"
            )
            if last:
                found.state.tables[name] = last
            continue
        if seen is None:
            continue
        if not seen.sha256 and not seen.problem:
            age = now() - written
            if last is None or last.stamp != seen.stamp or 0 <= age < settle_seconds:
                found.unsettled[name] = f"{_file_name(directory, table)} ({seen.size / 1e6:,.1f} MB)"
            elif time.monotonic() - begun > hash_seconds:
                found.unread[name] = _file_name(directory, table)
            else:
                try:
                    seen = _examined(directory, table, seen)
                except SourceAwayError as error:
                    # Said, and not kept: the next look tries again, although the file is the same.
                    found.problems[name] = str(error)
        found.state.tables[name] = seen
        if seen.problem:
            found.problems[name] = seen.problem
    return found


def _glance(directory: Location, table: Table, last: Seen | None) -> tuple[Seen | None, float]:
    """Return a table's source by its names, sizes and times, and when it was last written to; read nothing.

    The time of the last change of the inode counts as well: copying tools set a file's own time to the past.
    """
    digest = hashlib.sha256()
    size, modified, written = 0, 0, 0
    parts = [part for path in find.candidates(directory, table) for part in Source.at(path).parts]
    for part in parts:
        status = part.path.stat()
        size += status.st_size
        modified = max(modified, status.st_mtime_ns)
        written = max(written, status.st_mtime_ns, status.st_ctime_ns)
        facts = (status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)
        digest.update(f"{part.path.relative_to(directory)}\0{facts}\0".encode(errors="surrogateescape"))
    if not parts:
        return None, 0.0
    stamp = digest.hexdigest()[:16]
    if last and last.stamp == stamp:
        return last, written / _NANOSECONDS
    return Seen(stamp, size, modified // _NANOSECONDS), written / _NANOSECONDS


def _examined(directory: Location, table: Table, seen: Seen) -> Seen:
    """Read a source that has come to rest: its header, and its content for the hash.

    Raises:
        SourceAwayError: its storage does not give it now.
    """
    try:
        sha256 = find.find(directory, table).sha256()
        after, _ = _glance(directory, table, seen)
        # Written to while it was read: the hash matches no content that ever existed. The next look starts over.
        return replace(seen, sha256=sha256) if after is seen else after or seen
    except SourceAwayError:
        raise
    except SourceError as error:
        return replace(seen, problem=str(error))
    except OSError as error:
        if isinstance(directory, ObjectPath):
            raise unreadable(directory, error) from None
        return replace(
            seen,
            problem=f"{table.name}: cannot read {shown(Path(error.filename or '').name)}: {error.strerror}",
        )


def _file_name(directory: Location, table: Table) -> str:
    return shown(find.candidates(directory, table)[0].name)
