"""Which file of an export holds which table, what its header says, and its fingerprint.

Files are only looked at here; their records are read by ``staging``. What a name says, ``filenames`` knows.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

from daybreak_pipeline.errors import SourceError, UsageError
from daybreak_pipeline.importer import filenames, formats
from daybreak_pipeline.importer.filenames import FileName, shown
from daybreak_pipeline.importer.formats import BLOCK, SUFFIXES, suffix_of
from daybreak_pipeline.importer.parts import Part
from daybreak_pipeline.locations import Location, ObjectPath, in_order
from daybreak_pipeline.tables import EXPECTATIONS_FILE, MARK_FILE, TABLES, Table

_OURS = frozenset({EXPECTATIONS_FILE, MARK_FILE})
_SIGNATURES = frozenset(name for table in TABLES.values() for name in table.signature)
_NO_PART = f"it is no part: a part's name ends in one of {', '.join(SUFFIXES)}"


class AbsentSourceError(SourceError):
    """The export has no file for a table, not even a bad one."""


@dataclass(frozen=True)
class Ignored:
    """A file that is not read although its name, or its place among the parts, is a table's; and why.

    ``may_be_missed``: it is neither older than the one that is read nor the same, so its records may be missing.
    """

    file: str
    why: str
    may_be_missed: bool = False


@dataclass(frozen=True)
class Unknown:
    """A file that belongs to no table, and the table that its name resembles."""

    file: str
    resembles: str | None

    def __str__(self) -> str:
        """Say so in one line."""
        like = f"; it resembles {self.resembles}" if self.resembles else ""
        return f"{self.file} belongs to no table{like}"


@dataclass(frozen=True)
class Source:
    """The file, or directory of parts, that holds one table, and the names in its header.

    ``parts`` are the files to read, in a stable order. ``ignored`` are the files beside it that might have been taken for
    the table's.
    """

    path: Location
    header: tuple[str, ...]
    parts: tuple[Part, ...]
    ignored: tuple[Ignored, ...] = ()

    @classmethod
    def at(cls, path: Location) -> Source:
        """Return the source at a path; nothing of it has been read yet.

        Raises:
            OSError: a directory cannot be listed.
        """
        found = in_order(part for part in _files_below(path) if suffix_of(part)) if path.is_dir() else [path]
        return cls(path, (), tuple(Part(file) for file in found))

    @property
    def uri(self) -> str:
        """Where the source is, for ledger and metadata."""
        return self.path.as_uri()

    @property
    def others(self) -> list[Location]:
        """The files of a directory of parts that are no parts, those apart that are hidden."""
        if not self.path.is_dir():
            return []
        return in_order(file for file in _files_below(self.path) if not suffix_of(file))

    def size(self) -> int:
        """Return the source's size in bytes."""
        return sum(part.size for part in self.parts)

    def sha256(self) -> str:
        """Return the SHA-256 of the content in hex; of a directory, of its parts' names and contents."""
        return self._digest(_blocks)

    def head_sha256(self) -> str:
        """Return what ``sha256`` would be if each part ended after its first block: a glance at the content."""
        if not self.path.is_dir():
            return self.parts[0].sniff().head_sha256
        return self._digest(lambda file: [file.read(BLOCK)])

    def content_sha256(self) -> str:
        """Return the SHA-256 of what a file holds, decompressed; of a directory, as ``sha256``.

        Raises:
            SourceError: it cannot be read.
        """
        if self.path.is_dir() or suffix_of(self.path) == ".parquet":
            return self.sha256()
        digest = hashlib.sha256()
        try:
            with formats.opened(self.path) as file:
                for block in _blocks(file):
                    digest.update(block)
        except formats.DAMAGE as error:
            raise formats.unreadable(self.path, error) from None
        return digest.hexdigest()

    def _digest(self, blocks: Callable[[IO[bytes]], Iterable[bytes]]) -> str:
        digest = hashlib.sha256()
        for part in self.parts:
            if self.path.is_dir():
                digest.update(
                    f"{part.path.relative_to(self.path)}\0{part.size}\0".encode(errors="surrogateescape")
                )
            with part.path.open("rb") as file:
                for block in blocks(file):
                    digest.update(block)
        return digest.hexdigest()


