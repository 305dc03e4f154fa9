"""Texts that are words for nothing: they load as they are, and a check counts them."""

from __future__ import annotations

import pytest

from daybreak_pipeline.checks.findings import Finding
from daybreak_pipeline_tests.checks.examining import examine
from daybreak_pipeline_tests.exports import Export, record

WORDS = ("\\N", "NULL", "null", "#N/A", "#REF!", "########", "##", "1.8E+10", "2E+3", "None", "NaN")
NAMES = (
    "Null Island",
    "N",
    "#1 School",
    "#",
    "None Such",
    "E+",
    "180E+10",
    "##a",
    "1.8E+10 St",
    "",
    "nullable",
)


def finding(export: Export, table: str) -> Finding:
    return examine(export, table)["placeholder_values"]


@pytest.mark.parametrize("word", WORDS)
def test_a_word_for_nothing_loads_and_is_counted(export: Export, word: str) -> None:
    export.load("documents", record("documents", "a", label=word), record("documents", "b", label="form"))
    assert {label for (label,) in export.rows("documents", "label")} == {word, "form"}
    found = finding(export, "documents")
    assert (found.passed, found.severity, found.count, found.counts) == (False, "WARN", 1, {"label": 1})


def test_other_texts_are_not_counted(export: Export) -> None:
    export.load(
        "documents", *(record("documents", str(n), label=name or "x") for n, name in enumerate(NAMES))
    )
    assert finding(export, "documents").passed


def test_words_for_nothing_are_never_an_error(export: Export) -> None:
    export.load("documents", record("documents", label="#N/A"))
    assert finding(export, "documents").severity == "WARN"


def test_sealed_columns_are_counted_while_the_file_is_read(export: Export) -> None:
    people = [
        record("clinicians", "a", phone="1.8E+10", first_name="Ann", email="NULL"),
        record("clinicians", "b", phone="+1 818 555 0100", first_name="#N/A"),
    ]
    export.load("clinicians", *people)
    found = finding(export, "clinicians")
    assert found.counts == {
        "email": 1,
        "phone (sealed, in the last file)": 1,
        "first_name (sealed, in the last file)": 1,
    }
    assert "1.8E" not in found.summary
    export.load("clinicians", record("clinicians", "b", phone="+1 818 555 0100", first_name="Bo"))
    assert finding(export, "clinicians").counts == {"email": 1}
