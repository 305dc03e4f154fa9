"""Identity and chance: every id and every random draw as a pure function of (seed, stream, index).

Because nothing is drawn in sequence, a child record computes its parent's id from the parent's
index, chunks can be made in any order, and memory does not grow with the export. Nothing here knows
about tables, files or people.
"""

from __future__ import annotations

import hashlib
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Index = npt.NDArray[np.int64]
Bits = npt.NDArray[np.uint64]
Mask = npt.NDArray[np.bool_]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_UUID_LENGTH = 36
# Where the 16 bytes of a UUID go in its text; the four gaps are the hyphens.
_HYPHENS = (8, 13, 18, 23)
_BYTE_POSITIONS = (0, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 28, 30, 32, 34)
_HEX = np.frombuffer("".join(f"{byte:02x}" for byte in range(256)).encode(), np.uint8).reshape(256, 2)


@cache
def _key(seed: int, stream: str) -> np.uint64:
    digest = hashlib.blake2b(f"{seed}/{stream}".encode(), digest_size=8).digest()
    return np.uint64(int.from_bytes(digest, "little"))


def bits(seed: int, stream: str, index: Index) -> Bits:
    """Return 64 well-mixed bits for each index (splitmix64): a bijection of the index."""
    z = index.astype(np.uint64) * _GOLDEN + _key(seed, stream)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def uuids(seed: int, stream: str, index: Index) -> Any:
    """Return the random-looking (version 4) UUIDs of these indexes as an Arrow string array."""
    raw = np.empty((len(index), 2), np.uint64)
    raw[:, 0] = bits(seed, f"{stream}/uuid-high", index)
    raw[:, 1] = bits(seed, f"{stream}/uuid-low", index)
    octets = raw.astype(">u8").view(np.uint8).reshape(len(index), 16)
    octets[:, 6] = (octets[:, 6] & 0x0F) | 0x40
    octets[:, 8] = (octets[:, 8] & 0x3F) | 0x80
    text = np.empty((len(index), _UUID_LENGTH), np.uint8)
    for hyphen in _HYPHENS:
        text[:, hyphen] = ord("-")
    for octet, position in enumerate(_BYTE_POSITIONS):
        text[:, position : position + 2] = _HEX[octets[:, octet]]
    return fixed_width_strings(text)


def fixed_width_strings(characters: npt.NDArray[np.uint8]) -> Any:
    """Return an Arrow string array over a matrix of ASCII characters, one row for each string."""
    count, width = characters.shape
    offsets = np.arange(count + 1, dtype=np.int32) * np.int32(width)
    return pa.StringArray.from_buffers(
        count, pa.py_buffer(offsets), pa.py_buffer(np.ascontiguousarray(characters))
    )


class Draws:
    """The random draws of one batch of records: one independent stream for each name."""

    def __init__(self, seed: int, scope: str, index: Index) -> None:
        self.seed = seed
        self.scope = scope
        self.index = index

    def __len__(self) -> int:
        return len(self.index)

    def bits(self, name: str) -> Bits:
        """Return 64 bits for each record."""
        return bits(self.seed, f"{self.scope}/{name}", self.index)

    def below(self, name: str, limit: int | Index) -> Index:
        """Return integers from 0 to ``limit`` - 1, evenly spread."""
        bound = np.asarray(limit).astype(np.uint64)
        # The high 32 bits scaled: cheaper than a remainder, and as even for the limits used here.
        return (((self.bits(name) >> np.uint64(32)) * bound) >> np.uint64(32)).astype(np.int64)

    def chance(self, name: str, probability: float) -> Mask:
        """Return True with this probability."""
        return self.bits(name) < np.uint64(int(probability * float(2**64 - 2**12)))

    def choice(self, name: str, pool: Any) -> Any:
        """Return one entry of an Arrow array for each record."""
        return pool.take(pa.array(self.below(name, len(pool))))

    def uuids(self, name: str) -> Any:
        """Return a UUID for each record that no other stream gives."""
        return uuids(self.seed, f"{self.scope}/{name}", self.index)
