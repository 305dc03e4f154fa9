"""The strict reader against a slow, obvious one that is written from the import contract alone, and against COPY itself."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from psycopg import sql

from daybreak_pipeline.database import Connection
from daybreak_pipeline.importer import encoding, known, parts
from daybreak_pipeline.importer.encoding import Text
from daybreak_pipeline.importer.known import Known, Notes, Sieve, from_bytes
from daybreak_pipeline.importer.reader import Reader, Segment
from daybreak_pipeline.importer.run import ImportFailedError
from daybreak_pipeline.importer.tape import Reading
from daybreak_pipeline_tests.exports import NOON, Export, in_blocks, uuid

DELIMITERS = (b",", b";", b"\t")


@dataclass(frozen=True)
class Read:
    """What a reader makes of a record: its cells, or its text where it is malformed."""

    cells: tuple[bytes, ...]
    raw: str = ""


def obvious(text: bytes, delimiter: bytes, width: int) -> list[Read]:
    """Read every record as the contract says it, byte by byte."""
    found, at, stops = [], 0, {b"", b"\r", b"\n", delimiter}
    while at < len(text):
        start, cells, bad = at, [], False
        while True:
            cell, opened = b"", at
            if text[at : at + 1] == b'"':
                at += 1
                while (closing := text.find(b'"', at)) >= 0 and text[closing + 1 : closing + 2] == b'"':
                    cell, at = cell + text[at:closing] + b'"', closing + 2
                cell, at = cell + text[at:closing], closing + 1
                bad = closing < 0 or text[at : at + 1] not in stops
            else:
                while text[at : at + 1] not in stops:
                    at += 1
                cell = text[opened:at]
            cells.append(cell)
            if bad or text[at : at + 1] != delimiter:
                break
            at += 1
        at = opened if bad else at
        while bad and text[at : at + 1] not in {b"", b"\r", b"\n"}:
            at += 1
        raw = text[start:at]
        at += 2 if text[at : at + 2] == b"\r\n" else 1
        text_fits = raw.decode(errors="replace").encode() == raw and b"\0" not in raw
        if not bad and not any(cells):
            found.append(Read((b"",) * width))
        elif bad or not text_fits or len(cells) != width:
            found.append(Read((), raw.decode(errors="backslashreplace").replace("\0", "\\x00")))
        else:
            found.append(Read(tuple(cells)))
    return found


def as_copy(data: bytes, delimiter: bytes) -> Iterator[list[bytes]]:
    """Read CSV as COPY does: a quote toggles, wherever it is."""
    row, cell, inside, at = [], bytearray(), False, 0
    while at < len(data):
        byte = data[at : at + 1]
        if inside and byte == b'"' and data[at + 1 : at + 2] == b'"':
            cell += b'"'
            at += 1
        elif byte == b'"':
            inside = not inside
        elif not inside and byte in {delimiter, b"\n"}:
            row.append(bytes(cell))
            cell.clear()
            if byte == b"\n":
                yield row
                row = []
        else:
            assert inside or byte != b"\r", "COPY refuses a carriage return among line feeds"
            cell += byte
        at += 1
    assert not inside
    assert not row


def understood(segments: list[Segment], rows: Iterator[list[bytes]]) -> tuple[list[int], list[Read]]:
    """Return numbers and records, from the rows that COPY made of segments."""
    numbers, found = [], []
    for segment in segments:
        for _ in range(segment.records):
            row = next(rows)
            if segment.numbered:
                number, why, raw, *row = row
                numbers.append(int(number))
                if why:
                    assert not any(row)
                    found.append(Read((), raw.decode()))
                    continue
            else:
                numbers.append(len(numbers) + 1)
            found.append(Read(tuple(row)))
    assert next(rows, None) is None
    return numbers, found


def read(text: bytes, delimiter: bytes, width: int, block: int, *, looking: bool = True) -> list[Segment]:
    return list(Reader(delimiter, width, looking=looking).segments(partial(in_blocks, text, block)))


def rows_of(segments: list[Segment], delimiter: bytes) -> Iterator[list[bytes]]:
    for segment in segments:
        rows = list(as_copy(segment.data, delimiter))
        assert len(rows) == segment.records
        yield from rows


@st.composite
def texts(draw: st.DrawFn) -> tuple[bytes, bytes, int]:
    """Draw a text of the pieces that matter, its delimiter, and how many cells its header has."""
    delimiter, width = draw(st.sampled_from(DELIMITERS)), draw(st.integers(1, 4))
    odd = [
        b'"',
        b'""',
        b"\n",
        b"\r",
        b"\r\n",
        b"\\.",
        b"\0",
        b"\xc3",
        b"\xa9",
        b"\xef\xbb\xbf",
        b"\xff",
        b" ",
    ]
    whole = [
        delimiter.join([cell] * width) + end
        for cell in (b"a", b'"a"', b'"a\r\nb"', b'"1 "" 2"', "é".encode(), b"")
        for end in (b"\n", b"\r\n", b"\r")
    ]
    pieces = st.sampled_from([delimiter, delimiter, b"x", b"yz", *odd, *whole])
    return b"".join(draw(st.lists(pieces, max_size=40))), delimiter, width


INCHES = b'1,5",x\n2,6",y\n'


@settings(deadline=None, max_examples=500)
@given(texts(), st.integers(1, 40))
@example((INCHES, b",", 3), 1)
@example((b'a,"b\nc,"d"\ne,f\n', b",", 2), 3)
@example((b'"a""\nb\n', b",", 1), 2)
@example((b"a\r", b",", 1), 1)
@example((b'a,b\r\n"c\r\nd",e\rf,g\n', b",", 2), 7)
def test_both_ways_read_what_the_contract_says(drawn: tuple[bytes, bytes, int], block: int) -> None:
    text, delimiter, width = drawn
    expected = obvious(text, delimiter, width)
    for looking in (True, False):
        segments = read(text, delimiter, width, block, looking=looking)
        numbers, found = understood(segments, rows_of(segments, delimiter))
        assert found == expected
        assert numbers == list(range(1, len(expected) + 1))


def sieved(  # noqa: PLR0913 - each is a fact of the one reading
    text: bytes, delimiter: bytes, width: int, block: int, rows: Known | None, *, looking: bool
) -> tuple[dict[int, Read], dict[int, tuple[int, ...]], int]:
    """Read with a sieve. Return records and digests by number, and how many records were passed over."""
    sieve = Sieve(7, Notes(), rows)
    reader = Reader(delimiter, width, looking=looking, sieve=sieve)
    segments = list(reader.segments(partial(in_blocks, text, block)))
    found: dict[int, Read] = {}
    count = 0
    for segment in segments:
        numbers, records = understood([segment], rows_of([segment], delimiter))
        count += segment.records + segment.passed
        if not segment.numbered:
            numbers = list(range(count - segment.records + 1, count + 1))
        found |= zip(numbers, records, strict=True)
    chunks, packed = sieve.notes.take(1, final=True)
    digests = map(tuple, from_bytes(packed).tolist())
    return found, dict(zip(chunks.tolist(), digests, strict=True)), sum(s.passed for s in segments)


@settings(deadline=None, max_examples=500, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts(), st.integers(1, 40), st.data())
@example((b'a,b\nc,"\na,b\n"\nd,e\na,b', b",", 2), 40, None)
@example((b"a,b\nc,d\r\r", b",", 2), 40, None)
def test_known_records_are_passed_over_and_no_others(
    monkeypatch: pytest.MonkeyPatch, drawn: tuple[bytes, bytes, int], block: int, data: st.DataObject | None
) -> None:
    monkeypatch.setattr(known, "MOSTLY", 0)
    text, delimiter, width = drawn
    expected = dict(enumerate(obvious(text, delimiter, width), 1))
    found, digests, passed = sieved(text, delimiter, width, 1 << 20, None, looking=True)
    assert (found, passed) == (expected, 0)
    assert digests.keys() == {number for number, record in expected.items() if record.cells}
    different = sorted(set(digests.values()))
    picked = data.draw(st.sets(st.sampled_from(different))) if data and different else set(digests.values())
    for looking in (True, False):
        rows = Known(np.array(sorted(picked), np.uint64).reshape(-1, 2))
        kept, noted, passed = sieved(text, delimiter, width, block, rows, looking=looking)
        over = {number for number, digest in digests.items() if digest in picked}
        assert kept == {number: record for number, record in expected.items() if number not in over}
        assert noted == {number: digest for number, digest in digests.items() if number not in over}
        assert passed == len(over) == rows.passed
        assert rows.outcomes.get("unchanged", 0) == len({digests[number] for number in over})


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(drawn=texts(), block=st.integers(1, 40))
def test_copy_reads_the_same_records(
    connection: Connection, drawn: tuple[bytes, bytes, int], block: int
) -> None:
    text, delimiter, width = drawn
    segments = read(text, delimiter, width, block)
    columns = ["number", "why", "raw", *(f"c{i}" for i in range(width))]
    rows: list[list[bytes]] = []
    for segment in segments:
        listed = columns if segment.numbered else columns[3:]
        with connection.transaction(force_rollback=True):
            copied = _copied(connection, columns, listed, segment.data, delimiter)
        rows += [[(value or "").encode() for value in row[-len(listed) :]] for row in copied]
    _, found = understood(segments, iter(rows))
    assert found == obvious(text, delimiter, width)


def _copied(
    connection: Connection, columns: list[str], listed: list[str], data: bytes, delimiter: bytes
) -> list[tuple[str | None, ...]]:
    names = sql.SQL(", ").join(sql.Identifier(name) for name in listed)
    every = sql.SQL(", ").join(sql.SQL("{} text").format(sql.Identifier(name)) for name in columns)
    connection.execute(sql.SQL("CREATE TEMP TABLE copied (place serial, {})").format(every))
    command = sql.SQL("COPY copied ({}) FROM STDIN (FORMAT csv, DELIMITER {}, FORCE_NULL ({}))")
    with (
        connection.cursor() as cursor,
        cursor.copy(command.format(names, sql.Literal(delimiter.decode()), names)) as copy,
    ):
        copy.write(data)
    return connection.execute(sql.SQL("SELECT {} FROM copied ORDER BY place").format(names)).fetchall()


@pytest.mark.parametrize("block", [1, 2, 3, 5, 8, 13, 1000])
@pytest.mark.parametrize(
    ("text", "records"),
    [
        (b'1,5"\n2,6"\n', [(b"1", b'5"'), (b"2", b'6"')]),
        (b'1,"two\nlines"\r\n2,b\r', [(b"1", b"two\nlines"), (b"2", b"b")]),
        (b'1,""\n2,""""\n', [(b"1", b""), (b"2", b'"')]),
        (b"1,\\.\n\\.,2\n", [(b"1", b"\\."), (b"\\.", b"2")]),
        ("1,é\n2,€\n3,😀".encode(), [(b"1", "é".encode()), (b"2", "€".encode()), (b"3", "😀".encode())]),
    ],
)
def test_no_border_of_a_block_matters(text: bytes, records: list[tuple[bytes, ...]], block: int) -> None:
    segments = read(text, b",", 2, block)
    _, found = understood(segments, rows_of(segments, b","))
    assert [record.cells for record in found] == records


