"""Loading an empty table bare: afterwards the schema is what it was, and every rule still holds."""

from __future__ import annotations

import psycopg
import pytest
from psycopg import sql

from daybreak_pipeline.importer import bulk_load
from daybreak_pipeline.settings import DatabaseSettings
from daybreak_pipeline_tests.exports import Export, record, uuid

_SCHEMA = """
    SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid), obj_description(oid, 'pg_constraint')
    FROM pg_constraint WHERE connamespace = 'public'::regnamespace
    UNION ALL
    SELECT i.indrelid::regclass::text, i.indexrelid::regclass::text, pg_get_indexdef(i.indexrelid),
           obj_description(i.indexrelid, 'pg_class')
    FROM pg_index i WHERE i.indrelid::regclass::text !~ '\\.'
    UNION ALL
    SELECT t.tgrelid::regclass::text, t.tgname, pg_get_triggerdef(t.oid) || t.tgenabled::text,
           obj_description(t.oid, 'pg_trigger')
    FROM pg_trigger t WHERE NOT t.tgisinternal
    ORDER BY 1, 2, 3
"""


@pytest.fixture(autouse=True)
def _bare_from_the_first_record(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk_load, "FEWEST_RECORDS", 1)


@pytest.fixture
def rebuilt(export: Export) -> list[str]:
    """Record which indexes and constraints are built while the test runs."""
    export.connection.execute(
        "CREATE TABLE public.built (what text); "
        "CREATE FUNCTION note() RETURNS event_trigger LANGUAGE plpgsql AS "
        "$$BEGIN INSERT INTO public.built SELECT object_identity FROM pg_event_trigger_ddl_commands(); END$$; "
        "CREATE EVENT TRIGGER note ON ddl_command_end WHEN TAG IN ('CREATE INDEX', 'ALTER TABLE') EXECUTE FUNCTION note()"
    )
    export.connection.commit()
    return []


def built(export: Export) -> set[str]:
    return {what for (what,) in export.connection.execute("SELECT what FROM public.built").fetchall()}


@pytest.mark.parametrize(
    "table", ["organizations", "referrals", "clinicians", "referral_members", "questionnaires"]
)
def test_the_schema_is_the_same_afterwards(export: Export, table: str) -> None:
    if table in {"referrals", "referral_members"}:
        export.add_parents()
        export.connection.execute("TRUNCATE referrals CASCADE")
        if table == "referral_members":
            export.load("referrals", record("referrals", "referral"), full=True)
        export.connection.commit()
    export.connection.execute("COMMENT ON INDEX idx_orgs_parent IS 'kept'")
    export.connection.execute("COMMENT ON CONSTRAINT fk_org_parent ON organizations IS 'kept'")
    export.connection.commit()
    before = export.connection.execute(_SCHEMA).fetchall()
    assert export.load(table, record(table, "fresh"), full=True)["inserted"] == 1
    assert export.connection.execute(_SCHEMA).fetchall() == before


def test_indexes_of_an_empty_table_are_built_once_after_the_load(export: Export, rebuilt: list[str]) -> None:
    assert rebuilt == []
    export.load("questionnaires", record("questionnaires"))
    assert {"public.idx_questionnaires_subject", "public.questionnaires"} <= built(export)


def test_the_audit_trigger_is_gone_while_the_table_is_bare_and_there_again_afterwards(export: Export) -> None:
    """Even disabled it would have every row copied for it, although it records none of an import's."""

    def triggers() -> dict[str, str]:
        return dict(
            export.connection.execute(
                "SELECT tgname::text, tgenabled::text FROM pg_trigger "
                "WHERE tgfoid = 'audit.record_change'::regproc AND tgrelid = 'questionnaires'::regclass"
            ).fetchall()
        )

    before = triggers()
    with bulk_load.loaded(export.connection, sql.Identifier("public", "questionnaires"), records=1):
        assert before.keys() - triggers().keys() == {"audit_insert"}
    assert triggers() == before == dict.fromkeys(before, "A")


