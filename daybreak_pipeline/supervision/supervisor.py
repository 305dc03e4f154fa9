"""Starts again what has died, with growing pauses; says so once, alerts once, and gives up after some tries.

Knows nothing of what it watches: see ``Component``.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal, Protocol

from daybreak_pipeline.errors import DaybreakError, UsageError
from daybreak_pipeline.runbooks import Runbook

PAUSES = (0.0, 1.0, 2.0, 4.0, 8.0, 16.0)
"""Seconds before the first try to start a component again, the second, and so on: after the last of them it is given up."""
WELL_SECONDS = 60
"""A component that ran for this long starts from the first pause again, and is worth another alert."""
ALERT_SECONDS = 15
"""An alert waits for this long, so that it can say how it went on."""
START_SECONDS = 90
LOOK_SECONDS = 0.25


class Component(Protocol):
    """What can be watched."""

    @property
    def name(self) -> str:
        """What people call it, e.g. "the web server"."""

    @property
    def is_server(self) -> bool:
        """Whether all that comes after it needs it."""

    @property
    def falls_with_server(self) -> bool:
        """Whether it must be started again when that server was."""

    def start(self) -> None:
        """Start it, which may take a while; a DaybreakError says why it cannot be."""

    def ending(self) -> str | None:
        """Return how it ended, e.g. "was killed (SIGKILL)"; None while it runs."""

    def is_ready(self) -> bool:
        """Return whether it does its work, once it was started."""

    def kill(self) -> None:
        """End it at once, or a start that is under way."""


class GaveUpError(UsageError):
    """A component does not stay up."""


@dataclass
class _Part:
    """A component and how it is doing. Times are on the supervisor's clock."""

    component: Component
    state: Literal["up", "down", "starting"] = "up"
    since: float = 0.0  # in this state
    died: float = 0.0
    next_try: float = 0.0
    tries: int = 0  # since it was last well
    reason: str = ""
    quiet: bool = False  # it was ended here, with the server: nobody needs to hear of it


