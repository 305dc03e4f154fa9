"""References without a foreign key, enforced for applications: what is refused, what is said, and who is not held to them."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
from psycopg import sql

from daybreak_pipeline import database
from daybreak_pipeline.checks.rules import examine
from daybreak_pipeline.database import Connection
from daybreak_pipeline.importer import bulk_load
from daybreak_pipeline.privacy import erasure
from daybreak_pipeline.schema import catalog, reference_triggers, references
from daybreak_pipeline.settings import PROJECT_ROOT, DatabaseSettings
from daybreak_pipeline.tables import CLINICIANS, PATIENTS, TABLES, Reference
from daybreak_pipeline_tests.application import NO_SUCH_ROW, NOBODY, Application, add, refused
from daybreak_pipeline_tests.conftest import Databases
from daybreak_pipeline_tests.exports import Export, record, soon, uuid
from daybreak_pipeline_tests.pgbouncer import needs_pgbouncer, pooled
from daybreak_pipeline_tests.privacy.test_roles import APP, apply_with_passwords

REFERENCES = [(name, r) for name, table in TABLES.items() for r in table.application_references]
LEADS = [(name, r, parent) for name, r in REFERENCES for parent in r.tables]
NO_NUMBER = 987_654
WARNED = "still refers to it"


def named(value: object) -> str:
    return value.column if isinstance(value, Reference) else str(value)


def enforce_all(db: DatabaseSettings) -> None:
    with database.connect(db, autocommit=True) as owner:
        assert {one.enforced for one in references.enforce(owner, references.tables())} == {"yes"}


@pytest.fixture(scope="module")
def db(databases: Databases, template: DatabaseSettings) -> Iterator[DatabaseSettings]:
    """A database in which all references are enforced, and the roles may log in."""
    with databases.copy(template.name, "references") as given:
        apply_with_passwords(given)
        enforce_all(given)
        yield given


@pytest.fixture(scope="module")
def opened(db: DatabaseSettings) -> Iterator[Application]:
    found = Application(db, APP)
    yield found
    found.connection.close()


@pytest.fixture
def application(opened: Application) -> Application:
    opened.notices.clear()
    return opened


@pytest.fixture(scope="module")
def world(opened: Application) -> dict[str, Any]:
    """Rows that have nothing to do with people, for those that need them."""
    organization = opened.add("organizations", kind=2, name="Any School")
    contract = opened.add("contracts", effective_date="2026-01-01", services=["a"], terms=[{}])
    submitter = opened.add(PATIENTS, role=1)
    referral = opened.add(
        "referrals",
        submitter_id=submitter,
        organization_id=organization,
        contract_id=contract,
        service_kind=1,
    )
    return {"organization_id": organization, "contract_id": contract, "referral_id": referral}


def parent(application: Application, table: str, reference: Reference) -> tuple[Any, Any]:
    """Add somebody who can be referred to, and return the id and what refers to them."""
    if table == PATIENTS:
        made = application.add(PATIENTS, role=1)
        return made, made
    number = application.one("SELECT coalesce(max(healthie_id::int), 0) + 1 FROM clinicians")
    made = application.add(CLINICIANS, healthie_id=str(number))
    return made, number if reference.target_column == "healthie_id" else made


def child(application: Application, table: str, world: dict[str, Any], **values: Any) -> dict[str, Any]:
    """Return the values of a row of a table, whose other references are fine."""
    person = application.add(PATIENTS, role=1)
    other = {r.column: person for r in TABLES[table].application_references}
    needed: dict[str, dict[str, Any]] = {
        "kinships": {"kind": 1, "user_0_label": 1, "user_1_label": 2},
        "questionnaires": {"type": 3, "question_answers": {}},
        "insurance_coverages": {"kind": 2},
        "referrals": {"service_kind": 1, **{k: world[k] for k in ("organization_id", "contract_id")}},
        "referral_members": {"referral_id": world["referral_id"]},
        "memberships": {"organization_id": world["organization_id"]},
        "patient_availabilities": {"availability": [{}]},
    }
    if table == "clinician_availabilities":
        number = application.one("SELECT coalesce(max(id), 0) + 1 FROM clinician_availabilities")
        times = dict.fromkeys(("range_start", "range_end", "created_at", "updated_at"), "2026-01-01T12:00Z")
        return {"id": number, "timezone": "UTC", **times} | values
    return other | needed[table] | values


def missing(reference: Reference) -> Any:
    return NO_NUMBER if reference.target_column == "healthie_id" else NOBODY


def says(application: Application, reference: Reference, value: Any) -> bool:
    """Return what the function says that an application asks first."""
    function = reference_triggers.ASK[reference.tables, reference.target_column]
    return bool(application.one(f"SELECT {function}(%s)", value))


# --- What is written -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("table", "reference"), REFERENCES, ids=named)
def test_what_leads_nowhere_is_refused_by_column_and_id(
    application: Application, world: dict[str, Any], table: str, reference: Reference
) -> None:
    nobody = missing(reference)
    values = child(application, table, world, **{reference.column: nobody})
    with pytest.raises(psycopg.errors.ForeignKeyViolation) as caught:
        application.add(table, **values)
    said = caught.value.diag
    assert f"{table}.{reference.column} refers to {nobody}, but no row of " in (said.message_primary or "")
    assert (said.table_name, said.column_name) == (table, reference.column)
    assert reference_triggers.ASK[reference.tables, reference.target_column] in (said.message_hint or "")
    assert says(application, reference, nobody) is False


@pytest.mark.parametrize(("table", "reference", "where"), LEADS, ids=named)
def test_what_leads_to_a_row_is_written_whatever_table_it_is_in(
    application: Application, world: dict[str, Any], table: str, reference: Reference, where: str
) -> None:
    _id, value = parent(application, where, reference)
    assert says(application, reference, value) is True
    made = application.add(table, **child(application, table, world, **{reference.column: value}))
    with refused(NO_SUCH_ROW, column=reference.column, table=table):
        application.change(table, made, **{reference.column: missing(reference)})


@pytest.mark.parametrize(("table", "reference", "where"), LEADS, ids=named)
def test_deleting_who_is_referred_to_is_refused_or_said(
    application: Application, world: dict[str, Any], table: str, reference: Reference, where: str
) -> None:
    row_id, value = parent(application, where, reference)
    made = application.add(table, **child(application, table, world, **{reference.column: value}))
    application.notices.clear()
    if reference.deletion == "refused":
        with pytest.raises(psycopg.errors.ForeignKeyViolation) as caught:
            application.delete(where, row_id)
        said = caught.value.diag.message_primary
        expected = f"row {row_id} of {where} cannot be deleted: {table}.{reference.column} of row {made} refers to it"
        assert said == expected
        application.delete(table, made)
        application.delete(where, row_id)
        assert application.notices == []
    else:
        application.delete(where, row_id)
        [said] = application.notices
        assert (
            said == f"row {row_id} of {where} is deleted: {table}.{reference.column} of row {made} {WARNED}"
        )


@pytest.mark.parametrize(("table", "reference", "where"), LEADS, ids=named)
def test_a_row_that_is_marked_as_deleted_keeps_its_references_and_gets_no_new_one(
    application: Application, world: dict[str, Any], table: str, reference: Reference, where: str
) -> None:
    row_id, value = parent(application, where, reference)
    values = child(application, table, world, **{reference.column: value})
    made = application.add(table, **values)
    application.notices.clear()
    application.change(where, row_id, _fivetran_deleted=True)
    [said] = application.notices
    assert said.startswith(
        f"row {row_id} of {where} is marked as deleted: {table}.{reference.column} of row {made}"
    )
    assert says(application, reference, value) is False
    application.change(table, made, **{reference.column: value})
    application.delete(table, made)
    with pytest.raises(psycopg.errors.ForeignKeyViolation, match="is marked as deleted"):
        application.add(table, **values)


def test_nothing_is_said_where_only_deleted_rows_refer_to_who_is_marked_as_deleted(
    application: Application, world: dict[str, Any]
) -> None:
    person = application.add(PATIENTS, role=1)
    values = child(application, "memberships", world, user_id=person)
    application.add("memberships", **values, _fivetran_deleted=True)
    application.change(PATIENTS, person, _fivetran_deleted=True)
    assert application.notices == []


def test_an_optional_reference_may_be_empty(application: Application, world: dict[str, Any]) -> None:
    made = application.add("insurance_coverages", **child(application, "insurance_coverages", world))
    application.change("insurance_coverages", made, created_by=None)
    assert application.one("SELECT created_by IS NULL FROM insurance_coverages WHERE id = %s", made) is True


def test_what_counts_is_the_row_at_the_commit(application: Application, world: dict[str, Any]) -> None:
    person, child_id = application.add(PATIENTS, role=1), None
    values = child(application, "patient_availabilities", world)
    with application.work() as work:  # refers to who comes later
        later = work.execute("SELECT gen_random_uuid()").fetchone()
        assert later is not None
        child_id = add(work, "patient_availabilities", **values | {"user_id": later[0]})
        add(work, PATIENTS, id=later[0], role=1)
    with application.work() as work:  # is put right
        made = add(work, "patient_availabilities", **values | {"user_id": NOBODY})
        work.execute("UPDATE patient_availabilities SET user_id = %s WHERE id = %s", [person, made])
    with application.work() as work:  # is gone
        made = add(work, "patient_availabilities", **values | {"user_id": NOBODY})
        work.execute("DELETE FROM patient_availabilities WHERE id = %s", [made])
    with application.work() as work:  # both are gone, in the order that a foreign key would refuse
        work.execute("DELETE FROM patients_and_guardians WHERE id = %s", [later[0]])
        work.execute("DELETE FROM patient_availabilities WHERE id = %s", [child_id])
    with refused(NO_SUCH_ROW), application.work() as work:  # hides behind another id
        made = add(work, "patient_availabilities", **values | {"user_id": NOBODY})
        work.execute("UPDATE patient_availabilities SET id = gen_random_uuid() WHERE id = %s", [made])
    with refused(NO_SUCH_ROW), application.work() as work:  # is written twice
        made = add(work, "patient_availabilities", **values | {"user_id": NOBODY})
        work.execute("UPDATE patient_availabilities SET user_id = user_id WHERE id = %s", [made])


def test_an_application_that_wants_to_know_at_once_says_so(
    application: Application, world: dict[str, Any]
) -> None:
    with application.connection.transaction(force_rollback=True):
        application.connection.execute("SET CONSTRAINTS ALL IMMEDIATE")
        with refused(NO_SUCH_ROW, column="user_id"):
            add(application.connection, "memberships", **nobodys(world))


def nobodys(world: dict[str, Any]) -> dict[str, Any]:
    """Return a membership of somebody who is not there."""
    return {"user_id": NOBODY, "organization_id": world["organization_id"]}


def test_a_person_who_becomes_a_clinician_keeps_what_refers_to_both(
    application: Application, world: dict[str, Any]
) -> None:
    person = application.add(PATIENTS, role=1)
    application.add("memberships", **child(application, "memberships", world, user_id=person))
    with application.work() as work:
        work.execute("DELETE FROM patients_and_guardians WHERE id = %s", [person])
        add(work, CLINICIANS, id=person)
    with refused(NO_SUCH_ROW, table="memberships"):
        application.delete(CLINICIANS, person)


def test_an_id_that_is_referred_to_stays(application: Application, world: dict[str, Any]) -> None:
    person = application.add(PATIENTS, role=1)
    application.add("memberships", **child(application, "memberships", world, user_id=person))
    with pytest.raises(psycopg.errors.ForeignKeyViolation, match=r"must keep its id: memberships\.user_id"):
        application.change(PATIENTS, person, id=uuid("somebody new"))


@pytest.mark.parametrize("number", ["{}", " {}", "0{}", "{}.0", "x", ""])
def test_a_clinicians_number_is_the_text_as_it_stands(
    application: Application, world: dict[str, Any], number: str
) -> None:
    """7 refers to '7' and neither to '07' nor to 'x', which no number can be."""
    row_id, value = parent(application, CLINICIANS, dict(REFERENCES)["clinician_availabilities"])
    application.add(
        "clinician_availabilities", **child(application, "clinician_availabilities", world, user_id=value)
    )
    if number == "{}":
        application.change(CLINICIANS, row_id, healthie_id=str(value))
        return
    with pytest.raises(psycopg.errors.ForeignKeyViolation, match="must keep its healthie_id"):
        application.change(CLINICIANS, row_id, healthie_id=number.format(value))
    second = application.add(CLINICIANS, healthie_id=str(value))
    application.change(CLINICIANS, row_id, healthie_id=number.format(value))
    application.delete(CLINICIANS, row_id)
    with refused(NO_SUCH_ROW):
        application.delete(CLINICIANS, second)
    application.change("clinician_availabilities", application.one("SELECT max(id) FROM clinician_availabilities"),
                       updated_at="2026-01-01T00:00Z")  # fmt: skip


def test_each_row_of_a_statement_is_looked_at_and_so_is_a_view(
    application: Application, world: dict[str, Any]
) -> None:
    person = application.add(PATIENTS, role=1)
    with refused(NO_SUCH_ROW, table="questionnaires"), application.work() as work:
        work.execute(
            "INSERT INTO questionnaires (subject_id, respondent_id, type, question_answers) "
            "SELECT CASE n WHEN 777 THEN %s ELSE %s END, %s, 3, '{}' FROM generate_series(1, 1000) n",
            [NOBODY, person, person],
        )
    assert application.one("SELECT count(*) FROM questionnaires WHERE subject_id = %s", person) == 0
    made = application.add("insurance_coverages", **child(application, "insurance_coverages", world))
    with refused(NO_SUCH_ROW, column="user_id"):
        application.change("app.insurance_coverages", made, user_id=NOBODY)


def test_no_look_reads_a_whole_table(application: Application, world: dict[str, Any]) -> None:
    """The session itself counts what it reads. Many rows have the same value here, where reading all looks cheap."""
    clerk = application.add(PATIENTS, role=1)
    _id, number = parent(application, CLINICIANS, dict(REFERENCES)["clinician_availabilities"])
    member = application.add(PATIENTS, role=1)
    application.add("memberships", **child(application, "memberships", world, user_id=member))
    coverage = child(application, "insurance_coverages", world, created_by=clerk)
    for _ in range(20):
        application.add("insurance_coverages", **coverage)
    hours = child(application, "clinician_availabilities", world, user_id=number)
    scans = (
        "SELECT relname, seq_scan FROM pg_stat_xact_user_tables WHERE schemaname = 'public' ORDER BY relname"
    )
    with application.connection.transaction(force_rollback=True):
        work = application.connection
        before = work.execute(scans.encode()).fetchall()
        add(work, "clinician_availabilities", **hours)
        add(work, "insurance_coverages", **coverage)
        for table, unreferred in ((PATIENTS, {"role": 1}), (CLINICIANS, {"healthie_id": "no number"})):
            work.execute(
                sql.SQL("DELETE FROM {} WHERE id = %s").format(sql.Identifier(table)),
                [add(work, table, **unreferred)],
            )
        work.execute("UPDATE patients_and_guardians SET _fivetran_deleted = true WHERE id = %s", [member])
        work.execute("SET CONSTRAINTS ALL IMMEDIATE")
        assert work.execute(scans.encode()).fetchall() == before


# --- Who is not held to them ------------------------------------------------------------------------------------------


def test_an_import_loads_what_leads_nowhere_and_the_check_counts_it(
    export: Export, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Into an empty table in bulk, into one with rows, and from quarantine."""
    enforce_all_of(export)
    monkeypatch.setattr(bulk_load, "FEWEST_RECORDS", 1)
    assert export.load("kinships", record("kinships"))["inserted"] == 1
    assert export.load("kinships", record("kinships", "other", user_0_id="somebody"))["inserted"] == 1
    export.load("memberships", record("memberships"))
    assert export.refused("memberships") == [(1, [("missing_parent", "organization_id")])]
    export.load("organizations", record("organizations", "school"))
    assert export.load("memberships")["inserted"] == 1
    export.connection.commit()
    finding = examine(export.connection, catalog.read(export.connection, "kinships"))["orphans"]
    assert finding.counts == {"user_0_id": 2, "user_1_id": 2}
    export.connection.commit()
    export.connection.autocommit = True
    assert [one.orphans for one in references.states(export.connection, ["kinships", "memberships"])] == [
        2,
        2,
        1,
    ]