def test_plain_records_go_to_copy_as_they_are() -> None:
    text = b'1,"a, ""b""\nc"\n2,d\n'
    assert read(text, b",", 2, 1000) == [Segment(text, 2, numbered=False)]


def test_one_bad_record_leaves_the_other_blocks_as_they_are() -> None:
    good, bad = b"1,a\n" * 50, b'2,"b" c\n'
    segments = read(good * 2 + bad + good * 2, b",", 2, len(good))
    assert [segment.numbered for segment in segments] == [False, False, True, False, False]
    assert sum(segment.records for segment in segments) == 201


def test_a_malformed_record_says_its_line_and_reason() -> None:
    text = b'1,"two\nlines"\n2,x"y\n3,"open\n4\n5,\xff\n6,\0\n7,"a"b\n'
    (segment,) = read(text, b",", 2, 1000)
    told = [row[1].decode() for row in as_copy(segment.data, b",") if row[1]]
    assert told == [
        "line 4: text follows the closing quote of a cell",
        "line 5: 1 fields instead of 2",
        "line 6: bytes that are no character in UTF-8",
        "line 7: a NUL character",
        "line 8: text follows the closing quote of a cell",
    ]


def test_a_quote_that_never_closes_takes_its_line_only() -> None:
    text = b'1,a\n2,"open\n3,b\n4,c\n'
    segments = read(text, b",", 2, 6)
    _, found = understood(segments, rows_of(segments, b","))
    assert [record.raw for record in found] == ["", '2,"open', "", ""]


