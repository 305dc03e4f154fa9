"""What clients and imports change is on record: who, when, from where, which columns, and no value in plain."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from psycopg import sql

from daybreak_pipeline import database
from daybreak_pipeline.database import Connection
from daybreak_pipeline.errors import UsageError
from daybreak_pipeline.importer.run import ImportFailedError, replay_table
from daybreak_pipeline.privacy import audit
from daybreak_pipeline.privacy.audit import Change
from daybreak_pipeline.settings import DatabaseSettings
from daybreak_pipeline.tables import TABLES
from daybreak_pipeline_tests.conftest import KEY
from daybreak_pipeline_tests.exports import Export, record, uuid
from daybreak_pipeline_tests.privacy.conftest import ROLE

ZOE: dict[str, Any] = {
    "id": uuid("zoe"),
    "role": 1,
    "email": "zoe@example.org",
    "phone": "+18185550123",
    "first_name": "Zoë",
    "last_name": "O'Brien-García",
    "birthdate": "2009-03-01",
    "address": '{"city": "Anytown"}',
}
DOCUMENT = "INSERT INTO documents (id, label) VALUES (%s, %s)"


def lines(session: Connection, table: str | None = None) -> list[Change]:
    """Return what is on record, oldest first, old values unsealed."""
    session.rollback()
    return audit.changes(session, table=table, values=True)[::-1]


def told(session: Connection, table: str | None = None) -> list[tuple[str, str | None, list[str] | None]]:
    return [(line.action, line.row_id, line.changed_columns) for line in lines(session, table)]


def add(client: Connection, table: str, row: dict[str, Any]) -> None:
    client.execute(
        sql.SQL("INSERT INTO {} ({}) VALUES ({})").format(
            sql.Identifier(table),
            sql.SQL(", ").join(map(sql.Identifier, row)),
            sql.SQL(", ").join(sql.Placeholder() * len(row)),
        ),
        list(row.values()),
    )


# --- What clients do -----------------------------------------------------------------------------------


def test_who_did_it_when_and_from_where(client: Connection, session: Connection) -> None:
    client.execute(DOCUMENT, [uuid("new"), "consent"])
    (line,) = lines(session)
    assert (line.action, line.table_name, line.row_id) == ("INSERT", "documents", uuid("new"))
    assert (line.session_role, line.acting_role) == (ROLE, ROLE)
    assert (line.client_address, line.application_name) == ("127.0.0.1", "intake form")
    assert abs(line.changed_at - datetime.now(UTC)) < timedelta(minutes=1)
    assert (line.changed_columns, line.before, line.sealed) == (None, None, False)


@pytest.mark.parametrize("table", TABLES)
def test_every_table_is_watched(export: Export, client: Connection, table: str) -> None:
    export.add_parents()
    export.load(table, record(table, "7"), full=True)
    export.connection.commit()
    number = "7" if table == "clinician_availabilities" else uuid("7")
    name = sql.Identifier(table)
    for statement in (
        "UPDATE {} SET created_at = created_at + interval '1 day' WHERE id::text = %s",
        "DELETE FROM {} WHERE id::text = %s",
    ):
        client.execute(sql.SQL(statement).format(name), [number])
    by_client = [line for line in told(export.connection, table) if line[0] != "IMPORT"]
    assert by_client == [("UPDATE", number, ["created_at"]), ("DELETE", number, None)]


def test_every_table_has_the_triggers_for_each_statement_and_none_for_each_row(
    connection: Connection,
) -> None:
    """A migration that adds a table must call audit.watch."""
    found = connection.execute(
        """
        SELECT c.relname, t.tgname, t.tgenabled, t.tgtype::integer & 1
        FROM pg_class c LEFT JOIN pg_trigger t ON t.tgrelid = c.oid AND t.tgfoid = 'audit.record_change'::regproc
        WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') ORDER BY 1, 2
        """
    ).fetchall()
    names = ("audit_delete", "audit_insert", "audit_truncate", "audit_update")
    assert found == [(table, name, "A", 0) for table in sorted(TABLES) for name in names]


def test_one_statement_writes_a_line_for_each_row_in_one_go(client: Connection, session: Connection) -> None:
    session.execute("ALTER ROLE test_application SET track_functions = 'pl'")
    session.commit()
    with database.connect(_as(client, session), key=KEY) as counted:
        counted.execute(
            "INSERT INTO documents (id, label) SELECT gen_random_uuid(), n::text FROM generate_series(1, 50000) n"
        )
        calls = counted.execute(
            "SELECT calls FROM pg_stat_xact_user_functions WHERE schemaname = 'audit' AND funcname = 'record_change'"
        ).fetchall()
    assert calls == [(1,)]
    counts = session.execute(
        "SELECT count(*), count(DISTINCT row_id), count(DISTINCT transaction_id) FROM audit.changes"
    ).fetchone()
    assert counts == (50000, 50000, 1)


def _as(client: Connection, session: Connection) -> DatabaseSettings:
    given, mine = client.info, session.info
    return DatabaseSettings(mine.host, mine.port, mine.dbname, given.user, given.password)


def test_each_row_of_an_update_has_its_own_old_values(client: Connection, session: Connection) -> None:
    for word, version in (("a", 1), ("b", 2), ("c", 5)):
        add(client, "documents", {"id": uuid(word), "label": word, "version": version})
    client.execute("UPDATE documents SET version = 5")
    changed = {line.row_id: line for line in lines(session) if line.action == "UPDATE"}
    assert {row: line.before["version"] for row, line in changed.items() if line.before} == {
        uuid("a"): 1,
        uuid("b"): 2,
    }
    assert all(line.changed_columns == ["version"] for line in changed.values())


def test_history_can_be_told_backwards_from_the_row(client: Connection, session: Connection) -> None:
    add(client, "documents", {"id": uuid("d"), "label": "one", "checkboxes": ["a", "b"]})
    versions = [_row(client)]
    for statement in (
        "UPDATE documents SET label = 'two', version_date = '2025-01-31'",
        'UPDATE documents SET checkboxes = NULL, urls = \'{"eng": "x"}\'',
        "UPDATE documents SET version = 7, created_at = '2020-01-01T00:00:00+02:00'",
    ):
        client.execute(statement.encode())
        versions.append(_row(client))
    client.execute("DELETE FROM documents")
    current: dict[str, Any] = {}
    for line in reversed(lines(session)[1:]):
        current |= line.before or {}
        assert current == versions.pop()
    assert versions == []


def _row(client: Connection) -> dict[str, Any]:
    row = client.execute(
        "SELECT to_jsonb(d) - '{_source_hash,_record_digest,_import_id,_record_number,_source_updated_at,_edited_at}'::text[] "
        "FROM documents d"
    ).fetchone()
    assert row
    return dict(row[0])


@pytest.mark.parametrize(
    "assignment",
    [
        "label = label",
        "updated_at = '2001-01-01'",
        "_source_hash = 'x', _record_digest = 'x', _import_id = 1, _record_number = 1",
        """urls = '{"spa":"y",  "eng":"x"}'""",
        "checkboxes = '{a, b}'",
        "created_at = '2025-01-01T02:00:00+02:00'",
    ],
)
def test_an_update_that_changes_nothing_leaves_no_line(
    client: Connection, session: Connection, assignment: str
) -> None:
    row = {"id": uuid("d"), "label": "x", "urls": '{"eng": "x", "spa": "y"}', "checkboxes": ["a", "b"]}
    add(client, "documents", row | {"created_at": "2025-01-01T00:00:00Z"})
    client.execute(sql.SQL("UPDATE documents SET {}").format(sql.SQL(assignment)))
    assert told(session) == [("INSERT", uuid("d"), None)]


@pytest.mark.parametrize(
    ("assignment", "column", "before"),
    [
        ("checkboxes = '{b, a}'", "checkboxes", ["a", "b"]),
        ("checkboxes = '{}'", "checkboxes", ["a", "b"]),
        ("urls = 'null'", "urls", {"eng": "x"}),
        ("names = '{}'", "names", None),
        ("version_date = '2025-01-31'", "version_date", None),
    ],
)
def test_arrays_json_and_null_are_compared_as_what_they_are(
    client: Connection, session: Connection, assignment: str, column: str, before: Any
) -> None:
    add(
        client,
        "documents",
        {"id": uuid("d"), "label": "x", "urls": '{"eng": "x"}', "checkboxes": ["a", "b"]},
    )
    client.execute(sql.SQL("UPDATE documents SET {}").format(sql.SQL(assignment)))
    line = lines(session)[-1]
    assert line.changed_columns == [column]
    assert line.before
    assert line.before[column] == before


def test_a_json_null_and_no_json_are_the_same_to_the_trail(client: Connection, session: Connection) -> None:
    """Known and accepted: the trail keeps values as JSON, which has one null."""
    add(client, "documents", {"id": uuid("d"), "label": "x"})
    client.execute("UPDATE documents SET names = 'null'")
    assert told(session) == [("INSERT", uuid("d"), None)]


def test_a_changed_id_is_a_row_gone_and_a_row_come(client: Connection, session: Connection) -> None:
    client.execute(DOCUMENT, [uuid("old"), "x"])
    client.execute("UPDATE documents SET id = %s", [uuid("new")])
    _, *both = lines(session)
    assert sorted((line.action, line.row_id, line.changed_columns) for line in both) == [
        ("DELETE", uuid("old"), None),
        ("INSERT", uuid("new"), None),
    ]
    (gone,) = (line for line in both if line.action == "DELETE")
    assert gone.before
    assert gone.before["label"] == "x"


def test_copy_is_recorded_as_any_insert(client: Connection, session: Connection) -> None:
    # Only who stands above row-level security may COPY into these tables.
    session.execute(f"ALTER ROLE {ROLE} BYPASSRLS")
    session.commit()
    with client.cursor().copy("COPY documents (id, label) FROM STDIN") as copy:
        copy.write_row([uuid("a"), "x"])
        copy.write_row([uuid("b"), "y"])
    assert told(session) == [("INSERT", uuid("a"), None), ("INSERT", uuid("b"), None)]


def test_an_upsert_is_an_insert_or_an_update(client: Connection, session: Connection) -> None:
    client.execute(DOCUMENT, [uuid("a"), "x"])
    client.execute(
        "INSERT INTO documents (id, label) VALUES (%s, 'y'), (%s, 'z') ON CONFLICT (id) DO UPDATE SET label = excluded.label",
        [uuid("a"), uuid("b")],
    )
    assert sorted(told(session)[1:], key=str) == [
        ("INSERT", uuid("b"), None),
        ("UPDATE", uuid("a"), ["label"]),
    ]


def test_all_parts_of_a_statement_are_recorded(client: Connection, session: Connection) -> None:
    for word in "abc":
        client.execute(DOCUMENT, [uuid(word), word])
    client.execute(
        "WITH a AS (UPDATE documents SET version = 2 WHERE label = 'a'), b AS (DELETE FROM documents WHERE label = 'b') "
        "UPDATE documents SET version = 3 WHERE label = 'c'"
    )
    assert sorted(told(session)[3:], key=str) == [
        ("DELETE", uuid("b"), None),
        ("UPDATE", uuid("a"), ["version"]),
        ("UPDATE", uuid("c"), ["version"]),
    ]


def test_rows_that_a_deleted_parent_takes_along_are_recorded(export: Export, client: Connection) -> None:
    export.add_parents()
    export.load(
        "referral_members",
        record("referral_members", "a"),
        record("referral_members", "b", user_id="patient"),
    )
    export.connection.commit()
    client.execute("DELETE FROM referrals")
    deleted = {line.row_id for line in lines(export.connection) if line.action == "DELETE"}
    assert deleted == {uuid("referral"), uuid("a"), uuid("b")}


def test_a_truncate_says_how_many_rows_it_took(client: Connection, session: Connection) -> None:
    client.execute(DOCUMENT, [uuid("a"), "x"])
    client.execute(DOCUMENT, [uuid("b"), "x"])
    client.execute("TRUNCATE documents")
    line = lines(session)[-1]
    assert (line.action, line.table_name, line.row_id, line.rows_deleted) == (
        "TRUNCATE",
        "documents",
        None,
        2,
    )


def test_what_is_rolled_back_was_never_recorded(client: Connection, session: Connection) -> None:
    with client.transaction(force_rollback=True):
        client.execute(DOCUMENT, [uuid("a"), "x"])
    assert lines(session) == []


def test_two_sessions_at_once_are_both_recorded_in_the_order_of_their_changes(
    client: Connection, keyless: Connection, session: Connection
) -> None:
    client.execute(DOCUMENT, [uuid("a"), "x"])
    with client.transaction():
        client.execute("UPDATE documents SET label = 'y'")
        keyless.execute(DOCUMENT, [uuid("b"), "x"])
    keyless.execute("UPDATE documents SET label = 'z' WHERE id = %s", [uuid("a")])
    first, second = [line for line in lines(session) if line.action == "UPDATE"]
    assert first.before
    assert (first.before["label"], first.transaction_id != second.transaction_id) == ("x", True)
    assert second.id > first.id
    assert len(lines(session)) == 4


def test_a_column_that_a_migration_adds_is_recorded_in_sessions_that_run_already(
    client: Connection, session: Connection
) -> None:
    client.execute(DOCUMENT, [uuid("a"), "x"])
    client.execute("UPDATE documents SET label = 'y'")
    session.execute("ALTER TABLE documents ADD COLUMN language TEXT")
    session.commit()
    client.execute("UPDATE documents SET language = 'eng'")
    assert told(session)[-1] == ("UPDATE", uuid("a"), ["language"])


# --- Personal values -----------------------------------------------------------------------------------


def test_no_value_is_in_the_trail_in_plain(client: Connection, session: Connection) -> None:
    add(client, "patients_and_guardians", ZOE)
    client.execute(
        "UPDATE patients_and_guardians SET first_name = 'Zopyra', email = 'zo@example.org', latest_ticket = 'Ticket'"
    )
    client.execute("UPDATE patients_and_guardians SET latest_ticket = 'Other'")
    client.execute("DELETE FROM patients_and_guardians")
    (text,) = session.execute("SELECT string_agg(c::text, ' ') FROM audit.changes c").fetchone() or ("",)
    assert text.count("patients_and_guardians") == 4
    for value in [*map(str, ZOE.values()), "Zopyra", "zo@example.org", "Ticket", "Other"]:
        if value not in {ZOE["id"], "1"}:
            assert value not in text
            assert value.encode().hex() not in text


def test_old_personal_values_are_there_for_who_has_the_key(client: Connection, session: Connection) -> None:
    add(client, "patients_and_guardians", ZOE)
    client.execute("UPDATE patients_and_guardians SET first_name = 'Zo', birthdate = NULL, role = 2")
    client.execute("UPDATE patients_and_guardians SET birthdate_encrypted = NULL")
    client.execute("DELETE FROM patients_and_guardians")
    _, updated, emptied, deleted = lines(session)
    assert updated.changed_columns == ["first_name", "role"]
    assert updated.before
    assert {name: updated.before[name] for name in ("first_name", "role")} == {"first_name": "Zoë", "role": 1}
    assert emptied.changed_columns == ["birthdate"]
    assert emptied.before
    assert emptied.before["birthdate"] == "2009-03-01"
    assert deleted.before
    assert not [name for name in deleted.before if name.endswith("_encrypted") and not name.startswith("_")]
    assert {name: deleted.before[name] for name in ("first_name", "email", "phone", "birthdate")} == {
        "first_name": "Zo",
        "email": ZOE["email"],
        "phone": ZOE["phone"],
        "birthdate": None,
    }
    assert json.loads(deleted.before["address"]) == {"city": "Anytown"}


def test_a_value_sealed_again_is_no_change(client: Connection, session: Connection) -> None:
    add(client, "patients_and_guardians", ZOE)
    client.execute("UPDATE patients_and_guardians SET first_name = 'Zoë', phone = %s", [ZOE["phone"]])
    assert len(lines(session)) == 1


def test_a_changed_email_is_told_once(client: Connection, session: Connection) -> None:
    add(client, "patients_and_guardians", ZOE)
    client.execute("UPDATE patients_and_guardians SET email = 'zo@example.org'")
    client.execute("UPDATE patients_and_guardians SET email = NULL")
    _, first, second = lines(session)
    assert first.changed_columns == second.changed_columns == ["email"]
    assert first.before
    assert second.before
    assert (first.before["email"], second.before["email"]) == ("zoe@example.org", "zo@example.org")


def test_ciphertext_that_somebody_tampers_with_is_a_change(client: Connection, session: Connection) -> None:
    add(client, "patients_and_guardians", ZOE)
    client.execute(
        "UPDATE patients_and_guardians SET email_encrypted = 'broken', last_name_encrypted = 'broken'"
    )
    client.execute("UPDATE patients_and_guardians SET last_name_encrypted = 'other'")
    _, first, second = lines(session)
    assert first.changed_columns == ["email_encrypted", "last_name"]
    assert first.before
    assert first.before["last_name"] == ZOE["last_name"]
    assert second.changed_columns == ["last_name_encrypted"]
    assert second.before
    assert second.before["last_name_encrypted"] == "\\x" + b"broken".hex()


def test_personal_columns_of_the_export_are_opened_too(export: Export, client: Connection) -> None:
    export.load("clinicians", record("clinicians", "x", date_of_birth="1980-02-29"))
    export.connection.commit()
    client.execute("DELETE FROM clinicians")
    deleted = lines(export.connection)[-1]
    assert deleted.before
    assert json.loads(deleted.before["_export_columns_encrypted"]) == {"date_of_birth": "1980-02-29"}


def test_a_session_without_the_key_is_recorded_without_old_values(
    client: Connection, keyless: Connection, session: Connection
) -> None:
    add(client, "patients_and_guardians", ZOE)
    keyless.execute("UPDATE patients_and_guardians SET latest_ticket = '7', phone_encrypted = 'broken'")
    keyless.execute("DELETE FROM patients_and_guardians")
    _, updated, deleted = lines(session)
    assert updated.changed_columns == ["latest_ticket", "phone_encrypted"]
    assert (updated.action, updated.session_role, updated.sealed) == ("UPDATE", ROLE, False)
    assert (deleted.action, deleted.row_id, deleted.sealed) == ("DELETE", ZOE["id"], False)


def test_nobody_without_the_key_reads_old_values(client: Connection, migrated: DatabaseSettings) -> None:
    client.execute(DOCUMENT, [uuid("a"), "x"])
    client.execute("DELETE FROM documents")
    with database.connect(migrated) as without:
        line = audit.changes(without, values=True)[0]
    assert (line.action, line.before, line.sealed) == ("DELETE", None, True)


# --- Who cannot escape ---------------------------------------------------------------------------------


@pytest.mark.parametrize("setting", ["daybreak.import_xid", "daybreak.rotation_xid"])
def test_a_client_cannot_pass_for_an_import(client: Connection, session: Connection, setting: str) -> None:
    with client.transaction():
        client.execute("SELECT set_config(%s, pg_current_xact_id()::text, true)", [setting])
        client.execute(DOCUMENT, [uuid("a"), "x"])
    assert told(session) == [("INSERT", uuid("a"), None)]


def test_a_role_that_is_put_on_is_told_with_who_put_it_on(client: Connection, session: Connection) -> None:
    owner = session.info.user
    session.execute(sql.SQL("GRANT {} TO test_application").format(sql.Identifier(owner)))
    session.commit()
    client.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(owner)))
    client.execute(DOCUMENT, [uuid("a"), "x"])
    (line,) = lines(session)
    assert (line.session_role, line.acting_role, line.who) == (ROLE, owner, f"{ROLE} as {owner}")


def test_switching_triggers_off_for_a_session_does_not_help(session: Connection) -> None:
    session.execute("SET session_replication_role = replica")
    session.execute(DOCUMENT, [uuid("a"), "x"])
    session.execute("UPDATE documents SET label = 'y'")
    session.commit()
    assert [action for action, _, _ in told(session)] == ["INSERT", "UPDATE"]


def test_a_client_has_no_right_on_the_trail(client: Connection) -> None:
    for statement in (
        "SELECT * FROM audit.changes",
        "INSERT INTO audit.changes (table_name, action, row_id) VALUES ('documents', 'DELETE', 'x')",
        "SELECT audit.retain(1)",
        "CREATE TEMP TABLE t (id INT); CREATE TRIGGER t AFTER INSERT ON t EXECUTE FUNCTION audit.record_change()",
    ):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            client.execute(statement.encode())
    with pytest.raises(UsageError, match=f"role {ROLE} may not read"):
        audit.changes(client)


# --- Imports -------------------------------------------------------------------------------------------


def test_an_import_is_one_line_for_each_table_that_it_changed(export: Export) -> None:
    export.load("organizations", *(record("organizations", word) for word in "abc"))
    export.load("organizations", record("organizations", "a"), record("organizations", "b", name="New"))
    export.load("organizations")  # skipped
    export.load("organizations", full=True)  # unchanged
    export.load("documents", record("documents", "bad", version="many"))  # quarantined
    export.connection.commit()
    ledger = export.connection.execute("SELECT id FROM ingest.imports ORDER BY id").fetchall()
    found = [
        (x.action, x.table_name, x.import_id, x.rows_inserted, x.rows_updated)
        for x in lines(export.connection)
    ]
    assert found == [
        ("IMPORT", "organizations", ledger[0][0], 3, 0),
        ("IMPORT", "organizations", ledger[1][0], 0, 1),
    ]


def test_an_imports_line_says_who_launched_it_and_for_whom_what_waited_was_repaired(export: Export) -> None:
    export.load("organizations", record("organizations", "a"), launched_by="alice")
    export.load("referral_members", record("referral_members", "late"), launched_by="alice")
    export.add_parents()
    replay_table(export.connection, "referral_members", launched_by="bob")
    export.load("documents", record("documents", "a"))
    found = {x.table_name: x for x in reversed(lines(export.connection))}
    assert found["organizations"].launched_by == "alice"
    assert found["referral_members"].launched_by == "bob"
    assert found["referral_members"].who.endswith(" for bob")
    assert found["documents"].launched_by is None
    assert " for " not in found["documents"].who


def test_nobody_but_an_import_is_launched_by_somebody(export: Export) -> None:
    with pytest.raises(psycopg.errors.CheckViolation):
        export.connection.execute(
            "INSERT INTO audit.changes (table_name, action, row_id, launched_by) VALUES ('documents', 'INSERT', 'x', 'alice')"
        )


def test_a_failed_import_leaves_no_line(export: Export) -> None:
    export.write_bytes("contracts", b"id,services\n")
    with pytest.raises(ImportFailedError):
        export.load("contracts")
    assert lines(export.connection) == []


def test_what_heals_later_is_recorded_with_its_import(export: Export) -> None:
    export.load("clinicians", record("clinicians", "x", supervisor_id="boss"))
    export.load("referral_members", record("referral_members", "late"))
    export.load("clinicians", record("clinicians", "boss"))
    export.add_parents()
    replay_table(export.connection, "referral_members")
    healed = [
        (x.table_name, x.rows_inserted, x.rows_updated)
        for x in lines(export.connection)
        if x.table_name in {"clinicians", "referral_members"}
    ]
    assert ("clinicians", 0, 1) in healed  # the reference to the boss
    assert healed[-1] == ("referral_members", 1, 0)


def test_what_follows_an_import_in_the_same_session_is_recorded(export: Export) -> None:
    export.load("documents", record("documents", "a"))
    export.connection.commit()
    export.connection.execute("UPDATE documents SET version = 2")
    export.connection.commit()
    assert [action for action, _, _ in told(export.connection)] == ["IMPORT", "UPDATE"]
