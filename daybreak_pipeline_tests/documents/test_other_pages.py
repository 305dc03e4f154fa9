"""What the other documents show is run, or compared with what is really printed.

All commands of a shell run one after the other, with one home in which the sample was imported: the pages of ``COMMANDS``
in their order. Runbooks, common queries and access patterns have tests of their own; ``test_every_block`` sees to it that
no block is left out.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from daybreak_pipeline import database
from daybreak_pipeline.embedded_postgres import programs
from daybreak_pipeline.schema import references
from daybreak_pipeline.settings import PROJECT_ROOT, DatabaseSettings
from daybreak_pipeline_tests import node
from daybreak_pipeline_tests.application import NOBODY
from daybreak_pipeline_tests.conftest import KEY, Databases, _administer
from daybreak_pipeline_tests.documents import blocks
from daybreak_pipeline_tests.homes import server_home
from daybreak_pipeline_tests.node import needs_node
from daybreak_pipeline_tests.privacy.test_roles import APP, apply_with_passwords, login

COMMANDS = (
    "docs/architecture.md",
    "docs/commands.md",
    "README.md",
    "docs/personal-data.md",
    "docs/numbers-for-analysts.md",
    "docs/references-for-applications.md",
    "docs/access-patterns.md",
)
"""Pages with commands of a shell, in the order in which they can follow each other."""

AHEAD = "docs/when-the-export-is-ahead-of-the-schema.md"
SOME_ID = "00000000-0000-0000-0000-00000000dead"
_BEGINS = "# block "


@pytest.fixture(scope="module")
def environment() -> Iterator[dict[str, str]]:
    """Somebody with a home of their own, the embedded server, and the sample in it."""
    with server_home() as top:
        home = top / "home"
        home.mkdir(mode=0o711)
        yield {
            "DAYBREAK_HOME": str(home),
            "DAYBREAK_BACKUP_REPO": "none",
            "HOME": str(home),
            "PATH": f"{Path(sys.executable).parent}:{programs.find()}:{os.environ['PATH']}",
        }


@pytest.fixture(scope="module")
def scorecard(environment: dict[str, str]) -> str:
    """What the first import of the sample prints."""
    return shell("daybreak import || test $? = 1", environment)


def shell(script: str, environment: dict[str, str], root: Path = PROJECT_ROOT) -> str:
    done = subprocess.run(
        ["/bin/bash", "-c", f"set -euo pipefail\n{script}"],
        cwd=root,
        env={**environment, "PYTHONPATH": str(root)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def filled_in(text: str) -> str:
    """Return commands with what a reader puts in the place of examples."""
    later = (datetime.now(UTC) + timedelta(days=90)).date().isoformat()
    return re.sub(r"--until \d{4}-\d\d-\d\d", f"--until {later}", re.sub(r"\bID\b", SOME_ID, text))


@pytest.mark.slow
def test_the_commands_of_all_pages_run_one_after_the_other(
    environment: dict[str, str], scorecard: str
) -> None:
    assert scorecard
    script: list[str] = []
    shown: dict[str, str] = {}
    for page in COMMANDS:
        for block in blocks.read(page):
            if block.language == "sh" and block.key not in blocks.NOT_RUN:
                script += [f"echo '{_BEGINS}{block}'", filled_in(block.text)]
    printed = shell("\n".join(script), environment)
    for part in printed.split(_BEGINS)[1:]:
        name, _, said = part.partition("\n")
        shown[name.partition(":")[0]] = said
    assert set(shown) == set(COMMANDS)
    # The README: "The last line that each prints is the report's answer, and now it is yes."
    assert shown["README.md"].splitlines()[-1] == "can today's data be trusted: yes"
    assert re.search(r"^\d+$", shown["docs/access-patterns.md"], re.MULTILINE), "the application has asked"


@pytest.mark.slow
def test_the_scorecard_of_the_readme_is_what_an_import_prints(scorecard: str) -> None:
    [block] = blocks.in_language("README.md", "text")
    shown, printed = (
        {re.sub(r"\b\d+\.\d\d\b", "0.00", " ".join(line.split())) for line in text.splitlines()}
        for text in (block.text, scorecard)
    )
    assert shown <= printed


@pytest.mark.slow
def test_the_sql_of_a_dry_run_is_as_the_architecture_shows_it(
    environment: dict[str, str], scorecard: str
) -> None:
    assert scorecard
    [block] = blocks.in_language("docs/architecture.md", "sql")
    printed = shell(
        "daybreak import --only referrals --full --dry-run --show-sql || test $? = 1", environment
    )
    for line in block.text.splitlines():
        assert line.partition(" …")[0] in printed


@pytest.mark.slow
def test_the_frames_of_the_notebook_are_read(
    environment: dict[str, str], scorecard: str, tmp_path: Path
) -> None:
    assert scorecard
    [block] = blocks.in_language("docs/commands.md", "python")
    *before, shown = block.text.strip().splitlines()
    cell = tmp_path / "cell.py"
    cell.write_text("\n".join([*before, f"print({shown})"]))
    assert "kinships" in shell(f"daybreak run -- python {cell}", environment)


# --- An example from quarantine to migration ------------------------------------------------------------------------


def asked(text: str) -> list[tuple[str, list[str]]]:
    """Return the commands of a session, each with what is shown below it."""
    found: list[tuple[str, list[str]]] = []
    for line in text.splitlines():
        if line.startswith("$ "):
            found.append((line.removeprefix("$ "), []))
        else:
            found[-1][1].append(line)
    return found


def anonymous(line: str) -> str:
    """Return a line without what is other each time: numbers, ids, times, directories, and the spaces between."""
    line = re.sub(r"^\S*(?=/schema/)", "", line)
    return re.sub(r"\s+", " ", re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}|\d[\d :-]*\d|\d", "N", line)).strip()


@pytest.mark.slow
def test_the_example_of_a_migration_goes_as_it_is_told(
    environment: dict[str, str], scorecard: str, tmp_path: Path
) -> None:
    """The last with this home, whose database is ahead of the project afterwards."""
    assert scorecard
    for name in ("daybreak_pipeline", "data"):
        shutil.copytree(PROJECT_ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(PROJECT_ROOT / "workspace.yaml", tmp_path)
    migrations = tmp_path / "daybreak_pipeline" / "schema" / "migrations"
    for block in blocks.read(AHEAD):
        if block.language == "sql":
            taking_back = "Takes back" in block.first
            [file] = [
                one
                for one in migrations.glob("*_widen_kinship_labels*.sql")
                if (".rollback" in one.name) is taking_back
            ]
            file.write_text(block.text)
            continue
        for command, expected in asked(block.text):
            printed = {anonymous(line) for line in shell(command, environment, tmp_path).splitlines()}
            assert {anonymous(line) for line in expected} <= printed
    left = "daybreak quarantine list --table kinships --reason invalid_enum"
    assert "user_0_label" not in shell(left, environment, tmp_path)


# --- Statements of SQL, and the one in JavaScript ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def db(databases: Databases, template: DatabaseSettings) -> Iterator[DatabaseSettings]:
    """A database with one person to be found."""
    with databases.copy(template.name) as given:
        apply_with_passwords(given)
        with database.connect(given, key=KEY) as connection:
            connection.execute(
                "INSERT INTO patients_and_guardians (role, first_name, last_name, email)"
                " VALUES (1, 'María', 'García', 'maria.garcia@example.org')"
            )
        yield given


@pytest.mark.parametrize("page", ["README.md", "docs/personal-data.md"])
def test_personal_data_is_read_and_searched_as_the_page_shows(db: DatabaseSettings, page: str) -> None:
    [block] = blocks.in_language(page, "sql")
    with psycopg.connect(login(db, APP).conninfo()) as connection:
        cursor = psycopg.RawCursor(connection)
        for statement in blocks.statements(block.text):
            cursor.execute(statement.encode(), [KEY] if "$1" in statement else None)
            assert cursor.rowcount == 1, statement


def test_the_owner_and_databases_are_made_as_the_page_shows(server: DatabaseSettings) -> None:
    [block] = blocks.in_language("docs/own-server.md", "sql")
    text = re.sub(r"\b(daybreak_importer|daybreak_health|dagster)\b", r"\1_of_the_page", block.text)
    try:
        for statement in blocks.statements(text):
            _administer(server, statement)
        owned = "SELECT count(*) FROM pg_database WHERE datdba = 'daybreak_importer_of_the_page'::regrole"
        with database.connect(server) as connection:
            assert database.value(connection, sql.SQL(owned)) == 2
    finally:
        for name in ("daybreak_health", "dagster"):
            _administer(server, "DROP DATABASE IF EXISTS {}", f"{name}_of_the_page")
        _administer(server, "DROP ROLE IF EXISTS {}", "daybreak_importer_of_the_page")


_AROUND = """
import pg from 'pg';
class MissingReference extends Error {{
  constructor(table, column) {{ super(`${{table}}.${{column}}`); }}
}}
const client = new pg.Client();
await client.connect();
const {{ rows: [one] }} = await client.query("INSERT INTO organizations (kind, name) VALUES (1, 'Any') RETURNING id");
await client.query('BEGIN');
await client.query('INSERT INTO memberships (user_id, organization_id) VALUES ($1, $2)', ['{nobody}', one.id]);
try {{
{block}
}} catch (error) {{
  console.log(error.constructor.name, error.message);
}}
await client.end();
"""


@pytest.mark.slow
@needs_node
def test_a_commit_that_fails_is_told_apart_as_the_page_shows(db: DatabaseSettings, tmp_path: Path) -> None:
    [block] = blocks.in_language("docs/references-for-applications.md", "js")
    with database.connect(db) as owner:
        references.enforce(owner, ["memberships"])
    node.prepare(tmp_path)
    (tmp_path / "app.mjs").write_text(_AROUND.format(block=block.text, nobody=NOBODY))
    application = login(db, APP)
    done = node.run(tmp_path, "app.mjs", environment=application.libpq_environment())
    assert done.stdout.split() == ["MissingReference", "memberships.user_id"], done.stderr
