"""docs/access-patterns.md: each language's blocks are one program, which runs and prints what its comments say."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from daybreak_pipeline import database
from daybreak_pipeline.pooler import programs
from daybreak_pipeline.settings import DatabaseSettings
from daybreak_pipeline_tests import node
from daybreak_pipeline_tests.conftest import KEY, Databases
from daybreak_pipeline_tests.documents import blocks
from daybreak_pipeline_tests.node import needs_node
from daybreak_pipeline_tests.pgbouncer import pooled
from daybreak_pipeline_tests.privacy.test_roles import APP, apply_with_passwords, login

PAGE = "docs/access-patterns.md"
JAVASCRIPT = blocks.in_language(PAGE, "js")
PYTHON = blocks.in_language(PAGE, "python")
SQLALCHEMY = blocks.in_language(PAGE, "python", "program: sqlalchemy")
_END = "await pool.end();"

_SCENE = """
INSERT INTO clinicians (id, healthie_id, first_name, states_active, care_languages)
    VALUES ('5b6f0c1e-0000-4000-8000-000000000001', '7', 'Ada', '{NY}', '{spa}');
INSERT INTO clinician_availabilities (id, user_id, range_start, range_end, timezone, is_repeating, created_at, updated_at)
    SELECT n, 7, b, b + interval '10 hours', 'America/New_York', true, now(), now()
    FROM generate_series(1, 7) n, LATERAL (SELECT timestamptz '2025-01-01 08:00 America/New_York' + n * interval '1 day') t (b);