def test_a_long_cell_is_not_looked_at_block_by_block(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    plain = Reader._plain

    def counted(self: Reader, data: bytes, *, complete: bool) -> object:
        seen.append(len(data))
        return plain(self, data, complete=complete)

    monkeypatch.setattr(Reader, "_plain", counted)
    text = b'1,"' + b"x" * 100_000 + b'"\n'
    assert [segment.records for segment in read(text, b",", 2, 10)] == [1]
    assert sum(seen) < 4 * len(text)


# ------------------------------------------------------------------ encodings


def obvious_text(data: bytes) -> bytes:
    """Return a file's text as UTF-8, as the contract says it; bytes without a character are bytes that no UTF-8 has."""
    head = data[:16][: len(data[:16]) // 2 * 2]
    codec = ""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        codec = "utf-16-le" if data.startswith(b"\xff\xfe") else "utf-16-be"
    elif len(head) > 2 and 0 not in head[::2] and not any(head[1::2]):
        codec = "utf-16-le"
    elif len(head) > 2 and 0 not in head[1::2] and not any(head[::2]):
        codec = "utf-16-be"
    if codec:
        whole = data[: len(data) // 2 * 2].decode(codec, "surrogatepass").encode("utf-8", "surrogatepass")
        return _unmarked(whole + (b"\xff" if len(data) % 2 else b""))
    several = [
        data[start : start + size] for start in range(len(data)) for size in (2, 3, 4) if data[start] > 127
    ]
    if data.isascii() or any(_is_one_character(sequence) for sequence in several):
        return _unmarked(data)
    return data.decode("cp1252", "surrogateescape").encode("utf-8", "surrogateescape")


def _unmarked(text: bytes) -> bytes:
    while text.startswith(b"\xef\xbb\xbf"):
        text = text[3:]
    return text


def _is_one_character(data: bytes) -> bool:
    try:
        return len(data.decode()) == 1
    except UnicodeDecodeError:
        return False


PIECES = [
    b"a",
    b"id,",
    b"\n",
    b"\xc3",
    b"\xa9",
    b"\x81",
    b"\xef\xbb\xbf",
    b"\xff\xfe",
    b"\0",
    b"a\0b\0c\0",
    b"\0a\0b",
]


@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.lists(st.sampled_from(PIECES), max_size=20).map(b"".join), block=st.integers(1, 20))
@example(data=b"a" * 20 + b"\xc3\xa9", block=21)
@example(data=b"\xe9" + b"a" * 40 + b"\xc3\xa9", block=4)
@example(data=b"\xff\xfea\0\x3d\xd8\0\xde", block=3)
def test_a_file_has_the_encoding_that_the_contract_says(tmp_path: Path, data: bytes, block: int) -> None:
    part = tmp_path / "file.csv"
    part.write_bytes(data)
    first_marks = encoding._HEAD // 3 * 3
    if data.startswith(b"\xef\xbb\xbf" * 5) or (len(data) < first_marks and block < first_marks):
        block = 1000  # marks that go on behind the first block are text
    assert b"".join(Text(part, block).blocks()) == obvious_text(data)


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"id\n\xe9\n", "Windows-1252"),
        ("id\né\n".encode(), "UTF-8"),
        ("id\né\n".encode("utf-16"), "UTF-16 (little-endian)"),
    ],
)
def test_the_encoding_is_known_once_it_matters(tmp_path: Path, data: bytes, told: str) -> None:
    part = tmp_path / "file.csv"
    part.write_bytes(data)
    text = Text(part)
    assert b"".join(text.blocks()).decode() == "id\né\n"
    assert text.encoding == told


