"""A setting that anybody can set is no authority: attacks by the application, and by the importer itself."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest
from psycopg import sql

from daybreak_pipeline import database
from daybreak_pipeline.checks.rules import examine
from daybreak_pipeline.database import Connection
from daybreak_pipeline.errors import UsageError
from daybreak_pipeline.privacy import plain_values
from daybreak_pipeline.schema import catalog, runner
from daybreak_pipeline.schema.catalog import SEALED_CONSTRAINT
from daybreak_pipeline.settings import DatabaseSettings
from daybreak_pipeline.tables import TABLES
from daybreak_pipeline_tests.conftest import KEY
from daybreak_pipeline_tests.exports import Export, record
from daybreak_pipeline_tests.privacy.test_roles import APP, apply_with_passwords, login

SEALED = [table.name for table in TABLES.values() if table.sealed_columns]
PRETEND = (
    "SELECT set_config('daybreak.import_xid', pg_current_xact_id()::text, true), "
    "set_config('daybreak.rotation_xid', pg_current_xact_id()::text, true)"
)
NEW_PERSON = "INSERT INTO patients_and_guardians (role, email, first_name) VALUES (1, 'm@example.org', 'Mia')"


@pytest.fixture
def application(migrated: DatabaseSettings) -> Iterator[Connection]:
    apply_with_passwords(migrated)
    with database.connect(login(migrated, APP), key=KEY) as opened:
        yield opened


def test_an_application_that_pretends_to_import_has_its_values_sealed(application: Connection) -> None:
    application.execute(PRETEND)
    application.execute(NEW_PERSON)
    stored = application.execute(
        "SELECT email, email_encrypted IS NOT NULL, first_name, first_name_encrypted IS NOT NULL, name_tokens IS NOT NULL "
        "FROM public.patients_and_guardians"
    ).fetchone()
    assert stored == ("m@example.org", True, None, True, True)


def test_an_application_that_pretends_to_import_without_the_key_is_refused(
    migrated: DatabaseSettings,
) -> None:
    apply_with_passwords(migrated)
    with database.connect(login(migrated, APP)) as keyless:
        keyless.execute(PRETEND)
        with pytest.raises(psycopg.errors.InvalidAuthorizationSpecification, match="no encryption key"):
            keyless.execute(NEW_PERSON)


@pytest.mark.parametrize("table", TABLES)
def test_an_application_that_pretends_to_import_moves_updated_at(table: str, application: Connection) -> None:
    row = application.execute(
        "SELECT 1 FROM pg_trigger WHERE tgrelid = %s::regclass AND tgfoid = 'update_updated_at_column'::regproc "
        "AND tgenabled = 'O' AND tgqual IS NULL",
        [f"public.{table}"],
    ).fetchone()
    assert row == (1,)


def test_an_edit_that_pretends_to_be_an_import_counts_as_one_of_the_application(
    application: Connection,
) -> None:
    application.execute("INSERT INTO documents (label, updated_at) VALUES ('privacy_policy', '2020-01-01')")
    application.execute(PRETEND)
    application.execute("UPDATE documents SET label = 'other', updated_at = '2020-01-01'")
    found = application.execute("SELECT updated_at = now(), _edited_at IS NOT NULL FROM documents").fetchone()
    assert found == (True, True)


def test_an_edit_that_pretends_to_be_an_import_is_in_the_audit_trail(
    application: Connection, migrated: DatabaseSettings
) -> None:
    application.execute(PRETEND)
    application.execute("INSERT INTO documents (label) VALUES ('privacy_policy')")
    application.commit()
    with database.connect(migrated) as owner:
        assert owner.execute("SELECT table_name, action, acting_role FROM audit.changes").fetchall() == [
            ("documents", "INSERT", APP)
        ]


def test_nobody_but_the_owner_seals_lines_of_the_audit_trail_again(
    application: Connection, migrated: DatabaseSettings
) -> None:
    application.execute(NEW_PERSON)
    application.execute("UPDATE patients_and_guardians SET first_name = 'Pia'")
    application.commit()
    with database.connect(migrated) as owner:
        owner.execute(sql.SQL("GRANT ALL ON audit.changes TO {}").format(sql.Identifier(APP)))
        owner.execute(sql.SQL("GRANT USAGE ON SCHEMA audit TO {}").format(sql.Identifier(APP)))
    application.execute(PRETEND)
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="append-only"):
        application.execute(
            "UPDATE audit.changes SET before_encrypted = 'x' WHERE before_encrypted IS NOT NULL"
        )


@pytest.mark.parametrize("table", SEALED)
def test_a_table_refuses_a_plain_value_from_everybody(table: str, session: Connection) -> None:
    """Also from the owner, in the importer's own transaction, with every trigger switched off."""
    plain = next(name for name in TABLES[table].sealed_columns if name not in TABLES[table].kept_plain)
    columns = catalog.read(session, table).by_name
    required = {"role": "1", "kind": "2", "user_id": "gen_random_uuid()"}
    given = {name: value for name, value in required.items() if name in columns and columns[name].required}
    statement = sql.SQL("INSERT INTO {} ({}) VALUES ({})").format(
        sql.Identifier(table),
        sql.SQL(", ").join(map(sql.Identifier, [plain, *given])),
        sql.SQL(", ").join([sql.SQL("'x'"), *map(sql.SQL, given.values())]),
    )
    session.execute(PRETEND)
    session.execute("SET LOCAL session_replication_role = replica")
    with pytest.raises(psycopg.errors.CheckViolation, match=SEALED_CONSTRAINT):
        session.execute(statement)


