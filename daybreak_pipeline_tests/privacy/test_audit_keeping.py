"""The trail keeps what it has: append-only for its owner too, by month, and for as long as it must."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from psycopg import sql

from daybreak_pipeline import database, settings
from daybreak_pipeline.database import Connection
from daybreak_pipeline.errors import UsageError
from daybreak_pipeline.privacy import audit
from daybreak_pipeline.settings import DatabaseSettings
from daybreak_pipeline_tests.conftest import KEY
from daybreak_pipeline_tests.exports import uuid

ROTATE = "SELECT set_config('daybreak.rotation_xid', pg_current_xact_id()::text, true)"
PARTITIONS = (
    "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'audit.changes'::regclass ORDER BY 1"
)


def line_at(session: Connection, moment: str) -> None:
    """Write a line as of another time."""
    session.execute(
        "INSERT INTO audit.changes (changed_at, table_name, action, row_id) VALUES (%s, 'documents', 'INSERT', 'x')",
        [moment],
    )


def partitions(session: Connection) -> list[str]:
    return [name for (name,) in session.execute(PARTITIONS)]


def count(session: Connection, table: str = "audit.changes") -> int:
    return database.count_rows(session, sql.SQL(table))


@pytest.fixture
def kept(session: Connection) -> Connection:
    """A line with an old value."""
    session.execute("INSERT INTO documents (id, label) VALUES (%s, 'old')", [uuid("a")])
    session.execute("UPDATE documents SET label = 'new'")
    session.commit()
    return session


# --- Append-only ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("as_replica", [False, True])
@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE {} SET session_role = 'nobody'",
        "UPDATE {} SET before_encrypted = 'x'",
        "UPDATE {} SET changed_at = '2001-01-01'",
        "DELETE FROM {}",
        "TRUNCATE {}",
        "TRUNCATE {} CASCADE",
        "INSERT INTO {} SELECT * FROM audit.changes ON CONFLICT (changed_at, id) DO UPDATE SET row_id = 'y'",
    ],
)
def test_the_owner_can_neither_change_nor_delete_a_line(
    kept: Connection, statement: str, as_replica: bool
) -> None:
    if as_replica:
        kept.execute("SET session_replication_role = replica")
        kept.commit()
    statement = statement.replace("INTO {} SELECT", "INTO {} OVERRIDING SYSTEM VALUE SELECT")
    (place,) = kept.execute("SELECT DISTINCT tableoid::regclass::text FROM audit.changes").fetchone() or ("",)
    before = kept.execute("SELECT c::text FROM audit.changes c ORDER BY id").fetchall()
    assert len(before) == 2
    for target in ("audit.changes", place):
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="append-only"):
            kept.execute(statement.format(target).encode())
        kept.rollback()
    assert kept.execute("SELECT c::text FROM audit.changes c ORDER BY id").fetchall() == before


def test_every_partition_has_both_guards_always_on(session: Connection) -> None:
    line_at(session, "2001-05-15")
    session.execute("SELECT audit.ensure_partitions(20)")
    guards = session.execute(
        "SELECT tgrelid::regclass::text, count(*) FROM pg_trigger "
        "WHERE tgfoid = 'audit.refuse_change'::regproc AND tgenabled = 'A' GROUP BY 1 ORDER BY 1"
    ).fetchall()
    assert dict(guards) == dict.fromkeys(["audit.changes", *partitions(session)], 2)
    assert len(guards) == 1 + 1 + 1 + 21  # the table, the default, that of 2001, and 21 months


def test_a_rotation_of_the_key_can_seal_old_values_anew(kept: Connection) -> None:
    kept.execute(ROTATE)
    kept.execute(
        "UPDATE audit.changes SET before_encrypted = privacy.seal(privacy.unseal(before_encrypted, privacy.key('seal')), %s) "
        "WHERE before_encrypted IS NOT NULL",
        [b"another key of thirty-two bytes!"],
    )
    kept.commit()
    found = kept.execute(
        "SELECT privacy.unseal(before_encrypted, privacy.key('seal')), "
        "privacy.unseal(before_encrypted, %s)::jsonb ->> 'label' FROM audit.changes WHERE action = 'UPDATE'",
        [b"another key of thirty-two bytes!"],
    ).fetchall()
    assert found == [(None, "old")]


@pytest.mark.parametrize(
    "assignment",
    [
        "session_role = 'nobody'",
        "before_encrypted = 'x', session_role = 'nobody'",
        "before_encrypted = NULL",
        "before_encrypted = 'x', changed_columns = '{}'",
        "before_encrypted = 'x', changed_at = changed_at + interval '1 microsecond'",
    ],
)
def test_a_rotation_can_do_nothing_else(kept: Connection, assignment: str) -> None:
    kept.execute(ROTATE)
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="append-only"):
        kept.execute(
            sql.SQL("UPDATE audit.changes SET {} WHERE action = 'UPDATE'").format(sql.SQL(assignment))
        )


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM audit.changes",
        "TRUNCATE audit.changes",
        "UPDATE audit.changes SET before_encrypted = 'x' WHERE before_encrypted IS NULL",
    ],
)
def test_a_rotation_takes_no_line_away_and_makes_up_no_old_value(kept: Connection, statement: str) -> None:
    kept.execute(ROTATE)
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="append-only"):
        kept.execute(statement.encode())


def test_a_rotation_that_is_over_opens_nothing(kept: Connection) -> None:
    kept.execute("SELECT set_config('daybreak.rotation_xid', pg_current_xact_id()::text, false)")
    kept.commit()
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="append-only"):
        kept.execute("UPDATE audit.changes SET before_encrypted = 'x' WHERE action = 'UPDATE'")


def test_rows_that_a_rotation_seals_anew_leave_no_line(kept: Connection) -> None:
    kept.execute(ROTATE)
    kept.execute("UPDATE documents SET label = 'sealed again'")
    kept.commit()
    assert count(kept) == 2


@pytest.mark.parametrize(
    ("statement", "table"),
    [
        ("ALTER TABLE documents DISABLE TRIGGER audit_update", "documents"),
        ("ALTER TABLE documents ENABLE TRIGGER audit_delete", "documents"),  # not in every session
        ("DROP TRIGGER audit_truncate ON kinships", "kinships"),
        ("ALTER TABLE audit.changes_default DISABLE TRIGGER append_only", "audit.changes_default"),
        ("DROP TRIGGER append_only_truncate ON audit.changes", "audit.changes"),
        ("CREATE TABLE new_table (id INT)", "new_table"),
    ],
)
def test_a_hole_in_the_trail_is_found(session: Connection, statement: str, table: str) -> None:
    audit.require_whole(session)
    session.execute(statement.encode())
    with pytest.raises(UsageError, match=f"disabled on {table}:"):
        audit.require_whole(session)


# --- By month ------------------------------------------------------------------------------------------


def test_this_month_and_the_next_three_have_partitions(session: Connection) -> None:
    months = session.execute(
        "SELECT 'audit.changes_' || to_char(m, 'YYYY_MM') "
        "FROM generate_series(date_trunc('month', now()), now() + interval '3 months', interval '1 month') m"
    ).fetchall()
    assert partitions(session) == [*(name for (name,) in months), "audit.changes_default"]
    assert session.execute("SELECT audit.ensure_partitions()").fetchone() == (0,)
    assert session.execute("SELECT audit.ensure_partitions(5)").fetchone() == (2,)


def test_the_month_ends_at_midnight_utc_whatever_the_sessions_zone(session: Connection) -> None:
    session.execute("SET timezone = 'America/Los_Angeles'")
    session.execute("SELECT audit.ensure_partitions(12)")
    (month, last) = session.execute(
        "SELECT to_char(starts AT TIME ZONE 'UTC', 'YYYY_MM'), (starts - interval '1 microsecond')::text "
        "FROM audit.partitions ORDER BY starts DESC LIMIT 1"
    ).fetchone() or ("", "")
    line_at(session, last)
    (place,) = session.execute("SELECT tableoid::regclass::text FROM audit.changes").fetchone() or ("",)
    assert place < f"audit.changes_{month}"
    line_at(session, f"{month.replace('_', '-')}-01 00:00:00+00")
    assert count(session, f"audit.changes_{month}") == 1


def test_a_line_whose_month_has_no_partition_is_taken_and_gets_one(session: Connection) -> None:
    line_at(session, "2001-03-31 23:59:59Z")
    assert count(session, "audit.changes_default") == 1
    assert session.execute("SELECT audit.ensure_partitions()").fetchone() == (1,)
    assert (count(session, "audit.changes_default"), count(session, "audit.changes_2001_03")) == (0, 1)
    line_at(session, "2001-03-01")
    assert count(session, "audit.changes_2001_03") == 2
    line_at(session, "2001-05-01")
    line_at(session, "2001-07-31")
    session.execute("SELECT audit.ensure_partitions()")
    assert count(session, "audit.changes_2001_05_to_2001_07") == 2
    assert count(session) == 4


def test_lines_that_others_overlap_stay_where_they_are(session: Connection) -> None:
    line_at(session, "2001-05-01")
    session.execute("SELECT audit.ensure_partitions()")
    for moment in ("2001-04-01", "2001-06-01"):
        line_at(session, moment)
    assert session.execute("SELECT audit.ensure_partitions()").fetchone() == (0,)
    assert (count(session, "audit.changes_default"), count(session)) == (2, 3)


def test_many_that_make_partitions_at_once_make_each_once(migrated: DatabaseSettings) -> None:
    def make(_: int) -> int:
        with database.connect(migrated) as connection:
            row = connection.execute("SELECT audit.ensure_partitions(9)").fetchone()
            return int(row[0]) if row else -1

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(make, range(8))) == [0] * 7 + [6]


def test_partitions_are_made_while_somebody_is_writing(migrated: DatabaseSettings, kept: Connection) -> None:
    kept.execute("UPDATE documents SET label = 'newer'")  # and no commit
    with database.connect(migrated) as other:
        assert other.execute("SELECT audit.ensure_partitions(4)").fetchone() == (1,)


def test_keeping_ahead_is_the_owners(session: Connection, client: Connection) -> None:
    line_at(session, "2001-05-01")
    session.commit()
    audit.keep_ahead(client)
    assert count(session, "audit.changes_default") == 1
    session.commit()
    audit.keep_ahead(session)
    assert count(session, "audit.changes_default") == 0


def test_keeping_ahead_gives_up_where_somebody_holds_the_table(
    session: Connection, migrated: DatabaseSettings
) -> None:
    line_at(session, "2001-05-01")
    session.commit()
    with database.connect(migrated) as reader:
        reader.execute("SELECT * FROM audit.changes_default")
        audit.keep_ahead(session)
    assert count(session, "audit.changes_default") == 1


# --- For as long as it must ----------------------------------------------------------------------------


def test_whole_months_older_than_that_are_dropped_and_it_is_on_record(session: Connection) -> None:
    moments = session.execute(
        "SELECT (date_trunc('month', now()) - make_interval(months => m))::text FROM unnest(ARRAY[72, 73, 74]) m"
    ).fetchall()
    for (moment,) in moments[::-1]:  # each month its own partition
        line_at(session, moment)
        session.execute("SELECT audit.ensure_partitions()")
    session.commit()
    oldest, older = moments[2][0][:7].replace("-", "_"), moments[1][0][:7].replace("-", "_")
    assert audit.older_partitions(session, 72) == [f"changes_{oldest}", f"changes_{older}"]
    assert audit.retain(session, 72) == [(f"changes_{oldest}", 1), (f"changes_{older}", 1)]
    left = [(line.action, line.table_name, line.rows_deleted) for line in audit.changes(session)]
    assert left == [
        ("RETENTION", f"audit.changes_{older}", 1),
        ("RETENTION", f"audit.changes_{oldest}", 1),
        ("INSERT", "documents", None),
    ]
    assert audit.retain(session, 72) == []


def test_old_lines_in_the_default_partition_go_too(session: Connection) -> None:
    line_at(session, "2001-05-01")
    assert audit.retain(session, 72) == [("changes_2001_05", 1)]


@pytest.mark.parametrize("months", [0, -1])
def test_nobody_drops_the_present(session: Connection, months: int) -> None:
    with pytest.raises(psycopg.errors.InvalidParameterValue):
        audit.retain(session, months)


def test_only_the_owner_drops(client: Connection) -> None:
    with pytest.raises(UsageError, match="only the owner"):
        audit.retain(client, 72)


def test_dropping_waits_for_nobody_for_long(kept: Connection, migrated: DatabaseSettings) -> None:
    line_at(kept, "2001-05-01")
    kept.commit()
    kept.execute("SELECT audit.ensure_partitions()")
    kept.commit()
    with database.connect(migrated, key=KEY) as writer:
        writer.execute("UPDATE documents SET label = 'newer'")
        with pytest.raises(UsageError, match="nothing was dropped"):
            audit.retain(kept, 72)
    assert "audit.changes_2001_05" in partitions(kept)


@pytest.mark.parametrize(("given", "months"), [("", 72), ("84", 84)])
def test_six_years_are_kept_unless_told_otherwise(
    monkeypatch: pytest.MonkeyPatch, given: str, months: int
) -> None:
    monkeypatch.setenv("DAYBREAK_AUDIT_MONTHS", given)
    assert settings.audit_months() == months


@pytest.mark.parametrize("given", ["0", "-3", "six", "1.5", "²"])
def test_a_number_of_months_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    monkeypatch.setenv("DAYBREAK_AUDIT_MONTHS", given)
    with pytest.raises(UsageError, match="DAYBREAK_AUDIT_MONTHS"):
        settings.audit_months()
