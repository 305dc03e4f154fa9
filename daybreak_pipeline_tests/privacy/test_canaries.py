"""Canaries: personal values with a mark, imported, refused, edited and interrupted; then everything is searched for it.

Searched are what commands print, every table of both databases, the server's log, its statistics of statements, and
every byte of the stopped server's data directory. E-mail stays plain by decision of the plan: it shows that
the search finds what is there.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from daybreak_pipeline import database
from daybreak_pipeline.database import Connection
from daybreak_pipeline.embedded_postgres import data_directory, server, server_log
from daybreak_pipeline.privacy import keys
from daybreak_pipeline.settings import DAGSTER_DATABASE, DatabaseSettings
from daybreak_pipeline_tests.exports import Export, record, uuid
from daybreak_pipeline_tests.homes import server_home

pytestmark = pytest.mark.slow

DAYBREAK = Path(sys.executable).with_name("daybreak")
NEEDLES = ("kanarie", "9995550147", "1913-07-29")
"""What only personal values of this test hold: in every text, every phone number, every date."""
CONTROL = "plainly-visible"
"""What every e-mail address of this test holds."""

PERSON = {
    "email": f"{CONTROL}@example.org",
    "phone": "+19995550147",
    "first_name": "Kanariefirst",
    "preferred_name": "Kanariepreferred",
    "middle_name": "Kanariemiddle",
    "last_name": "O'Kanarielast",
    "birthdate": "1913-07-29",
    "address": '{"street_address_1": "1 Kanarie Street", "city": "Kanarieville"}',
}
PLAN_HOLDER = {
    "plan_holder_first_name": "Kanariefirst",
    "plan_holder_last_name": "Kanarielast",
    "plan_holder_dob": "1913-07-29",
    "plan_holder_state": "Kanariestate",
    "plan_holder_city": "Kanariecity",
    "plan_holder_street_address": "1 Kanarie Street",
    "plan_holder_zip_code": "kanarie",
}
UNKNOWN = {
    "full_name": "Kanarie Full",
    "date_of_birth": "1913-07-29",
    "phone_number": "'+19995550147",
    "+19995550147 1913-07-29": "a column whose name is a person",
}
MANY = 20_000
"""Records of the interrupted import: enough for the server to write its staging table to disk."""


@dataclass
class Scene:
    """What is left after everything has happened."""

    home: Path
    settings: DatabaseSettings
    data: Path
    printed: dict[str, str] = field(default_factory=dict)
    statements: str = ""
    refusals: list[str] = field(default_factory=list)
    staged_on_disk: bool = False

    def run(self, *arguments: str | Path) -> None:
        """Run a command and keep what it prints."""
        done = subprocess.run(
            [DAYBREAK, *arguments],
            env=_environment(self.home),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        self.printed[" ".join(map(str, arguments))] = done.stdout + done.stderr


def _environment(home: Path) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), "DAYBREAK_HOME": str(home)}


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """Import, refuse, edit and interrupt, on an embedded server with a home of its own, stopped afterwards."""
    exported, many = tmp_path_factory.mktemp("export"), tmp_path_factory.mktemp("many")
    with server_home() as home:
        # Servers that are monitored keep every statement that they run.
        with server.serve(home) as settings:
            _administer(settings, "ALTER SYSTEM SET shared_preload_libraries = pg_stat_statements")
        with server.serve(home) as settings:
            _administer(
                settings,
                "CREATE EXTENSION pg_stat_statements",
                "ALTER SYSTEM SET pg_stat_statements.track = 'all'",
                # Every statement of ours counts as slow, and whatever goes to disk or waits is logged.
                "ALTER DATABASE daybreak_health SET daybreak.slow_statements = '0'",
                "ALTER SYSTEM SET log_temp_files = 0",
                "SELECT pg_reload_conf()",
            )
            data = data_directory.existing_data(home)
            assert data
            scene = Scene(home, settings, data)
            _write(exported, settings)
            for arguments in (
                ("import", "--data-dir", exported, "--dry-run"),
                ("import", "--data-dir", exported, "--json"),
                ("import", "--data-dir", exported, "--full"),
                ("check",),
                ("quarantine", "list"),
                ("quarantine", "replay"),
                ("trace", "patients_and_guardians", uuid("good")),
            ):
                scene.run(*arguments)
            _write_many(many, settings)
            # The server keeps 5000 statements, and one that it drops while it runs it keeps next as the client wrote it.
            scene.statements = _statements(settings)
            _administer(settings, "SELECT pg_stat_statements_reset()")
            _edit(scene)
            scene.statements += _statements(settings)
            _interrupt(scene, many)
        yield scene


def _administer(settings: DatabaseSettings, *statements: str) -> None:
    with database.connect(settings, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement.encode())


def _statements(settings: DatabaseSettings) -> str:
    with database.connect(settings) as connection:
        return "\n".join(row[0] for row in connection.execute("SELECT query FROM pg_stat_statements"))


def _write(directory: Path, settings: DatabaseSettings) -> None:
    """Write files in which canaries are good, refused for every kind of reason, and repaired."""
    with database.connect(settings) as connection:
        export = Export(directory, connection)
        people = [
            record("patients_and_guardians", "good", **PERSON, **UNKNOWN),
            record("patients_and_guardians", "same", **PERSON),
            record("patients_and_guardians", "same", **PERSON),
            record("patients_and_guardians", "norole", **{**PERSON, "role": None}),
            record("patients_and_guardians", "baddate", **{**PERSON, "birthdate": "1913-07-29 kanarie"}),
            record("patients_and_guardians", "long", **{**PERSON, "first_name": "Kanarie" * 100}),
            record("patients_and_guardians", "notjson", **{**PERSON, "address": "1 Kanarie Street"}),
            record("patients_and_guardians", "lost", **{**PERSON, "supervisor_id": "nobody"}),
            {**record("patients_and_guardians", **PERSON), "id": "Kanarie"},
        ]
        path = export.write("patients_and_guardians", *people)
        with path.open("a", encoding="utf-8") as file:
            file.write('Kanarie,too,few\n"Kanarie unterminated\n')
        export.write(
            "clinicians",
            record("clinicians", "clinician", **{**PERSON, "address": "1 Kanarie Street"}, **UNKNOWN),
            record("clinicians", "clinical", **{**PERSON, "licensed_states": '["kanarie"'}),
        )
        child = {"user_id": uuid("good")}
        export.write(
            "insurance_coverages",
            record("insurance_coverages", "covered", **PLAN_HOLDER, **child),
            record(
                "insurance_coverages", "odd", **{**PLAN_HOLDER, "plan_holder_dob": "kanarie", "kind": "77"}
            ),
        )


def _write_many(directory: Path, settings: DatabaseSettings) -> None:
    with database.connect(settings) as connection:
        Export(directory, connection).write(
            "patients_and_guardians",
            *(
                record(
                    "patients_and_guardians",
                    f"number {number}",
                    **{**PERSON, "address": json.dumps({"city": "Kanarie" * 100}), "supervisor_id": ""},
                )
                for number in range(MANY)
            ),
        )


def _edit(scene: Scene) -> None:
    """Write as clients do, with values in the SQL text as the plan has them, successfully and not."""
    key = keys.parse((scene.home / "encryption.key").read_text().strip())
    insert = (
        "INSERT INTO patients_and_guardians (id, role, first_name, last_name, phone, birthdate, address, updated_at) "
        "VALUES ({}, {}, 'Kanariefirst', 'Kanarielast', '+19995550147', '1913-07-29', '{{\"city\": \"Kanarie\"}}', now())"
    )
    statements = [
        insert.format("gen_random_uuid()", 1),
        insert.format("gen_random_uuid()", "NULL"),
        insert.format("'Kanarie'", 1),
        insert.format("gen_random_uuid()", 1).replace("phone,", "kanarie,"),
        "UPDATE patients_and_guardians SET first_name = 'Kanariesecond', birthdate = '1913-07-29' WHERE phone IS NULL",
        "UPDATE patients_and_guardians SET birthdate = 'Kanarie' WHERE true",
        f"DELETE FROM patients_and_guardians WHERE id = '{uuid('same')}'",  # noqa: S608 - an id of this test
        "SELECT 1 / (first_name = 'Kanarie')::integer FROM app.patients_and_guardians",
    ]
    for given in (None, key):
        with database.connect(scene.settings, key=given, autocommit=True) as connection:
            for statement in statements:
                try:
                    connection.execute(statement.encode())
                except psycopg.Error as error:
                    scene.refusals.append(str(error.diag.message_primary))


def _interrupt(scene: Scene, many: Path) -> None:
    """Kill an import's server process when it has staged its records; the server recovers."""
    waiting = "SELECT pid FROM pg_locks WHERE NOT granted AND relation = 'clinicians'::regclass"
    with suppress(psycopg.OperationalError), _sessions(scene.settings) as (blocker, watcher):
        # Nobody can read: the import gets as far as its look at references, and then it has all its working tables.
        blocker.execute("LOCK TABLE clinicians IN ACCESS EXCLUSIVE MODE")
        with subprocess.Popen(
            [DAYBREAK, "import", "--data-dir", many, "--only", "patients_and_guardians"],
            env=_environment(scene.home),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as importer:
            deadline = time.monotonic() + 60
            while not (row := watcher.execute(waiting).fetchone()) and time.monotonic() < deadline:
                watcher.rollback()
                time.sleep(0.05)
            assert row, "the import does not wait for the lock"
            watcher.rollback()
            scene.staged_on_disk = bool(_holding(scene.data, NEEDLES[:1]))
            os.kill(int(row[0]), signal.SIGKILL)
            scene.printed["an interrupted import"] = importer.communicate(timeout=60)[0]
    scene.run("check", "--json")  # by then the server has recovered


@contextmanager
def _sessions(settings: DatabaseSettings) -> Iterator[tuple[Connection, Connection]]:
    with database.connect(settings) as one, database.connect(settings) as other:
        yield one, other


def _holding(directory: Path, needles: tuple[str, ...]) -> list[str]:
    """Return the files below a directory that hold any of the needles, in either case, as text or as hex."""
    encoded = [needle.encode() for needle in needles]
    encoded += [needle.encode().hex().encode() for needle in needles]
    encoded += [needle.encode("utf-16-le") for needle in needles]
    found = []
    for path in directory.rglob("*"):
        try:
            content = path.read_bytes().lower() if path.is_file() else b""
        except FileNotFoundError:
            continue
        found += [f"{path.relative_to(directory)}: {n.decode()}" for n in encoded if n in content]
    return found


def _stored(settings: DatabaseSettings, needles: tuple[str, ...]) -> list[str]:
    """Return the tables of a database, the server's own included, whose rows hold a needle."""
    tables = (
        "SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
        "WHERE c.relkind IN ('r', 'm') ORDER BY 1, 2"
    )
    found = []
    patterns = [f"%{text}%" for needle in needles for text in (needle, needle.encode().hex())]
    with database.connect(settings) as connection:
        for schema, name in connection.execute(tables).fetchall():
            query = sql.SQL("SELECT count(*) FROM {} t WHERE t::text ILIKE ANY (%s)")
            table = sql.Identifier(schema, name)
            row = connection.execute(query.format(table), [patterns]).fetchone()
            if row and row[0]:
                found.append(f"{schema}.{name}")
    return found


def test_no_command_prints_a_personal_value(scene: Scene) -> None:
    assert len(scene.printed) == 9
    for command, text in scene.printed.items():
        assert not [needle for needle in NEEDLES if needle in text.lower()], command


def test_what_was_imported_is_there_for_those_who_have_the_key(scene: Scene) -> None:
    key = keys.parse((scene.home / "encryption.key").read_text().strip())
    with server.serve(scene.home) as settings, database.connect(settings, key=key) as session:
        names = _names(session)
        quarantined = session.execute("SELECT count(*) FROM ingest.quarantine").fetchone()
        issues = session.execute("SELECT count(*) FROM ingest.field_issues").fetchone()
    assert names == {"O'Kanarielast", "Kanarielast"}
    assert quarantined == (9,)
    assert issues
    assert issues[0] >= 3


def _names(session: Connection) -> set[str]:
    return {row[0] for row in session.execute("SELECT last_name FROM app.patients_and_guardians")}


@pytest.mark.parametrize("which", ["the data", "the events"])
def test_no_table_holds_a_personal_value(scene: Scene, which: str) -> None:
    with server.serve(scene.home) as settings:
        searched = settings if which == "the data" else replace(settings, name=DAGSTER_DATABASE)
        assert _stored(searched, NEEDLES) == []
        if which == "the data":
            assert "public.patients_and_guardians" in _stored(searched, (CONTROL,))
        else:
            assert "public.event_logs" in _stored(searched, ("patients_and_guardians",))


def test_the_data_directory_of_the_stopped_server_holds_no_personal_value(scene: Scene) -> None:
    assert _holding(scene.data, (CONTROL,))
    assert scene.staged_on_disk  # so there was something to leave behind
    assert _holding(scene.data, NEEDLES) == []


def test_nothing_else_below_the_home_holds_a_personal_value(scene: Scene) -> None:
    assert _holding(scene.home, NEEDLES) == []


def test_the_statistics_of_statements_hold_no_personal_value_and_no_key(scene: Scene) -> None:
    kept = scene.statements.lower()
    assert "insert into patients_and_guardians" in kept
    assert [needle for needle in NEEDLES if needle in kept] == []
    assert (scene.home / "encryption.key").read_text().strip() not in kept


def test_the_server_says_what_it_refuses_but_logs_no_value(scene: Scene) -> None:
    assert len(scene.refusals) >= 8
    logs = server_log.files(scene.data)
    text = "".join(log.read_text() for log in logs)
    assert 'INSERT INTO "public"."patients_and_guardians"' in text  # so slow statements were logged
    assert [needle for needle in NEEDLES if needle in text.lower()] == []
    assert (scene.home / "encryption.key").read_text().strip() not in text
