"""Cells and records that are larger than they may be: refused alone, at the place where they end, and never held whole."""

from __future__ import annotations

from functools import partial
from itertools import chain

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from daybreak_pipeline.importer import reader
from daybreak_pipeline.importer.reader import Reader, Segment
from daybreak_pipeline_tests.exports import in_blocks
from daybreak_pipeline_tests.importer.test_reader import Read, as_copy, obvious, texts

CELL, RECORD = 12, 30


def small(text: bytes, delimiter: bytes, width: int, block: int, *, looking: bool = True) -> list[Segment]:
    """Read a text of which no cell may be larger than a dozen bytes."""
    columns = Reader(delimiter, width, largest_cell=CELL, largest_record=RECORD, looking=looking)
    return list(columns.segments(partial(in_blocks, text, block)))


def found_in(segments: list[Segment], delimiter: bytes) -> list[tuple[int, str, Read]]:
    """Return number, reason and content of each record."""
    found: list[tuple[int, str, Read]] = []
    waiting = b""
    for segment in segments:
        waiting += segment.data
        if not segment.records:
            continue
        for row in as_copy(waiting, delimiter):
            if not segment.numbered:
                found.append((len(found) + 1, "", Read(tuple(row))))
                continue
            number, why, raw, *cells = row
            told = Read((), raw.decode()) if why else Read(tuple(cells))
            found.append((int(number), why.decode(), told))
        waiting = b""
    assert not waiting
    return found


def too_large(record: Read) -> bool:
    return any(len(cell) > CELL for cell in record.cells)


@settings(deadline=None, max_examples=1500)
@given(texts(), st.integers(1, 40), st.sampled_from([1, 8, 20, 4 << 20]))
@example((b'"' + b"x" * 40 + b'"\nb\n', b",", 1), 1, 1)
@example((b'"' + b"x\n" * 20 + b'"x\nb\n', b",", 1), 3, 8)
@example((b'"' + b"x\n" * 20, b",", 1), 3, 8)
@example((b"x" * 40 + b',"a\nb",c"d\n"' + b"y" * 40 + b'",\ne,f\n', b",", 2), 7, 1)
@example((b",,,,,,,,,,,\n" * 3 + b"a", b",", 4), 2, 1)
@example((b'12"45678,a\r\n' * 3, b",", 2), 5, 1)
@example((b'"","a""b",\n"",,"",""\n', b",", 3), 1, 1)
def test_a_long_record_is_what_the_contract_says(
    drawn: tuple[bytes, bytes, int], block: int, long: int
) -> None:
    text, delimiter, width = drawn
    expected = obvious(text, delimiter, width)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reader, "LONG", long)
        for looking in (True, False):
            found = found_in(small(text, delimiter, width, block, looking=looking), delimiter)
            assert [number for number, _, _ in found] == list(range(1, len(expected) + 1))
            for (_, why, one), right in zip(found, expected, strict=True):
                if "may have" in why:
                    assert right.raw in {"", one.raw}
                else:
                    assert one == right, why
                    assert not too_large(right)
