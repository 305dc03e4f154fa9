"""Fills the staging table (``stage``) with a source's records; what their text means is decided later.

A CSV file is read strictly (``reader``); its count of records must be the server's. Parquet becomes text column by
column (``parquet``). How the text gets to the server is in ``copies``.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import compress, groupby
from queue import Empty, Queue
from typing import IO, TYPE_CHECKING, Protocol

from daybreak_pipeline.errors import SourceError
from daybreak_pipeline.importer.copies import Copies
from daybreak_pipeline.importer.find import Source
from daybreak_pipeline.importer.formats import DAMAGE, let_go, unreadable
from daybreak_pipeline.importer.known import Sifting
from daybreak_pipeline.importer.parts import Part
from daybreak_pipeline.importer.reader import Reader, Segment
from daybreak_pipeline.importer.stage import MALFORMED, RAW, RECORD, Stage
from daybreak_pipeline.importer.tape import Reading

if TYPE_CHECKING:
    from daybreak_pipeline.database import Connection

_BLOCKS_AHEAD = 8
_RECORDS_AT_ONCE = 1_000_000
"""The digests of so many records are held until no copy is under way."""

Progress = Callable[[str, int], None]
"""Called with a phase (such as ``stage``) and how far it is: bytes for staging, records elsewhere."""


class Send(Protocol):
    """Lets the server have what digests there are, at the ``final`` call all."""

    def __call__(self, *, final: bool) -> None:
        """Send them."""


def fill(  # noqa: PLR0913 - each is a fact of the one import
    connection: Connection,
    stage: Stage,
    source: Source,
    progress: Progress,
    sifting: Sifting | None = None,
    *,
    send: Send = lambda *, final: None,  # noqa: ARG005 - there is nothing to send
    alone: bool = False,
) -> None:
    """Copy all parts of a source into the staging table.

    Args:
        connection: in the import's transaction.
        stage: the staging table, empty.
        source: what to copy.
        progress: called with how many bytes are staged, or passed over.
        sifting: what records are compared with: those that are known are passed over.
        send: called now and then to let the server have the digests of what is staged.
        alone: no other connection may help.

    Raises:
        SourceError: a part cannot be read at all (a damaged archive, say), or not all that was read is staged.
    """
    staged = 0
    copies = Copies(connection, stage, alone)
    stage.records = stage.read = stage.passed = 0
    stage.may_hold_separator = False
    stage.times = stage.empty = frozenset(stage.header)
    for part in source.parts:
        try:
            for size in _fill_part(copies, stage, part, sifting, send):
                staged += size
                progress("stage", staged)
            send(final=False)
        except DAMAGE as error:
            raise unreadable(part.path, error) from None
        if stage.read != stage.records + stage.passed:
            msg = (
                f"{part.name}: {stage.read:,} records were read so far and {stage.records:,} staged, "
                f"{stage.passed:,} being known; nothing was changed. "
                "This is a fault of the pipeline: please report it"
            )
            raise SourceError(msg)
    send(final=True)
    copies.finish()


def _fill_part(
    copies: Copies, stage: Stage, part: Part, sifting: Sifting | None, send: Send
) -> Iterator[int]:
    header = part.sniff().header
    names = header.named(stage.known)
    columns = [stage.column(name) or RECORD for name in names]
    if not columns:
        return
    if part.is_parquet:
        from daybreak_pipeline.importer import parquet  # Arrow takes 100 MB, which CSV does not need

        stage.times = stage.empty = frozenset()
        blocks = (Segment(data, number, numbered=False) for data, number in parquet.csv_blocks(part.path))
        with _read_ahead(blocks) as segments:
            yield from copies.take([MALFORMED, *columns], segments)
        return
    reader = Reader(
        header.delimiter,
        len(columns),
        stage.read + 1,
        header.lines + 1,
        part.text,
        called=names,
        sieve=sifting.sieve(names, header.delimiter) if sifting else None,
    )
    with (
        part.path.open("rb") as file,
        _read_ahead(reader.segments(_reading(part, file, header.size))) as segments,
    ):
        for (numbered, _), group in groupby(segments, _runs()):
            listed = [RECORD, MALFORMED, RAW, *columns] if numbered else columns
            yield from copies.take(listed, group, header.delimiter)
            send(final=False)
        let_go(file)
    stage.times -= {*compress(names, ~reader.columns.times)}
    stage.empty -= {*compress(names, ~reader.columns.empty)}


def _runs() -> Callable[[Segment], tuple[bool, int]]:
    """Return what tells segments apart that are not copied together: their form, and after a million records the next."""
    records = 0

    def run(segment: Segment) -> tuple[bool, int]:
        nonlocal records
        before = records
        records += segment.records
        return segment.numbered, before // _RECORDS_AT_ONCE

    return run


def _reading(part: Part, file: IO[bytes], size: int) -> Reading:
    """Return what reads a part's text behind its header: the first time from the file that is open."""
    files = [file]
    return lambda: _behind(part.text.blocks(files.pop() if files else None), size)


def _behind(blocks: Iterator[bytes], size: int) -> Iterator[bytes]:
    """Yield text without its first bytes."""
    for block in blocks:
        if size < len(block):
            yield block[size:]
        size = max(0, size - len(block))


@contextmanager
def _read_ahead(segments: Iterable[Segment]) -> Iterator[Iterator[Segment]]:
    """Read and examine segments in a thread of their own, so that the server does not wait for them.

    What reading raises is raised to whoever takes them.
    """
    queue: Queue[Segment | BaseException | None] = Queue(_BLOCKS_AHEAD)
    stopped = threading.Event()

    def produce() -> None:
        outcome: BaseException | None = None
        try:
            for segment in segments:
                queue.put(segment)
                if stopped.is_set():
                    break
        except BaseException as error:  # noqa: BLE001 - it is raised again where the segments are taken
            outcome = error
        queue.put(outcome)

    def consume() -> Iterator[Segment]:
        while isinstance(taken := queue.get(), Segment):
            yield taken
        if taken is not None:
            raise taken

    thread = threading.Thread(target=produce, name="read ahead", daemon=True)
    thread.start()
    try:
        yield consume()
    finally:
        stopped.set()
        while thread.is_alive():  # the producer may wait for a place in the queue
            with suppress(Empty):
                queue.get(timeout=0.01)
        thread.join()