@dataclass
class Supervisor:
    """Watches components, a server first: while that is down, what comes later waits for it.

    Args:
        components: what is watched, all of it running.
        say: is called with each line for people.
        alert: is called with one text for each incident, in a thread of its own; it may take long.
        clock: seconds, for tests.
        pauses: as PAUSES.

    ``deaths`` counts what has died so far.
    """

    components: Sequence[Component]
    say: Callable[[str], None]
    alert: Callable[[str], None]
    clock: Callable[[], float] = time.monotonic
    pauses: Sequence[float] = PAUSES
    deaths: int = field(default=0, init=False)
    _parts: list[_Part] = field(init=False)
    _events: list[str] = field(default_factory=list, init=False)  # of the incident, for its alert
    _incident: float | None = field(default=None, init=False)  # when it began
    _alerted: bool = field(default=False, init=False)
    _alerts: list[threading.Thread] = field(default_factory=list, init=False)
    _gave_up: GaveUpError | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self._parts = [_Part(component, since=self.clock()) for component in self.components]

    def add(self, components: Sequence[Component]) -> None:
        """Watch more components, which run."""
        self._parts += [_Part(component, since=self.clock()) for component in components]

    def watch(self) -> None:
        """Watch until Ctrl-C.

        Raises:
            GaveUpError: a component does not stay up.
            KeyboardInterrupt: Ctrl-C.
        """
        while True:
            self.look()
            time.sleep(LOOK_SECONDS)

    @contextmanager
    def in_background(self) -> Iterator[None]:
        """Watch while the block runs, which does something else.

        Raises:
            GaveUpError: a component does not stay up; the block is not interrupted for that.
        """
        over = threading.Event()

        def watch() -> None:
            while not over.wait(LOOK_SECONDS):
                try:
                    self.look()
                except GaveUpError:
                    return

        watching = threading.Thread(target=watch, name="supervisor", daemon=True)
        watching.start()
        try:
            yield
        except BaseException:
            over.set()
            while watching.is_alive():  # it is starting something, which may take long
                for part in self._parts:
                    if part.state != "up":
                        part.component.kill()
                watching.join(LOOK_SECONDS)
            raise
        over.set()
        watching.join()
        if self._gave_up:
            raise self._gave_up

    def look(self) -> None:
        """Look at every component once, and do what is due.

        Raises:
            GaveUpError: one does not stay up.
        """
        if self._gave_up:
            raise self._gave_up
        for part in self._parts:
            self._look_at(part)
            if part.component.is_server and part.state != "up":
                break
        self._tell()

    def wait_until_up(self) -> None:
        """Wait until everything runs, while ``in_background`` watches.

        Raises:
            GaveUpError: a component does not stay up.
        """
        while any(part.component.ending() for part in self._parts) or not self._all_up():
            if self._gave_up:
                raise self._gave_up
            time.sleep(LOOK_SECONDS)

    def _all_up(self) -> bool:
        return all(part.state == "up" for part in self._parts)

    def finish(self, seconds: float) -> None:
        """Give alerts that are under way a little time to leave."""
        deadline = time.monotonic() + seconds
        for thread in self._alerts:
            thread.join(max(0.0, deadline - time.monotonic()))

    def _look_at(self, part: _Part) -> None:
        now = self.clock()
        if part.state == "down":
            if now >= part.next_try:
                self._start(part)
            return
        how = part.component.ending()
        if how:
            self._down(part, how)
        elif part.state == "starting":
            if part.component.is_ready():
                self._up(part)
            elif now - part.since > START_SECONDS:
                part.component.kill()
                self._down(part, f"was not ready {START_SECONDS} s after its start")
        elif part.tries and now - part.since >= WELL_SECONDS:
            part.tries = 0

    def _start(self, part: _Part) -> None:
        part.tries += 1
        try:
            part.component.start()
        except DaybreakError as error:
            self._down(part, str(error))
        else:
            part.state, part.since = "starting", self.clock()
            self._look_at(part)

    def _down(self, part: _Part, how: str) -> None:
        """Note that a component is down, and when to start it (again)."""
        now = self.clock()
        part.reason = how
        if part.state == "up":
            part.died = now
            self.deaths += 1
            if not part.quiet:
                self._note(f"{part.component.name} {how}: it is started again")
                self.say(self._events[-1])
        part.state, part.since = "down", now
        if part.tries >= len(self.pauses):
            self._give_up(part)
        part.next_try = now + self.pauses[part.tries]
        if part.component.is_server:
            self._fall(part)

    def _fall(self, server: _Part) -> None:
        """End what falls with a component that is down, to be started when that is up."""
        later = self._parts[self._parts.index(server) + 1 :]
        for part in later:
            if part.component.falls_with_server and part.state != "down":
                part.component.kill()
                part.quiet = part.state == "up"
                part.state, part.since, part.next_try = "down", self.clock(), 0.0
                part.died = part.since

    def _up(self, part: _Part) -> None:
        now = self.clock()
        part.state, part.since = "up", now
        if not part.quiet:
            self._note(f"{part.component.name} runs again, after {now - part.died:.0f} s")
            self.say(self._events[-1])
        part.quiet = False

    def _note(self, text: str) -> None:
        if self._incident is None:
            self._incident, self._alerted = self.clock(), False
        self._events.append(text)

    def _give_up(self, part: _Part) -> None:
        why = part.reason
        page = Runbook.DISK_FULL if "No space left on device" in why else Runbook.SERVER_GONE
        text = (
            f"{part.component.name} does not stay up: {part.tries} starts in a row failed ({why}); {page.see}"
        )
        self._send(f"Daybreak: daybreak up has ended\n{text}")
        self._gave_up = GaveUpError(text)
        raise self._gave_up

    def _tell(self) -> None:
        """Send the incident's alert when it is over, or takes long; end the incident when all is well."""
        if self._incident is None:
            return
        up = self._all_up()
        if not self._alerted and (up or self.clock() - self._incident >= ALERT_SECONDS):
            first, *rest = self._events
            self._alerted = True
            self._send("\n".join([f"Daybreak: {first}", *rest, Runbook.SERVER_GONE.see]))
        if up and not any(part.tries for part in self._parts):
            self._incident = None
            self._events.clear()

    def _send(self, text: str) -> None:
        thread = threading.Thread(target=self.alert, args=(text,), name="alert", daemon=True)
        thread.start()
        self._alerts.append(thread)