def test_a_table_with_rows_is_left_as_it_is(export: Export, rebuilt: list[str]) -> None:
    export.load("questionnaires", record("questionnaires"))
    export.connection.execute("DELETE FROM public.built")
    export.connection.commit()
    export.load("questionnaires", record("questionnaires", "another"))
    assert [
        what for what in built(export) if "questionnaires" in what and what.startswith("public.")
    ] == rebuilt


def test_the_key_that_rows_of_other_tables_point_at_stays(export: Export, rebuilt: list[str]) -> None:
    assert rebuilt == []
    export.add_parents()
    export.connection.execute("DELETE FROM public.built")
    export.load("questionnaires", record("questionnaires"))
    names = built(export)
    assert "public.idx_questionnaires_subject" in names
    assert "public.referrals" not in names


def test_faults_are_found_as_ever(export: Export) -> None:
    good, odd = record("questionnaires", "good"), record("questionnaires", "odd", type="9")
    twin = record("questionnaires", "good", updated_at="2020-01-01T00:00:00")
    story = record("questionnaires", "story", score="many", question_answers="no json")
    assert export.load("questionnaires", good, odd, twin, story) == {
        "status": "imported",
        "read": 4,
        "inserted": 1,
        "duplicate": 1,
        "quarantined": 2,
    }


def test_a_value_that_fits_no_column_leaves_keys_and_indexes_as_they_were(export: Export) -> None:
    before = export.connection.execute(_SCHEMA).fetchall()
    counts = export.load(
        "questionnaires", record("questionnaires", "a", score="many"), record("questionnaires", "b")
    )
    assert counts == {"status": "imported", "read": 2, "inserted": 1, "quarantined": 1}
    assert export.connection.execute(_SCHEMA).fetchall() == before


def test_a_table_that_somebody_holds_is_loaded_as_it_is(
    export: Export, migrated: DatabaseSettings, rebuilt: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert rebuilt == []
    monkeypatch.setattr(bulk_load, "_LOCK_TIMEOUT", "100ms")
    with psycopg.connect(migrated.conninfo()) as reader:
        reader.execute("SELECT * FROM questionnaires")
        assert export.load("questionnaires", record("questionnaires"))["inserted"] == 1
        assert "public.idx_questionnaires_subject" not in built(export)
        timeout = export.connection.execute("SHOW lock_timeout").fetchone()
        assert timeout == ("0",)


@pytest.mark.parametrize("least", [0, 1])
def test_references_are_checked_by_sorting_or_hashing_and_then_the_planner_chooses_again(
    export: Export, monkeypatch: pytest.MonkeyPatch, least: int
) -> None:
    monkeypatch.setattr(bulk_load, "_SORTED_FROM", least)
    export.add_parents()
    orphan = record("referral_members", "orphan", referral_id=uuid("nobody"))
    settings = "SELECT name, setting FROM pg_settings WHERE name LIKE 'enable_%'"
    before = export.connection.execute(settings).fetchall()
    done = export.load("referral_members", record("referral_members"), orphan)
    assert done == {"status": "imported", "read": 2, "inserted": 1, "quarantined": 1}
    with export.connection.transaction():
        with bulk_load.loaded(export.connection, sql.Identifier("public", "documents"), records=1):
            pass
        assert export.connection.execute(settings).fetchall() == before


@pytest.mark.parametrize("column", ["services", "end_date", "terms"])
def test_a_bad_value_in_a_file_that_is_read_in_parallel_is_found(export: Export, column: str) -> None:
    """PostgreSQL looks at large tables with several processes, in which it cannot try a cast."""
    many = [record("contracts", f"number {n}", contract_url="x" * 500) for n in range(20_000)]
    done = export.load("contracts", *many, record("contracts", "bad", **{column: '["broken'}))
    refused = 0 if column == "terms" else 1
    assert (done["inserted"], done.get("quarantined", 0)) == (len(many) + 1 - refused, refused)
