"""A sealed value belongs to its column: copied into another one it shows as NULL there, and is noticed."""

# ruff: noqa: S608 - statements are put together from names and values of these tests
from __future__ import annotations

from collections.abc import Iterator

import pytest
from psycopg import sql

from daybreak_pipeline import database
from daybreak_pipeline.checks import rules
from daybreak_pipeline.database import Connection
from daybreak_pipeline.errors import UsageError
from daybreak_pipeline.importer.run import import_table, replay_table
from daybreak_pipeline.privacy import audit, binding, keys, rotation, sealed, sealed_faults
from daybreak_pipeline.privacy.keys import Exchange
from daybreak_pipeline.schema import catalog as catalogs
from daybreak_pipeline.schema import runner
from daybreak_pipeline.settings import PROJECT_ROOT, DatabaseSettings
from daybreak_pipeline.tables import import_order
from daybreak_pipeline_tests.conftest import KEY
from daybreak_pipeline_tests.exports import Export, record
from daybreak_pipeline_tests.privacy.test_roles import APP, apply_with_passwords, login

pytestmark = pytest.mark.slow

NEW = "0123456789abcdeffedcba987654321000112233445566778899aabbccddeeff"
BEFORE_TAGS = "031"
UNTAGGED = "privacy.seal('Ida', privacy.key('seal'))"


@pytest.fixture
def application(migrated: DatabaseSettings) -> Iterator[Connection]:
    """The application's session, and two people: Mia Berg and the clinician Dr. Ruth."""
    apply_with_passwords(migrated)
    with database.connect(login(migrated, APP), key=KEY) as opened:
        opened.execute(
            "INSERT INTO patients_and_guardians (role, first_name, last_name) VALUES (1, 'Mia', 'Berg')"
        )
        opened.execute("INSERT INTO clinicians (first_name, last_name) VALUES ('Ruth', 'Ruth')")
        opened.commit()
        yield opened


def _copy(connection: Connection, target: str, source: str, table: str = "patients_and_guardians") -> None:
    connection.execute(f"UPDATE public.{table} SET {target}_encrypted = {source}".encode())


@pytest.mark.parametrize("view", ["users", "app.patients_and_guardians"])
def test_a_first_name_copied_into_the_last_name_shows_as_nothing(application: Connection, view: str) -> None:
    _copy(application, "last_name", "first_name_encrypted")
    found = application.execute(
        f"SELECT first_name, last_name FROM {view} WHERE role = 1".encode()
    ).fetchall()
    assert found == [("Mia", None)]


def test_a_name_copied_into_the_same_column_of_another_table_shows_as_nothing(
    application: Connection,
) -> None:
    _copy(application, "last_name", "(SELECT last_name_encrypted FROM patients_and_guardians)", "clinicians")
    assert application.execute("SELECT first_name, last_name FROM app.clinicians").fetchall() == [
        ("Ruth", None)
    ]


def test_nobody_is_found_by_a_name_that_was_copied(application: Connection) -> None:
    _copy(application, "last_name", "(SELECT last_name_encrypted FROM patients_and_guardians)", "clinicians")
    found = application.execute("SELECT first_name, last_name FROM search_people('Berg')").fetchall()
    assert found == [("Mia", "Berg")]
    found = application.execute("SELECT first_name, last_name FROM search_people('Ruth')").fetchall()
    assert found == [("Ruth", None)]


def test_a_record_of_the_quarantine_is_no_name(migrated: DatabaseSettings, export: Export) -> None:
    export.load("patients_and_guardians", record("patients_and_guardians", "a", first_name="Mia"))
    export.load("patients_and_guardians", record("patients_and_guardians", "b", role="none"))
    _copy(export.connection, "first_name", "(SELECT record_encrypted FROM ingest.quarantine)")
    export.connection.commit()
    with database.connect(migrated, key=KEY) as connection:
        assert connection.execute("SELECT DISTINCT first_name FROM users").fetchall() == [(None,)]


def test_a_value_sealed_before_there_were_tags_is_read(application: Connection) -> None:
    _copy(application, "last_name", UNTAGGED)
    assert application.execute("SELECT last_name FROM users WHERE role = 1").fetchall() == [("Ida",)]
    assert application.execute("SELECT last_name FROM search_people('Ida')").fetchall() == [("Ida",)]


@pytest.mark.parametrize(
    "name", ["\x01abcdef\x02", "\x01abcdef\x02Mia", "\x01", "\x01\x02", "\x01é€😀xyz\x02", ""]
)
def test_a_text_that_looks_like_a_tag_comes_back_as_it_was(application: Connection, name: str) -> None:
    application.execute("UPDATE patients_and_guardians SET last_name = %s", [name])
    assert application.execute("SELECT last_name FROM users WHERE role = 1").fetchall() == [(name,)]


