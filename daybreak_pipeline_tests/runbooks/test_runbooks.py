"""What a runbook says is done, word for word, in the situation that it is for; then that is over."""

# ruff: noqa: S608 - SQL of the situations, put together from this file

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from daybreak_pipeline.embedded_postgres import pgbackrest, programs
from daybreak_pipeline.runbooks import Runbook
from daybreak_pipeline.settings import PROJECT_ROOT
from daybreak_pipeline_tests.homes import server_home
from daybreak_pipeline_tests.runbooks import pages

FOLDER = PROJECT_ROOT / "docs" / "runbooks"
IMPORT = "daybreak import > /dev/null"
BACKUP = f"{IMPORT}\ndaybreak backup > /dev/null"
NOW = "date -u +%Y-%m-%dT%H:%M:%SZ"
CONTENT = "daybreak psql -Atc \"SELECT count(*), md5(string_agg(k::text, ',' ORDER BY id)) FROM kinships k\""
SAME = f'test "$({CONTENT})" = "$content"'


@dataclass(frozen=True)
class Situation:
    """Shell commands that make it, and that fail while it lasts."""

    before: str = IMPORT
    after: str = "daybreak status > /dev/null"
    changes_the_project: bool = False


SITUATIONS: dict[Runbook, Situation] = {
    Runbook.LOST_KEY: Situation(
        before=f"""
            {IMPORT}
            cp "$DAYBREAK_HOME/encryption.key" "$DAYBREAK_HOME/../escrow.key"
            rm "$DAYBREAK_HOME/encryption.key"
            export ESCROW="$DAYBREAK_HOME/../escrow.key"
        """,
        after="""
            test "$(daybreak psql -Atc 'SELECT count(*) > 0 FROM patients_and_guardians')" = t
            daybreak keys status | grep 'the key fits the database'
        """,
    ),
    Runbook.LOST_PASSWORD: Situation(
        before=IMPORT,
        after="daybreak roles show | grep 'daybreak_app: can log in'",
    ),
    Runbook.ROTATE_KEYS_AND_PASSWORDS: Situation(
        after="""
            daybreak keys status | grep 'rotation 1.*finished'
            daybreak roles show | grep 'daybreak_readonly: can log in'
        """,
    ),
    Runbook.SOMEBODY_LEAVES: Situation(
        before=f"{IMPORT}\nexport DAYBREAK_APP_PASSWORD=known-to-too-many; daybreak roles apply > /dev/null",
        after="daybreak keys status | grep 'rotation 1.*finished'",
    ),
    Runbook.BREACH: Situation(
        before=f"{IMPORT}\nexport DAYBREAK_APP_PASSWORD=known-to-too-many; daybreak roles apply > /dev/null",
        after="(daybreak roles show || true) | grep 'daybreak_app: cannot log in'",
    ),
    Runbook.NEW_ENUM_VALUE: Situation(
        before=f"{IMPORT}\ndaybreak quarantine list --table kinships --reason invalid_enum | grep -q user_0_label",
        after="daybreak migrate status | tail -1 | grep 'widen_kinship_labels'",
        changes_the_project=True,
    ),
    Runbook.NEW_COLUMN: Situation(
        after="""test "$(daybreak psql -Atc "SELECT count(*) FROM information_schema.columns
            WHERE (table_schema, table_name, column_name) = ('public', 'referrals', 'priority')")" = 1""",
        changes_the_project=True,
    ),
    Runbook.SCHEMA_CHANGES: Situation(changes_the_project=True),
    Runbook.SERVER_GONE: Situation(),
    Runbook.SLOW_OR_STUCK: Situation(),
    Runbook.DISK_FULL: Situation(),
    Runbook.IMPORT_FAILS: Situation(
        before=f"""
            cp -r data/sample "$DAYBREAK_HOME/../export"
            export DAYBREAK_EXPORT_DIR="$DAYBREAK_HOME/../export"
            file=$(ls "$DAYBREAK_EXPORT_DIR"/documents*.csv)
            mv "$file" "$file.right"
            printf 'id,id\\n' > "$file"
            ! {IMPORT}
            mv "$file.right" "$file"
        """,
        after="test \"$(daybreak psql -Atc 'SELECT count(*) > 0 FROM documents')\" = t",
    ),
    Runbook.UNDO_AN_IMPORT: Situation(
        before=f"""
            {BACKUP}
            content=$({CONTENT})
            daybreak generate --patients 30 --out "$DAYBREAK_HOME/../wrong" > /dev/null
            daybreak import --data-dir "$DAYBREAK_HOME/../wrong" > /dev/null
            test "$({CONTENT})" != "$content"
            export POINT=$(daybreak backups | sed -n 's/^restore point \\(before-import-[^:]*\\):.*/\\1/p' | tail -1)
        """,
        after=SAME,
    ),
    Runbook.RESTORE_TO_A_TIME: Situation(
        before=f"""
            {BACKUP}
            content=$({CONTENT})
            export WHEN=$({NOW}) COPY="$DAYBREAK_HOME/../copy"
            sleep 1.1
            daybreak psql -qc "DELETE FROM kinships"
        """,
        after=SAME,
    ),
    Runbook.ONE_TABLE_BACK: Situation(
        before=f"""
            {BACKUP}
            content=$({CONTENT})
            export WHEN=$({NOW})
            sleep 1.1
            daybreak psql -qc "DELETE FROM kinships WHERE id IN (SELECT id FROM kinships ORDER BY id LIMIT 20)"
        """,
        after=SAME,
    ),
    Runbook.KEY_ESCROW: Situation(
        before=f'{BACKUP}\nexport ESCROW="$DAYBREAK_HOME/../escrow"',
        after='test "$(stat -c %a "$ESCROW/encryption.key")" = 600',
    ),
    Runbook.BACKUPS_FAIL: Situation(
        before=f'{BACKUP}\ncp "$DAYBREAK_HOME/backup.key" "$DAYBREAK_HOME/../escrow.key"',
        after="daybreak backups | grep -c full",
    ),
    Runbook.DISASTER_RECOVERY: Situation(
        before=f"""
            export DAYBREAK_BACKUP_REPO="$(cd "$DAYBREAK_HOME/.." && pwd)/repository"
            {BACKUP}
            content=$({CONTENT})
            export ESCROW="$DAYBREAK_HOME/../escrow" EXPORT="$PWD/data/sample"
            mkdir "$ESCROW"
            cp "$DAYBREAK_HOME/encryption.key" "$DAYBREAK_HOME/backup.key" "$ESCROW"
            rm -rf "$DAYBREAK_HOME"
        """,
        after=SAME,
    ),
    Runbook.FIRST_INSTALLATION: Situation(
        before="""
            given="$DAYBREAK_HOME/../given"
            mkdir -m 711 "$given"
            DAYBREAK_HOME=$given DAYBREAK_BACKUP_REPO=none daybreak run -- sh -c '
                echo "export ADMIN=postgresql://$DB_USER:$DB_PASSWORD@$DB_HOST:$DB_PORT/postgres" > "$0/new"
                echo "export DB_HOST=$DB_HOST DB_PORT=$DB_PORT" >> "$0/new"
                mv "$0/new" "$0/login"
                until test -e "$0/over"; do sleep 0.2; done' "$given" &
            server=$!
            trap 'touch "$given/over"; wait $server || true' EXIT
            until test -e "$given/login"; do sleep 0.2; done
            . "$given/login"
            psql -q "$ADMIN" -c 'DROP DATABASE daybreak_health' -c 'DROP DATABASE IF EXISTS dagster'
            export DAYBREAK_EXPORT_DIR="$PWD/data/sample"
        """,
    ),
}
NEED_BACKUPS = {runbook for runbook, situation in SITUATIONS.items() if BACKUP in situation.before}


