"""The ``daybreak`` command as people and schedulers meet it: output, exit codes, and one line when it cannot go on.

Each test runs the command in a process of its own against a real server. ``up`` has a file of its own.
"""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from daybreak_pipeline import database
from daybreak_pipeline.embedded_postgres import programs
from daybreak_pipeline.privacy import keys, roles
from daybreak_pipeline.schema import runner
from daybreak_pipeline.settings import PROJECT_ROOT, DatabaseSettings
from daybreak_pipeline.tables import TABLES
from daybreak_pipeline_tests.commands import DAYBREAK, Done, Environment, daybreak
from daybreak_pipeline_tests.conftest import KEY, Databases
from daybreak_pipeline_tests.exports import Export, record, uuid

SAMPLE = PROJECT_ROOT / "data" / "sample"
OTHER_KEY = "fedcba98765432100123456789abcdef" + KEY[:32]
ACCOUNTING = (
    *("read", "inserted", "updated", "unchanged", "stale", "duplicate"),
    *("skipped_deleted", "blank", "quarantined", "field_issues"),
)


KEYED = "cli_keyed"


def environment_of(settings: DatabaseSettings, home: Path) -> Environment:
    found = settings.environment() | {"ENCRYPTION_KEY": KEY, "DAYBREAK_HOME": str(home)}
    if settings.name == KEYED:  # two environments that live at once do not share Dagster's database
        found["DAYBREAK_DAGSTER_DB"] = "dagster_of_keyed"
    return found


@pytest.fixture
def given(migrated: DatabaseSettings, tmp_path: Path) -> Environment:
    """What to set for a migrated database of the test's own. All share Dagster's, which the first command makes."""
    return environment_of(migrated, tmp_path / "home")


@pytest.fixture
def bare(empty: DatabaseSettings, tmp_path: Path) -> Environment:
    """What to set for a database without any schema."""
    return environment_of(empty, tmp_path / "home")


def one_line(done: Done) -> str:
    """Return the one line that a command which cannot go on says, and make sure that it is all."""
    assert (done.returncode, done.stdout) == (2, ""), done
    (line,) = done.stderr.splitlines()
    assert line.startswith("daybreak: ")
    return line