def check_export(directory: Location) -> None:
    """Make sure that a directory can be an export at all.

    Raises:
        UsageError: it does not exist, cannot be read, or holds not one file of any table.
    """
    try:
        found = _named(directory)
    except FileNotFoundError:
        msg = f"there is no directory {directory}: give the directory that holds the export's files"
        raise UsageError(msg) from None
    except NotADirectoryError:
        msg = f"{directory} is a file: give the directory that holds the export's files"
        raise UsageError(msg) from None
    except OSError as error:
        msg = f"cannot read {directory}: {error.strerror}"
        raise UsageError(msg) from None
    if not any(name.stem in table.file_stems for _, name in found for table in TABLES.values()):
        like = [str(one) for one in unknown(directory) if one.resembles]
        msg = (
            f"{directory} holds no file of an export: expected such as "
            f"{TABLES['kinships'].file_stems[0]}.csv or {TABLES['referrals'].file_stems[0]}.csv"
            + (f" ({like[0]})" if like else "")
        )
        raise UsageError(msg)


def find(directory: Location, table: Table) -> Source:
    """Return the source of one table, by file name and header signature.

    Of several files with a date in their names the newest counts. One without a date may be newer or older than
    those that have one: it must hold the same as the newest.

    Raises:
        AbsentSourceError: there is none.
        SourceError: there are several that differ, or it cannot be read.
    """
    try:
        return _found(directory, table)
    except OSError as error:
        raise formats.unreadable(_place(error, directory), error) from None


def _found(directory: Location, table: Table) -> Source:
    choice = _choose(_named_as(directory, table), table)
    if not choice.contenders:
        raise _absent(directory, table)
    chosen, *others = choice.contenders
    name = shown(chosen.path.name)
    if others and len({source.content_sha256() for source in choice.contenders}) > 1:
        differing = ", ".join(shown(source.path.name) for source in choice.contenders)
        msg = f"{table.name}: {differing} all hold this table and differ: leave only one in {directory}"
        raise SourceError(msg)
    ignored = [Ignored(shown(source.path.name), f"it holds the same as {name}") for source in others]
    ignored += [Ignored(shown(path.name), f"{name} is newer") for path in choice.older]
    ignored += [
        Ignored(shown(other.path.name), f"{name} is what holds the table", may_be_missed=bool(other.parts))
        for other in choice.unsuited
    ]
    ignored += [
        Ignored(shown(str(file.relative_to(directory))), _NO_PART, may_be_missed=True)
        for file in chosen.others
    ]
    return replace(chosen, ignored=tuple(ignored))


def candidates(directory: Location, table: Table) -> list[Location]:
    """Return the paths whose name fits a table: newest date first, then the plan's name."""
    with suppress(SourceError):
        return [path for path, _ in _named_as(directory, table)]
    return []


def unknown(directory: Location) -> list[Unknown]:
    """Return the files and directories of an export that belong to no table, by name. Hidden ones do not count."""
    stems = {stem for table in TABLES.values() for stem in table.file_stems}
    try:
        paths = in_order(directory.iterdir())
    except OSError:
        return []  # whoever looks for a table's file says so
    return [
        Unknown(shown(path.name), filenames.resembles(path))
        for path in paths
        if not path.name.startswith(".")
        and path.name not in _OURS
        and not (_may_be_source(path) and filenames.parse(path).stem in stems)
    ]


def hint(directory: Location, table: Table) -> str:
    """Return what to add to a message about a missing file: the first one that may be meant, if there is any."""
    like = [one.file for one in unknown(directory) if one.resembles == table.name]
    return f" ({like[0]} resembles it)" if like else ""


def _with_header(source: Source) -> Source:
    """Return a source with its column names, trimmed, in lower case; of a directory, those of all its parts.

    No name occurs twice: the second column ``label`` is called ``label (2)``, as spreadsheets do.

    Raises:
        SourceError: the file cannot be read.
    """
    path = source.path
    try:
        if not source.parts:
            others = len(source.others)
            found = (
                f"no part was recognised among its {_number(others)}" if others else "there is no part in it"
            )
            msg = f"{shown(path.name)} is a directory, and {found}: a part's name ends in one of {', '.join(SUFFIXES)}"
            raise SourceError(msg)
        for part in source.parts:
            _require_file(part.path)
    except OSError as error:
        raise formats.unreadable(_place(error, path), error) from None
    names = dict.fromkeys(name for part in source.parts for name in part.header(_SIGNATURES))
    return replace(source, header=tuple(names))


def _number(files: int) -> str:
    return "one file" if files == 1 else f"{files:,} files"


def _require_file(part: Location) -> None:
    if part.is_file():
        return
    what = "is a link that leads nowhere" if part.is_symlink() and not part.exists() else "is no file"
    msg = f"cannot read {shown(part.name)}: it {what}"
    raise SourceError(msg)


def _named(directory: Location) -> list[tuple[Location, FileName]]:
    """Return what a directory holds that can be a source, hidden files apart, with what its name says."""
    return [
        (path, filenames.parse(path))
        for path in in_order(directory.iterdir())
        if not path.name.startswith(".") and _may_be_source(path)
    ]


