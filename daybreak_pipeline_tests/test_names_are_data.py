"""Names are data: whatever a file calls its columns, and somebody his constraints, no output takes it for more.

The names of a file's columns that are no identifiers are told nowhere. Names of objects that somebody has added to the
database by hand are told, with nothing in them that steers a terminal or is taken for markup.
"""

from __future__ import annotations

import csv
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from psycopg import sql

from daybreak_pipeline.report import queries
from daybreak_pipeline.report.render import markdown
from daybreak_pipeline.schema import catalog as catalogs
from daybreak_pipeline.settings import DatabaseSettings
from daybreak_pipeline_tests.cli.test_main import given  # noqa: F401 - fixture
from daybreak_pipeline_tests.commands import Environment, daybreak
from daybreak_pipeline_tests.exports import Export, record, uuid
from daybreak_pipeline_tests.orchestration.test_runs import in_memory

MARK = "wombat"
NAMES = {
    "percent": f"{MARK} %",
    "parameter": f"{MARK} %s %(x)s",
    "markup": f"[/red] {MARK}",
    "link": f"[link=x]{MARK}[/link]",
    "sql": f'"; DROP TABLE {MARK}; --',
    "escape": f"\x1b[31m{MARK}\x1b]0;title\x07",
    "carriage return": f"{MARK}\rgood",
    "line": f"{MARK}\ndaybreak: all is well",
    "nul": f"{MARK}\x00",
    "bidi": f"\u202e{MARK}\u202c",
    "invisible": f"{MARK}\u200b\u2060",
    "format": f"{{0}} {MARK}",
    "template": f"{{{{ {MARK} }}}}",
    "html": f"<script>alert('{MARK}')</script>",
    "markdown": f"`{MARK}` | [{MARK}](https://a.example) ```",
}
# Invisible signs do not belong to a name: without them these are identifiers, which may be shown.
OF_FILES = {key: name for key, name in NAMES.items() if key not in {"bidi", "invisible"}} | {
    "empty": "",
    "long": MARK * 17_000,
}
CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2060-\u2069]")


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.scripts = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        del attrs
        self.scripts += tag == "script"


def outputs(environment: Environment, home: Path, export: Path | None = None) -> dict[str, str]:
    """Return what every command prints, and the report."""
    commands = {
        "status": ("status",),
        "status as JSON": ("status", "--json"),
        "list": ("quarantine", "list"),
        "list as JSON": ("quarantine", "list", "--json"),
        "trace": ("trace", "clinicians", uuid("good")),
        "audit": ("audit", "show"),
        "doctor": ("doctor", *(("--data-dir", str(export)) if export else ())),
        "check": ("check", "--verbose"),
        "check as JSON": ("check", "--json"),
    }
    told = {}
    for name, arguments in commands.items():
        done = daybreak(environment, *arguments)
        assert "Traceback" not in done.stderr, (name, done.stderr)
        assert "daybreak: " not in done.stderr, (name, done.stderr)
        told[name] = done.stdout + done.stderr
    told["report"] = (home / "reports" / "latest.html").read_text(encoding="utf-8")
    return told


def harmless(told: dict[str, str]) -> None:
    """Make sure that nothing steers a terminal, and that the page has no script."""
    assert {name: CONTROL.findall(text) for name, text in told.items() if CONTROL.search(text)} == {}
    tags = _Tags()
    tags.feed(told["report"])
    assert tags.scripts == 0


