"""One table back: its rows beside the table of now, and SQL that works as it is printed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from daybreak_pipeline import database
from daybreak_pipeline.backups import points, recovered, restore
from daybreak_pipeline.backups.recovered import Recovered
from daybreak_pipeline.checks.rules import examine
from daybreak_pipeline.cli.main import main
from daybreak_pipeline.errors import UsageError
from daybreak_pipeline.privacy import keys
from daybreak_pipeline.schema import catalog as catalogs
from daybreak_pipeline.settings import DatabaseSettings
from daybreak_pipeline_tests.backups.conftest import PATIENTS, Site, ask, do, needs_pgbackrest
from daybreak_pipeline_tests.backups.test_restoring import aim, all_archived
from daybreak_pipeline_tests.exports import record, uuid

pytestmark = [needs_pgbackrest, pytest.mark.slow]
POINT = "before-import-eeeeeeee"


@pytest.fixture
def db(site: Site, tmp_path: Path) -> Iterator[DatabaseSettings]:
    """Three people, of whom one was deleted and one changed after the restore point."""
    people = [record(PATIENTS, word, email=f"{word}@example.org") for word in ("kept", "gone", "changed")]
    with site.up_with_people(tmp_path / "export", *people) as found:
        with database.connect(found, autocommit=True) as session:
            points.before_import(session, "eeeeeeee")
        with database.connect(found, key=keys.load(), autocommit=True) as session:
            session.execute(
                "UPDATE patients_and_guardians SET email = 'other@example.org' WHERE id = %s",
                [uuid("changed")],
            )
        do(
            found,
            "DELETE FROM patients_and_guardians WHERE email LIKE 'gone%'",
            'CREATE TABLE "a table\'s%name" (n int)',
        )
        all_archived(found)
        yield found


def brought_back(site: Site, db: DatabaseSettings, table: str) -> Recovered:
    with (
        restore.scratch(site.agent, "table") as data,
        restore.recovered(site.agent, aim(site, POINT), data) as copy,
    ):
        return recovered.bring_back(copy, db, table)


def test_its_rows_can_be_compared_and_put_back_with_the_printed_sql(site: Site, db: DatabaseSettings) -> None:
    found = brought_back(site, db, PATIENTS)
    assert found.rows == 3
    assert ask(db, "SELECT count(*) FROM patients_and_guardians") == 2  # is as it was
    assert found.sql is not None
    assert ask(db, found.sql.missing) == ask(
        db, "SELECT id FROM recovered.patients_and_guardians WHERE email LIKE 'gone%'"
    )
    assert ask(db, found.sql.different) == ask(
        db, "SELECT id FROM recovered.patients_and_guardians WHERE email LIKE 'changed%'"
    )
    with database.connect(db, key=keys.load(), autocommit=True) as session:
        assert recovered.put_back(session, found, different=False) == 1
        assert ask(db, found.sql.missing) is None
        assert recovered.put_back(session, found, different=True) == 1
    assert ask(db, found.sql.different) is None
    emails = "SELECT string_agg(split_part(email, '@', 1), ' ' ORDER BY email) FROM patients_and_guardians"
    assert ask(db, emails) == "changed gone kept"
    do(db, found.sql.drop)
    with database.connect(db, key=keys.load(), autocommit=True) as session:
        assert all(
            finding.passed
            for name, finding in examine(session, catalogs.read(session, PATIENTS)).items()
            if name in {"database_matches_migrations", "sealed_values", "plain_values"}
        )


def test_it_is_open_to_nobody_else_and_can_be_brought_back_again(site: Site, db: DatabaseSettings) -> None:
    brought_back(site, db, PATIENTS)
    assert brought_back(site, db, f"public.{PATIENTS}").rows == 3
    assert not ask(db, "SELECT has_schema_privilege('public', 'recovered', 'USAGE')")
    with pytest.raises(UsageError, match=r"no table public\.nothing at that time"):
        brought_back(site, db, "nothing")
    with pytest.raises(UsageError, match="at that time"):  # it was made later
        brought_back(site, db, "a table's%name")


def test_the_command_prints_the_sql_and_leaves_no_copy(
    site: Site, db: DatabaseSettings, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path.name for path in site.home.iterdir()}
    main(["restore", "--to", POINT, "--table", PATIENTS], standalone_mode=False)
    said = capsys.readouterr().out
    assert f"3 rows of {PATIENTS}" in said
    assert "-- Put back the missing ones" in said
    assert {path.name for path in site.home.iterdir()} - before <= {"encryption.key"}
    assert ask(db, "SELECT count(*) FROM recovered.patients_and_guardians") == 3
