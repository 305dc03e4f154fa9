"""The errors that reach a person. Each is one sentence: what happened, where, and what to do.

Nothing here carries a personal value: a message names files, columns, record numbers and tables.
"""

from __future__ import annotations

from collections.abc import Sequence


class DaybreakError(Exception):
    """Base of every error that is reported as one line, without a stack trace."""


class OutsideError(DaybreakError):
    """The reason lies outside the data: the same content may be imported once that is set right."""


class UsageError(OutsideError):
    """Wrong usage or environment: nothing was written, the command exits with 2."""


class SettingsError(UsageError):
    """Settings that cannot be used: all of them at once, each a line of its own."""

    def __init__(self, faults: Sequence[str]) -> None:
        """Take a line for each fault."""
        super().__init__("; ".join(faults))
        self.faults = tuple(faults)


class TransientError(OutsideError):
    """Nothing is wrong with data or settings: the same may well succeed in a moment."""


class ServerUnavailableError(UsageError, TransientError):
    """The server does not answer, or not yet. For a command a wrong environment, for a run a reason to wait."""


class SourceError(DaybreakError):
    """A source file that cannot be imported: its table fails, the others go on."""


class SourceAwayError(SourceError, OutsideError):
    """A source file whose storage does not give it now: it may be a good one."""


class SourceReplacedError(SourceAwayError):
    """A source file that became another one while it was read: the new one is to be read from its beginning."""
