"""The numbers for analysts as pandas frames: funnel, time to care, coverage, capacity, by week and district.

What they count, and that no small group is in them, the database sees to (schema ``reporting``). Here they are only named,
read and given types; docs/numbers-for-analysts.md defines each.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import sql

from daybreak_pipeline import database
from daybreak_pipeline.errors import UsageError
from daybreak_pipeline.privacy import roles

if TYPE_CHECKING:
    import pandas as pd

    from daybreak_pipeline.database import Connection

_WEEK = "datetime64[s]"
_WHOLE = "Int64"
_WORD = "string"
_OF = {"week": _WEEK, "weeks": _WHOLE, "scope": _WORD, "district_id": _WORD, "district": _WORD}
"""What a row is about."""


@dataclass(frozen=True)
class Frame:
    """A frame: the materialized view that it is read from, and its columns with their types.

    ``numbers`` are those columns that are numbers; each is what its heading in words says.
    """

    name: str
    what: str
    view: str
    numbers: Mapping[str, str]
    more: Mapping[str, str] = field(default_factory=dict)

    @property
    def columns(self) -> dict[str, str]:
        """All columns with their types, in order."""
        return {**_OF, **self.more, **dict.fromkeys(self.numbers, _WHOLE)}


FRAMES = {
    frame.name: frame
    for frame in (
        Frame(
            "funnel",
            "How many referrals came how far, by the week of the referral.",
            "funnel_by_week",
            {
                "referred": "referred",
                "onboarding_completed": "onboarding completed",
                "ready_for_scheduling": "ready for scheduling",
                "scheduled": "scheduled",
                "enrolled": "enrolled",
            },
        ),
        Frame(
            "time-to-care",
            "Median days to onboarding, then step by step, and in all to care, by the week of the referral.",
            "funnel_by_week",
            {
                "days_to_onboarding": "to onboarding",
                "days_to_ready": "then to ready",
                "days_to_scheduled": "then to scheduled",
                "days_to_enrolled": "then to enrolled",
                "days_to_care": "to care",
            },
        ),
        Frame(
            "coverage",
            "Patients by the best coverage that they have now, by the week of their first one.",
            "coverage_by_week",
            {
                "patients": "patients",
                "insured": "insured",
                "eligible": "eligible",
                "submitted": "submitted",
                "expired": "expired",
                "unknown": "unknown",
                "not_insured": "not insured",
            },
        ),
        Frame(
            "capacity",
            "Clinicians with free time, and its hours, this week and the next eleven.",
            "capacity_by_week",
            {"clinicians": "clinicians", "hours": "hours"},
            {"state": _WORD},
        ),
    )
}


def read(connection: Connection, frame: Frame) -> pd.DataFrame:
    """Return a frame as of the last refresh, the oldest week first: all together, then group by group.

    It is read as an analyst reads it, where the login may be one.

    Raises:
        UsageError: the login may not read it, or it is not there.
    """
    import pandas as pd  # half a second, which a command that needs no frame does not cost

    query = sql.SQL("SELECT {} FROM {} ORDER BY week, scope, district, id").format(
        sql.SQL(", ").join(
            sql.SQL("{}::text" if kind == _WORD else "{}").format(sql.Identifier(name))
            for name, kind in frame.columns.items()
        ),
        sql.Identifier("reporting", frame.view),
    )
    try:
        with connection.transaction():
            _be_an_analyst(connection, frame)
            rows = connection.execute(query).fetchall()
    except psycopg.errors.InsufficientPrivilege:
        user = database.value(connection, "SELECT session_user")
        msg = f"user {user} may not read the numbers for analysts: set DB_USER to {roles.READONLY.name}"
        raise UsageError(msg) from None
    except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName):
        msg = f"the database has no reporting.{frame.view}: run daybreak migrate up"
        raise UsageError(msg) from None
    except psycopg.errors.ObjectNotInPrerequisiteState:
        msg = f"reporting.{frame.view} is empty since a restore: run the job refresh_summaries in the web UI"
        raise UsageError(msg) from None
    return pd.DataFrame(rows, columns=list(frame.columns), dtype="object").astype(frame.columns)


def _be_an_analyst(connection: Connection, frame: Frame) -> None:
    """Go on as an analyst until the transaction ends, where the login may and analysts have their grants already."""
    view = sql.Identifier("reporting", frame.view).as_string(connection)
    granted = database.value(
        connection,
        "SELECT EXISTS (SELECT FROM pg_roles r WHERE r.rolname = %s AND has_schema_privilege(r.oid, 'reporting', 'USAGE')"
        " AND has_table_privilege(r.oid, %s, 'SELECT'))",
        [roles.READONLY.name, view],
    )
    if granted:
        with suppress(psycopg.errors.InsufficientPrivilege), connection.transaction():
            connection.execute(sql.SQL("SET LOCAL ROLE {}").format(sql.Identifier(roles.READONLY.name)))


def records(made: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows of a frame, with None where there is nothing, and days."""
    plain = made.assign(week=made["week"].dt.date).astype("object")
    rows = plain.where(plain.notna(), None).to_dict("records")
    return [{str(name): value for name, value in row.items()} for row in rows]
