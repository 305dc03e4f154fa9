"""A place of an object storage, with the methods of ``pathlib.Path`` that finding and reading an export needs.

A directory is a prefix that some object has. An object that was listed keeps what the listing said of it: it is opened
only as long as it is that one. Its bytes come from ``storage``.
"""

from __future__ import annotations

import errno
import hashlib
import io
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING
from urllib.parse import quote, unquote

from daybreak_pipeline.errors import UsageError

if TYPE_CHECKING:
    from daybreak_pipeline.locations.storage import Listing, Storage

SCHEMES = ("s3", "gs", "az")
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,254}")
_NANOSECONDS = 10**9
_LISTED_FOR = 2.0
"""For so many seconds a directory is what it was when it was listed: one look asks for it some forty times."""
_BUFFER = 1 << 20


@dataclass(frozen=True)
class Facts:
    """What a storage says of an object. ``size`` is in bytes; ``tag`` and ``version`` are empty where it has none."""

    size: int
    modified: datetime
    tag: str = ""
    version: str = ""

    @property
    def st_size(self) -> int:
        """The size in bytes, as ``os.stat`` calls it."""
        return self.size

    @property
    def st_mtime(self) -> float:
        """When it was written, in seconds since 1970. An object is never changed, so that is its ``st_ctime`` too."""
        return self.modified.timestamp()

    @property
    def st_mtime_ns(self) -> int:
        """When it was written, in nanoseconds since 1970."""
        return int(self.st_mtime * _NANOSECONDS)

    st_ctime = st_mtime
    st_ctime_ns = st_mtime_ns

    @property
    def st_ino(self) -> int:
        """A number that another object of the same name does not have."""
        return int(hashlib.sha256(f"{self.tag}\0{self.version}".encode()).hexdigest()[:15], 16)