def test_a_valid_character_in_the_last_block_decides_for_the_first(tmp_path: Path) -> None:
    part = tmp_path / "file.csv.gz"
    part.write_bytes(gzip.compress(b"\xe9" + b"a" * 100 + "é".encode()))
    text = Text(part, 16)
    assert next(text.blocks()).startswith(b"\xe9")
    assert text.encoding == "UTF-8"


def test_a_record_that_does_not_decode_decides_for_no_other() -> None:
    segments = read("1,José\n2,Ni".encode() + b"\xc3\n" + "3,ñ\n".encode(), b",", 2, 4)
    _, found = understood(segments, rows_of(segments, b","))
    assert [record.cells for record in found] == [(b"1", "José".encode()), (), (b"3", "ñ".encode())]


# ------------------------------------------------------------------ the count


@pytest.mark.parametrize("more", [1, -1])
@pytest.mark.parametrize("odd", ["", '"x" y'])
def test_a_table_fails_when_another_number_is_staged_than_was_read(
    export: Export, monkeypatch: pytest.MonkeyPatch, more: int, odd: str
) -> None:
    segments = Reader.segments

    def miscounted(self: Reader, again: Reading) -> Iterator[Segment]:
        for segment in segments(self, again):
            yield replace(segment, records=segment.records + more)

    monkeypatch.setattr(Reader, "segments", miscounted)
    good = f"id,label,updated_at\n{uuid('a')},x,{NOON}\n{uuid('b')},{odd},{NOON}\n"
    directory = export.directory / "documents"
    directory.mkdir()
    (directory / "part-7.csv").write_text(good)
    with pytest.raises(
        ImportFailedError, match=rf"part-7\.csv: {2 + more} records were read so far and 2 staged"
    ):
        export.load("documents")
    assert export.rows("documents", "id") == []
    assert export.connection.execute("SELECT status FROM ingest.imports").fetchall() == [("failed",)]


