"""Text from outside is shown as text: in one line, with nothing that steers a terminal or is taken for Markdown."""

from __future__ import annotations

import io
import json

import pytest
from rich.table import Table

from daybreak_pipeline.checks.findings import Finding, Tally
from daybreak_pipeline.cli.screen import Screen, line, styled
from daybreak_pipeline.report.render import escape_markdown
from daybreak_pipeline.wording import LONGEST, code, code_block, shown, shown_lines


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("rate % [/red] {0} %s é 名 🙂", "rate % [/red] {0} %s é 名 🙂"),
        ("a\x1b[31mb", "a\\u001b[31mb"),
        ("a\x00b\rc\nd", "a\\u0000b\\rc\\nd"),
        ("a\u202eb\u200bc\u2028d\x9b", "a\\u202eb\\u200bc\\u2028d\\u009b"),
        ("12\u00a0%", "12\u00a0%"),
        ("", ""),
    ],
)
def test_what_is_invisible_is_written_out(text: str, expected: str) -> None:
    assert shown(text) == expected


def test_long_text_is_shortened_and_says_so() -> None:
    assert shown("x" * 100_000) == "x" * LONGEST + "… (100,000 characters)"
    assert shown("x" * 100_000, longest=None) == "x" * 100_000


def test_json_stays_json() -> None:
    record = {"note \x7f": "\u202e\x85\u2028\U000e0041 é"}
    assert json.loads(shown_lines(json.dumps(record, indent=2, ensure_ascii=False))) == record


def test_a_screen_takes_no_text_for_markup_and_no_character_for_an_order() -> None:
    output = io.StringIO()
    screen = Screen(file=output)
    table = Table(box=None)
    table.add_column("[/red] \x1b[2J")
    table.add_row("[bold]:smile: \x1b[2J\r")
    screen.print(table)
    screen.print("[link=x]\x00")
    screen.print(line(styled("[/]\x1b", "red"), " [/green]"))
    assert "".join(output.getvalue().split()) == (
        "[/red]\\u001b[2J[bold]:smile:\\u001b[2J\\r[link=x]\\u0000[/]\\u001b[/green]"
    )


def test_text_is_no_markdown() -> None:
    assert code("a") == "`a`"
    assert code("a`b``c") == "``` a`b``c ```"
    assert code_block("a\n```\nb\x1b", "sql") == "````sql\na\n```\nb\\u001b\n````"
    link = escape_markdown("[x](https://a.example) www.a.example <b> &#65; a|b")
    assert link == r"\[x\]\(https\://a.example\) www\.a.example &lt;b&gt; \&\#65; a\|b"


def test_a_label_cannot_end_its_comment_in_sql() -> None:
    tally = Tally("index x\nDROP TABLE y; --", 1, sql="SELECT 1")
    finding = Finding.of([tally], "", 1, 1, "ERROR", passed=False)
    assert finding.sql == "-- index x\\nDROP TABLE y; --\nSELECT 1;"