def enforce_all_of(export: Export) -> None:
    export.connection.commit()
    export.connection.autocommit = True
    references.enforce(export.connection, references.tables())
    export.connection.autocommit = False


def test_an_import_that_deletes_and_an_erasure_are_not_held_up(export: Export) -> None:
    export.add_parents()
    export.load("kinships", record("kinships", user_0_id="patient", user_1_id="child"))
    enforce_all_of(export)
    export.load(PATIENTS, record(PATIENTS, "patient", _fivetran_deleted="true", updated_at=soon()))
    assert export.rows(PATIENTS, "_fivetran_deleted")[-1] == (True,)
    export.connection.commit()
    erasure.erase(export.connection, PATIENTS, uuid("child"))


def test_a_setting_makes_nobody_an_importer(application: Application, world: dict[str, Any]) -> None:
    with refused(NO_SUCH_ROW), application.work() as work:
        work.execute(
            "SELECT set_config('daybreak.import_xid', pg_current_xact_id()::text, true), "
            "set_config('daybreak.rotation_xid', pg_current_xact_id()::text, true)"
        )
        add(work, "memberships", **nobodys(world))


def test_a_role_that_may_write_one_table_only_is_held_to_its_references(db: DatabaseSettings) -> None:
    """Whether a person is there does not depend on what a client may see."""
    with psycopg.connect(db.conninfo()) as owner:
        owner.execute("CREATE ROLE hours_only")
        owner.execute(
            "GRANT USAGE ON SCHEMA public TO hours_only; GRANT INSERT ON patient_availabilities TO hours_only"
        )
        owner.execute("INSERT INTO patients_and_guardians (id, role) VALUES (%s, 1)", [uuid("known")])
        owner.execute("SET LOCAL ROLE hours_only")
        write = "INSERT INTO patient_availabilities (user_id, availability) VALUES (%s, '[]')"
        owner.execute(write, [uuid("known")])
        owner.execute("SET CONSTRAINTS ALL IMMEDIATE")
        with pytest.raises(
            psycopg.errors.ForeignKeyViolation, match=r"patient_availabilities\.user_id refers to"
        ):
            owner.execute(write, [NOBODY])
        owner.rollback()


