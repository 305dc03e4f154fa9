"""What a person typed wrong, and what a terminal cannot show: one line that helps, never a trace."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from daybreak_pipeline.settings import DatabaseSettings
from daybreak_pipeline_tests.cli.test_main import (
    environment_of,
    given,  # noqa: F401 - fixture
    insert_document,
    keyed,  # noqa: F401 - fixture
    one_line,
)
from daybreak_pipeline_tests.commands import DAYBREAK, Environment, daybreak
from daybreak_pipeline_tests.exports import uuid

NAME = "Perpetua Lindqvist"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("import", "--only", "people"), "is not one of"),
        (("import", "--colour"), "No such option"),
        (("--colour", "import"), "No such option"),
        (("trace", "documents"), "Missing argument 'ID'"),
        (("imprt",), "No such command 'imprt'. Did you mean"),
        (("quarantine", "list", "--reason", "invalid_enm"), "'invalid_enm' is not one of 'malformed_record'"),
    ],
    ids=" ".join,
)
def test_wrong_usage_is_one_line_that_says_where_help_is(arguments: tuple[str, ...], message: str) -> None:
    line = one_line(daybreak({}, *arguments))
    assert message in line
    assert line.endswith(" --help")


@pytest.mark.parametrize("arguments", [(), ("quarantine",)], ids=" ".join)
def test_who_gives_no_command_gets_the_help(arguments: tuple[str, ...]) -> None:
    assert "Commands:" in daybreak({}, *arguments).stderr


def test_the_row_that_nobody_knows_is_said_without_repeating_what_was_typed(
    keyed: DatabaseSettings,  # noqa: F811 - the fixture
    tmp_path: Path,
) -> None:
    known = environment_of(keyed, tmp_path)
    line = one_line(daybreak(known, "trace", "documents", uuid("nobody")))
    assert "nothing is known of a row of documents with that id" in line
    line = one_line(daybreak(known, "trace", "documents", NAME))
    assert "that is no id of documents: an id is a UUID" in line
    assert NAME not in line


def test_a_row_of_another_table_is_found_there(
    given: Environment,  # noqa: F811 - the fixture
    migrated: DatabaseSettings,
) -> None:
    insert_document(migrated)
    line = one_line(daybreak(given, "trace", "kinships", uuid("kept")))
    assert line == "daybreak: kinships has no such row, documents has: daybreak trace documents ID"


def test_a_migration_that_does_not_exist_is_named_before_anybody_is_asked_about_rows(
    given: Environment,  # noqa: F811 - the fixture
    migrated: DatabaseSettings,
) -> None:
    insert_document(migrated)
    line = one_line(daybreak(given, "migrate", "down", "--to", "999"))
    assert "there is no migration 999" in line


def test_who_forgets_the_key_of_a_database_that_has_one_is_not_told_to_make_another(
    keyed: DatabaseSettings,  # noqa: F811 - the fixture
    tmp_path: Path,
) -> None:
    forgetful = environment_of(keyed, tmp_path) | {"ENCRYPTION_KEY": ""}
    line = one_line(daybreak(forgetful, "import"))
    assert "set it to the key that this database is encrypted with" in line
    assert "generate" not in line
    line = one_line(daybreak(forgetful | {"ENCRYPTION_KEY": "half of it"}, "import"))
    assert "set it to the key that the database is encrypted with; for a new database, generate one" in line


def test_a_terminal_without_our_signs_gets_others(keyed: DatabaseSettings, tmp_path: Path) -> None:  # noqa: F811 - the fixture
    ascii_only = os.environ | environment_of(keyed, tmp_path) | {"PYTHONIOENCODING": "ascii"}
    done = subprocess.run(
        [DAYBREAK, "status"], env=ascii_only, capture_output=True, encoding="ascii", check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    (row,) = [line.split() for line in done.stdout.splitlines() if line.startswith("kinships")]
    assert row[-4:] == [".", ".", "not", "checked"]
