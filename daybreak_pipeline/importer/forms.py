"""What the reader learns of columns while it looks at every byte anyway: which are empty, and which hold only plain times.

A plain time is written as exports write it, ``2025-06-25T15:23:38.564555`` or ``2025-11-07 02:35:33.559 UTC``. PostgreSQL
reads it in one way, so a column with nothing else is cast without a second look, which would cost as much as the cast
(``expressions``). Nothing is decided here about a value that has another form.
"""

from __future__ import annotations

import itertools
import re

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

PLAIN_TIME = re.compile(rb"[12]\d{3}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d{1,6})?(Z| UTC)?")
_CR, _QUOTE = b'\r"'
_FRACTIONS = ("", *("." + "9" * digits for digits in range(6, 0, -1)))
_BETWEEN = len("2025-11-07")
_LONGEST = len("2025-11-07 02:35:33.559000 UTC")
_PADDING = np.zeros(_LONGEST, np.uint8)
_Codes = NDArray[np.uint8]
_Positions = NDArray[np.intp]
_Forms = dict[int, list[tuple[_Codes, _Codes]]]
"""By the length of a form: the least value of each of its bytes, and how much more it may be."""


def _forms() -> _Forms:
    """Return every way to write a plain time, whatever is between day and time of day."""
    forms: _Forms = {}
    for zone, fraction in itertools.product(("", " UTC", "Z"), _FRACTIONS):
        highest = f"2999-99-99T99:99:99{fraction}{zone}"
        lowest = "1" + highest[1:].replace("9", "0").replace("T", "\0", 1)
        low, high = (np.frombuffer(text.encode(), np.uint8) for text in (lowest, highest))
        forms.setdefault(low.size, []).append((low, high - low))
    return forms


_FORMS = _forms()


class Columns:
    """What is so far true of each column of a file: ``empty`` has no value, ``times`` none but plain times."""

    def __init__(self, width: int) -> None:
        self.empty = np.ones(width, np.bool_)
        self.times = np.ones(width, np.bool_)

    def look(self, codes: _Codes, stops: _Positions) -> None:
        """Look at whole records; ``stops`` are the delimiters and line ends after their cells (the LF of a CR LF)."""
        looked_at = np.flatnonzero(self.times)
        if not looked_at.size:
            return
        begins = np.concatenate(([0], stops[:-1] + 1)).reshape(-1, self.times.size)[:, looked_at]
        ends = stops.reshape(-1, self.times.size).copy()
        last = ends[:, -1]
        last -= (last > 0) & (codes[last - 1] == _CR)
        ends = ends[:, looked_at]
        padded = np.concatenate((codes, _PADDING))
        quoted = (padded[begins] == _QUOTE) & (ends > begins)
        sizes = ends - begins - 2 * quoted
        filled = sizes > 0
        self.empty[looked_at] &= ~filled.any(axis=0)
        fits = ~filled
        fits[filled] = _are_times(padded, (begins + quoted)[filled], sizes[filled])
        self.times[looked_at] = fits.all(axis=0)

    def look_at_record(self, cells: list[bytes]) -> None:
        """Look at the cells of one record."""
        for column in np.flatnonzero(self.times):
            if cells[column]:
                self.empty[column] = False
                self.times[column] = PLAIN_TIME.fullmatch(cells[column]) is not None


def _are_times(codes: _Codes, begins: _Positions, sizes: _Positions) -> NDArray[np.bool_]:
    """Return which texts, of so many bytes, are plain times."""
    found = np.zeros(sizes.size, np.bool_)
    windows = sliding_window_view(codes, _LONGEST)
    for size, forms in _FORMS.items():
        left = np.flatnonzero(sizes == size)
        if not left.size:
            continue
        texts = windows[begins[left], :size]
        for low, span in forms:
            within = texts - low <= span  # what is below wraps round, far above it
            if within.all():
                found[left] = True
                break
            fits = within.all(axis=1)
            found[left[fits]] = True
            left, texts = left[~fits], texts[~fits]
    between = codes[begins + _BETWEEN]
    found &= (between == ord("T")) | (between == ord(" "))
    return found