def test_the_application_needs_no_key_for_references(db: DatabaseSettings, world: dict[str, Any]) -> None:
    keyless = Application(db, APP, key=None)
    person = keyless.add(PATIENTS, role=1)
    keyless.add("memberships", user_id=person, organization_id=world["organization_id"])
    with refused(NO_SUCH_ROW):
        keyless.add("memberships", user_id=NOBODY, organization_id=world["organization_id"])
    keyless.connection.close()


# --- Two at once ----------------------------------------------------------------------------------------------------


def meanwhile(db: DatabaseSettings, statement: str, *values: Any) -> str | None:
    """Run a statement of another session, and return the code that it was refused with."""
    other = Application(db, APP)
    try:
        with other.work() as work:
            work.execute(statement.encode(), values)
    except psycopg.Error as error:
        return error.diag.sqlstate
    finally:
        other.connection.close()
    return None


DELETE = "DELETE FROM patients_and_guardians WHERE id = %s"


def test_who_is_deleted_while_a_row_is_written_is_missed_at_the_commit(
    application: Application, db: DatabaseSettings, world: dict[str, Any]
) -> None:
    person = application.add(PATIENTS, role=1)
    values = child(application, "memberships", world, user_id=person)
    with refused(NO_SUCH_ROW, column="user_id"), application.work() as work:
        add(work, "memberships", **values)
        assert meanwhile(db, DELETE, person) is None


