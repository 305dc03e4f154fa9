"""The SQL of an import can be seen: every statement, under its name, and nothing of any record."""

from __future__ import annotations

import difflib
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from daybreak_pipeline.importer import statements
from daybreak_pipeline.importer.run import replay_table
from daybreak_pipeline_tests.exports import Export, record

GOLDEN = Path(__file__).parent / "import_of_memberships.sql"
NAME = re.compile(
    r"-- (begin|stage|cast errors|classify|validate|quarantine|merge|bulk load|repair|replay|absent|ledger|end): \S.*"
    r"|-- statistics"
)
CANARY = "Canary"


@contextmanager
def seen() -> Iterator[list[str]]:
    """Collect the statements that are written while the block runs."""
    texts: list[str] = []
    with statements.written(texts.append):
        yield texts


def _memberships(export: Export) -> list[str]:
    """Import a file with a fault of several kinds into an empty table, and then another version of it."""
    export.add_parents()
    first = [
        record("memberships", "good", tx_commit_time="2025-06-25T12:00:00Z"),
        record("memberships", "orphan", user_id="nobody"),
        record("memberships", "bad", created_at="yesterday"),
    ]
    with seen() as texts:
        export.load("memberships", *first)
        texts.append("\n-- ======== the same file, one record changed ========\n")
        first[0] |= {"op": "D", "updated_at": "2025-07-01T00:00:00"}
        export.load("memberships", *first)
    return texts


def test_the_sql_of_an_import_is_that_of_the_golden_file(export: Export, pytestconfig: pytest.Config) -> None:
    found = "\n".join(_memberships(export))
    found = re.sub(r"\b\d+::bigint", "<import>::bigint", found)
    if pytestconfig.getoption("write_golden"):
        GOLDEN.write_text(found)
    difference = difflib.unified_diff(
        GOLDEN.read_text().splitlines(), found.splitlines(), "golden file", "now", lineterm=""
    )
    assert list(difference) == [], "if this is what you want: pytest --write-golden, and read the difference"


def test_every_statement_that_is_seen_says_its_step(export: Export) -> None:
    texts = [text for text in _memberships(export) if "========" not in text]
    assert [text.splitlines()[0] for text in texts if not NAME.fullmatch(text.splitlines()[0])] == []


def test_nothing_of_a_record_is_in_a_statement_that_can_be_seen(
    export: Export, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="daybreak.sql")
    export.add_parents()
    person = record(
        "patients_and_guardians", first_name=CANARY, last_name=CANARY, email=f"{CANARY}@example.org"
    )
    export.load("patients_and_guardians", person | {"shoe size": CANARY, "role": CANARY, "timezone": CANARY})
    export.load("patients_and_guardians", person | {"shoe size": CANARY, "birthdate": CANARY})
    export.load("patients_and_guardians", person | {CANARY + " 555 0100 0100": CANARY})
    export.write_bytes("memberships", f'id,user_id,organization_id\n"{CANARY}\n{CANARY},{CANARY}\n'.encode())
    export.load("memberships")
    replay_table(export.connection, "patients_and_guardians")
    texts = [entry.getMessage() for entry in caplog.records if entry.name == "daybreak.sql"]
    assert any("quarantine: keep records" in text for text in texts)
    assert any("replay: stage" in text for text in texts)
    assert [text for text in texts if CANARY.lower() in text.lower()] == []
