"""A ciphertext that does not fit its column shows as NULL, and blinds nobody to all the others."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from daybreak_pipeline import database
from daybreak_pipeline.database import Connection
from daybreak_pipeline.settings import DatabaseSettings
from daybreak_pipeline_tests.conftest import KEY
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