INSERT INTO clinician_credentialed_insurances (id, name) VALUES ('5b6f0c1e-0000-4000-8000-000000000002', 'Summit Health Plan');
INSERT INTO clinician_insurance_affiliations (care_provider_profile_id, credentialed_insurance_id)
    VALUES ('5b6f0c1e-0000-4000-8000-000000000001', '5b6f0c1e-0000-4000-8000-000000000002')"""
"""What an import brings: a clinician with hours and an insurance."""


@pytest.fixture(scope="module")
def db(databases: Databases, template: DatabaseSettings) -> Iterator[DatabaseSettings]:
    with databases.copy(template.name, "access_patterns") as given:
        apply_with_passwords(given)
        with database.connect(given, key=KEY) as connection:
            for statement in _SCENE.split(";\n"):
                connection.execute(statement.encode())
        yield given


@pytest.fixture(scope="module", params=["directly", "through PgBouncer"])
def environment(request: pytest.FixtureRequest, db: DatabaseSettings) -> Iterator[dict[str, str]]:
    """What the page says that an application finds in its environment."""
    if request.param == "directly":
        yield found_by(db)
    elif programs.find() is None:
        pytest.skip("PgBouncer is not installed (make pooler)")
    else:
        with pooled(db, size=3, self_signed=True) as (through, _log):
            yield found_by(through)


def found_by(reached: DatabaseSettings) -> dict[str, str]:
    application = login(reached, APP)
    found = {
        "PGHOST": application.host,
        "PGPORT": str(application.port),
        "PGDATABASE": application.name,
        "PGUSER": application.user,
        "PGPASSWORD": application.password,
        "ENCRYPTION_KEY": KEY,
    }
    if application.sslmode == "verify-full":
        root = application.sslrootcert
        found |= {"PGSSLMODE": "verify-full", "PGSSLROOTCERT": root, "NODE_EXTRA_CA_CERTS": root}
    return found


def program(parts: list[blocks.Block]) -> str:
    return "\n".join(part.text for part in parts)


def in_node(directory: Path, text: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    node.prepare(directory)
    (directory / "app.mjs").write_text(text)
    return node.run(directory, "app.mjs", environment=environment)


def in_python(directory: Path, text: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    (directory / "app.py").write_text(text)
    return subprocess.run(
        [sys.executable, "app.py"],
        cwd=directory,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def as_promised(text: str, done: subprocess.CompletedProcess[str]) -> None:
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == blocks.promised(text)


@pytest.mark.slow
@needs_node
def test_the_program_in_node_does_what_its_comments_say(environment: dict[str, str], tmp_path: Path) -> None:
    text = program(JAVASCRIPT)
    assert len(blocks.promised(text)) == text.count("console.log")
    as_promised(text, in_node(tmp_path, text, environment))


@pytest.mark.slow
@pytest.mark.parametrize("parts", [PYTHON, SQLALCHEMY], ids=["psycopg", "SQLAlchemy"])
def test_a_program_in_python_does_what_its_comments_say(
    parts: list[blocks.Block], environment: dict[str, str], tmp_path: Path
) -> None:
    text = program(parts)
    assert len(blocks.promised(text)) == text.count("print(")
    as_promised(text, in_python(tmp_path, text, environment))


_LOST_IN_NODE = """
let tries = 0;
const answer = await again(async (db) => {
  tries += 1;
  if (tries === 1) await db.query('SELECT pg_terminate_backend(pg_backend_pid())');
  const cut = tries === 2 ? undefined : Object.assign(new Error('read ECONNRESET'), { code: 'ECONNRESET' });
  if (tries === 2 || tries === 3) setImmediate(() => db.connection.stream.destroy(cut));
  if (tries === 2 || tries === 3) await db.query('SELECT pg_sleep(1)');
  return (await db.query("SELECT privacy.key('seal') IS NOT NULL AS has_key")).rows[0].has_key;
});
let refused = 0;
await again(async (db) => { refused += 1; await db.query("SELECT 'no uuid'::uuid"); }).catch(() => {});
console.log('end', tries, answer, refused);
"""


@pytest.mark.slow
@needs_node
def test_node_repeats_what_a_lost_connection_stopped_and_nothing_that_was_refused(
    environment: dict[str, str], tmp_path: Path
) -> None:
    text = program(JAVASCRIPT)
    done = in_node(tmp_path, text.replace(_END, _LOST_IN_NODE + _END), environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "end 4 true 1"


_TIMEOUT_AT_THE_START = """
import pg from 'pg';
const pool = new pg.Pool({ statement_timeout: 3000 });
console.log(await pool.query('SHOW statement_timeout').then((found) => found.rows[0].statement_timeout, (error) => error.code));
await pool.end();
"""


@pytest.mark.slow
@needs_node
def test_a_timeout_in_nodes_pool_is_refused_by_pgbouncer(environment: dict[str, str], tmp_path: Path) -> None:
    done = in_node(tmp_path, _TIMEOUT_AT_THE_START, environment)
    assert done.stdout.strip() == ("08P01" if "PGSSLMODE" in environment else "3s"), done.stderr


_LOST_IN_PYTHON = """
tries = []
def unit(db):
    tries.append(1)
    if len(tries) == 1:
        db.execute("SELECT pg_terminate_backend(pg_backend_pid())")
    return db.execute("SELECT privacy.key('seal') IS NOT NULL").fetchone()[0]
answer = again(unit)
refused = []
try:
    again(lambda db: refused.append(1) or db.execute("SELECT 'no uuid'::uuid"))
except psycopg.DataError:
    print("end", len(tries), answer, len(refused))
"""


@pytest.mark.slow
def test_python_repeats_what_a_lost_connection_stopped_and_nothing_that_was_refused(
    environment: dict[str, str], tmp_path: Path
) -> None:
    done = in_python(tmp_path, program(PYTHON) + _LOST_IN_PYTHON, environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "end 2 True 1"


_SECRETS = """
for echo in (True, False):
    try:
        with engine.begin() as db:
            db.execute(insert(people).values(id=odo, role=1, first_name="Zebulon"))
    except Exception as error:
        print("refused", "Zebulon" in str(error) or os.environ["ENCRYPTION_KEY"] in str(error))
"""


@pytest.mark.slow
def test_sqlalchemy_keeps_key_and_names_out_of_errors_and_its_echo(
    environment: dict[str, str], tmp_path: Path
) -> None:
    text = program(SQLALCHEMY).replace("hide_parameters=True", "hide_parameters=True, echo=True")
    done = in_python(tmp_path, text + _SECRETS, environment)
    assert done.returncode == 0, done.stderr
    said = done.stdout + done.stderr
    assert said.count("refused False") == 2
    assert "INSERT INTO" in said, "it echoes"
    assert not [secret for secret in (KEY, "Zebulon") if secret in said]
