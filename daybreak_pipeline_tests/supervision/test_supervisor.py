"""When the supervisor starts something again, what it says and to whom, and when it gives up. Time is a number here."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

import pytest

from daybreak_pipeline.errors import UsageError
from daybreak_pipeline.supervision.supervisor import PAUSES, GaveUpError, Supervisor


@dataclass
class Thing:
    """A component that does what the test wants."""

    name: str
    is_server: bool = False
    falls_with_server: bool = False
    dies: str = ""
    """How it has ended, empty while it runs."""
    cannot_start: str = ""
    slow: bool = False
    starts: int = 0
    dies_at_once: bool = False
    killed: int = 0

    def start(self) -> None:
        self.starts += 1
        if self.cannot_start:
            raise UsageError(self.cannot_start)
        self.dies = "ended with code 1" if self.dies_at_once else ""

    def ending(self) -> str | None:
        return self.dies or None

    def is_ready(self) -> bool:
        return not self.slow

    def kill(self) -> None:
        self.killed += 1
        self.dies = "was killed"


@dataclass
class World:
    """The supervisor of three components, its clock and what it said."""

    server: Thing = field(default_factory=lambda: Thing("the server", is_server=True))
    web: Thing = field(default_factory=lambda: Thing("the web"))
    daemon: Thing = field(default_factory=lambda: Thing("the daemon", falls_with_server=True))
    now: float = 0.0
    said: list[str] = field(default_factory=list)
    alerts: list[str] = field(default_factory=list)
    supervisor: Supervisor = field(init=False)

    def __post_init__(self) -> None:
        things = [self.server, self.web, self.daemon]
        self.supervisor = Supervisor(things, self.said.append, self.alerts.append, clock=lambda: self.now)

    def look(self, seconds: float = 0.0) -> None:
        """Let time pass, looking once a second."""
        self.supervisor.look()
        for _ in range(int(seconds)):
            self.now += 1
            self.supervisor.look()
        self.supervisor.finish(5)


@pytest.fixture
def world() -> World:
    return World()


def test_what_runs_is_left_alone(world: World) -> None:
    world.look(1000)
    assert (world.said, world.alerts) == ([], [])
    assert [thing.starts for thing in (world.server, world.web, world.daemon)] == [0, 0, 0]


def test_what_died_is_started_at_once_and_said_and_alerted_once(world: World) -> None:
    world.web.dies = "was killed (SIGKILL)"
    world.look(10)
    assert world.web.starts == 1
    assert world.said == [
        "the web was killed (SIGKILL): it is started again",
        "the web runs again, after 1 s",
    ]
    (alert,) = world.alerts
    assert alert.splitlines() == [
        "Daybreak: the web was killed (SIGKILL): it is started again",
        "the web runs again, after 1 s",
        "see docs/runbooks/server-gone.md",
    ]
    assert (world.server.starts, world.daemon.starts) == (0, 0)


def test_a_server_takes_what_cannot_live_without_it_along_and_nothing_else(world: World) -> None:
    world.server.dies = "is gone"
    world.look(10)
    assert (world.server.starts, world.web.starts, world.daemon.starts) == (1, 0, 1)
    assert world.daemon.killed == 1
    assert [line.split(":")[0] for line in world.said] == [
        "the server is gone",
        "the server runs again, after 1 s",
    ]
    assert len(world.alerts) == 1


def test_nothing_is_started_while_the_server_is_down(world: World) -> None:
    world.server.dies, world.server.cannot_start = "is gone", "its disk is full"
    world.web.dies = world.daemon.dies = "ended with code 1"
    world.look(5)
    assert world.server.starts == 3
    assert (world.web.starts, world.daemon.starts) == (0, 0)
    world.server.cannot_start = ""
    world.look(10)
    assert (world.web.starts, world.daemon.starts) == (1, 1)


def test_pauses_grow(world: World) -> None:
    world.web.dies_at_once, world.web.dies = True, "ended with code 1"
    at: list[float] = []

    def start() -> None:
        at.append(world.now)
        raise UsageError

    world.web.start = start  # type: ignore[method-assign]  # it notes when
    with pytest.raises(GaveUpError):
        world.look(1000)
    pauses = [later - earlier for earlier, later in pairwise(at)]
    assert pauses == [1.0, 2.0, 4.0, 8.0, 16.0]
    assert len(at) == len(PAUSES)


def test_one_that_dies_again_and_again_is_given_up_with_one_more_alert(world: World) -> None:
    world.web.dies_at_once, world.web.dies = True, "ended with code 1"
    with pytest.raises(GaveUpError) as caught:
        world.look(1000)
    world.supervisor.finish(5)
    assert str(caught.value) == (
        "the web does not stay up: 6 starts in a row failed (ended with code 1); see docs/runbooks/server-gone.md"
    )
    assert world.said == ["the web ended with code 1: it is started again"]
    assert len(world.alerts) == 2
    assert "daybreak up has ended" in world.alerts[1]
    with pytest.raises(GaveUpError):  # it stays so
        world.look()


def test_a_full_disk_names_the_page_about_full_disks(world: World) -> None:
    world.server.dies = "is gone"
    world.server.cannot_start = "it did not start: could not write: No space left on device"
    with pytest.raises(GaveUpError, match=r"see docs/runbooks/disk-full\.md"):
        world.look(1000)


def test_tries_are_counted_from_the_last_time_that_all_was_well(world: World) -> None:
    for _ in range(20):
        world.web.dies = "was killed (SIGKILL)"
        world.look(100)
    assert world.web.starts == 20
    assert len(world.alerts) == 20


def test_one_that_dies_again_soon_is_said_twice_and_alerted_once(world: World) -> None:
    for _ in range(2):
        world.web.dies = "was killed (SIGKILL)"
        world.look(5)
    assert len(world.said) == 4
    assert len(world.alerts) == 1


def test_one_that_is_never_ready_is_ended_and_tried_again(world: World) -> None:
    world.web.dies, world.web.slow = "was killed (SIGKILL)", True
    world.look(95)
    assert (world.web.killed, world.web.starts) == (1, 2)
    assert len(world.alerts) == 1  # sent although it is not over
    world.web.slow = False
    world.look(5)
    assert world.said[-1].startswith("the web runs again, after ")


def test_a_background_watch_starts_things_and_its_giving_up_ends_the_work(world: World) -> None:
    world.server.dies = "is gone"
    with world.supervisor.in_background():
        world.supervisor.wait_until_up()
        assert world.server.starts == 1
    world.server.dies, world.server.cannot_start = "is gone", "its port is taken"
    impatient = Supervisor([world.server], world.said.append, world.alerts.append, pauses=[0.0, 0.0])
    with pytest.raises(GaveUpError), impatient.in_background():
        impatient.wait_until_up()


def test_interrupted_work_ends_a_start_that_is_under_way(world: World) -> None:
    world.server.dies, world.server.cannot_start = "is gone", "its port is taken"

    class Stuck(Thing):
        def start(self) -> None:
            while not self.killed:
                pass
            raise UsageError

    stuck = Stuck("the server", is_server=True, dies="is gone")
    supervisor = Supervisor([stuck], world.said.append, world.alerts.append)

    def interrupted() -> None:
        with supervisor.in_background():
            while not world.said:
                pass
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert stuck.killed
