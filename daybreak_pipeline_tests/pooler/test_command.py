"""``daybreak pgbouncer config``, and every command through what it configures."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from daybreak_pipeline import database
from daybreak_pipeline.embedded_postgres.programs import server_account
from daybreak_pipeline.pooler import configuration, process
from daybreak_pipeline.settings import PROJECT_ROOT, DatabaseSettings
from daybreak_pipeline_tests.cli.test_main import environment_of, one_line
from daybreak_pipeline_tests.commands import Environment, daybreak
from daybreak_pipeline_tests.conftest import KEY, _administer
from daybreak_pipeline_tests.homes import server_home
from daybreak_pipeline_tests.pgbouncer import free_port, needs_pgbouncer

DAGSTER = "pool_dagster"


@pytest.fixture
def environment(migrated: DatabaseSettings) -> Iterator[Environment]:
    """What to set for a given server, with Dagster's records in a database of their own, and a place for PgBouncer."""
    with server_home() as place:
        yield environment_of(migrated, place / "home") | {
            "DAYBREAK_PGBOUNCER_PORT": str(free_port()),
            "DAYBREAK_DAGSTER_DB": DAGSTER,
            "DAYBREAK_APP_PASSWORD": "an application's",
        }
    _administer(migrated, "DROP DATABASE IF EXISTS {} WITH (FORCE)", DAGSTER)


def place_of(environment: Environment) -> Path:
    return Path(environment["DAYBREAK_HOME"]).parent / "pool"


def test_it_says_where_it_wrote_how_to_start_and_how_to_connect(environment: Environment) -> None:
    done = daybreak(environment, "pgbouncer", "config", "--out", place_of(environment))
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.splitlines()
    file = place_of(environment) / "pgbouncer.ini"
    assert first == f"{file} is written: start it as {server_account().name} with: pgbouncer {file}"
    port = environment["DAYBREAK_PGBOUNCER_PORT"]
    assert f"host=127.0.0.1 port={port} dbname={environment['DB_NAME']} user=daybreak_app" in second
    assert "an application's" not in done.stdout + done.stderr


def test_by_default_it_writes_into_a_home_that_need_not_be_there_yet(environment: Environment) -> None:
    done = daybreak(environment, "pgbouncer", "config")
    assert done.returncode == 0, done.stderr
    assert (Path(environment["DAYBREAK_HOME"]) / "pgbouncer" / "userlist.txt").exists()


def test_roles_apply_writes_the_list_of_users_again(environment: Environment) -> None:
    daybreak(environment, "pgbouncer", "config", "--out", place_of(environment))
    users = place_of(environment) / "userlist.txt"
    before = users.read_text()
    done = daybreak(environment | {"DAYBREAK_APP_PASSWORD": "another"}, "roles", "apply")
    assert f"{users} is written again" in done.stderr
    assert users.read_text() != before
    assert "ok      pgbouncer users: as the roles are" in daybreak(environment, "doctor").stdout


def test_without_a_certificate_others_cannot_reach_it(environment: Environment) -> None:
    wrong = environment | {"DAYBREAK_PGBOUNCER_HOST": "10.1.2.3"}
    line = one_line(daybreak(wrong, "pgbouncer", "config", "--out", place_of(environment)))
    assert "DAYBREAK_PGBOUNCER_CERT" in line
    assert not place_of(environment).exists()


@needs_pgbouncer
@pytest.mark.slow
def test_every_command_works_through_it(environment: Environment, migrated: DatabaseSettings) -> None:
    daybreak(environment, "pgbouncer", "config", "--out", place_of(environment))
    written = configuration.Written(
        place_of(environment),
        DatabaseSettings(
            "127.0.0.1",
            int(environment["DAYBREAK_PGBOUNCER_PORT"]),
            migrated.name,
            migrated.user,
            migrated.password,
            "disable",
        ),
    )
    running = process.start(written, server_account())
    try:
        through = (
            environment
            | written.through.environment()
            | {
                "DAYBREAK_DAGSTER_HOST": migrated.host,
                "DAYBREAK_DAGSTER_PORT": str(migrated.port),
            }
        )
        with database.connect(written.through) as connection:
            assert database.is_pooled(connection)
        assert daybreak(through, "migrate", "up").stdout == "nothing to apply\n"
        assert daybreak(through, "roles", "apply").returncode == 0
        done = daybreak(through, "import", "--data-dir", PROJECT_ROOT / "data" / "sample", "--json")
        assert {table["status"] for table in json.loads(done.stdout)["tables"].values()} == {"imported"}
        for command in (
            ("check", "--json"),
            ("status", "--json"),
            ("quarantine", "list"),
            ("quarantine", "replay"),
        ):
            assert daybreak(through, *command).returncode in {0, 1}, command
        assert daybreak(through, "psql", "-Atc", "SELECT count(*) > 0 FROM clinicians").stdout == "t\n"
        told = daybreak(through, "doctor").stdout
        assert (
            f"ok      pooler: there is one; Dagster's records go to {migrated.host}:{migrated.port}" in told
        )
        assert "missing" not in told
        assert KEY not in running.log.read_text()
    finally:
        process.stop(running.process)