def test_a_migration_seals_what_is_stored_in_plain(migrated: DatabaseSettings) -> None:
    runner.downgrade(migrated, "22")
    with database.connect(migrated, key=KEY) as owner:
        owner.execute("SELECT set_config('daybreak.import_xid', pg_current_xact_id()::text, true)")
        owner.execute(
            "INSERT INTO patients_and_guardians (role, first_name, birthdate, address, updated_at) "
            "VALUES (1, 'Mia', '2015-05-05', '{\"city\": \"X\"}', '2020-01-01')"
        )
    with pytest.raises(
        UsageError, match="migration 023 changes sealed data, and this session has no encryption key"
    ):
        runner.upgrade(migrated)
    runner.upgrade(migrated, key=KEY)
    with database.connect(migrated, key=KEY) as reader:
        shown = reader.execute(
            "SELECT first_name, birthdate::text, address ->> 'city', updated_at::date::text FROM app.patients_and_guardians"
        ).fetchall()
        stored = reader.execute(
            "SELECT first_name, birthdate, address FROM public.patients_and_guardians"
        ).fetchall()
        found = reader.execute("SELECT count(*) FROM search_people('mia')").fetchone()
    assert shown == [("Mia", "2015-05-05", "X", "2020-01-01")]
    assert stored == [(None, None, None)]
    assert found == (1,)


def test_check_and_doctor_see_a_plain_value_where_somebody_has_dropped_the_guard(session: Connection) -> None:
    plain_values.require_none(session)
    assert examine(session, catalog.read(session, "clinicians"))["plain_values"].passed
    session.execute(
        sql.SQL("ALTER TABLE clinicians DROP CONSTRAINT {}").format(sql.Identifier(SEALED_CONSTRAINT))
    )
    with pytest.raises(UsageError, match="personal_columns_are_sealed of clinicians is missing or disabled"):
        plain_values.require_none(session)
    session.execute("ALTER TABLE clinicians DISABLE TRIGGER seal_personal_data_on_insert")
    session.execute("INSERT INTO clinicians (last_name) VALUES ('Quill')")
    with pytest.raises(UsageError, match="1 rows of clinicians have personal values in plain"):
        plain_values.require_none(session)
    finding = examine(session, catalog.read(session, "clinicians"))["plain_values"]
    assert (finding.passed, finding.severity, finding.counts) == (False, "ERROR", {"last_name": 1})