@pytest.mark.parametrize(
    ("table", "statement"),
    [
        ("memberships", DELETE),
        ("clinician_availabilities", "DELETE FROM clinicians WHERE id = %s"),
        ("clinician_availabilities", "UPDATE clinicians SET healthie_id = 'another' WHERE id = %s"),
    ],
)
def test_who_was_found_is_kept_until_the_transaction_ends(
    application: Application, db: DatabaseSettings, world: dict[str, Any], table: str, statement: str
) -> None:
    reference = dict(REFERENCES)[table]
    person, value = parent(application, reference.tables[0], reference)
    values = child(application, table, world, **{reference.column: value})
    with ThreadPoolExecutor(1) as others:
        with application.work() as work:
            add(work, table, **values)
            work.execute("SET CONSTRAINTS ALL IMMEDIATE")
            other = others.submit(meanwhile, db, statement, person)
            wait_for_lock(db)
        assert other.result(10) == NO_SUCH_ROW


def wait_for_lock(db: DatabaseSettings) -> None:
    waits = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    with psycopg.connect(db.conninfo(), autocommit=True) as looking:
        for _ in range(500):
            if looking.execute(waits.encode()).fetchone() != (0,):
                return
            threading.Event().wait(0.02)
    pytest.fail("nobody waits")


