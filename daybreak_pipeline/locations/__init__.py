"""Where an export lies: a directory of this machine, or a prefix of an object storage, which has the methods of a directory.

What is told of a path goes for both. What a storage answers, and how it is asked, is in ``storage``; it needs the extra
packages of ``pip install daybreak-pipeline[s3]``.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TypeAlias
from urllib.parse import unquote

from daybreak_pipeline.locations.objects import SCHEMES, ObjectPath
from daybreak_pipeline.locations.refusals import ReplacedError, StorageAwayError

__all__ = [
    "SCHEMES",
    "Location",
    "ObjectPath",
    "ReplacedError",
    "StorageAwayError",
    "fresh",
    "in_order",
    "is_on_storage",
    "locate",
    "of_uri",
]

Location: TypeAlias = Path | ObjectPath


def fresh(place: Location) -> Location:
    """Return a place of which nothing is known from an earlier look."""
    return ObjectPath(place.scheme, place.bucket, place.key) if isinstance(place, ObjectPath) else place


def in_order(paths: Iterable[Location]) -> list[Location]:
    """Return places of one kind in their order."""
    return sorted(paths, key=lambda path: path.parts)


def is_on_storage(text: str) -> bool:
    """Return whether a text names a place of an object storage, well or badly."""
    return text.partition("://")[0].lower() in SCHEMES and "://" in text


def locate(text: str) -> Location:
    """Return the place that a text names: ``s3://``, ``gs://`` or ``az://`` with a bucket, or a path of this machine.

    Raises:
        ValueError: it is no name of a bucket and a prefix, or a path that no machine has.
    """
    if is_on_storage(text):
        return ObjectPath.parse(text)
    try:
        return Path(text).expanduser().absolute()
    except RuntimeError:  # ~name of an unknown user
        raise ValueError(text) from None


def of_uri(uri: str) -> Location:
    """Return the place that ``as_uri`` named.

    Raises:
        ValueError: it is no such URI.
    """
    if is_on_storage(uri):
        return ObjectPath.of_uri(uri)
    if not uri.startswith("file:///"):
        raise ValueError(uri)
    return Path(unquote(uri.removeprefix("file://")))
