# ruff: noqa: S608 - what is put into statements here are this file's own names
"""Who may do what: the permission matrix, tried on the server by logging in as each role with its password."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import psycopg
import pytest
from psycopg import sql

from daybreak_pipeline import database, settings
from daybreak_pipeline.database import Connection
from daybreak_pipeline.errors import UsageError
from daybreak_pipeline.importer.run import import_table
from daybreak_pipeline.maintenance.summaries import SUMMARIES
from daybreak_pipeline.privacy import keys, roles
from daybreak_pipeline.settings import PROJECT_ROOT, DatabaseSettings
from daybreak_pipeline.tables import TABLES, import_order
from daybreak_pipeline_tests.conftest import KEY, Databases, _administer
from daybreak_pipeline_tests.exports import uuid
from daybreak_pipeline_tests.schema.test_plan_columns import planned_columns

SAMPLE = PROJECT_ROOT / "data" / "sample"
APP, READONLY, ADMIN = "daybreak_app", "daybreak_readonly", "daybreak_admin"
STRANGER = "somebody_else"
PASSWORDS = {
    APP: "an application's pass'word",
    READONLY: "a reader's password",
    ADMIN: "an administrator's password",
    STRANGER: "a stranger's password",
}
SCHEMAS = ("public", "app", "reporting", "ingest", "integrity", "privacy", "migrations")


@pytest.fixture(scope="module")
def db(
    server: DatabaseSettings, databases: Databases, template: DatabaseSettings
) -> Iterator[DatabaseSettings]:
    """The sample imported, roles and grants applied, one row of each table soft-deleted; for tests that change nothing."""
    with databases.copy(template.name, "roles_matrix") as given:
        _fill(given)
        apply_with_passwords(given)
        _administer(server, "CREATE ROLE {} LOGIN PASSWORD 'a stranger''s password'", STRANGER)
        yield given
    _administer(server, "DROP ROLE {}", STRANGER)


def _fill(given: DatabaseSettings) -> None:
    with database.connect(given, key=KEY) as connection:
        keys.verify(connection)
        for name in import_order():
            import_table(connection, name, SAMPLE)
        for name in TABLES:
            mark = soft_delete_mark(name)
            if mark:
                connection.execute(
                    sql.SQL("UPDATE {0} SET {1} WHERE id = (SELECT id FROM {0} ORDER BY id LIMIT 1)").format(
                        sql.Identifier(name), mark
                    )
                )


def soft_delete_mark(table: str) -> sql.SQL | None:
    if table == "org_contracts":
        return None  # has none
    return sql.SQL(
        "deleted_at = now()" if table == "clinician_availabilities" else "_fivetran_deleted = true"
    )


def apply_with_passwords(given: DatabaseSettings) -> None:
    with pytest.MonkeyPatch.context() as patch:
        for role in (APP, READONLY, ADMIN):
            patch.setenv(settings.role_variable(role, "PASSWORD"), PASSWORDS[role])
        roles.apply(given)


def login(given: DatabaseSettings, role: str) -> DatabaseSettings:
    return replace(given, user=role, password=PASSWORDS[role])


@pytest.fixture(scope="module")
def logins(server: DatabaseSettings, db: DatabaseSettings) -> Iterator[dict[str, Connection]]:
    """One connection for each role. The stranger is let into the database: what is in there must be closed, too."""
    _administer(server, "GRANT CONNECT ON DATABASE {} TO {}", db.name, STRANGER)
    opened = {role: database.connect(login(db, role), key=KEY) for role in PASSWORDS}
    yield opened
    for connection in opened.values():
        connection.close()
    _administer(server, "REVOKE CONNECT ON DATABASE {} FROM {}", db.name, STRANGER)


@contextmanager
def taken_back(connection: Connection) -> Iterator[None]:
    with connection.transaction(force_rollback=True):
        yield


# --- The matrix ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Cell:
    """One action on one object, and which of the roles may do it."""

    action: str
    statement: str
    allowed: frozenset[str]


def cell(action: str, statement: str, *allowed: str) -> Cell:
    return Cell(action, statement, frozenset(allowed))


MATRIX = (
    *(
        c
        for table in TABLES
        for c in (
            cell(f"SELECT {table}", f"SELECT * FROM public.{table}", APP, ADMIN),
            cell(f"SELECT id OF {table}", f"SELECT id FROM public.{table}", APP, ADMIN),
            cell(f"INSERT {table}", f"INSERT INTO public.{table} (id) SELECT NULL WHERE false", APP, ADMIN),
            cell(f"UPDATE {table}", f"UPDATE public.{table} SET id = id WHERE false", APP, ADMIN),
            cell(f"DELETE {table}", f"DELETE FROM public.{table} WHERE false", APP, ADMIN),
            cell(f"TRUNCATE {table}", f"TRUNCATE public.{table} CASCADE", ADMIN),
            cell(f"DROP {table}", f"DROP TABLE public.{table} CASCADE", ADMIN),
            cell(f"ALTER {table}", f"ALTER TABLE public.{table} DISABLE ROW LEVEL SECURITY", ADMIN),
            cell(f"SELECT reporting.{table}", f"SELECT * FROM reporting.{table}", READONLY, ADMIN),
            # Nobody: the views' owner may not write, and writing through a view is writing as its owner.
            cell(f"UPDATE reporting.{table}", f"UPDATE reporting.{table} SET id = id"),
            cell(f"DELETE reporting.{table}", f"DELETE FROM reporting.{table}"),
        )
    ),
    cell("SELECT users", "SELECT * FROM public.users", APP, ADMIN),
    *(
        c
        for name in ("patients_and_guardians", "clinicians", "insurance_coverages")
        for c in (
            cell(f"SELECT app.{name}", f"SELECT * FROM app.{name}", APP, ADMIN),
            cell(f"UPDATE app.{name}", f"UPDATE app.{name} SET created_at = created_at WHERE false", APP, ADMIN),
        )
    ),
    *(
        cell(f"{verb} {name}", statement.format(f"reporting.{name}"), *allowed)
        for name in SUMMARIES
        for verb, statement, allowed in (
            ("SELECT", "SELECT * FROM {}", (READONLY, ADMIN)),
            ("REFRESH", "REFRESH MATERIALIZED VIEW {}", (ADMIN,)),
        )
    ),
    *(
        cell(f"SELECT app.{name}", f"SELECT * FROM app.{name}", APP, ADMIN)
        for name in (
            *("active_referrals", "relatives", "coverage_status"),
            *("organization_contracts", "insurance_companies", "clinician_directory", "onboarding_funnel"),
        )
    ),
    *(
        cell(f"call app.{call}", f"SELECT * FROM app.{call}", APP, ADMIN)
        for call in (
            "free_slots(NULL, now(), now())",
            "find_clinicians(NULL, now(), now())",
            "find_insurances('aetna')",
            "family(gen_random_uuid())",
            "effective_contract(gen_random_uuid())",
            "expires_on('{}')",
        )
    ),
    *(
        cell(f"{verb} {table}", statement.format(table), ADMIN)
        for table in (
            "ingest.imports",
            "ingest.quarantine",
            "ingest.field_issues",
            "ingest.tombstones",
            *(
                f"ingest.tombstones_of_{name}"
                for name in (*sorted(TABLES.keys() - {"org_contracts", "clinician_availabilities"}), "others")
            ),
            "ingest.missing_rows",
            "privacy.key_check",
            "ingest.check_results",
            "ingest.server_measurements",
            "ingest.absent_files",
            "ingest.alerts",
            "ingest.locks",
            "ingest.processes",
            "privacy.roles_applied",
            "privacy.rotations",
            "privacy.rotation_steps",
            "privacy.damaged_values",
            "privacy.sealed_faults",
            "privacy.sealed_looks",
            "privacy.binding_steps",
            "privacy.protected_tables",
            "migrations.alembic_version",
            "migrations.applied_files",
            "migrations.objects",
        )
        for verb, statement in (
            ("SELECT", "SELECT * FROM {}"),
            ("DELETE", "DELETE FROM {} WHERE false"),
            ("TRUNCATE", "TRUNCATE {} CASCADE"),
        )
    ),
    # Analysts see what was accepted, by whom and why; they and the application accept nothing.
    cell("SELECT accepted_findings", "SELECT * FROM ingest.accepted_findings", READONLY, ADMIN),
    cell("DELETE accepted_findings", "DELETE FROM ingest.accepted_findings WHERE false", ADMIN),
    cell("TRUNCATE accepted_findings", "TRUNCATE ingest.accepted_findings", ADMIN),
    cell("UPDATE accepted_findings", "UPDATE ingest.accepted_findings SET why = '' WHERE false", ADMIN),
    cell(
        "INSERT accepted_findings",
        "INSERT INTO ingest.accepted_findings (table_name, check_name, counts, why, accepted_by) "
        "SELECT '', '', '{}', '', '' WHERE false",
        ADMIN,
    ),
    cell("INSERT quarantine", "INSERT INTO ingest.quarantine (id) SELECT NULL WHERE false", ADMIN),
    cell("UPDATE quarantine", "UPDATE ingest.quarantine SET resolution = '' WHERE false", ADMIN),
    cell("UPDATE key_check", "UPDATE privacy.key_check SET check_value = '' WHERE false", ADMIN),
    cell("SELECT ingest.file_imports", "SELECT * FROM ingest.file_imports", ADMIN),
    cell("nextval imports", "SELECT nextval('ingest.imports_id_seq')", ADMIN),
    cell("nextval quarantine", "SELECT nextval('ingest.quarantine_id_seq')", ADMIN),
    cell("call ingest.text_array", "SELECT ingest.text_array('a')", ADMIN),
    cell("call ingest.attempt", "SELECT ingest.attempt('SELECT 1')", ADMIN),
    cell("call privacy.key", "SELECT privacy.key('seal')", APP, ADMIN),
    cell("call privacy.required_key", "SELECT privacy.required_key('seal')", APP, ADMIN),
    cell("call privacy.seal", "SELECT privacy.seal('a', '\\x00')", APP, ADMIN),
    cell("call privacy.unseal", "SELECT privacy.unseal(NULL, NULL)", APP, ADMIN),
    cell("call privacy.as_date", "SELECT privacy.as_date(NULL)", APP, ADMIN),
    cell("call privacy.unseal_tagged", "SELECT privacy.unseal_tagged(NULL, NULL)", APP, ADMIN),
    cell("call privacy.tag", "SELECT privacy.tag('', '')", APP, ADMIN),
    cell("call privacy.sealed_fault", "SELECT privacy.sealed_fault(NULL, NULL, NULL, NULL, NULL)", ADMIN),
    cell("call privacy.protect", "SELECT privacy.protect('documents') WHERE false", ADMIN),
    cell("call privacy.release", "SELECT privacy.release('documents') WHERE false", ADMIN),
    cell("call privacy.rows_called", "SELECT privacy.rows_called('documents', '', 1) WHERE false", ADMIN),
    cell("call privacy.name_tokens", "SELECT privacy.name_tokens('a', '\\x00')", APP, ADMIN),
    cell("call public.hmac", "SELECT public.hmac('a', 'b', 'sha256')", APP, ADMIN),
    cell("call app.patient_exists", "SELECT app.patient_exists(NULL)", APP, ADMIN),
    cell("call app.person_exists", "SELECT app.person_exists(NULL)", APP, ADMIN),
    cell("call app.clinician_number_exists", "SELECT app.clinician_number_exists(NULL)", APP, ADMIN),
    cell("call reporting.refresh", "SELECT reporting.refresh()", ADMIN),
    cell("call reporting.clear", "SELECT reporting.clear()", ADMIN),
    cell("call reporting.columns", "SELECT reporting.columns()", ADMIN),
    cell("call reporting.live_rows", "SELECT reporting.live_rows('pg_class'::regclass)", ADMIN),
    *(cell(f"CREATE TABLE IN {schema}", f"CREATE TABLE {schema}.mine (id int)", ADMIN) for schema in SCHEMAS),
    *(cell(f"CREATE VIEW IN {schema}", f"CREATE VIEW {schema}.mine AS SELECT 1 AS one", ADMIN) for schema in SCHEMAS),
    *(
        cell(f"CREATE FUNCTION IN {schema}", f"CREATE FUNCTION {schema}.mine() RETURNS int LANGUAGE sql AS 'SELECT 1'", ADMIN)
        for schema in SCHEMAS
    ),
    cell("CREATE TEMPORARY TABLE", "CREATE TEMPORARY TABLE mine (id int)", ADMIN),
    cell("CREATE SCHEMA", "CREATE SCHEMA mine", ADMIN),
    cell("CREATE ROLE", "CREATE ROLE mine", ADMIN),
    cell("ALTER ROLE", f"ALTER ROLE {APP} BYPASSRLS", ADMIN),
    cell("give away a role", f"GRANT daybreak_reporting TO {READONLY}", ADMIN),
    cell("CREATE POLICY", "CREATE POLICY mine ON public.documents USING (true)", ADMIN),
    cell("become the views' owner", "SET ROLE daybreak_reporting", ADMIN),
    cell("become the application", f"SET ROLE {APP}", APP, ADMIN),
    cell("read passwords", "SELECT * FROM pg_catalog.pg_authid", ADMIN),
    cell("read files", "SELECT pg_catalog.pg_ls_dir('.')", ADMIN),
)  # fmt: skip


@pytest.mark.parametrize("role", PASSWORDS)
@pytest.mark.parametrize("tried", MATRIX, ids=lambda tried: tried.action)
def test_the_matrix(logins: dict[str, Connection], tried: Cell, role: str) -> None:
    connection = logins[role]
    with taken_back(connection):
        if role in tried.allowed:
            connection.execute(tried.statement.encode())
        else:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(tried.statement.encode())


def test_the_matrix_has_every_object_of_every_schema(db: DatabaseSettings) -> None:
    named = " ".join(c.statement for c in MATRIX)
    with database.connect(db) as connection:
        found = [
            f"{schema}.{name}"
            for schema, name in connection.execute(
                "SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
                " WHERE c.relkind IN ('r', 'p', 'v', 'm') AND n.nspname = ANY (%s)",
                [list(SCHEMAS)],
            )
        ]
    assert [name for name in found if name not in named] == []


def test_who_is_no_role_does_not_get_in(db: DatabaseSettings, migrated: DatabaseSettings) -> None:
    assert db.name != migrated.name  # the role is there, and the matrix lets it into the other database
    roles.apply(migrated)
    with pytest.raises(UsageError, match="may not connect to database"):
        database.connect(login(migrated, STRANGER))


def test_the_views_owner_cannot_log_in(db: DatabaseSettings) -> None:
    with pytest.raises(UsageError, match=r"refuses user|cannot log in"):
        database.connect(replace(db, user="daybreak_reporting", password="anything"))


@pytest.mark.parametrize("role", [APP, READONLY])
def test_a_role_has_only_so_many_connections(
    db: DatabaseSettings, monkeypatch: pytest.MonkeyPatch, role: str
) -> None:
    """On its own count: the matrix has one connection of each role open, or none."""
    with database.connect(db) as administrator:
        row = administrator.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE usename = %s", [role]
        ).fetchone()
        used = int(row[0]) if row else 0
    monkeypatch.setenv(settings.role_variable(role, "CONNECTION_LIMIT"), str(used + 2))
    roles.apply(db)
    try:
        with (
            database.connect(login(db, role)),
            database.connect(login(db, role)),
            pytest.raises(UsageError, match=f"no connection left for user {role}"),
        ):
            database.connect(login(db, role))
    finally:
        monkeypatch.setenv(settings.role_variable(role, "CONNECTION_LIMIT"), "20")
        roles.apply(db)


# --- What analysts see -------------------------------------------------------------------------------------

WITHHELD = {
    *("member_id", "front_card_url", "back_card_url", "concerns"),
    *("supabase_metadata", "migration_details", "migration_profile_data"),
    # What other systems call a person, or what is one person's only.
    *("healthie_id", "supabase_id", "zendesk_id", "zendesk_ticket_id", "latest_ticket"),
    *("openpm_reference_id", "openpm_policyholder_id", "openpm_coverage_id"),
}


@pytest.mark.parametrize("table", TABLES)
def test_a_reporting_view_has_the_plans_columns_but_the_personal_ones(
    logins: dict[str, Connection], table: str
) -> None:
    with taken_back(logins[READONLY]):
        cursor = logins[READONLY].execute(
            f"SELECT * FROM {table} LIMIT 0".encode()
        )  # found without its schema
        shown = [column.name for column in cursor.description or ()]
    healthie_number = {"user_id"} if table == "clinician_availabilities" else set()
    hidden = {*TABLES[table].sealed_columns, *WITHHELD, *healthie_number}
    assert shown == [column.name for column in planned_columns(table) if column.name not in hidden]


def test_analysts_see_no_time_of_day_whatever_their_time_zone(
    session: Connection, migrated: DatabaseSettings
) -> None:
    apply_with_passwords(migrated)
    session.execute(
        "INSERT INTO documents (id, label, created_at, version_date)"
        " VALUES (%s, 'privacy_policy', '2024-02-29 23:59:58+00', '2024-03-01')",
        [uuid("document")],
    )
    session.commit()
    with database.connect(login(migrated, READONLY)) as analyst:
        for zone in ("UTC", "Pacific/Kiritimati", "Etc/GMT+12"):
            analyst.execute("SELECT set_config('TimeZone', %s, false)", [zone])
            seen = analyst.execute("SELECT created_at::text, version_date::text FROM documents").fetchall()
            assert seen == [("2024-02-29", "2024-03-01")]
        exact = analyst.execute(
            "SELECT table_name, column_name FROM information_schema.columns"
            " WHERE table_schema = 'reporting' AND data_type LIKE 'timestamp%'"
        ).fetchall()
    assert exact == []


def test_a_later_id_of_another_system_is_withheld_and_that_of_an_insurer_is_not(
    session: Connection, migrated: DatabaseSettings
) -> None:
    session.execute(
        "ALTER TABLE questionnaires ADD COLUMN sent_by_healthie_id text, ADD COLUMN zendesk_form text"
    )
    session.commit()
    apply_with_passwords(migrated)
    with database.connect(login(migrated, READONLY)) as analyst:
        cursor = analyst.execute("SELECT * FROM questionnaires q LEFT JOIN insurance_coverages c ON false")
        shown = {column.name for column in cursor.description or ()}
    assert not [name for name in shown if "healthie" in name or "zendesk" in name]
    assert {"openpm_insurance_organization_id", "openpm_insurance_organization_name"} <= shown


@pytest.mark.parametrize("table", [name for name in TABLES if soft_delete_mark(name)])
def test_analysts_see_every_row_but_the_soft_deleted(
    db: DatabaseSettings, logins: dict[str, Connection], table: str
) -> None:
    mark = "deleted_at IS NULL" if table == "clinician_availabilities" else "_fivetran_deleted IS NOT TRUE"
    with database.connect(db) as owner:
        live = ids(owner, f"SELECT id::text FROM public.{table} WHERE {mark}")
        everything = ids(owner, f"SELECT id::text FROM public.{table}")
    with taken_back(logins[READONLY]):
        assert ids(logins[READONLY], f"SELECT id::text FROM reporting.{table}") == live
    assert live
    assert live < everything
    with taken_back(logins[APP]):
        assert ids(logins[APP], f"SELECT id::text FROM public.{table}") == everything


def ids(connection: Connection, query: str) -> set[str]:
    return {row[0] for row in connection.execute(query.encode())}


def test_analysts_see_clinical_answers_and_no_personal_value(
    session: Connection, migrated: DatabaseSettings
) -> None:
    apply_with_passwords(migrated)
    with database.connect(login(migrated, APP), key=KEY) as application:
        application.execute(
            "INSERT INTO patients_and_guardians (id, role, email, phone, first_name, last_name, birthdate, address,"
            " profile_data, supabase_metadata, migration_details)"
            " VALUES (%s, 1, 'canary1@example.org', 'canary2', 'Canary3', 'Canary4', '2001-02-03',"
            """ '{"city": "canary5"}', '{"grade": "7", "export_columns": {"mobile": "canary6"}}',"""
            """ '{"email": "canary7"}', '{"name": "canary8"}')""",
            [uuid("patient")],
        )
        application.execute(
            "INSERT INTO insurance_coverages (kind, user_id, member_id, front_card_url, plan_holder_last_name)"
            " VALUES (2, %s, 'canary9', 'https://canary10', 'Canary11')",
            [uuid("patient")],
        )
        application.execute(
            "INSERT INTO questionnaires (subject_id, respondent_id, question_answers, type)"
            """ VALUES (%s, %s, '{"question_1_answer": "often sad"}', 3)""",
            [uuid("patient"), uuid("patient")],
        )
    with database.connect(login(migrated, READONLY), key=KEY) as analyst:
        seen = "".join(
            str(row) for name in TABLES for row in analyst.execute(f"SELECT v::text FROM {name} v".encode())
        )
    assert "often sad" in seen
    assert "grade" in seen
    assert "canary" not in seen.lower()
    assert "2001-02-03" not in seen
    assert session.execute("SELECT count(*) FROM patients_and_guardians").fetchone() == (1,)


@pytest.mark.parametrize(
    "query",
    [
        "SELECT last_name_encrypted FROM public.clinicians",
        "SELECT name_tokens FROM public.clinicians",
        "SELECT email FROM public.clinicians",
        "SELECT record_encrypted FROM ingest.quarantine",
        "SELECT check_value FROM privacy.key_check",
    ],
)
def test_a_mistaken_view_cannot_show_what_its_owner_cannot_read(
    db: DatabaseSettings, logins: dict[str, Connection], query: str
) -> None:
    with database.connect(db) as owner, taken_back(owner):
        owner.execute(f"CREATE VIEW reporting.mistake AS {query}".encode())
        owner.execute("ALTER VIEW reporting.mistake OWNER TO daybreak_reporting")
        owner.execute("GRANT SELECT ON reporting.mistake TO daybreak_readonly")
        owner.execute("SET ROLE daybreak_readonly")
        with pytest.raises(psycopg.errors.InsufficientPrivilege), owner.transaction():
            owner.execute("SELECT * FROM reporting.mistake")
        owner.execute("RESET ROLE")
    assert logins


def test_a_view_that_forgets_the_soft_deleted_does_not_show_them(db: DatabaseSettings) -> None:
    with database.connect(db) as owner, taken_back(owner):
        owner.execute("CREATE VIEW reporting.forgetful AS SELECT id::text FROM public.documents")
        owner.execute("ALTER VIEW reporting.forgetful OWNER TO daybreak_reporting")
        owner.execute("GRANT SELECT ON reporting.forgetful TO daybreak_readonly")
        owner.execute("SET ROLE daybreak_readonly")
        seen = ids(owner, "SELECT * FROM reporting.forgetful")
        assert seen == ids(owner, "SELECT id::text FROM reporting.documents")
        owner.execute("RESET ROLE")
        assert seen < ids(owner, "SELECT id::text FROM documents")


def test_a_later_column_reaches_analysts_unless_it_is_personal(
    session: Connection, migrated: DatabaseSettings
) -> None:
    session.execute(
        "ALTER TABLE documents ADD COLUMN audience text, ADD COLUMN author text, ADD COLUMN author_encrypted bytea,"
        " ADD COLUMN phone text, ADD COLUMN _internal text"
    )
    session.execute("INSERT INTO documents (label, audience) VALUES ('privacy_policy', 'families')")
    session.commit()
    apply_with_passwords(migrated)
    with database.connect(login(migrated, READONLY)) as analyst:
        cursor = analyst.execute("SELECT * FROM documents")
        shown = {column.name for column in cursor.description or ()}
        assert "families" in (cursor.fetchone() or ())
    assert not shown & {"author", "author_encrypted", "phone", "_internal"}
    session.execute("SELECT reporting.clear()")
    session.execute("ALTER TABLE documents DROP COLUMN audience")
    session.execute("SELECT reporting.refresh()")
    session.commit()
    with database.connect(login(migrated, READONLY)) as analyst:
        cursor = analyst.execute("SELECT * FROM documents")
        assert "audience" not in {column.name for column in cursor.description or ()}


# --- What the application can do -----------------------------------------------------------------------------


def test_the_application_works_as_the_plan_has_it(migrated: DatabaseSettings) -> None:
    apply_with_passwords(migrated)
    with database.connect(login(migrated, APP), key=KEY) as application:
        application.execute(
            "INSERT INTO patients_and_guardians (role, email, first_name, last_name) VALUES (1, 'm@example.org', 'Mia', 'Ode')"
        )
        application.execute("UPDATE patients_and_guardians SET last_name = 'Odel'")
        for view in ("app.patients_and_guardians", "users"):
            read = application.execute(f"SELECT first_name, last_name, email FROM {view}".encode()).fetchall()
            assert read == [("Mia", "Odel", "m@example.org")]
        stored = application.execute(
            "SELECT first_name, first_name_encrypted IS NOT NULL FROM patients_and_guardians"
        ).fetchall()
        assert stored == [(None, True)]
        assert application.execute("DELETE FROM patients_and_guardians").rowcount == 1
    with (
        database.connect(login(migrated, APP)) as keyless,
        pytest.raises(psycopg.errors.InvalidAuthorizationSpecification, match="no encryption key"),
    ):
        keyless.execute("INSERT INTO patients_and_guardians (role, first_name) VALUES (1, 'Mia')")