def test_an_update_of_who_was_found_waits_for_nobody(
    application: Application, db: DatabaseSettings, world: dict[str, Any]
) -> None:
    person = application.add(PATIENTS, role=1)
    values = child(application, "memberships", world, user_id=person)
    with application.work() as work:
        add(work, "memberships", **values)
        work.execute("SET CONSTRAINTS ALL IMMEDIATE")
        assert meanwhile(db, "UPDATE patients_and_guardians SET title = 'Dr' WHERE id = %s", person) is None


@pytest.mark.parametrize(
    ("isolation", "state"), [("READ COMMITTED", NO_SUCH_ROW), ("REPEATABLE READ", "40001")]
)
def test_a_number_that_is_given_away_meanwhile_is_missed(
    application: Application, db: DatabaseSettings, world: dict[str, Any], isolation: str, state: str
) -> None:
    person, number = parent(application, CLINICIANS, dict(REFERENCES)["clinician_availabilities"])
    values = child(application, "clinician_availabilities", world, user_id=number)
    with refused(state), application.connection.transaction():
        application.connection.execute(f"SET TRANSACTION ISOLATION LEVEL {isolation}".encode())
        add(application.connection, "clinician_availabilities", **values)
        assert meanwhile(db, "UPDATE clinicians SET healthie_id = NULL WHERE id = %s", person) is None


