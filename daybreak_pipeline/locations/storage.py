"""One bucket of an object storage, through obstore: what is in it, and the bytes of an object.

Credentials and addresses come from the library's own chain and the usual variables (``AWS_…``, ``GOOGLE_…``, ``AZURE_…``).
A request that fails for the moment is repeated, by the library and, where an object's bytes break off, here.
"""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from datetime import timedelta
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import obstore
from obstore.exceptions import BaseError, GenericError, PreconditionError
from obstore.store import AzureStore, GCSStore, S3Store

from daybreak_pipeline.locations.objects import Facts
from daybreak_pipeline.locations.refusals import refusal

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer

Listing: TypeAlias = list[tuple[str, Facts | None]]
"""Keys with what the storage says of the objects; None for a prefix."""
_CLIENT: Any = {
    "connect_timeout": "5s",
    "timeout": "120s",
}  # as client_options they would replace those of the environment
_RETRIES: Any = {
    "max_retries": 4,
    "retry_timeout": timedelta(seconds=20),
    "backoff": {"init_backoff": timedelta(milliseconds=100), "max_backoff": timedelta(seconds=3), "base": 2},
}
_ATTEMPTS = 6
"""How often in a row an object's bytes may break off at one place."""
_FIRST_PAUSE = 0.1
_CHUNK = 1 << 20
_NOWHERE = -1


@lru_cache(maxsize=16)
def of(scheme: str, bucket: str) -> Storage:
    """Return a bucket; nothing is asked of the storage yet."""
    return Storage(scheme, bucket)


class Storage:
    """A bucket, or what Azure calls a container."""

    def __init__(self, scheme: str, bucket: str) -> None:
        """Take what a place of it begins with."""
        self._scheme = scheme
        self._bucket = bucket
        stores: Any = {"s3": S3Store, "gs": GCSStore, "az": AzureStore}
        self._store: Any = stores[scheme](bucket, config=_CLIENT, retry_config=_RETRIES)

    def facts(self, key: str) -> Facts:
        """Return what the storage says of an object.

        Raises:
            OSError: there is none, or the storage does not say.
        """
        try:
            return _facts(obstore.head(self._store, key))
        except (BaseError, ValueError) as error:
            raise self.refusal(error, key) from None

    def directory(self, prefix: str) -> Listing:
        """Return what is directly in a prefix.

        Raises:
            OSError: the storage does not say.
        """
        try:
            found = obstore.list_with_delimiter(self._store, prefix or None)
        except (BaseError, ValueError) as error:
            raise self.refusal(error, prefix) from None
        prefixes: Listing = [(str(one), None) for one in found["common_prefixes"]]
        # A console's empty folder is an object of the same name with a / behind it, which the library takes away.
        return prefixes + [(one["path"], _facts(one)) for one in found["objects"] if one["path"] != prefix]

    def below(self, prefix: str) -> list[tuple[str, Facts]]:
        """Return the objects in a prefix and below.

        Raises:
            OSError: the storage does not say.
        """
        try:
            chunks = list(obstore.list(self._store, f"{prefix}/" if prefix else None))
        except (BaseError, ValueError) as error:
            raise self.refusal(error, prefix) from None
        found = [(one["path"], _facts(one)) for chunk in chunks for one in chunk]
        folders = {folder for key, _ in found for folder in _folders(key)}
        return [(key, facts) for key, facts in found if facts.size or key not in folders]

    def put(self, key: str, file: Path) -> None:
        """Write a file as an object, a large one in parts.

        Raises:
            OSError: the storage does not take it.
        """
        try:
            obstore.put(self._store, key, file)
        except (BaseError, ValueError) as error:
            raise self.refusal(error, key) from None

    def opened(self, key: str, facts: Facts) -> ObjectBytes:
        """Return an object's bytes; nothing is read yet."""
        return ObjectBytes(self, key, facts)

    def read(self, key: str, facts: Facts, start: int, end: int) -> Iterator[ReadableBuffer]:
        """Yield an object's bytes from one place to another, if it still is the one with these facts.

        Raises:
            BaseError: the storage does not give them.
        """
        asked: Any = {"range": (start, end)}
        if facts.tag:
            asked["if_match"] = facts.tag
        if facts.version:
            asked["version"] = facts.version
        found = obstore.get(self._store, key, options=asked)
        if facts.tag and found.meta["e_tag"] not in {facts.tag, None}:
            raise PreconditionError  # some storages take no notice of if_match
        yield from found.stream(min_chunk_size=_CHUNK)

    def refusal(self, error: Exception, key: str) -> OSError:
        """Return what an error of the storage means."""
        return refusal(error, f"{self._scheme}://{self._bucket}/{key}", self._bucket)


class ObjectBytes(io.RawIOBase):
    """An object as a file. What follows is read as one stream; a place that was jumped to, only as far as it is wanted."""

    def __init__(self, storage: Storage, key: str, facts: Facts) -> None:
        """Take the object as it was listed."""
        super().__init__()
        self._storage = storage
        self._key = key
        self._facts = facts
        self._at = 0
        self._next = self._asked_until = _NOWHERE  # where the stream goes on, and where it ends
        self._stream: Iterator[ReadableBuffer] = iter(())
        self._left = memoryview(b"")

    def readable(self) -> bool:
        """Say that it can be read."""
        return True

    def seekable(self) -> bool:
        """Say that every place can be read."""
        return True

    def tell(self) -> int:
        """Return the place that is read next."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place; nothing is read."""
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._facts.size}[whence]
        self._at = max(0, start + offset)
        return self._at

    def readinto(self, buffer: WriteableBuffer) -> int:
        """Read what follows, as much as there is of it at once.

        Raises:
            OSError: the storage does not give it.
        """
        target = memoryview(buffer).cast("B")
        wanted = min(len(target), self._facts.size - self._at)
        if wanted <= 0:
            return 0
        found = self._insistently(wanted)
        target[: len(found)] = found
        self._at += len(found)
        self._next = self._at
        return len(found)

    def _insistently(self, wanted: int) -> memoryview:
        """Return bytes of the place that is read next; where they break off, ask for the rest."""
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                return self._take(wanted)
            except GenericError as error:
                self._next = _NOWHERE
                if attempt == _ATTEMPTS:
                    raise self._storage.refusal(error, self._key) from None
                time.sleep(_FIRST_PAUSE * 2**attempt)
            except (BaseError, ValueError) as error:
                raise self._storage.refusal(error, self._key) from None
        raise AssertionError

    def _take(self, wanted: int) -> memoryview:
        """Return bytes of the place that is read next, at least one.

        Raises:
            BaseError: the storage does not give them, or they end before the object does.
        """
        if self._next != self._at:
            # Perhaps a glance, or one column of a parquet file: no more than that is asked for.
            self._ask(min(self._facts.size, self._at + max(wanted, _CHUNK)))
        elif self._at == self._asked_until:
            self._ask(self._facts.size)
        while not self._left:
            block = next(self._stream, None)
            if block is None:
                msg = "the object's bytes broke off"
                raise GenericError(msg)
            self._left = memoryview(block).cast("B")
        found, self._left = self._left[:wanted], self._left[wanted:]
        return found

    def _ask(self, until: int) -> None:
        self._left = memoryview(b"")
        self._asked_until = until
        self._stream = self._storage.read(self._key, self._facts, self._at, until)
        self._next = self._at


def _facts(found: Any) -> Facts:
    return Facts(found["size"], found["last_modified"], found["e_tag"] or "", found["version"] or "")


def _folders(key: str) -> Iterator[str]:
    while key := key.rpartition("/")[0]:
        yield key