def _may_be_source(path: Location) -> bool:
    return suffix_of(path) is not None or path.is_dir()


def _named_as(directory: Location, table: Table) -> list[tuple[Location, FileName]]:
    def order(entry: tuple[Location, FileName]) -> tuple[int, int, int]:
        path, name = entry
        suffix = suffix_of(path)
        kind = SUFFIXES.index(suffix) if suffix else -1
        return table.file_stems.index(name.stem), kind, len(path.name)  # a copy's name is the longer one

    try:
        found = [entry for entry in _named(directory) if entry[1].stem in table.file_stems]
    except OSError as error:
        msg = f"cannot read {directory}: {error.strerror}"
        raise SourceError(msg) from None
    in_order = sorted(found, key=order)
    return sorted(in_order, key=lambda entry: (entry[1].day, entry[1].time), reverse=True)


@dataclass
class _Choice:
    """What the files that are named like one table are to it.

    One of the ``contenders`` must be the table's; ``older`` ones were not looked into; ``unsuited`` ones hold neither this
    table nor another.
    """

    contenders: list[Source]
    older: list[Location]
    unsuited: list[Source]


def _choose(named: list[tuple[Location, FileName]], table: Table) -> _Choice:
    choice = _Choice([], [], [])
    sources = [(Source.at(path), name) for path, name in named]
    if len(named) > 1:
        # A directory without parts, which a job leaves that had nothing to write, is no rival of a file.
        choice.unsuited = [source for source, _ in sources if not source.parts]
    newest = FileName("")
    for source, name in [entry for entry in sources if entry[0] not in choice.unsuited]:
        if _is_older(name, newest):
            choice.older.append(source.path)
            continue
        found = _to_compare(source, table)
        if found and set(table.signature) <= set(found.header):
            choice.contenders.append(found)
            newest = newest if newest.day else name
        elif not found or not _is_of_another(name, found.header, table):
            choice.unsuited.append(source)
    if not choice.contenders and choice.unsuited:
        # Better said what is wrong with it than that there is none.
        choice.contenders.append(_with_header(choice.unsuited.pop(0)))
    return choice


def _to_compare(source: Source, table: Table) -> Source | None:
    """Return a source with its header, None for an unreadable file that may as well be another table's, by its name."""
    try:
        return _with_header(source)
    except SourceError:
        if not table.signature:
            raise
        return None


def _is_of_another(name: FileName, header: tuple[str, ...], table: Table) -> bool:
    """Whether a file's header says that it holds another table that goes by the same name."""
    return any(
        set(other.signature) <= set(header)
        for other in TABLES.values()
        if other is not table and name.stem in other.file_stems
    )


def _is_older(name: FileName, newest: FileName) -> bool:
    """Whether both have a date and one is before the other; within one day, only where both have a time."""
    if name.day != newest.day:
        return bool(name.day and newest.day) and name.day < newest.day
    return bool(name.time and newest.time) and name.time < newest.time


def _absent(directory: Location, table: Table) -> AbsentSourceError:
    wanted = " or ".join(f"{stem}.csv" for stem in table.file_stems)
    having = f" with a column {', '.join(table.signature)}" if table.signature else ""
    return AbsentSourceError(f"{table.name}: no file {wanted}{having} in {directory}{hint(directory, table)}")


def _files_below(directory: Location) -> Iterator[Location]:
    """Yield all files below a directory. Names that begin with ``.`` or ``_`` are the tools' own, as is what they hold.

    Links to directories are followed, each directory once.

    Raises:
        OSError: a directory cannot be read.
    """
    if isinstance(directory, ObjectPath):
        yield from (file for file in directory.files_below() if not _is_hidden(file, directory))
        return
    seen: set[str] = set()

    def fail(error: OSError) -> None:
        raise error

    for place, directories, files in os.walk(directory, onerror=fail, followlinks=True):
        real = os.path.realpath(place)
        directories[:] = (
            [] if real in seen else sorted(name for name in directories if not name.startswith((".", "_")))
        )
        if real not in seen:
            yield from (Path(place, name) for name in files if not name.startswith((".", "_")))
        seen.add(real)


def _place(error: OSError, asked: Location) -> Location:
    """Return the place that an error is about, which was found on the way through another."""
    return Path(error.filename) if error.filename and isinstance(asked, Path) else asked


def _is_hidden(file: ObjectPath, directory: ObjectPath) -> bool:
    return any(name.startswith((".", "_")) for name in file.relative_to(directory).split("/"))


def _blocks(file: IO[bytes]) -> Iterator[bytes]:
    return iter(lambda: file.read(BLOCK), b"")