def test_the_copy_of_an_equal_text_is_in_the_audit_trail(
    application: Connection, migrated: DatabaseSettings
) -> None:
    _copy(application, "last_name", "first_name_encrypted", "clinicians")
    application.commit()
    with database.connect(migrated, key=KEY) as connection:
        newest = next(iter(audit.changes(connection, table="clinicians", values=True)))
    assert (newest.action, newest.changed_columns) == ("UPDATE", ["last_name"])
    assert newest.before
    assert newest.before["last_name"] == "Ruth"


def test_sealing_the_same_value_again_is_no_change(
    application: Connection, migrated: DatabaseSettings
) -> None:
    _copy(application, "last_name", UNTAGGED)
    application.commit()
    with database.connect(migrated, key=KEY) as connection:
        before = len(list(audit.changes(connection)))
    application.execute("UPDATE patients_and_guardians SET last_name = 'Ida'")
    application.commit()
    with database.connect(migrated, key=KEY) as connection:
        assert len(list(audit.changes(connection))) == before


def test_the_check_counts_copies_even_of_equal_texts(
    application: Connection, migrated: DatabaseSettings
) -> None:
    _copy(application, "last_name", "first_name_encrypted", "clinicians")
    application.commit()
    with database.connect(migrated, key=KEY, autocommit=True) as connection:
        catalog = catalogs.read(connection, "clinicians")
        sealed_faults.look(connection, catalog)
        found = rules.examine(connection, catalog, {"sealed_values"})["sealed_values"]
    assert (found.counts, found.passed) == ({"last_name was sealed for another column": 1}, False)


# --- All there is -----------------------------------------------------------------------------------------


def _unbound(settings: DatabaseSettings, key: str = KEY) -> dict[str, int]:
    """Return how many sealed values do not have the tag of their own column, by column; those without one are left out."""
    result: dict[str, int] = {}
    with database.connect(settings, key=key) as connection:
        for target in sealed.targets(connection):
            for column in target.sealed:
                number = database.value(
                    connection,
                    sql.SQL(
                        "SELECT count(*) FROM {table} WHERE starts_with(privacy.unseal_tagged({column}, "
                        "privacy.key('seal')), privacy.tag({relation}, {name})) IS NOT TRUE AND {column} IS NOT NULL"
                    ).format(
                        table=sql.Identifier(target.schema, target.name),
                        column=sql.Identifier(column),
                        relation=sql.Literal(target.relation),
                        name=sql.Literal(column),
                    ),
                )
                if number:
                    result[f"{target.relation}.{column}"] = number
    return result


def _live(settings: DatabaseSettings) -> None:
    """Import the sample, try its quarantine again, and let people change, search and delete."""
    with database.connect(settings, key=KEY, autocommit=True) as connection:
        for name in import_order():
            import_table(connection, name, PROJECT_ROOT / "data" / "sample")
        for name in import_order():
            replay_table(connection, name)
        with connection.transaction():
            connection.execute(
                "UPDATE patients_and_guardians SET first_name = 'Mia', email = 'mia@example.org'"
            )
            connection.execute(
                "UPDATE clinicians SET address = '{}' WHERE id = (SELECT min(id::text)::uuid FROM clinicians)"
            )
            connection.execute("SELECT search_people('Mia')")
            connection.execute(
                "DELETE FROM insurance_coverages WHERE id IN (SELECT id FROM insurance_coverages LIMIT 3)"
            )


def test_whatever_the_pipeline_seals_has_the_tag_of_its_column(migrated: DatabaseSettings) -> None:
    _live(migrated)
    with database.connect(migrated, key=KEY) as connection:
        filled = {target.relation for target in sealed.targets(connection) if target.sealed}
    assert filled >= {"public.clinicians", "ingest.quarantine", "ingest.field_issues", "audit.changes"}
    assert _unbound(migrated) == {}
    with database.connect(migrated, autocommit=True) as connection:
        rotation.rotate(connection, Exchange(KEY, NEW, kept=False))
    assert _unbound(migrated, NEW) == {}


# --- Values from before there were tags -------------------------------------------------------------------


