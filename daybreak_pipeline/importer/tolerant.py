"""Reads CSV files that COPY refuses: other encodings, ragged records, quotes that never close.

Python's ``csv`` parses; records that it or the header refuses are passed on as malformed, with the
text as it stands in the file, and all others as clean CSV. Slower than COPY, and only used instead of it.
"""

from __future__ import annotations

import csv
import io
from collections import deque
from collections.abc import Iterator
from pathlib import Path

from daybreak_pipeline.importer.formats import BLOCK, opened
from daybreak_pipeline.importer.headers import encoding_of

_RECORDS_PER_BLOCK = 5000


def csv_blocks(part: Path, delimiter: str, width: int, first_record: int = 1) -> Iterator[bytes]:
    """Yield CSV with the columns record number, malformed (why), raw text, and the file's own.

    Args:
        part: the file.
        delimiter: the character between fields.
        width: how many fields a record must have.
        first_record: the number of the first record.
    """
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator="\n")
    empty = [""] * width
    for number, (fields, why, raw) in enumerate(_records(part, delimiter, width), start=first_record):
        if why:
            writer.writerow([number, why, raw.replace("\0", "\ufffd"), *empty])
        else:
            writer.writerow([number, "", "", *(fields if len(fields) == width else empty)])
        if number % _RECORDS_PER_BLOCK == 0:
            yield buffer.getvalue().encode()
            buffer.seek(0)
            buffer.truncate()
    yield buffer.getvalue().encode()


def _records(part: Path, delimiter: str, width: int) -> Iterator[tuple[list[str], str, str]]:
    """Yield each record after the header: its fields, why it is malformed ('' if not), its text.

    A quote that is not closed swallows the lines after it. Only the first line is the culprit: the others
    are read again, and those that make no record of their own are taken as the culprit's further lines.
    """
    lines = _Lines(part)
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    next(reader, None)
    culprit: tuple[str, str] | None = None
    while True:
        lines.taken.clear()
        first_line = lines.number + 1
        unclosed = False
        fields: list[str] = []
        try:
            fields = next(reader)
        except StopIteration:
            break
        except csv.Error:
            unclosed = True
            lines.push_back(lines.taken[1:])
            del lines.taken[1:]
            reader = csv.reader(lines, delimiter=delimiter, strict=True)
        text = "".join(lines.taken)
        why = _why_malformed(fields, text, width, first_line, unclosed=unclosed)
        if culprit and why:
            culprit = (culprit[0], culprit[1] + text)
        elif unclosed:
            culprit = (why, text)
        else:
            if culprit:
                yield [], *culprit
                culprit = None
            yield fields, why, text
        if culprit and not lines.reading_again:
            yield [], *culprit
            culprit = None
    if culprit:
        yield [], *culprit


def _why_malformed(fields: list[str], text: str, width: int, line: int, *, unclosed: bool) -> str:
    """Return why a record cannot be read, '' if it can. One without any value is blank, whatever its width."""
    if unclosed:
        return f"line {line}: a quote is not closed or stands inside a field"
    if "\0" in text:
        return f"line {line}: a NUL character"
    if len(fields) != width and any(fields):
        return f"line {line}: {len(fields)} fields instead of {width}"
    return ""


class _Lines:
    """A file's lines, each with its line end; remembers what was taken, and takes lines back."""

    def __init__(self, part: Path) -> None:
        self.taken: list[str] = []
        self.number = 0
        self._pushed: deque[str] = deque()
        self._file = _text_lines(part)

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        line = self._pushed.popleft() if self._pushed else next(self._file)
        self.number += 1
        self.taken.append(line)
        return line

    @property
    def reading_again(self) -> bool:
        """Whether lines that were taken back are still to be read."""
        return bool(self._pushed)

    def push_back(self, lines: list[str]) -> None:
        """Take lines back, to be read again."""
        self._pushed.extendleft(reversed(lines))
        self.number -= len(lines)


def _text_lines(part: Path) -> Iterator[str]:
    with opened(part) as raw, io.TextIOWrapper(raw, encoding=_encoding(part), newline="") as text:
        first = next(text, "")
        yield first.removeprefix("\ufeff")
        yield from text


def _encoding(part: Path) -> str:
    """Return the encoding of a whole file: UTF-16 by its mark, UTF-8 if it is valid, else Windows-1252."""
    with opened(part) as raw:
        encoding = encoding_of(raw.read(2))
    if encoding == "utf-16":
        return encoding
    try:
        with opened(part) as raw, io.TextIOWrapper(raw, encoding="utf-8") as text:
            while text.read(BLOCK):
                pass
    except UnicodeDecodeError:
        return "cp1252"
    return "utf-8"
