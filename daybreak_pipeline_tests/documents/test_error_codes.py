"""An application gets the codes that docs/access-patterns.md lists, and what that page says of sessions and views holds."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress

import psycopg
import pytest

from daybreak_pipeline import database
from daybreak_pipeline.privacy import keys
from daybreak_pipeline.schema import references
from daybreak_pipeline.settings import PROJECT_ROOT, DatabaseSettings
from daybreak_pipeline_tests.application import NOBODY, Application, add
from daybreak_pipeline_tests.conftest import KEY, Databases
from daybreak_pipeline_tests.exports import Export, record
from daybreak_pipeline_tests.pgbouncer import needs_pgbouncer, pooled
from daybreak_pipeline_tests.privacy.test_roles import APP, apply_with_passwords, login

PAGE = (PROJECT_ROOT / "docs" / "access-patterns.md").read_text(encoding="utf-8")
LISTED = re.findall(r"^\| `([0-9A-Z]{5})` \|", PAGE, re.MULTILINE)
PEOPLE = "patients_and_guardians"


@pytest.fixture(scope="module")
def db(databases: Databases, template: DatabaseSettings) -> Iterator[DatabaseSettings]:
    with databases.copy(template.name) as given:
        apply_with_passwords(given)
        with database.connect(given, key=KEY) as owner:
            keys.verify(owner)  # from here on the database has this key, and no other
            references.enforce(owner, ["memberships"])
        yield given


@pytest.fixture
def application(db: DatabaseSettings) -> Iterator[Application]:
    opened = Application(db, APP)
    yield opened
    opened.connection.close()


@pytest.fixture
def other(db: DatabaseSettings) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    """Another session of the application, without autocommit."""
    with psycopg.connect(login(db, APP).conninfo()) as opened:
        yield opened
        if not opened.closed:
            opened.rollback()


Other = psycopg.Connection[tuple[object, ...]]
Provoked = Callable[[Application, Other], object]


def person(application: Application) -> object:
    return application.add(PEOPLE, role=1, first_name="Iris")


def locked(application: Application, other: Other) -> object:
    row = person(application)
    other.execute("SELECT FROM patients_and_guardians WHERE id = %s FOR UPDATE", [row])
    with application.work() as work:
        work.execute("SET LOCAL lock_timeout = '10ms'")
        return work.execute("UPDATE patients_and_guardians SET role = 1 WHERE id = %s", [row])


def changed_meanwhile(application: Application, other: Other) -> object:
    row = person(application)
    other.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
    other.execute("SELECT FROM patients_and_guardians")
    application.change(PEOPLE, row, title="Ms")
    return other.execute("UPDATE patients_and_guardians SET role = 1 WHERE id = %s", [row])


def deadlock(application: Application, other: Other) -> object:
    first, second = person(application), person(application)
    change = "UPDATE patients_and_guardians SET role = 1 WHERE id = %s"
    with application.work() as work:
        work.execute(change, [first])
        other.execute(change, [second])
        found: list[psycopg.Error] = []

        def go() -> None:
            try:
                other.execute(change, [first])
            except psycopg.Error as error:
                found.append(error)

        waiting = threading.Thread(target=go)
        waiting.start()
        try:
            work.execute(change, [second])
        finally:
            waiting.join(10)
        raise found[0]


def ended(application: Application, other: Other) -> object:
    """Ended by another session of the role, as an administrator would."""
    process = application.one("SELECT pg_backend_pid()")
    other.execute("SELECT pg_terminate_backend(%s, 5000)", [process])
    return application.one("SELECT 1")


def idle(application: Application, other: Other) -> object:
    other.execute("SET idle_in_transaction_session_timeout = '10ms'")
    application.one("SELECT pg_sleep(0.2)")
    return other.execute("SELECT 1")


def crowded(application: Application, _other: Other) -> object:
    """As many connections as the role may have."""
    settings = login(_settings(application), APP)
    opened: list[Other] = []
    try:
        while True:
            opened.append(psycopg.connect(settings.conninfo()))
    finally:
        for one in opened:
            one.close()


def _settings(application: Application) -> DatabaseSettings:
    info = application.connection.info
    return DatabaseSettings(info.host, info.port, info.dbname, info.user, info.password, sslmode="disable")


def outside(statement: str) -> Provoked:
    def run(_application: Application, other: Other) -> object:
        return other.execute(statement.encode())

    return run


def within(statement: str) -> Provoked:
    def run(application: Application, _other: Other) -> object:
        return application.all(statement)

    return run


def too_long(_application: Application, other: Other) -> object:
    other.execute("SET LOCAL statement_timeout = '10ms'")
    return other.execute("SELECT pg_sleep(5)")


def failed_before(_application: Application, other: Other) -> object:
    with suppress(psycopg.Error):
        other.execute("SELECT 1 / 0")
    return other.execute("SELECT 1")


PROVOKED: dict[str, Provoked] = {
    "22001": within("INSERT INTO organizations (kind, name) VALUES (1, repeat('x', 300)) RETURNING id"),
    "22007": within("SELECT '2013-04-5x'::date"),
    "22023": within("SELECT * FROM search_people('ir*')"),
    "22P02": within("SELECT '{\"a\"}'::jsonb"),
    "23502": within("INSERT INTO organizations (kind) VALUES (1) RETURNING id"),
    "23503": lambda application, _: application.add(
        "memberships", user_id=NOBODY, organization_id=application.add("organizations", kind=1, name="Any")
    ),
    "23505": lambda application, _: application.add(PEOPLE, id=person(application), role=1),
    "23514": within("INSERT INTO organizations (kind, name) VALUES (3, 'A county') RETURNING id"),
    "25006": outside("SET TRANSACTION READ ONLY; INSERT INTO organizations (kind, name) VALUES (1, 'Any')"),
    "25P02": failed_before,
    "25P03": idle,
    "28000": outside("INSERT INTO patients_and_guardians (role, first_name) VALUES (1, 'Iris')"),
    "0A000": outside("COPY organizations (kind, name) FROM STDIN"),
    "42501": outside("INSERT INTO app.patients_and_guardians (role) VALUES (1)"),
    "40001": changed_meanwhile,
    "40P01": deadlock,
    "53300": crowded,
    "55P03": locked,
    "57014": too_long,
    "57P01": ended,
}


def test_every_listed_code_is_provoked_here() -> None:
    assert sorted(LISTED) == sorted(PROVOKED)


@pytest.mark.parametrize("code", PROVOKED)
def test_an_application_gets_the_code_that_the_page_lists(
    code: str, application: Application, other: Other
) -> None:
    with pytest.raises(psycopg.Error) as caught:
        PROVOKED[code](application, other)
    found = caught.value.sqlstate or caught.value.diag.sqlstate
    if code == "53300":  # libpq says it of a login without its code
        assert "too many connections" in str(caught.value)
    else:
        assert found == code, found


def test_with_another_key_a_transaction_is_refused_as_without(db: DatabaseSettings) -> None:
    stranger = Application(db, APP, key=KEY[::-1])
    with pytest.raises(psycopg.errors.InvalidAuthorizationSpecification):
        person(stranger)
    stranger.connection.close()


# --- What the page says of writing, reading and sessions ------------------------------------------------------


def test_what_is_written_shows_through_the_view_only(application: Application) -> None:
    with application.work() as work:
        [returned] = work.execute(
            "INSERT INTO patients_and_guardians (role, first_name) VALUES (1, 'Xaviera') RETURNING first_name"
        ).fetchall()
        assert returned == (None,)
        assert work.execute("SELECT FROM patients_and_guardians WHERE first_name = 'Xaviera'").rowcount == 0
        found = "SELECT FROM app.patients_and_guardians WHERE first_name = 'Xaviera'"
        assert work.execute(found).rowcount == 1


def test_writing_null_into_the_table_erases_nothing_and_through_the_view_it_does(
    application: Application,
) -> None:
    row = person(application)
    application.change(PEOPLE, row, first_name=None)
    read = "SELECT first_name FROM app.patients_and_guardians WHERE id = %s"
    assert application.one(read, row) == "Iris"
    application.change(f"app.{PEOPLE}", row, first_name=None)
    assert application.one(read, row) is None


def test_plain_text_in_a_protected_column_reads_as_nothing(application: Application) -> None:
    row = person(application)
    application.change(PEOPLE, row, first_name_encrypted=b"Iris")
    assert application.one("SELECT first_name FROM app.patients_and_guardians WHERE id = %s", row) is None


def test_the_key_without_a_transaction_is_gone_with_its_statement(db: DatabaseSettings) -> None:
    with psycopg.connect(login(db, APP).conninfo(), autocommit=True) as connection:
        connection.execute("SELECT set_config('daybreak.encryption_key', %s, true)", [KEY])
        with pytest.raises(psycopg.errors.InvalidAuthorizationSpecification):
            connection.execute("SELECT FROM search_people('iris')")


@needs_pgbouncer
def test_timeouts_as_start_up_options_do_not_get_through_a_pooler(db: DatabaseSettings) -> None:
    with pooled(db, size=1) as (through, _log):
        reached = login(through, APP).conninfo(options="-c statement_timeout=7s")
        with psycopg.connect(reached, prepare_threshold=None) as connection:
            assert connection.execute("SHOW statement_timeout").fetchone() != ("7s",)


def test_common_queries_leave_out_what_is_marked_and_the_plans_views_do_not(application: Application) -> None:
    with application.work() as work:
        parent, child = (add(work, PEOPLE, role=1, last_name="Quillmark") for _ in range(2))
        add(work, "kinships", user_0_id=parent, user_1_id=child, kind=1, user_0_label=1, user_1_label=2)
    application.change(PEOPLE, parent, _fivetran_deleted=True)
    assert application.all("SELECT id FROM search_people('quillmark')") == [(child,)]
    assert application.all("SELECT FROM app.relatives WHERE person_id = %s", child) == []
    for name in (PEOPLE, "users", f"app.{PEOPLE}"):
        assert application.one(f"SELECT count(*) FROM {name} WHERE id = %s", parent) == 1  # noqa: S608 - names of this file


def test_a_row_of_an_export_that_was_deleted_comes_back_and_one_that_was_marked_does_not(
    export: Export,
) -> None:
    deleted, marked = (record("documents", word) for word in ("deleted", "marked"))
    export.load("documents", deleted, marked)
    export.connection.execute("DELETE FROM documents WHERE id = %s", [deleted["id"]])
    export.connection.execute("UPDATE documents SET _fivetran_deleted = true WHERE id = %s", [marked["id"]])
    export.connection.commit()
    export.load("documents", deleted, marked, record("documents", "another"))
    assert {
        str(row): is_marked for row, is_marked in export.rows("documents", "id", "_fivetran_deleted")
    } == {
        deleted["id"]: False,
        marked["id"]: True,
        record("documents", "another")["id"]: False,
    }


def test_the_owner_is_not_held_to_what_applications_are(db: DatabaseSettings) -> None:
    """Which is why nobody but imports logs in as the owner."""
    with database.connect(db, key=KEY) as owner:
        [organization] = owner.execute(
            "INSERT INTO organizations (kind, name) VALUES (1, 'Any') RETURNING id"
        ).fetchone() or [None]
        owner.execute(
            "INSERT INTO memberships (user_id, organization_id) VALUES (%s, %s)", [NOBODY, organization]
        )
