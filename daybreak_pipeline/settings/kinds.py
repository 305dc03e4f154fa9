"""The kinds of settings: what a variable may hold, how its text is read, and the message if it cannot be used.

Each kind is read in one way. An empty variable counts as not set. Blanks around a value are dropped, except around passwords and
paths, which may begin or end with one. A message never repeats the value.
"""

from __future__ import annotations

import os
import re
from abc import ABC, abstractmethod
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import ClassVar, Generic, TypeVar
from urllib.parse import urlsplit

from daybreak_pipeline.errors import UsageError
from daybreak_pipeline.locations import Location, is_on_storage, locate

Value = TypeVar("Value")

SELF_SIGNED = "self-signed"
_YES = ("true", "1", "yes", "on")
_NO = ("false", "0", "no", "off")


@dataclass(frozen=True)
class Setting(ABC, Generic[Value]):
    """One variable of the environment.

    ``meaning`` is its line on the page of settings (Markdown), ``section`` the part of the page that it is in.
    ``otherwise`` says in words what applies while it is not set, if there is no fixed ``default``.
    """

    name: str
    _: KW_ONLY
    section: str
    meaning: str
    default: Value | None = None
    otherwise: str = ""
    secret: bool = False

    kind: ClassVar[str]
    """What such a variable holds, in a few words."""

    @property
    def is_given(self) -> bool:
        """Whether the environment says anything, be it of use or not."""
        return bool(self._text())

    def given(self) -> Value | None:
        """Return what the environment says, None when it says nothing.

        Raises:
            UsageError: what it says cannot be used.
        """
        text = self._text()
        if not text:
            return None
        try:
            return self._read(text)
        except ValueError:
            msg = f"{self.name} is not {self.expected}"
            raise UsageError(msg) from None

    def value(self) -> Value:
        """Return what the environment says, or else the default.

        Raises:
            UsageError: what it says cannot be used.
            LookupError: it says nothing, and there is no default.
        """
        found = self.given()
        if found is not None:
            return found
        if self.default is None:
            msg = f"{self.name} has no default"
            raise LookupError(msg)
        return self.default

    def shown(self) -> str:
        """Return what the environment says, for people to see: of a secret only that it is there."""
        return "set, and not shown" if self.secret else self._text()

    @property
    def expected(self) -> str:
        """What the variable should be, as the end of a sentence."""
        return self.kind

    @property
    def holds(self) -> str:
        """What the variable holds, as the page says it."""
        return self.kind

    def _text(self) -> str:
        return os.environ.get(self.name, "").strip()

    @abstractmethod
    def _read(self, text: str) -> Value:
        """Return the value of a text.

        Raises:
            ValueError: it does not stand for any.
        """


class Text(Setting[str]):
    """Any text."""

    kind = "text"

    def _read(self, text: str) -> str:
        return text


@dataclass(frozen=True)
class Password(Text):
    """A password, with the blanks that it may begin or end with. The end of a line is no part of it."""

    secret: bool = True

    kind = "a password"

    def _text(self) -> str:
        return os.environ.get(self.name, "").strip("\r\n")


@dataclass(frozen=True)
class Key(Text):
    """An encryption key. ``privacy.keys`` decides whether it is a good one."""

    secret: bool = True

    kind = "32 random bytes in hex or base64"


@dataclass(frozen=True)
class Number(Setting[int]):
    """A whole number of something, such as seconds."""

    of: str = ""
    least: int = 1
    most: int | None = None

    def _read(self, text: str) -> int:
        if not (text.isascii() and text.isdecimal()):
            raise ValueError
        number = int(text)
        if number < self.least or (self.most is not None and number > self.most):
            raise ValueError
        return number

    @property
    def what(self) -> str:
        """What the number is called."""
        return f"a number of {self.of}"

    @property
    def bounds(self) -> str:
        """Which numbers will do."""
        return f"{self.least} or more" if self.most is None else f"from {self.least} to {self.most}"

    @property
    def expected(self) -> str:
        """What the variable should be, as the end of a sentence."""
        to = self.bounds if self.most is None else f"a number {self.bounds}"
        otherwise = "" if self.default is None else f", or leave it out for {self.default}"
        return f"{self.what}: set it to {to}{otherwise}"

    @property
    def holds(self) -> str:
        """What the variable holds, as the page says it."""
        return f"{self.what}, {self.bounds}"


@dataclass(frozen=True)
class Size(Setting[int]):
    """How much text or memory, in bytes. It is written in whole megabytes, with or without the unit."""

    least: int = 1
    most: int = 1024

    def _read(self, text: str) -> int:
        digits = text.upper().removesuffix("MB").rstrip()
        if not (digits.isascii() and digits.isdecimal()) or not self.least <= int(digits) <= self.most:
            raise ValueError
        return int(digits) << 20

    @property
    def expected(self) -> str:
        """What the variable should be, as the end of a sentence."""
        otherwise = "" if self.default is None else f", or leave it out for {self.default >> 20} MB"
        return f"a size: set it to a number of megabytes from {self.least} to {self.most}{otherwise}"

    @property
    def holds(self) -> str:
        """What the variable holds, as the page says it."""
        return f"a number of megabytes, from {self.least} to {self.most}"