def query(settings: DatabaseSettings, statement: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(settings.conninfo()) as connection:
        return connection.execute(statement.encode()).fetchall()


@pytest.fixture
def export_dir(tmp_path: Path, connection: database.Connection) -> Path:
    """An export with one good record for the documents, and a bad one."""
    directory = tmp_path / "export"
    directory.mkdir()
    Export(directory, connection).write(
        "documents", record("documents", "good"), record("documents", "bad", label=None)
    )
    return directory


# --- import and check ----------------------------------------------------------------------------------


def test_import_prints_one_json_object_as_agreed_and_nothing_else(
    given: Environment, export_dir: Path
) -> None:
    arguments = ("import", "--json", "--data-dir", export_dir, "--only", "documents")
    first, again, full = (daybreak(given, *arguments, *more) for more in ((), (), ("--full",)))
    answers = [json.loads(done.stdout) for done in (first, again, full)]
    assert [done.returncode for done in (first, again, full)] == [0, 0, 0]
    assert len(first.stdout.splitlines()) == 1
    for answer in answers:
        assert list(answer) == ["run_id", "tables", "checks", "ignored_files", "unknown_files"]
        assert list(answer["tables"]) == list(answer["checks"]) == ["documents"]
        assert list(answer["tables"]["documents"]) == ["status", *ACCOUNTING, "seconds"]
        for check in answer["checks"]["documents"].values():
            assert {name: type(value) for name, value in check.items()} == {
                "passed": bool,
                "severity": str,
                "count": int,
            }
    told = [answer["tables"]["documents"] for answer in answers]
    assert [table["status"] for table in told] == ["imported", "skipped", "imported"]
    assert {name: n for name, n in told[0].items() if n and name in ACCOUNTING} == {
        "read": 2,
        "inserted": 1,
        "quarantined": 1,
    }
    assert not any(told[1][name] for name in ACCOUNTING)
    assert told[2]["unchanged"] == 1
    assert answers[0]["checks"]["documents"]["required_values"] == {
        "passed": False,
        "severity": "ERROR",
        "count": 1,
    }
    assert len({answer["run_id"] for answer in answers}) == 3


def test_import_shows_a_scorecard_and_how_long_it_took(given: Environment) -> None:
    done = daybreak(given, "import", "--data-dir", SAMPLE, "--only", "documents")
    assert done.returncode == 0
    (row,) = [line.split() for line in done.stdout.splitlines() if line.startswith("documents")]
    assert row[:3] == ["documents", "imported", "46"]
    assert "ERROR documents.required_values: 1 required value missing" in done.stdout
    assert "The sample has planted faults: failing checks are expected" in done.stdout
    assert "import, from command to scorecard: " in done.stdout
    assert "Traceback" not in done.stderr


def test_import_of_a_missing_file_names_the_table_and_exits_with_1(
    given: Environment, migrated: DatabaseSettings, export_dir: Path
) -> None:
    arguments = ("import", "--data-dir", export_dir, "--only", "documents", "--only", "kinships")
    done = daybreak(given, *arguments, "--json")
    assert done.returncode == 1
    told = json.loads(done.stdout)["tables"]
    assert {name: table["status"] for name, table in told.items()} == {
        "documents": "imported",
        "kinships": "failed",
    }
    assert f"kinships: no file kinships.csv in {export_dir}" in done.stderr.splitlines()
    assert query(migrated, "SELECT count(*) FROM documents") == [(1,)]
    shown = daybreak(given, *arguments)
    assert shown.returncode == 1
    assert f"failed kinships: no file kinships.csv in {export_dir}" in shown.stdout
    assert "Traceback" not in done.stderr + shown.stderr


def test_import_without_a_tables_file_keeps_its_rows_and_exits_with_1_unless_it_is_told(
    given: Environment, migrated: DatabaseSettings, export_dir: Path, connection: database.Connection
) -> None:
    export = Export(export_dir, connection)
    path = export.write("organizations", record("organizations", "school"))
    export.write("memberships", record("memberships"))
    only = ("--only", "organizations", "--only", "memberships")
    arguments: tuple[str | Path, ...] = ("import", "--data-dir", export_dir, *only)
    assert daybreak(given, *arguments).returncode == 0
    path.unlink()
    export.write("memberships", record("memberships"), record("memberships", "second", user_id="child"))
    shown = daybreak(given, *arguments)
    line = f"organizations: its file is absent from {export_dir}; its rows of "
    assert shown.returncode == 1
    assert [text for text in shown.stdout.splitlines() if text.startswith(f"absent {line}")]
    assert query(migrated, "SELECT count(*) FROM memberships") == [(2,)]
    told = daybreak(given, *arguments, "--json", "--partial")
    assert told.returncode == 0
    organizations = json.loads(told.stdout)["tables"]["organizations"]
    assert organizations["status"] == "absent"
    assert organizations["reason"].startswith(line)
    assert [text for text in told.stderr.splitlines() if text.startswith(line)]
    stands = daybreak(given, "status").stdout
    assert "absent organizations: no file of it since " in stands


def test_import_names_every_file_that_it_does_not_read(given: Environment, export_dir: Path) -> None:
    (export_dir / "documents.csv").rename(export_dir / "documents_2025-11-08.csv")
    (export_dir / "documents_2025-11-07.csv").write_text("id,label\n")
    (export_dir / "d[b]ocuments\x1b.csv").write_text("")
    for number in range(10):
        (export_dir / f"z{number}.jpg").write_text("")
    arguments = ("import", "--data-dir", export_dir, "--only", "documents")
    shown = daybreak(given, *arguments)
    ignored = [line for line in shown.stdout.splitlines() if line.startswith("ignored ")]
    assert ignored[0] == "ignored d[b]ocuments\\x1b.csv belongs to no table; it resembles documents"
    assert len(ignored) == 11
    assert ignored[-1] == "ignored and 2 more: --json names all"
    answer = json.loads(daybreak(given, *arguments, "--json").stdout)
    assert answer["ignored_files"] == [
        {
            "file": "documents_2025-11-07.csv",
            "table": "documents",
            "why": "documents_2025-11-08.csv is newer",
        }
    ]
    assert len(answer["unknown_files"]) == 11
    assert answer["unknown_files"][0] == {"file": "d[b]ocuments\\x1b.csv", "resembles": "documents"}
    rehearsed = json.loads(daybreak(given, *arguments, "--json", "--dry-run").stdout)
    assert rehearsed["ignored_files"] == answer["ignored_files"]
    assert rehearsed["unknown_files"] == answer["unknown_files"]


def test_a_dry_run_shows_the_sql_of_a_table(
    given: Environment, export_dir: Path, connection: database.Connection
) -> None:
    Export(export_dir, connection).write("referrals", record("referrals", care_provider_id="clinician"))
    arguments = ("import", "--data-dir", export_dir, "--only", "referrals")
    shown = daybreak(given, *arguments, "--dry-run", "--show-sql").stdout
    assert "\n-- validate: missing_parent and dangling_reference, find\nCREATE UNLOGGED TABLE" in shown
    assert 'LEFT JOIN "public"."clinicians"' in shown
    assert (
        shown.index("-- stage: copy")
        < shown.index("-- merge: insert")
        < shown.index("a dry run: nothing was changed")
    )
    as_json = daybreak(given, *arguments, "--dry-run", "--show-sql", "--json")
    assert json.loads(as_json.stdout)["tables"]
    assert "-- merge: insert" in as_json.stderr


def test_sql_is_shown_of_a_dry_run_only(given: Environment, export_dir: Path) -> None:
    done = daybreak(given, "import", "--data-dir", export_dir, "--show-sql")
    assert (done.returncode, done.stderr) == (
        2,
        "daybreak: --show-sql goes with --dry-run, which changes nothing\n",
    )


def test_check_prints_one_json_object(given: Environment, export_dir: Path) -> None:
    assert daybreak(given, "import", "--data-dir", export_dir, "--only", "documents").returncode == 0
    done = daybreak(given, "check", "--json")
    answer = json.loads(done.stdout)
    assert list(answer) == ["run_id", "checks"]
    assert set(answer["checks"]) == set(TABLES)
    assert answer["checks"]["documents"]["row_accounting"]["passed"]
    # The other tables were never imported: that blocks.
    assert not answer["checks"]["kinships"]["row_accounting"]["passed"]
    assert done.returncode == 1


def test_check_shows_what_fails_first_and_then_what_passes(given: Environment, export_dir: Path) -> None:
    assert daybreak(given, "import", "--data-dir", export_dir, "--only", "documents").returncode == 0
    said = daybreak(given, "check", "--verbose").stdout
    lines = [line.split(maxsplit=2) for line in said.splitlines() if line]
    marks = [line[0] for line in lines if line[0] in {"ERROR", "WARN", "passed"}]
    assert marks == sorted(marks)
    assert ["ERROR", "documents.required_values:"] in [line[:2] for line in lines]
    (passed,) = [line[2] for line in lines if line[:2] == ["passed", "documents:"]]
    assert "row_accounting" in passed.split(", ")
    assert "required_values" not in passed


def test_status_tells_how_every_table_stands(given: Environment, export_dir: Path) -> None:
    arguments = ("import", "--data-dir", export_dir, "--only", "documents", "--only", "kinships")
    assert daybreak(given, *arguments).returncode == 1
    done = daybreak(given, "status")
    assert done.returncode == 0
    rows = {line.split()[0]: line for line in done.stdout.splitlines() if line and line.split()[0] in TABLES}
    assert set(rows) == set(TABLES)
    assert " imported " in rows["documents"]
    assert "required_values" in rows["documents"]
    assert " never " in rows["referrals"]
    assert f"failed kinships: no file kinships.csv in {export_dir}" in done.stdout
    assert re.search(r"next scheduled import: \d{4}-\d\d-\d\d 05:00 UTC", done.stdout)
    answer = json.loads(daybreak(given, "status", "--json").stdout)
    assert list(answer) == ["next_import_at", "tables", "verdict"]
    assert list(answer["tables"]) == list(TABLES)
    documents = answer["tables"]["documents"]
    assert (documents["status"], documents["records"], documents["quarantined"]) == ("imported", 2, 1)
    assert documents["failed_checks"] == ["required_values"]
    assert answer["tables"]["kinships"]["status"] == "failed"
    assert answer["tables"]["referrals"]["age_seconds"] is None


def test_status_needs_no_dagster(keyed: DatabaseSettings, tmp_path: Path) -> None:
    program = (
        "import sys; sys.argv = ['daybreak', 'status']\n"
        "from daybreak_pipeline.cli.main import main\n"
        "try:\n    main()\nfinally:\n    print('dagster' in sys.modules)"
    )
    environment = os.environ | environment_of(keyed, tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "False"


# --- What stops a command before it begins -----------------------------------------------------------------


@pytest.fixture(scope="module")
def keyed(databases: Databases, template: DatabaseSettings) -> Iterator[DatabaseSettings]:
    """A migrated database that was used with the key already, for tests that must not change it."""
    with databases.copy(template.name, KEYED) as settings:
        with database.connect(settings, key=KEY) as connection:
            keys.verify(connection)
        roles.apply(settings)
        yield settings


def state(settings: DatabaseSettings) -> list[tuple[Any, ...]]:
    """Return every row of every table that a command could write to."""
    tables = [
        *TABLES,
        "ingest.imports",
        "ingest.quarantine",
        "privacy.key_check",
        "migrations.alembic_version",
    ]
    return query(settings, " UNION ALL ".join(f"SELECT '{name}', t::text FROM {name} t" for name in tables))  # noqa: S608 - tables of this project


CLOSED_PORT = "9"
WRONG_SETTINGS = {
    "a server that is down": (
        {"DB_PORT": CLOSED_PORT},
        f"127.0.0.1:{CLOSED_PORT} .*check DB_HOST and DB_PORT",
    ),
    "a host that does not exist": ({"DB_HOST": "db.invalid"}, "db.invalid.*check DB_HOST"),
    "a wrong password": ({"DB_PASSWORD": "wrong"}, "refuses user .*check DB_USER and DB_PASSWORD"),
    "no password": ({"DB_PASSWORD": ""}, "refuses user .*check DB_USER and DB_PASSWORD"),
    "a database that does not exist": ({"DB_NAME": "nowhere"}, "no database nowhere.*DB_NAME"),
    "a port that is none": ({"DB_PORT": "abc"}, "DB_PORT is not a port number"),
    "an unknown TLS mode": ({"DB_SSLMODE": "on"}, "DB_SSLMODE is not one of"),
    "TLS that the server lacks": ({"DB_SSLMODE": "require"}, "TLS.*DB_SSLMODE"),
    "no key": ({"ENCRYPTION_KEY": ""}, "ENCRYPTION_KEY is not set"),
    "a weak key": ({"ENCRYPTION_KEY": "password"}, "ENCRYPTION_KEY is not 32 bytes"),
    "another key": ({"ENCRYPTION_KEY": OTHER_KEY}, "encrypted with another key"),
}


@pytest.mark.parametrize("case", WRONG_SETTINGS)
def test_wrong_settings_are_one_line_and_change_nothing(
    keyed: DatabaseSettings, tmp_path: Path, case: str
) -> None:
    wrong, message = WRONG_SETTINGS[case]
    before = state(keyed)
    environment = environment_of(keyed, tmp_path / "home") | wrong
    line = one_line(daybreak(environment, "import", "--data-dir", SAMPLE, "--json"))
    assert re.search(message, line)
    assert not [secret for secret in (keyed.password, KEY, OTHER_KEY) if secret in line]
    assert state(keyed) == before


@pytest.mark.parametrize(
    "arguments",
    [
        ("check",),
        ("status",),
        ("migrate", "status"),
        ("migrate", "up"),
        ("migrate", "down"),
        ("run", "--", "true"),
        ("up",),
    ],
    ids=" ".join,
)
def test_every_command_says_that_the_server_is_down(
    keyed: DatabaseSettings, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    environment = environment_of(keyed, tmp_path / "home") | {"DB_PORT": CLOSED_PORT}
    assert f"127.0.0.1:{CLOSED_PORT}" in one_line(daybreak(environment, *arguments))


@pytest.mark.parametrize("command", ["import", "up"])
@pytest.mark.parametrize("kind", ["no directory", "a file", "an empty directory", "other files"])
def test_a_wrong_export_is_one_line_and_starts_nothing(tmp_path: Path, command: str, kind: str) -> None:
    path = tmp_path / "export"
    home = tmp_path / "home"
    home.mkdir()
    if kind == "a file":
        path.write_text("id\n")
    elif kind != "no directory":
        path.mkdir()
    if kind == "other files":
        (path / "holiday.csv").write_text("id\n")
        (path / "kinships.xlsx").write_text("id\n")
    line = one_line(daybreak({"DAYBREAK_HOME": str(home)}, command, "--data-dir", path))
    assert str(path) in line
    assert list(home.iterdir()) == []


def test_an_export_directory_from_the_environment_is_looked_at_too(tmp_path: Path) -> None:
    settings = {"DAYBREAK_HOME": str(tmp_path), "DAYBREAK_EXPORT_DIR": str(tmp_path / "nowhere")}
    assert str(tmp_path / "nowhere") in one_line(daybreak(settings, "import"))


def test_an_unknown_table_is_wrong_usage(keyed: DatabaseSettings, tmp_path: Path) -> None:
    before = state(keyed)
    done = daybreak(environment_of(keyed, tmp_path), "import", "--only", "kinship")
    assert (done.returncode, done.stdout) == (2, "")
    assert "'kinship' is not one of" in done.stderr.splitlines()[-1]
    assert "'kinships'" in done.stderr
    assert state(keyed) == before


def test_a_given_database_on_an_older_migration_is_not_imported_into(
    given: Environment, migrated: DatabaseSettings
) -> None:
    runner.downgrade(migrated, str(int(runner.newest_revision()) - 1))
    assert "run daybreak migrate up" in one_line(daybreak(given, "import", "--data-dir", SAMPLE))
    assert query(migrated, "SELECT count(*) FROM ingest.imports") == [(0,)]


# --- migrate -------------------------------------------------------------------------------------------


def dump(settings: DatabaseSettings) -> str:
    """Return the schema as pg_dump writes it, without the line that is random each time."""
    done = subprocess.run(
        [programs.find() / "pg_dump", "--schema-only", f"--dbname={settings.conninfo()}"],
        capture_output=True,
        text=True,
        check=True,
    )
    return "".join(
        line
        for line in done.stdout.splitlines(keepends=True)
        if not line.startswith(("\\restrict", "\\unrestrict"))
    )


def revision(settings: DatabaseSettings) -> str | None:
    with psycopg.connect(settings.conninfo()) as connection:
        return runner.current_revision(connection)


def test_migrations_go_up_down_and_up_to_the_same_schema(bare: Environment, empty: DatabaseSettings) -> None:
    names = [f"{m.revision} {m.name}" for m in runner.migrations()]
    status = daybreak(bare, "migrate", "status")
    assert (status.returncode, status.stdout.splitlines()) == (0, [f"pending  {name}" for name in names])
    up = daybreak(bare, "migrate", "up")
    assert (up.returncode, up.stdout.splitlines()) == (0, [f"applied {name}" for name in names])
    first = dump(empty)
    assert "CREATE TABLE public.kinships" in first
    assert daybreak(bare, "migrate", "up").stdout == "nothing to apply\n"
    status = daybreak(bare, "migrate", "status")
    assert status.stdout.splitlines() == [f"applied  {name}" for name in names]
    down = daybreak(bare, "migrate", "down", "--to", "0")
    assert (down.returncode, down.stdout.splitlines()) == (
        0,
        [f"took back {name}" for name in reversed(names)],
    )
    assert "CREATE TABLE public." not in dump(empty)
    assert daybreak(bare, "migrate", "down").stdout == "nothing to roll back\n"
    assert daybreak(bare, "migrate", "up").returncode == 0
    assert dump(empty) == first


FROM_16_ON = {"faults_without_exceptions"}
"""Migrations that change nothing before PostgreSQL 16."""


@pytest.mark.slow
def test_each_rollback_leaves_what_was_there_before_its_migration(empty: DatabaseSettings) -> None:
    first, *others = runner.migrations()
    runner.upgrade(empty, first.revision)
    previous, before = first.revision, dump(empty)
    for migration in others:
        runner.upgrade(empty, migration.revision)
        after = dump(empty)
        assert after != before or migration.name in FROM_16_ON, migration.name
        runner.downgrade(empty, previous)
        assert dump(empty) == before, migration.name
        runner.upgrade(empty, migration.revision)
        assert dump(empty) == after, migration.name
        previous, before = migration.revision, after


def test_the_first_rollback_leaves_a_database_as_it_was_created(empty: DatabaseSettings) -> None:
    before = dump(empty)
    runner.upgrade(empty, "1")
    runner.downgrade(empty, "0")
    remaining = set(dump(empty).splitlines()) - set(before.splitlines())
    # The version table stays, which says that there is no migration.
    assert not [line for line in remaining if line.startswith("CREATE") and "migrations" not in line]


def test_migrations_can_stop_on_the_way(bare: Environment, empty: DatabaseSettings) -> None:
    assert daybreak(bare, "migrate", "up", "--to", "3").returncode == 0
    assert revision(empty) == "003"
    assert daybreak(bare, "migrate", "down").returncode == 0
    assert revision(empty) == "002"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("up", "--to", "99"), "there is no migration 99"),
        (("up", "--to", "new"), "new"),
        (("down", "--to", "99"), "there is no migration 99"),
        (("down", "--to", "x"), "--to x is not the number of a migration"),
        (("down", "--to", "-1"), "-1"),
        (("up", "--to", "0"), "0"),
    ],
    ids=" ".join,
)
def test_migrations_that_do_not_exist_are_wrong_usage(
    keyed: DatabaseSettings, tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    before = state(keyed)
    done = daybreak(environment_of(keyed, tmp_path), "migrate", *arguments)
    assert message in one_line(done)
    assert state(keyed) == before


def insert_document(settings: DatabaseSettings) -> None:
    with psycopg.connect(settings.conninfo()) as connection:
        connection.execute("INSERT INTO documents (id, label) VALUES (%s, 'x')", [uuid("kept")])


@pytest.mark.parametrize("to", [(), ("--to", "0")])
def test_rows_are_not_dropped_without_being_asked_about(
    given: Environment, migrated: DatabaseSettings, to: tuple[str, ...]
) -> None:
    insert_document(migrated)
    line = one_line(daybreak(given, "migrate", "down", *to))
    assert "documents" in line
    assert "--yes" in line
    assert query(migrated, "SELECT id::text FROM documents") == [(uuid("kept"),)]
    assert revision(migrated) == runner.newest_revision()


def test_rows_are_dropped_when_told_so(given: Environment, migrated: DatabaseSettings) -> None:
    insert_document(migrated)
    assert daybreak(given, "migrate", "down", "--yes", "--to", "0").returncode == 0
    assert query(migrated, "SELECT to_regclass('public.documents')") == [(None,)]


@pytest.mark.parametrize(("answer", "code", "revisions_back"), [("n", 2, 0), ("", 2, 0), ("y", 0, 1)])
def test_on_a_terminal_the_command_asks(
    given: Environment, migrated: DatabaseSettings, answer: str, code: int, revisions_back: int
) -> None:
    insert_document(migrated)
    ours, theirs = pty.openpty()
    try:
        process = subprocess.Popen(
            [DAYBREAK, "migrate", "down"],
            env=os.environ | given,
            stdin=theirs,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        os.write(ours, f"{answer}\n".encode())
        output = process.communicate(timeout=60)[0]
    finally:
        os.close(ours)
        os.close(theirs)
    assert "2 tables hold rows (documents, audit.changes)" in output
    assert process.returncode == code, output
    assert int(runner.newest_revision()) - int(revision(migrated) or 0) == revisions_back
    assert query(migrated, "SELECT id::text FROM documents") == [(uuid("kept"),)]


def test_two_commands_that_migrate_at_once_apply_each_migration_once(
    bare: Environment, empty: DatabaseSettings
) -> None:
    running = [
        subprocess.Popen(
            [DAYBREAK, "migrate", "up"],
            env=os.environ | bare,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for _ in range(2)
    ]
    outputs = [process.communicate(timeout=60)[0] for process in running]
    assert [process.returncode for process in running] == [0, 0], outputs
    applied = [line for output in outputs for line in output.splitlines() if line.startswith("applied")]
    assert sorted(applied) == [f"applied {m.revision} {m.name}" for m in runner.migrations()]
    assert revision(empty) == runner.newest_revision()


@pytest.mark.parametrize(
    "arguments",
    [("migrate", "up"), ("migrate", "down"), ("import", "--data-dir", str(SAMPLE))],
    ids=lambda arguments: " ".join(arguments[:2]),
)
def test_a_database_that_is_newer_than_the_program_is_left_alone(
    given: Environment, migrated: DatabaseSettings, arguments: tuple[str, ...]
) -> None:
    with psycopg.connect(migrated.conninfo()) as connection:
        connection.execute("UPDATE migrations.alembic_version SET version_num = '999'")
    before = state(migrated)
    assert "999" in one_line(daybreak(given, *arguments))
    assert state(migrated) == before


# --- generate, run, psql, doctor -------------------------------------------------------------------------


def test_generate_writes_16_files(tmp_path: Path) -> None:
    done = daybreak({}, "generate", "--patients", "5", "--out", tmp_path / "new" / "export", "--seed", "1")
    assert done.returncode == 0
    files = sorted(path.name for path in (tmp_path / "new" / "export").iterdir())
    assert len(files) == 16
    assert {Path(name).suffix for name in files} == {".csv", ".parquet"}
    assert str(tmp_path / "new" / "export") in done.stdout


def test_generate_writes_what_must_come_of_its_faults(tmp_path: Path) -> None:
    assert daybreak({}, "generate", "--patients", "5", "--out", tmp_path, "--faults").returncode == 0
    assert len(list(tmp_path.iterdir())) == 17
    assert set(json.loads((tmp_path / "expected.json").read_text())["tables"]) == set(TABLES)


def test_generate_writes_the_tables_that_it_is_told(tmp_path: Path) -> None:
    only = ("--only", "documents", "--only", "organizations")
    assert daybreak({}, "generate", "--patients", "5", "--out", tmp_path, *only).returncode == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["documents.csv", "orgs.csv", "synthetic.txt"]


def test_generate_cannot_write_into_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert str(tmp_path / "file") in one_line(
        daybreak({}, "generate", "--patients", "5", "--out", tmp_path / "file")
    )


def test_generate_wants_patients(tmp_path: Path) -> None:
    done = daybreak({}, "generate", "--patients", "0", "--out", tmp_path / "export")
    assert (done.returncode, (tmp_path / "export").exists()) == (2, False)


def test_run_gives_a_command_the_database_and_the_key(given: Environment, migrated: DatabaseSettings) -> None:
    program = "import json, os; print(json.dumps(dict(os.environ)))"
    done = daybreak(given, "run", "--", sys.executable, "-c", program)
    assert done.returncode == 0
    seen = json.loads(done.stdout)
    expected = migrated.environment() | {"ENCRYPTION_KEY": KEY}
    assert {name: seen.get(name) for name in expected} == expected
    assert Path(seen["DAGSTER_HOME"]).is_dir()
    assert "DAYBREAK_EXPORT_DIR" not in seen  # nobody has chosen one: commands look where the last import did


def test_run_gives_an_application_its_own_login_and_the_key_and_nothing_of_the_owner(
    given: Environment, migrated: DatabaseSettings
) -> None:
    arguments = (
        "run",
        "--application",
        "--",
        sys.executable,
        "-c",
        "import json, os; print(json.dumps(dict(os.environ)))",
    )
    assert "set DAYBREAK_APP_PASSWORD" in one_line(daybreak(given, *arguments))
    known = given | {"DAYBREAK_APP_PASSWORD": "a-password"}
    assert daybreak(known, "roles", "apply").returncode == 0
    assert "daybreak roles apply" in one_line(
        daybreak(known | {"DAYBREAK_APP_PASSWORD": "wrong"}, *arguments)
    )
    seen = json.loads(daybreak(known, *arguments).stdout)
    login = ("PGHOST", "PGPORT", "PGDATABASE", "PGUSER", "PGPASSWORD", "ENCRYPTION_KEY")
    assert [seen[name] for name in login] == [
        migrated.host, str(migrated.port), migrated.name, "daybreak_app", "a-password", KEY,
    ]  # fmt: skip
    assert {"DB_USER", "DB_PASSWORD", "DAYBREAK_APP_PASSWORD"} & set(seen) == set()
    done = daybreak(known, "run", "--application", "--", *arguments[3:4], "-c", _ASKS)
    assert done.stdout == "daybreak_app\n", done.stderr


_ASKS = "import psycopg; print(psycopg.connect().execute('SELECT session_user').fetchone()[0])"


@pytest.mark.parametrize(("program", "code"), [("exit 7", 7), ("kill -KILL $$", 137)])
def test_run_ends_as_its_command_does(
    keyed: DatabaseSettings, tmp_path: Path, program: str, code: int
) -> None:
    environment = environment_of(keyed, tmp_path)
    assert daybreak(environment, "run", "--", "sh", "-c", program).returncode == code


def test_run_says_that_a_command_does_not_exist(keyed: DatabaseSettings, tmp_path: Path) -> None:
    line = one_line(daybreak(environment_of(keyed, tmp_path), "run", "--", "no-such-command"))
    assert "no-such-command" in line


def test_psql_is_connected_to_the_database(keyed: DatabaseSettings, tmp_path: Path) -> None:
    done = daybreak(environment_of(keyed, tmp_path), "psql", "-Atc", "SELECT current_database(), 1")
    assert (done.returncode, done.stdout, done.stderr) == (0, "cli_keyed|1\n", "")


def test_psql_ends_as_psql_does(keyed: DatabaseSettings, tmp_path: Path) -> None:
    assert daybreak(environment_of(keyed, tmp_path), "psql", "-c", "SELECT nothing").returncode == 1


def test_doctor_finds_a_good_installation_good(keyed: DatabaseSettings, tmp_path: Path) -> None:
    before = state(keyed)
    done = daybreak(environment_of(keyed, tmp_path), "doctor")
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert len(lines) >= 8
    assert all(line.startswith("ok ") for line in lines)
    assert "16 of 16 files" in done.stdout
    assert KEY not in done.stdout
    assert state(keyed) == before


UNWELL = {
    "key": ({"ENCRYPTION_KEY": "password"}, "ENCRYPTION_KEY"),
    "server": ({"DB_PORT": CLOSED_PORT}, "check DB_HOST and DB_PORT"),
    "key fits the database": ({"ENCRYPTION_KEY": OTHER_KEY}, "another key"),
    "export": ({"DAYBREAK_EXPORT_DIR": "/nowhere"}, "/nowhere"),
    "environment": ({"DAYBREAK_ENV": "moon"}, "DAYBREAK_ENV"),
    "alerts": ({"DAYBREAK_WEBHOOK_URL": "hooks"}, "DAYBREAK_WEBHOOK_URL"),
    "files at rest": ({"DAYBREAK_SETTLE_SECONDS": "soon"}, "DAYBREAK_SETTLE_SECONDS"),
}


def test_doctor_says_who_hears_of_failures(keyed: DatabaseSettings, tmp_path: Path) -> None:
    environment = environment_of(keyed, tmp_path)
    assert "alerts: log only" in daybreak(environment, "doctor").stdout
    done = daybreak(environment | {"DAYBREAK_WEBHOOK_URL": "https://hooks.example.org/SECRET"}, "doctor")
    assert "alerts: webhook at hooks.example.org" in done.stdout
    assert "SECRET" not in done.stdout


@pytest.mark.parametrize(
    ("variable", "value"), [("DAYBREAK_WEBHOOK_URL", "hooks"), ("DAYBREAK_SETTLE_SECONDS", "soon")]
)
def test_up_refuses_settings_that_would_fail_at_night(
    bare: Environment, empty: DatabaseSettings, variable: str, value: str
) -> None:
    done = daybreak(bare | {variable: value}, "up")
    assert variable in one_line(done)
    assert done.returncode == 2
    assert query(empty, "SELECT to_regclass('public.documents')") == [(None,)]


def test_every_wrong_setting_is_a_line_before_anything_is_started(tmp_path: Path) -> None:
    environment = {
        "DAYBREAK_HOME": str(tmp_path / "home"),
        "DAYBREAK_HOM": "a",
        "DB_NAME": "a",
        "DAYBREAK_ENV": "SECRET",
        "DB_PASSWORD": "SECRET",
    }
    done = daybreak(environment, "import")
    assert (done.returncode, done.stdout) == (2, "")
    assert [line.partition(": ")[2] for line in done.stderr.splitlines()] == [
        "warning: DAYBREAK_HOM is no setting: is DAYBREAK_HOME meant?",
        "DAYBREAK_ENV is not one of development, staging, production",
        "DB_NAME and DB_PASSWORD are set and DB_HOST is not: set it to the server, or leave them out for the embedded one",
    ]
    assert not (tmp_path / "home").exists()
    assert daybreak(environment, "import", "--help").returncode == 0


def test_doctor_shows_what_is_set(keyed: DatabaseSettings, tmp_path: Path) -> None:
    environment = environment_of(keyed, tmp_path) | {"DAYBREAK_ENV": "staging", "DAYBREAK_POOL": "1"}
    done = daybreak(environment, "doctor")
    assert done.returncode == 0
    assert f"ok      settings: DB_NAME is {keyed.name}\n" in done.stdout
    assert "ok      settings: DAYBREAK_ENV is staging\n" in done.stdout
    assert "ok      settings: ENCRYPTION_KEY is set, and not shown\n" in done.stdout
    assert "advice  settings: DAYBREAK_POOL is no setting" in done.stdout
    assert KEY not in done.stdout


@pytest.mark.parametrize("subject", UNWELL)
def test_doctor_names_what_is_wrong(keyed: DatabaseSettings, tmp_path: Path, subject: str) -> None:
    wrong, message = UNWELL[subject]
    done = daybreak(environment_of(keyed, tmp_path) | wrong, "doctor")
    assert done.returncode == 2
    (line,) = [line for line in done.stdout.splitlines() if not line.startswith("ok ")]
    assert line.startswith(f"missing {subject}: ")
    assert message in line
    assert done.stderr == ""


def test_doctor_says_that_roles_are_missing_and_applies_none(
    given: Environment, migrated: DatabaseSettings
) -> None:
    with database.connect(migrated, key=KEY) as connection:
        keys.verify(connection)
    done = daybreak(given, "doctor")
    assert done.returncode == 2
    (line,) = [line for line in done.stdout.splitlines() if not line.startswith("ok ")]
    assert line.startswith("missing roles: ")
    assert "daybreak roles apply" in line
    assert query(migrated, "SELECT count(*) FROM privacy.roles_applied") == [(0,)]


def test_doctor_says_that_migrations_are_missing_and_applies_none(
    bare: Environment, empty: DatabaseSettings
) -> None:
    done = daybreak(bare, "doctor")
    assert done.returncode == 2
    assert "missing schema: migration none" in done.stdout
    assert "daybreak migrate up" in done.stdout
    assert query(empty, "SELECT to_regclass('public.documents')") == [(None,)]


def test_doctor_names_the_tables_without_a_file(
    keyed: DatabaseSettings, tmp_path: Path, export_dir: Path
) -> None:
    done = daybreak(environment_of(keyed, tmp_path), "doctor", "--data-dir", export_dir)
    (line,) = [line for line in done.stdout.splitlines() if " export: " in line]
    assert "1 of 16 files" in line
    assert "kinships" in line
    assert "documents" not in line.replace(str(export_dir), "")


@pytest.mark.parametrize("command", [(), ("migrate",), ("import",), ("up",)])
def test_help_needs_nothing(tmp_path: Path, command: tuple[str, ...]) -> None:
    done = daybreak({"DAYBREAK_HOME": str(tmp_path), "DB_PORT": "abc", "DB_HOST": "x"}, *command, "--help")
    assert done.returncode == 0
    assert done.stdout.startswith("Usage: ")
    assert list(tmp_path.iterdir()) == []