def write(export: Export, *names: str) -> None:
    """Write two clinicians, one of which is refused, with columns of some names beside their own."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\n")
    good, bad = record("clinicians", "good"), record("clinicians", "bad") | {"id": "no id"}
    writer.writerow([*good, *names])
    for one in (good, bad):
        writer.writerow([*one.values(), *(f"value {position}" for position, _ in enumerate(names))])
    export.write_bytes("clinicians", text.getvalue().encode())


# --- Names of a file's columns --------------------------------------------------------------------------


@pytest.mark.parametrize("kind", OF_FILES)
def test_an_import_keeps_its_good_record_and_refuses_the_bad_one_whatever_a_column_is_called(
    export: Export, kind: str
) -> None:
    write(export, OF_FILES[kind])
    assert export.load("clinicians") == {"status": "imported", "read": 2, "inserted": 1, "quarantined": 1}
    kept = export.connection.execute(
        "SELECT source_columns::text || unknown_values::text FROM ingest.imports"
    ).fetchone()
    assert kept
    assert MARK not in str(kept[0])
    again = {"status": "imported", "read": 2, "unchanged": 1, "quarantined": 1}
    assert export.load("clinicians", full=True) == again


@pytest.mark.slow
def test_no_output_names_such_a_column_or_is_steered_by_it(
    export: Export,
    migrated: DatabaseSettings,
    given: Environment,  # noqa: F811 - fixture
    tmp_path: Path,
) -> None:
    write(export, *OF_FILES.values())
    done = daybreak(given, "import", "--data-dir", export.directory, "--only", "clinicians", "--verbose")
    assert done.returncode == 0, done
    told = {"import": done.stdout + done.stderr} | outputs(given, tmp_path / "home", export.directory)
    (number,) = export.connection.execute("SELECT id FROM ingest.quarantine").fetchone() or (0,)
    shown = daybreak(given, "quarantine", "show", str(number))
    told["show"] = shown.stdout + shown.stderr
    assert "value 0" in told["show"]
    harmless(told)
    assert [name for name, text in told.items() if MARK in text] == []
    export.connection.rollback()
    assert MARK not in markdown(queries.read(export.connection))
    del migrated


def test_no_event_of_dagster_names_such_a_column(
    export: Export, migrated: DatabaseSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(export, *OF_FILES.values())
    with in_memory(migrated, monkeypatch) as runs:
        outcome = runs.load(export.directory, only=["clinicians"])
        assert outcome.tables["clinicians"].status == "imported", outcome.tables
        events = runs.told()
    assert MARK not in events
    assert not CONTROL.search(events)


# --- Names of what somebody has added to the database ---------------------------------------------------


@pytest.fixture
def added(export: Export) -> Export:
    """Constraints, columns and an index of every such name that PostgreSQL takes, on the table of clinicians."""
    for number, name in enumerate(n for kind, n in NAMES.items() if kind != "nul"):
        names = {"column": sql.Identifier(name), "check": sql.Identifier(f"c {name}"[:63])}
        export.connection.execute(
            sql.SQL(
                "ALTER TABLE clinicians ADD COLUMN {column} text, "
                "ADD CONSTRAINT {check} CHECK ({column} <> ALL (ARRAY['100 %', {value}]))"
            ).format(**names, value=sql.Literal(f"bad {number} %s"))
        )
        export.connection.execute(
            sql.SQL("CREATE INDEX {} ON clinicians ({})").format(
                sql.Identifier(f"i {name}"[:63]), names["column"]
            )
        )
        export.connection.execute(
            sql.SQL("COMMENT ON COLUMN clinicians.{column} IS {value}").format(
                **names, value=sql.Literal(name)
            )
        )
    export.connection.commit()
    return export


@pytest.mark.slow
def test_objects_of_any_name_in_the_database_are_imported_into_checked_and_told_harmlessly(
    added: Export,
    migrated: DatabaseSettings,
    given: Environment,  # noqa: F811 - fixture
    tmp_path: Path,
) -> None:
    assert len(catalogs.read(added.connection, "clinicians").checks) >= len(NAMES) - 1
    bad = record("clinicians", "bad") | {NAMES["percent"]: "100 %"}
    added.write("clinicians", record("clinicians", "good"), bad)
    added.connection.commit()
    done = daybreak(given, "import", "--data-dir", added.directory, "--only", "clinicians", "--verbose")
    assert "Traceback" not in done.stderr, done.stderr
    told = {"import": done.stdout + done.stderr}
    assert " 1 " in told["import"]
    added.connection.execute(
        sql.SQL("UPDATE clinicians SET {} = 'x'").format(sql.Identifier(NAMES["markup"]))
    )
    added.connection.commit()
    told |= outputs(given, tmp_path / "home")
    told["replay"] = daybreak(given, "quarantine", "replay", "--verbose").stdout
    harmless(told)
    assert NAMES["markup"] in told["audit"]
    assert NAMES["markup"] in told["check"]
    page = markdown(queries.read(added.connection))
    assert "<script>" not in page
    assert "](https://" not in page
    del migrated


def test_such_names_are_harmless_in_the_events_of_dagster(
    added: Export, migrated: DatabaseSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    added.write(
        "clinicians", record("clinicians", "good"), record("clinicians", "bad") | {NAMES["percent"]: "100 %"}
    )
    with in_memory(migrated, monkeypatch) as runs:
        runs.load(added.directory, only=["clinicians"])
        events = runs.told()
    assert not CONTROL.search(events)
    assert json.loads(events)
