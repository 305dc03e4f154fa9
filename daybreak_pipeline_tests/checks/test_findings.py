"""From when on a check fails, how badly, and the sentence that says so."""

from __future__ import annotations

from dataclasses import replace

import pytest

from daybreak_pipeline.checks.findings import SHOWN_ROWS, Tally, Wording, conclude
from daybreak_pipeline.tables import CHECK_THRESHOLDS, TABLES, Threshold

WORDING = Wording("odd row", "odd rows", "no row is odd", of="rows")


@pytest.mark.parametrize(
    ("threshold", "odd", "severity", "passed"),
    [
        (Threshold(), 0, "ERROR", True),
        (Threshold(), 1, "ERROR", False),
        (Threshold(error=None), 1, "WARN", False),
        (Threshold(error=None), 0, "WARN", True),
        (Threshold(warn=0.01, error=0.05), 1, "ERROR", True),
        (Threshold(warn=0.01, error=0.05), 2, "WARN", False),
        (Threshold(warn=0.01, error=0.05), 5, "WARN", False),
        (Threshold(warn=0.01, error=0.05), 6, "ERROR", False),
    ],
)
def test_a_check_fails_above_a_share_of_what_was_looked_at(
    threshold: Threshold, odd: int, severity: str, passed: bool
) -> None:
    finding = conclude(WORDING, threshold, [Tally("here", odd)], 100)
    assert (finding.severity, finding.passed, finding.count) == (severity, passed, odd)


@pytest.mark.parametrize(("lost", "severity"), [(True, "ERROR"), (False, "WARN")])
def test_a_lost_record_weighs_more_than_one_that_is_there(lost: bool, severity: str) -> None:
    finding = conclude(WORDING, Threshold(error=None), [Tally("here", 1, lost=lost)], 100)
    assert (finding.severity, finding.passed) == (severity, False)


@pytest.mark.parametrize(
    ("odd", "total", "sentence"),
    [
        (0, 1_000, "no row is odd (1,000 rows)"),
        (1, 1_000, "1 odd row, 0.1 % of 1,000 rows (here: 1)"),
        (2_000, 8_000, "2,000 odd rows, 25.0 % of 8,000 rows (here: 2,000)"),
        (1, 9_999_999, "1 odd row, <0.1 % of 9,999,999 rows (here: 1)"),
        (1, 0, "1 odd row, 100.0 % of 0 rows (here: 1)"),
    ],
)
def test_one_sentence_says_counts_and_percent(odd: int, total: int, sentence: str) -> None:
    assert conclude(WORDING, Threshold(), [Tally("here", odd), Tally("there", 0)], total).summary == sentence


def test_what_is_tolerated_is_still_told() -> None:
    finding = conclude(WORDING, Threshold(warn=0.5, error=None), [Tally("here", 2)], 4)
    assert finding.passed
    assert finding.summary == "2 odd rows, 50.0 % of 4 rows (here: 2), within what is tolerated"


def test_lost_records_are_shown_first_and_each_once() -> None:
    kept = Tally("kept", 3, ("b", "c", "b"))
    lost = Tally("lost", SHOWN_ROWS, ("a", *(str(number) for number in range(SHOWN_ROWS))), lost=True)
    assert conclude(WORDING, Threshold(), [kept], 9).rows == ("b", "c")
    rows = conclude(WORDING, Threshold(), [kept, lost], 99).rows
    assert (rows[0], len(rows)) == ("a", SHOWN_ROWS)


def test_a_table_can_have_a_threshold_of_its_own() -> None:
    lax = Threshold(warn=0.5)
    table = replace(TABLES["documents"], thresholds=(("duplicates", lax),))
    assert table.threshold("duplicates") == lax
    assert TABLES["documents"].threshold("duplicates") == CHECK_THRESHOLDS["duplicates"]
    assert TABLES["documents"].threshold("valid_enums") == Threshold()