@pytest.mark.parametrize("isolation", ["REPEATABLE READ", "SERIALIZABLE"])
def test_a_deletion_that_cannot_see_new_rows_is_refused(
    application: Application, db: DatabaseSettings, world: dict[str, Any], isolation: str
) -> None:
    person = application.add(PATIENTS, role=1)
    values = child(application, "memberships", world, user_id=person)

    def delete() -> None:
        with application.connection.transaction():
            application.connection.execute(f"SET TRANSACTION ISOLATION LEVEL {isolation}".encode())
            application.connection.execute("SELECT count(*) FROM memberships")
            other = Application(db, APP)
            other.add("memberships", **values)
            other.connection.close()
            application.connection.execute(DELETE.encode(), [person])

    with pytest.raises(psycopg.Error) as caught:
        delete()
    assert caught.value.diag.sqlstate in {"0A000", "40001"}
    assert application.one("SELECT count(*) FROM patients_and_guardians WHERE id = %s", person) == 1


# --- What there is, and where it is written --------------------------------------------------------------------------


def test_no_name_of_a_trigger_or_function_is_cut_off(session: Connection) -> None:
    names = [
        name
        for table, reference in REFERENCES
        for made in [reference_triggers.enforcement(session, table, reference)]
        for name in [*(one.name for one in made.triggers), *(one.name for one in made.functions)]
    ]
    assert [name for name in names if len(name) > 63] == []


def test_each_kind_of_reference_has_a_function_to_ask(connection: Connection) -> None:
    assert set(reference_triggers.ASK) == {(r.tables, r.target_column) for _table, r in REFERENCES}
    for function in reference_triggers.ASK.values():
        row = connection.execute(sql.SQL("SELECT {}(NULL)").format(sql.SQL(function))).fetchone()
        assert row == (False,)


@needs_pgbouncer
def test_references_are_enforced_through_a_pooler(db: DatabaseSettings, world: dict[str, Any]) -> None:
    with pooled(db, size=2) as (through, _log):
        application = Application(through, APP)
        person = application.add(PATIENTS, role=1)
        application.add("memberships", user_id=person, organization_id=world["organization_id"])
        with refused(NO_SUCH_ROW, column="user_id"):
            application.add("memberships", user_id=NOBODY, organization_id=world["organization_id"])
        with refused(NO_SUCH_ROW, table="memberships"):
            application.delete(PATIENTS, person)
        application.connection.close()


def test_the_page_for_developers_says_what_is(application: Application) -> None:
    """Its table is the declarations', and its SQL runs as the application."""
    page = (PROJECT_ROOT / "docs" / "references-for-applications.md").read_text(encoding="utf-8")
    lines = [
        f"| `{table}.{r.column}` | {' or '.join(f'`{name}`' for name in r.tables)}"
        f"{'' if r.target_column == 'id' else f' (`{r.target_column}`)'} "
        f"| `{reference_triggers.ASK[r.tables, r.target_column]}` | {r.deletion} |"
        for table, r in REFERENCES
    ]
    assert [line for line in page.splitlines() if re.match(r"\| `[a-z_]+\.", line)] == lines
    blocks = re.findall(r"^```sql\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    assert len(blocks) == 3
    for block in blocks:
        application.connection.execute(block.encode())