@dataclass(frozen=True)
class Port(Number):
    """A TCP port."""

    most: int | None = 65535

    @property
    def what(self) -> str:
        """What the number is called."""
        return "a port number"


@dataclass(frozen=True)
class Choice(Setting[str]):
    """One of a few words."""

    choices: tuple[str, ...] = ()

    def _read(self, text: str) -> str:
        if text not in self.choices:
            raise ValueError
        return text

    @property
    def expected(self) -> str:
        """What the variable should be, as the end of a sentence."""
        return f"one of {', '.join(self.choices)}"

    @property
    def holds(self) -> str:
        """What the variable holds, as the page says it."""
        *others, last = (f"`{choice}`" for choice in self.choices)
        return f"{', '.join(others)} or {last}"


class Flag(Setting[bool]):
    """Yes or no."""

    kind = "true or false"

    def _read(self, text: str) -> bool:
        word = text.lower()
        if word not in {*_YES, *_NO}:
            raise ValueError
        return word in _YES


class Url(Setting[str]):
    """An address on the web."""

    kind = "a URL that begins with http:// or https:// and a host"

    def _read(self, text: str) -> str:
        parts = urlsplit(text)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
        if not usable or any(character.isspace() for character in text):
            raise ValueError
        return text

    def shown(self) -> str:
        """Return the address without a login or a query, which may hold a secret."""
        if self.secret:
            return super().shown()
        parts = urlsplit(self._text())
        host = parts.netloc.rpartition("@")[2]
        return f"{parts.scheme}://{host}{parts.path}"


class Directory(Setting[Path]):
    """A directory. Its callers find out whether it exists."""

    kind = "a directory"

    def _text(self) -> str:
        return os.environ.get(self.name, "")

    def _read(self, text: str) -> Path:
        return _absolute(text)


class Place(Setting[Location]):
    """A directory, or a prefix of an object storage. Its callers find out whether it exists."""

    kind = "a directory, or s3://, gs:// or az:// with BUCKET/PREFIX"

    def _text(self) -> str:
        return os.environ.get(self.name, "")

    def _read(self, text: str) -> Location:
        return locate(text) if is_on_storage(text) else _absolute(text)


class Places(Setting[tuple[Location, ...]]):
    """Directories and prefixes of object storages, written as in ``PATH``."""

    kind = f"directories, or s3://BUCKET/PREFIX and the like, with `{os.pathsep}` between them"

    def _text(self) -> str:
        return os.environ.get(self.name, "")

    def _read(self, text: str) -> tuple[Location, ...]:
        # The : of s3:// ends no path.
        parts = [one for one in re.split(rf"{re.escape(os.pathsep)}(?!//)", text) if one]
        return tuple(locate(one) if is_on_storage(one) else _absolute(one) for one in parts)


class Repository(Setting[str]):
    """Where backups are: an absolute directory, a bucket on S3, or nowhere."""

    kind = "a directory, s3://BUCKET/PATH, or none"

    def _read(self, text: str) -> str:
        if text == "none":
            return text
        if not text.isprintable():  # a line of its own in a configuration
            raise ValueError
        if text.startswith("s3://"):
            if not re.fullmatch(r"s3://[a-z0-9][a-z0-9.-]+(/[A-Za-z0-9._/-]*)?", text):
                raise ValueError
            return text
        return str(_absolute(text))


class HeaderName(Setting[str]):
    """The name of an HTTP header."""

    kind = "the name of an HTTP header"

    def _read(self, text: str) -> str:
        if not re.fullmatch(r"[A-Za-z0-9-]+", text):
            raise ValueError
        return text


class Certificates(Setting[str]):
    """A file of certificates, as a path that child processes understand as well, or libpq's word for the system's own."""

    kind = "a file of certificates, or system"

    def _text(self) -> str:
        return os.environ.get(self.name, "")

    def _read(self, text: str) -> str:
        return text if text == "system" else str(_absolute(text))


class PrivateKeyFile(Setting[str]):
    """The path of a file that holds a private key. The path itself is no secret."""

    kind = "a file"

    def _text(self) -> str:
        return os.environ.get(self.name, "")

    def _read(self, text: str) -> str:
        return str(_absolute(text))


class OwnCertificate(PrivateKeyFile):
    """The path of a certificate that we show to others, or the word for one that is made here."""

    kind = "a file, or self-signed"

    def _read(self, text: str) -> str:
        return text if text == SELF_SIGNED else super()._read(text)


class Address(Setting[str]):
    """One mail address."""

    kind = "a mail address"

    def _read(self, text: str) -> str:
        return _address(text)


class Addresses(Setting[tuple[str, ...]]):
    """Mail addresses."""

    kind = "a list of mail addresses with commas between them"

    def _read(self, text: str) -> tuple[str, ...]:
        addresses = tuple(_address(one.strip()) for one in text.split(",") if one.strip())
        if not addresses:
            raise ValueError
        return addresses


def _absolute(text: str) -> Path:
    """Return an absolute path, valid wherever a process runs, with ``~`` expanded."""
    try:
        return Path(text).expanduser().absolute()
    except RuntimeError as error:  # ~name of an unknown user
        raise ValueError from error


def _address(text: str) -> str:
    name, _, domain = text.rpartition("@")
    if not name or not domain or any(one.isspace() or one in "<>,;" for one in text):
        raise ValueError
    return text
