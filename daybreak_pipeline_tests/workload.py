"""What an application does all day, by pgbench: a hundred clients that write, read and search, each transaction with the key."""

from __future__ import annotations

import math
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from daybreak_pipeline.embedded_postgres import programs
from daybreak_pipeline.errors import UsageError
from daybreak_pipeline.settings import DatabaseSettings

CLIENTS = 100
# Each person has a name of their own, so that a search finds one, however long this runs.
_TRANSACTION = r"""
\set number random(1, 1000000000)
BEGIN;
SELECT set_config('daybreak.encryption_key', '{key}', true);
INSERT INTO patients_and_guardians (role, first_name, last_name, birthdate)
    VALUES (1, 'Client', 'Load' || translate(:number::text, '0123456789', 'abcdefghij'), '2015-05-05') RETURNING id \gset
UPDATE app.patients_and_guardians SET preferred_name = 'Working' WHERE id = ':id';
SELECT first_name, last_name, birthdate FROM app.patients_and_guardians WHERE id = ':id';
SELECT count(*) FROM search_people('load' || translate(:number::text, '0123456789', 'abcdefghij'));
SELECT first_name, last_name FROM app.clinicians ORDER BY id LIMIT 3;
END;
"""


def is_possible() -> bool:
    """Return whether pgbench is there."""
    try:
        programs.client("pgbench")
    except UsageError:
        return False
    return True


@dataclass
class Measured:
    """What a phase was like: when each transaction ended and its milliseconds, and how many failed or never began."""

    transactions: list[tuple[float, float]] = field(default_factory=list)
    failed: int = 0

    @property
    def milliseconds(self) -> list[float]:
        """How long each transaction took."""
        return [taken for _, taken in self.transactions]

    def quantile(self, share: float) -> float:
        """Return the time within which a share of the transactions was done."""
        ordered = sorted(self.milliseconds)
        return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


@dataclass(frozen=True)
class Workload:
    """Clients of one login. ``rate`` is how many transactions begin in a second, 0 for as many as can."""

    login: DatabaseSettings
    key: str
    rate: int = 0
    clients: int = CLIENTS

    def run(self, seconds: int) -> Measured:
        """Work for some seconds."""
        directory = Path(tempfile.mkdtemp(prefix="daybreak-load-"))
        try:
            script = directory / "script.sql"
            script.write_text(_TRANSACTION.format(key=self.key), encoding="utf-8")
            done = subprocess.run(
                [
                    *(
                        programs.client("pgbench"),
                        "--no-vacuum",
                        "--protocol=simple",
                        f"--client={self.clients}",
                    ),
                    *("--jobs=2", f"--time={seconds}", "--log", f"--log-prefix={directory / 'log'}"),
                    *((f"--rate={self.rate}",) if self.rate else ()),
                    f"--file={script}",
                    self.login.conninfo(application_name="pgbench"),
                ],
                capture_output=True,
                text=True,
                timeout=seconds + 300,
                check=False,
            )
            found = Measured()
            for log in directory.glob("log*"):
                for line in log.read_text(encoding="ascii").splitlines():
                    _, _, taken, _, epoch, microseconds, *_ = line.split()
                    if taken.isdecimal():
                        ended = int(epoch) + int(microseconds) / 1e6
                        found.transactions.append((ended, int(taken) / 1000))
                    else:
                        found.failed += 1  # "failed", "skipped"
            if done.returncode:  # clients that were sent away
                found.failed += max(1, done.stderr.count("aborted"))
            return found
        finally:
            shutil.rmtree(directory)

    def run_while(self, work: Callable[[], None], seconds: int) -> Measured:
        """Work in spells of some seconds until something else is done, which runs beside.

        What ended after it is not counted, unless it failed.
        """
        found = Measured()

        def timed() -> float:
            work()
            return time.time()

        with ThreadPoolExecutor(1) as beside:
            doing = beside.submit(timed)
            while not doing.done():
                begun = time.monotonic()
                spell = self.run(seconds)
                if time.monotonic() - begun < 1:
                    time.sleep(0.5)  # clients that are sent away at once
                found.transactions += spell.transactions
                found.failed += spell.failed
            over = doing.result()
        found.transactions = [one for one in found.transactions if one[0] <= over]
        return found
