"""PostgreSQL has times that Python has not. An application may write them, and no command ends because of them."""

from __future__ import annotations

import pytest

from daybreak_pipeline.checks.rules import examine
from daybreak_pipeline.operations.row_history import trace
from daybreak_pipeline.schema import catalog as catalogs
from daybreak_pipeline_tests.cli.test_main import given  # noqa: F401 - fixture
from daybreak_pipeline_tests.commands import Environment, daybreak
from daybreak_pipeline_tests.exports import Export, record, uuid

TIMES = {
    "infinity": "infinity",
    "-infinity": "-infinity",
    "9999-12-31 23:59:59.999999+00": "9999-12-31 23:59:59 UTC",
    "294276-12-31 23:59:59.999999+00": "294276-12-31 23:59:59 UTC",
    "4714-11-24 00:00:00+00 BC": "4714-11-24 00:00:00 UTC BC",
}


def write_all(export: Export) -> None:
    """Be an application that writes every such time, into rows of its own and into one that was imported."""
    export.load("contracts", record("contracts", "imported"))
    for time in TIMES:
        export.connection.execute(
            "INSERT INTO contracts (id, effective_date, services, terms, created_at, updated_at) "
            "VALUES (%s, %s::timestamptz::date, '{onsite_care}', '[]', %s, %s)",
            [uuid(f"contract {time}"), time, time, time],
        )
        export.connection.execute(
            "UPDATE contracts SET updated_at = %s WHERE id = %s", [time, uuid("imported")]
        )
    export.connection.commit()


@pytest.mark.parametrize("time", TIMES)
def test_trace_tells_every_time_that_postgresql_has(export: Export, time: str) -> None:
    write_all(export)
    told = next(trace(export.connection, "contracts", uuid(f"contract {time}")))
    assert told.endswith(f"created {TIMES[time]}, updated {TIMES[time]}")


def test_checks_and_a_newer_file_meet_them(export: Export) -> None:
    write_all(export)
    export.load("contracts", record("contracts", "imported"), record("contracts", "contract infinity"))
    found = examine(export.connection, catalogs.read(export.connection, "contracts"))
    assert found["timestamps"].counts["updated_at in the future"] >= 2
    assert found["timestamps"].counts["updated_at before 2000"] >= 2


@pytest.mark.slow
def test_no_command_ends_because_of_them(
    export: Export,
    given: Environment,  # noqa: F811 - fixture
) -> None:
    write_all(export)
    for arguments in (
        ("trace", "contracts", uuid("contract infinity")),
        ("trace", "contracts", uuid("imported")),
        ("status",),
        ("report",),
        ("quarantine", "list"),
        ("audit", "show", "--values"),
        ("check",),
    ):
        done = daybreak(given, *arguments)
        assert (
            done.returncode in ((0, 1) if arguments == ("check",) else (0,)),
            "daybreak: " in done.stderr,
        ) == (
            True,
            False,
        ), done