def test_doctor_sees_a_trigger_that_seals_no_more(session: Connection) -> None:
    session.execute("ALTER TABLE clinicians DISABLE TRIGGER seal_personal_data_on_update")
    with pytest.raises(UsageError, match="triggers seal_personal_data_on_… of clinicians"):
        plain_values.require_none(session)


def test_all_rights_on_a_table_make_nobody_its_owner(
    migrated: DatabaseSettings, application: Connection
) -> None:
    with database.connect(migrated) as owner:
        owner.execute(sql.SQL("GRANT ALL ON documents TO {}").format(sql.Identifier(APP)))
    application.execute("INSERT INTO documents (label, updated_at) VALUES ('privacy_policy', '2020-01-01')")
    application.execute(PRETEND)
    application.execute("UPDATE documents SET label = 'other', updated_at = '2020-01-01'")
    assert application.execute("SELECT updated_at = now() FROM documents").fetchone() == (True,)


def test_a_login_that_is_a_member_of_the_owner_imports_as_the_owner(migrated: DatabaseSettings) -> None:
    with database.connect(migrated) as owner:
        row = owner.execute(
            "SELECT relowner::regrole::text FROM pg_class WHERE oid = 'documents'::regclass"
        ).fetchone()
        assert row is not None
        owner.execute("CREATE ROLE colleague")
        owner.execute(sql.SQL("GRANT {} TO colleague").format(sql.Identifier(row[0])))
        owner.execute("INSERT INTO documents (label, updated_at) VALUES ('privacy_policy', '2020-01-01')")
        owner.execute("SET LOCAL ROLE colleague")
        owner.execute(PRETEND)
        owner.execute("UPDATE documents SET label = 'other', updated_at = '2020-01-01'")
        assert owner.execute("SELECT updated_at::date::text FROM documents").fetchone() == ("2020-01-01",)
        owner.rollback()


ORIGIN = ("_source_hash", "_import_id", "_record_number", "_source_updated_at")
FORGED_ORIGIN = (
    "UPDATE documents SET label = 'other', _source_hash = 'forged', _import_id = 7, _record_number = 7, "
    "_source_updated_at = '9999-01-01'"
)


def origin(connection: Connection, table: str) -> tuple[object, ...]:
    """Return what the one row of a table says of the record that it comes from."""
    columns = sql.SQL(", ").join(map(sql.Identifier, ORIGIN))
    query = sql.SQL("SELECT {} FROM {}").format(columns, sql.Identifier("public", table))
    [row] = connection.execute(query).fetchall()
    return row


def test_an_application_cannot_say_where_a_row_comes_from(export: Export, application: Connection) -> None:
    """The audit trail leaves these columns out: nobody would know."""
    export.load("documents", record("documents"))
    before = origin(application, "documents")
    assert all(before)
    application.execute(FORGED_ORIGIN)
    assert origin(application, "documents") == before
    assert database.value(application, "SELECT label FROM documents") == "other"


@pytest.mark.parametrize("table", TABLES)
def test_every_table_keeps_where_its_rows_come_from(table: str, application: Connection) -> None:
    found = database.value(
        application,
        "SELECT count(*) FROM pg_attribute WHERE attrelid = %s::regclass AND attname = ANY (%s) AND NOT attisdropped",
        [f"public.{table}", list(ORIGIN)],
    )
    assert found == len(ORIGIN)


@pytest.mark.parametrize("table", ["patients_and_guardians", "clinicians"])
def test_an_application_cannot_hide_a_person_from_the_search(
    export: Export, application: Connection, table: str
) -> None:
    export.load(table, record(table, first_name="Mia", last_name="Bell"))
    name = sql.Identifier("public", table)
    application.execute(sql.SQL("UPDATE {} SET name_tokens = '{{}}', title = 'Dr'").format(name))
    assert database.value(application, "SELECT count(*) FROM search_people('mia bell')") == 1
    application.execute(sql.SQL("UPDATE {} SET first_name = 'Ava', name_tokens = NULL").format(name))
    assert database.value(application, "SELECT count(*) FROM search_people('ava bell')") == 1
