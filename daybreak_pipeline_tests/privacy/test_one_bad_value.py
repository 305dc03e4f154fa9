"""A ciphertext that does not fit its column shows as NULL, blinds nobody to all the others, and is counted."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from daybreak_pipeline import database
from daybreak_pipeline.checks import rules
from daybreak_pipeline.checks.findings import Finding
from daybreak_pipeline.database import Connection
from daybreak_pipeline.privacy import sealed_faults
from daybreak_pipeline.schema import catalog as catalogs
from daybreak_pipeline.settings import DatabaseSettings
from daybreak_pipeline_tests.conftest import KEY
from daybreak_pipeline_tests.exports import Export, record, soon
from daybreak_pipeline_tests.privacy.test_roles import APP, apply_with_passwords, login


@pytest.fixture
def application(migrated: DatabaseSettings) -> Iterator[Connection]:
    apply_with_passwords(migrated)
    with database.connect(login(migrated, APP), key=KEY) as opened:
        for name in ("Mia", "Pia"):
            opened.execute(
                "INSERT INTO patients_and_guardians (role, first_name, birthdate, address) "
                "VALUES (1, %s, '2015-05-05', '{\"city\": \"X\"}')",
                [name],
            )
        yield opened


@pytest.mark.parametrize("view", ["app.patients_and_guardians", "users"])
@pytest.mark.parametrize("column", ["birthdate", "address"])
def test_a_name_in_another_columns_ciphertext_shows_as_nothing(
    application: Connection, column: str, view: str
) -> None:
    application.execute(
        f"UPDATE public.patients_and_guardians SET {column}_encrypted = first_name_encrypted "  # noqa: S608 - ours
        "WHERE privacy.unseal(first_name_encrypted, privacy.key('seal')) = 'Mia'".encode()
    )
    found = application.execute(
        f"SELECT first_name, birthdate::text, address ->> 'city' FROM {view} ORDER BY 1".encode()  # noqa: S608 - as above
    ).fetchall()
    expected = ("Mia", None, "X") if column == "birthdate" else ("Mia", "2015-05-05", None)
    assert found == [expected, ("Pia", "2015-05-05", "X")]


@pytest.mark.parametrize("damage", ["'\\x00'::bytea", "''::bytea"])
def test_a_damaged_ciphertext_shows_as_nothing(application: Connection, damage: str) -> None:
    application.execute(
        f"UPDATE public.patients_and_guardians SET birthdate_encrypted = {damage}, phone_encrypted = {damage}".encode()  # noqa: S608
    )
    found = application.execute("SELECT first_name, birthdate, phone FROM users ORDER BY 1").fetchall()
    assert found == [("Mia", None, None), ("Pia", None, None)]


@pytest.mark.parametrize("word", ["today", "May", "12", "2015-13-45", "1/2", "epoch", "99999999999-01-01"])
def test_a_word_that_postgresql_takes_for_a_day_is_no_birthdate(application: Connection, word: str) -> None:
    application.execute("UPDATE public.patients_and_guardians SET preferred_name = %s", [word])
    application.execute(
        "UPDATE public.patients_and_guardians SET birthdate_encrypted = preferred_name_encrypted"
    )
    found = application.execute("SELECT preferred_name, birthdate FROM users").fetchall()
    assert found == [(word, None)] * 2


@pytest.mark.parametrize("style", ["SQL, DMY", "German", "Postgres, MDY", "ISO, YMD"])
@pytest.mark.parametrize("day", ["2015-05-04", "0044-03-15 BC", "infinity"])
def test_a_birthdate_is_read_whatever_style_it_was_written_in(
    application: Connection, style: str, day: str
) -> None:
    application.execute("SELECT set_config('datestyle', %s, false)", [style])
    application.execute("UPDATE public.patients_and_guardians SET birthdate = %s::text::date", [day])
    assert application.execute("SELECT DISTINCT birthdate = %s::text::date FROM users", [day]).fetchall() == [
        (True,)
    ]


def test_whatever_a_ciphertext_is_damaged_by_nobody_is_blinded(application: Connection) -> None:
    (sealed,) = application.execute(
        "SELECT birthdate_encrypted FROM public.patients_and_guardians LIMIT 1"
    ).fetchone() or (b"",)
    chance = random.Random(7)  # noqa: S311 - damage, not a secret
    damaged = [_damaged(sealed, chance) for _ in range(400)]
    application.execute(
        "INSERT INTO public.patients_and_guardians (role, first_name_encrypted, birthdate_encrypted, address_encrypted) "
        "SELECT 1, d, d, d FROM unnest(%s::bytea[]) d",
        [damaged],
    )
    for view in ("users", "app.patients_and_guardians"):
        query = f"SELECT count(*), count(first_name || birthdate || address) < 5 FROM {view}"  # noqa: S608 - ours
        assert application.execute(query.encode()).fetchall() == [(402, True)]


def _damaged(sealed: bytes, chance: random.Random) -> bytes:
    result = bytearray(sealed[: chance.randrange(len(sealed) + 1)] if chance.random() < 0.3 else sealed)
    for _ in range(chance.randrange(1, 4)):
        if result:
            # Mostly in the head, which says how long everything is.
            place = chance.randrange(min(len(result), chance.choice((6, 20, 200))))
            result[place] ^= chance.randrange(1, 256)
    return bytes(result)


# --- The check --------------------------------------------------------------------------------------------


def _examine(export: Export, table: str = "patients_and_guardians", batch: int = 2) -> Finding:
    export.connection.commit()
    catalog = catalogs.read(export.connection, table)
    export.connection.commit()
    sealed_faults.look(export.connection, catalog, batch)
    found = rules.examine(export.connection, catalog, {"sealed_values"})["sealed_values"]
    export.connection.commit()
    return found


@pytest.fixture
def people(export: Export) -> Export:
    named = [
        record("patients_and_guardians", word, first_name="Ann", birthdate="2015-05-05") for word in "abcde"
    ]
    export.load("patients_and_guardians", *named)
    assert (
        _examine(export).summary
        == "every sealed value that a client wrote opens and fits its column (5 rows)"
    )
    return export


def _edit(export: Export, change: str, place: int) -> None:
    export.connection.execute(
        f"UPDATE patients_and_guardians SET {change} WHERE id = (SELECT id FROM patients_and_guardians "  # noqa: S608 - ours
        f"WHERE _import_id > 0 ORDER BY id OFFSET {place} LIMIT 1)".encode()
    )


SWAPPED = "birthdate_encrypted = first_name_encrypted"


def test_values_that_show_as_nothing_are_counted_and_named(people: Export) -> None:
    _edit(people, SWAPPED, 0)
    _edit(people, "address_encrypted = '\\x01'", 1)
    _edit(people, "phone_encrypted = privacy.seal(repeat('5', 51), privacy.key('seal'))", 2)
    _edit(people, "_export_columns_encrypted = privacy.seal('7', privacy.key('seal'))", 3)
    _edit(people, "title = 'Dr'", 4)
    found = _examine(people)
    assert found.counts == {
        "_export_columns does not fit": 1,
        "address does not open": 1,
        "birthdate was sealed for another column": 1,
        "phone does not fit": 1,
    }
    ids = sorted(str(row_id) for (row_id,) in people.rows("patients_and_guardians", "id"))
    assert sorted(found.rows) == ids[:4]
    assert (found.passed, found.severity, found.total) == (False, "ERROR", 5)


def test_they_are_counted_until_they_are_mended(people: Export) -> None:
    _edit(people, SWAPPED, 0)
    for _ in range(2):
        assert _examine(people).counts == {"birthdate was sealed for another column": 1}
    _edit(people, "birthdate = '2011-02-03'", 0)
    assert _examine(people).passed
    _edit(people, SWAPPED, 1)
    assert _examine(people).count == 1
    people.connection.execute("DELETE FROM patients_and_guardians")
    assert _examine(people).passed


def test_a_session_without_the_key_is_looked_after_as_well(
    people: Export, migrated: DatabaseSettings
) -> None:
    people.connection.commit()
    with database.connect(migrated) as keyless:
        keyless.execute(b"UPDATE patients_and_guardians SET birthdate_encrypted = first_name_encrypted")
        keyless.execute("INSERT INTO patients_and_guardians (role, phone_encrypted) VALUES (1, '')")
    assert _examine(people).counts == {"birthdate was sealed for another column": 5, "phone does not open": 1}


def test_a_transaction_that_ends_after_the_look_is_seen_by_the_next(
    people: Export, migrated: DatabaseSettings
) -> None:
    people.connection.commit()
    with database.connect(migrated, key=KEY) as slow:
        slow.execute("UPDATE patients_and_guardians SET birthdate_encrypted = first_name_encrypted")
        assert _examine(people).passed
        slow.commit()
    assert _examine(people).count == 5


def test_a_look_that_is_stopped_goes_on_where_it_was(people: Export, monkeypatch: pytest.MonkeyPatch) -> None:
    for place in range(5):
        _edit(people, SWAPPED, place)
    steps = iter([False, True])
    whole = sealed_faults._next

    def stopped(*arguments: object) -> object:
        if next(steps):
            raise KeyboardInterrupt
        return whole(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(sealed_faults, "_next", stopped)
    with pytest.raises(KeyboardInterrupt):
        _examine(people)
    monkeypatch.undo()
    count = "SELECT count(*) FROM privacy.sealed_faults"
    assert people.connection.execute(count.encode()).fetchone() == (2,)
    assert _examine(people).count == 5


def test_one_in_a_thousand_is_a_warning(people: Export) -> None:
    people.connection.execute(
        "INSERT INTO patients_and_guardians (role) SELECT 1 FROM generate_series(1, 1000)"
    )
    _edit(people, SWAPPED, 0)
    found = _examine(people, batch=500)
    assert (found.passed, found.severity) == (False, "WARN")


def test_a_table_without_sealed_columns_passes(export: Export) -> None:
    assert _examine(export, "kinships").summary == "the table has no sealed column"


def test_an_import_survives_what_is_in_the_export_columns(export: Export) -> None:
    first = record("patients_and_guardians", full_name="Ann Other")
    export.load("patients_and_guardians", first)
    for word in ("7", "null", "not JSON"):
        export.connection.execute(
            "UPDATE patients_and_guardians SET _export_columns_encrypted = privacy.seal(%s, privacy.key('seal'))",
            [word],
        )
    export.connection.commit()
    later = export.load("patients_and_guardians", first | {"title": "Dr", "updated_at": soon()})
    assert later["updated"] == 1
    query = (
        "SELECT privacy.unseal(_export_columns_encrypted, privacy.key('seal')) FROM patients_and_guardians"
    )
    assert export.connection.execute(query.encode()).fetchall() == [('{"full_name": "Ann Other"}',)]
