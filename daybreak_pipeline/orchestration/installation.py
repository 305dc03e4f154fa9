"""What a command or a run works with: the server, the key, the export, Dagster's instance. Built once, passed on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from daybreak_pipeline import settings
from daybreak_pipeline.locations import Location
from daybreak_pipeline.privacy import keys
from daybreak_pipeline.settings import DatabaseSettings

KeySource: TypeAlias = Callable[[], str | None]
"""A function of ``privacy.keys``, or one that returns None where no key is to be looked at."""


@dataclass(frozen=True)
class Installation:
    """One installation of the pipeline.

    ``key`` is None where none is needed and none is there. ``dagster_url`` is where Dagster keeps its records; empty where a
    ``dagster.yaml`` that is not ours sets that.
    """

    database: DatabaseSettings
    key: str | None = field(repr=False)
    export_dir: Location
    dagster_home: Path
    dagster_url: str = field(default="", repr=False)

    @classmethod
    def of_environment(
        cls, database: DatabaseSettings, *, export_dir: Location | None = None, key: KeySource = keys.load
    ) -> Installation:
        """Return the installation that the environment describes, with a running server.

        Args:
            database: as ``database.serving`` yields it.
            export_dir: the directory with the export's files, where a person has named one.
            key: where the encryption key comes from; by default there must be one.

        Raises:
            UsageError: a variable cannot be used, or there is no good key.
        """
        return cls(
            database=database,
            key=key(),
            export_dir=export_dir or settings.export_dir(),
            dagster_home=settings.given_dagster_home() or settings.home() / "dagster",
        )

    def environment(self) -> dict[str, str]:
        """Return the variables that pass all of this to a child process."""
        return {
            **self.database.environment(),
            **({"ENCRYPTION_KEY": self.key} if self.key else {}),
            "DAYBREAK_EXPORT_DIR": str(self.export_dir),
            **self.dagster_environment(),
        }

    def dagster_environment(self) -> dict[str, str]:
        """Return the variables by which Dagster finds its instance, and the instance its storage."""
        return {
            "DAGSTER_HOME": str(self.dagster_home),
            "DAGSTER_DISABLE_TELEMETRY": "1",  # otherwise on, if a foreign dagster.yaml does not mention it
            **({"DAYBREAK_DAGSTER_URL": self.dagster_url} if self.dagster_url else {}),
        }