@dataclass(frozen=True, eq=False)
class ObjectPath:
    """A place of an object storage. ``key`` is the object's, or a prefix without a ``/`` at its end; empty for a bucket.

    Two are the same if their scheme, bucket and key are.
    """

    scheme: str
    bucket: str
    key: str = ""
    facts: Facts | None = None
    _listed: list[tuple[float, Listing]] = field(default_factory=list, repr=False)

    @classmethod
    def parse(cls, text: str) -> ObjectPath:
        """Return the place that a text such as ``s3://bucket/some/prefix`` names.

        Raises:
            ValueError: it is no such text.
        """
        scheme, _, rest = text.partition("://")
        bucket, _, key = rest.partition("/")
        parts = key.rstrip("/").split("/") if key.rstrip("/") else []
        if (
            scheme.lower() not in SCHEMES
            or not _BUCKET.fullmatch(bucket)
            or not key.isprintable()
            or any(part in {"", ".", ".."} for part in parts)
        ):
            raise ValueError(text)
        return cls(scheme.lower(), bucket, "/".join(parts))

    @classmethod
    def of_uri(cls, uri: str) -> ObjectPath:
        """Return the place that ``as_uri`` named.

        Raises:
            ValueError: it is no such URI.
        """
        return cls.parse(unquote(uri))

    def __str__(self) -> str:
        """Return it as it is written."""
        return f"{self.scheme}://{self.bucket}" + (f"/{self.key}" if self.key else "")

    def __fspath__(self) -> str:
        """No file of this machine is meant.

        Raises:
            TypeError: always.
        """
        msg = f"{self} is no path of this machine"
        raise TypeError(msg)

    def __eq__(self, other: object) -> bool:
        """Whether both are the same place."""
        return isinstance(other, ObjectPath) and self.parts == other.parts

    def __hash__(self) -> int:
        """Of the place."""
        return hash(self.parts)

    @property
    def parts(self) -> tuple[str, ...]:
        """The scheme, the bucket and what is between the slashes of the key."""
        return self.scheme, self.bucket, *self.key.split("/")

    @property
    def name(self) -> str:
        """The last part of the key, or else the bucket's name."""
        return self.key.rpartition("/")[2] or self.bucket

    @property
    def parent(self) -> ObjectPath:
        """What it is in."""
        return ObjectPath(self.scheme, self.bucket, self.key.rpartition("/")[0])

    def as_uri(self) -> str:
        """Return its URI."""
        return f"{self.scheme}://{self.bucket}" + (f"/{quote(self.key)}" if self.key else "")

    def absolute(self) -> ObjectPath:
        """Return it: there is no place that it could be relative to."""
        return self

    def resolve(self) -> ObjectPath:
        """Return it: storages have no links."""
        return self

    def is_relative_to(self, other: object) -> bool:
        """Whether it is another place, or in it."""
        if not isinstance(other, ObjectPath) or (self.scheme, self.bucket) != (other.scheme, other.bucket):
            return False
        return not other.key or self.key == other.key or self.key.startswith(f"{other.key}/")

    def relative_to(self, other: object) -> str:
        """Return its key behind another place's.

        Raises:
            ValueError: it is not in that place.
        """
        if not isinstance(other, ObjectPath) or not self.is_relative_to(other):
            msg = f"{self} is not in {other}"
            raise ValueError(msg)
        return self.key.removeprefix(other.key).removeprefix("/")

    def exists(self) -> bool:
        """Whether there is an object, or one below it.

        Raises:
            OSError: the storage does not say.
        """
        return self.is_file() or self.is_dir()

    def is_symlink(self) -> bool:
        """Whether it is a link: storages have none."""
        return False

    def is_dir(self) -> bool:
        """Whether an object is below it.

        Raises:
            OSError: the storage does not say.
        """
        return self.facts is None and self._listing() is not None

    def is_file(self) -> bool:
        """Whether it is an object.

        Raises:
            OSError: the storage does not say.
        """
        try:
            return bool(self.stat())
        except FileNotFoundError:
            return False

    def stat(self) -> Facts:
        """Return what the storage says of the object; of a listed one, what it said then.

        Raises:
            OSError: there is no object, or the storage does not say.
        """
        return self.facts or self._storage().facts(self.key)

    def iterdir(self) -> Iterator[ObjectPath]:
        """Yield what is directly in it.

        Raises:
            FileNotFoundError: nothing is.
            NotADirectoryError: it is an object.
            OSError: the storage does not say.
        """
        listing = self._listing()
        if listing is None:
            if self.is_file():
                raise NotADirectoryError(errno.ENOTDIR, "it is an object", str(self))
            raise FileNotFoundError(errno.ENOENT, "there is no object in it", str(self))
        for key, facts in listing:
            yield ObjectPath(self.scheme, self.bucket, key, facts)

    def files_below(self) -> Iterator[ObjectPath]:
        """Yield the objects in it and below.

        Raises:
            OSError: the storage does not say.
        """
        for key, facts in self._storage().below(self.key):
            yield ObjectPath(self.scheme, self.bucket, key, facts)

    def open(self, mode: str = "rb") -> IO[bytes]:
        """Open the object for reading; whoever reads it later than its listing reads that very object or none.

        Raises:
            OSError: there is no such object, or the storage does not give it.
            ValueError: it is to be opened for anything else.
        """
        if mode != "rb":
            raise ValueError(mode)
        return io.BufferedReader(self._storage().opened(self.key, self.stat()), _BUFFER)

    def upload(self, directory: Path) -> None:
        """Write every file that is directly in a directory of this machine, as an object of the same name.

        Raises:
            OSError: the storage does not take it.
        """
        for path in sorted(directory.iterdir()):
            self._storage().put(f"{self.key}/{path.name}".removeprefix("/"), path)

    def _listing(self) -> Listing | None:
        """Return what is directly in it, None if nothing is."""
        now = time.monotonic()
        if not self._listed or now - self._listed[-1][0] > _LISTED_FOR:
            self._listed[:] = [(now, self._storage().directory(self.key))]
        return self._listed[-1][1] or None

    def _storage(self) -> Storage:
        try:
            # An extra package, and a third of a second: who has no export on a storage needs neither.
            from daybreak_pipeline.locations import storage
        except ModuleNotFoundError as error:
            if not (error.name or "").startswith("obstore"):
                raise
            msg = f"{self} needs a package that is not installed: pip install 'daybreak-pipeline[s3]'"
            raise UsageError(msg) from None
        return storage.of(self.scheme, self.bucket)