@pytest.fixture
def old(empty: DatabaseSettings) -> DatabaseSettings:
    """A database with values that an older version sealed, brought up to date."""
    runner.upgrade(empty, BEFORE_TAGS)
    with database.connect(empty, key=KEY) as connection:
        keys.verify(connection)
        connection.execute(
            "INSERT INTO patients_and_guardians (role, first_name, last_name, birthdate) "
            "SELECT 1, 'Mia', 'Nr' || n, '2012-02-03' FROM generate_series(1, 25) n"
        )
        connection.execute("UPDATE patients_and_guardians SET phone = '5' WHERE id IS NOT NULL")
        connection.execute(
            "UPDATE patients_and_guardians SET birthdate_encrypted = '\\x00' "
            "WHERE id = (SELECT min(id::text)::uuid FROM patients_and_guardians)"
        )
    runner.upgrade(empty)
    return empty


def _bind(settings: DatabaseSettings, **options: object) -> dict[str, int]:
    with database.connect(settings, key=KEY, autocommit=True) as connection:
        return binding.bind(connection, **options)  # type: ignore[arg-type]


def _state(settings: DatabaseSettings) -> list[tuple[object, ...]]:
    with database.connect(settings, key=KEY) as connection:
        people = connection.execute(
            "SELECT u.*, p.name_tokens, p._source_hash, p._edited_at FROM users u "
            "JOIN patients_and_guardians p USING (id) ORDER BY id"
        ).fetchall()
        trail = connection.execute(
            "SELECT id, privacy.unseal(before_encrypted, privacy.key('seal')) FROM audit.changes ORDER BY id"
        ).fetchall()
        return [*people, *trail]


def test_binding_changes_nothing_but_the_ciphertext(old: DatabaseSettings) -> None:
    before = _state(old)
    assert _unbound(old)["public.patients_and_guardians.last_name_encrypted"] == 25
    with database.connect(old) as connection:
        assert binding.unbound(connection) == ["audit.changes", "public.patients_and_guardians"]
    assert _bind(old, batch=10) == {"audit.changes": 51, "public.patients_and_guardians": 25}
    assert _state(old) == before
    assert _unbound(old) == {"public.patients_and_guardians.birthdate_encrypted": 1}, (
        "what does not open stays"
    )
    with database.connect(old) as connection:
        assert binding.unbound(connection) == []
    assert _bind(old) == {}


def test_what_was_copied_since_stays_another_columns(old: DatabaseSettings) -> None:
    with database.connect(old, key=KEY) as connection:
        connection.execute("UPDATE patients_and_guardians SET first_name = 'Pia'")
        _copy(connection, "last_name", "first_name_encrypted")
    _bind(old)
    with database.connect(old, autocommit=True) as connection:
        rotation.rotate(connection, Exchange(KEY, NEW, kept=False))
    with database.connect(old, key=NEW) as connection:
        assert connection.execute("SELECT DISTINCT first_name, last_name FROM users").fetchall() == [
            ("Pia", None)
        ]


class StoppedError(Exception):
    pass


def test_binding_that_was_stopped_goes_on_where_it_was(old: DatabaseSettings) -> None:
    def stop(text: str) -> None:
        if text.startswith("bind public.patients_and_guardians: 10 rows"):
            raise StoppedError

    with pytest.raises(StoppedError):
        _bind(old, batch=10, tell=stop)
    assert _unbound(old)["public.patients_and_guardians.last_name_encrypted"] == 15
    told: list[str] = []
    _bind(old, batch=10, tell=told.append)
    assert told[0].startswith("bind public.patients_and_guardians: 20 rows")
    assert "public.patients_and_guardians.last_name_encrypted" not in _unbound(old)


def test_a_rotation_binds_as_well(old: DatabaseSettings) -> None:
    with database.connect(old, autocommit=True) as connection:
        rotation.rotate(connection, Exchange(KEY, NEW, kept=False))
        assert binding.unbound(connection) == []
    assert _unbound(old, NEW) == {"public.patients_and_guardians.birthdate_encrypted": 1}


def test_binding_waits_for_no_rotation_that_was_stopped(old: DatabaseSettings) -> None:
    def stop(text: str) -> None:
        if text.startswith("re-encrypt"):
            raise StoppedError

    with database.connect(old, autocommit=True) as connection, pytest.raises(StoppedError):
        rotation.rotate(connection, Exchange(KEY, NEW, kept=False), stop)
    with (
        database.connect(old, key=NEW, autocommit=True) as connection,
        pytest.raises(UsageError, match="run daybreak keys rotate"),
    ):
        binding.bind(connection)


def test_a_fresh_database_has_nothing_to_bind(migrated: DatabaseSettings) -> None:
    with database.connect(migrated) as connection:
        assert binding.unbound(connection) == []


def test_an_older_version_reads_what_was_bound(old: DatabaseSettings) -> None:
    _bind(old)
    before = _state(old)
    runner.downgrade(old, BEFORE_TAGS)
    assert _state(old) == before
    runner.upgrade(old)
    assert _state(old) == before