def test_the_count_goes_over_parts_and_ways_of_reading(
    export: Export, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "Text", partial(Text, block=64))
    directory = export.directory / "documents"
    directory.mkdir()
    lines = [f"{uuid(f'{n}')},x,{NOON}\n" for n in range(30)]
    lines[7] = lines[19] = 'bad,"x" y,z\n'
    (directory / "a.csv").write_text("id,label,updated_at\n" + "".join(lines[:15]))
    (directory / "b.csv").write_text("id,label,updated_at\n" + "".join(lines[15:]))
    assert export.load("documents") == {"status": "imported", "read": 30, "inserted": 28, "quarantined": 2}
    assert [number for number, _ in export.refused("documents")] == [8, 20]
    assert [number for (number,) in export.rows("documents", "_record_number")] == [
        n for n in range(1, 31) if n not in {8, 20}
    ]


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize("text", [rb"\.", rb"\.,x", rb"\.x"])
def test_a_line_that_copy_takes_for_the_end_of_the_data_ends_nothing(end: bytes, text: bytes) -> None:
    lines = end.join([b"a,b", text, b"c,d", b""])
    segments = read(lines, b",", 2, 1000)
    assert sum(segment.records for segment in segments) == 3
    assert segments[0].numbered, "only a numbered row begins with something else"
    assert (
        obvious(lines, b",", 2) == understood(segments, as_copy(b"".join(s.data for s in segments), b","))[1]
    )