@pytest.fixture
def environment() -> Iterator[dict[str, str]]:
    """Somebody with a home of their own and the embedded server."""
    with server_home() as top:
        home = top / "home"
        home.mkdir()
        home.chmod(0o711)
        yield {"DAYBREAK_HOME": str(home), "PATH": f"{programs.find()}:{os.environ['PATH']}"}


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of the project, to be changed."""
    for name in ("daybreak_pipeline", "data"):
        shutil.copytree(PROJECT_ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(PROJECT_ROOT / "workspace.yaml", tmp_path)
    return tmp_path


@pytest.mark.parametrize("runbook", Runbook, ids=lambda runbook: runbook.value)
def test_every_runbook_that_messages_name_is_there(runbook: Runbook) -> None:
    page = PROJECT_ROOT / runbook.page
    assert pages.blocks(page), "a runbook without commands helps nobody at three in the morning"
    assert f"(runbooks/{page.name})" in (PROJECT_ROOT / "docs" / "index.md").read_text(encoding="utf-8")


def test_every_page_is_a_runbook_that_messages_can_name() -> None:
    assert sorted(path.stem for path in FOLDER.glob("*.md")) == sorted(runbook.value for runbook in Runbook)


@pytest.mark.slow
@pytest.mark.parametrize("runbook", Runbook, ids=lambda runbook: runbook.value)
def test_a_runbook_ends_the_situation_that_it_is_for(
    runbook: Runbook, environment: dict[str, str], checkout: Path
) -> None:
    if runbook in NEED_BACKUPS and pgbackrest.program() is None:
        pytest.skip(pgbackrest.MISSING)
    situation = SITUATIONS[runbook]
    printed = pages.carry_out(
        PROJECT_ROOT / runbook.page,
        situation.before,
        situation.after,
        environment,
        checkout if situation.changes_the_project else PROJECT_ROOT,
    )
    assert printed.splitlines().count("# after") == 1, "it was followed to its end"
