"""The page, read by a parser: what stands where in every state of the data, and that it is complete in itself."""

from __future__ import annotations

import re
import shlex
from collections import Counter
from collections.abc import Callable

import pytest

from daybreak_pipeline.checks.rules import RULES
from daybreak_pipeline.database import Connection
from daybreak_pipeline.report import queries, render
from daybreak_pipeline.tables import TABLES
from daybreak_pipeline_tests.exports import Export, record, uuid
from daybreak_pipeline_tests.report.pages import (
    Page,
    checked,
    everything_fine,
    everything_wrong,
    facts,
    imported,
    page,
    quarantined,
)

State = Callable[[Connection], None]


def nothing_imported(connection: Connection) -> None:
    connection.execute("SELECT 1")


def one_import(connection: Connection) -> None:
    imported(connection, "documents", hours_ago=1)
    checked(connection, "documents", "orphans")


def many_imports(connection: Connection) -> None:
    everything_fine(connection, imports=40)


STATES = [nothing_imported, one_import, everything_fine, many_imports, everything_wrong]


# --- The page as a whole, in every state -----------------------------------------------------------------


@pytest.mark.parametrize("state", STATES)
def test_the_page_is_whole_and_every_link_leads_somewhere(session: Connection, state: State) -> None:
    state(session)
    read = page(session)
    ids = Counter(element.attributes["id"] for element in read.all() if "id" in element.attributes)
    assert [name for name, times in ids.items() if times > 1] == []
    here = [element for element in read.all("a") if element.attributes.get("class") != "if-served"]
    links = {element.attributes["href"] for element in here}
    assert {link for link in links if not link.startswith("#") or link[1:] not in ids} == set()
    assert {f"#{name}" for name in TABLES} <= links


@pytest.mark.parametrize("state", STATES)
def test_the_page_needs_nothing_but_itself(session: Connection, state: State) -> None:
    state(session)
    source = render.html(facts(session))
    read = Page.read(source)
    assert {element.tag for element in read.all()} & {"script", "iframe", "img", "object", "embed"} == set()
    assert [e.attributes["href"] for e in read.all("link")] == ["data:,"]
    assert {
        name for e in read.all() for name in e.attributes if name == "src" or name.startswith("on")
    } == set()
    assert re.findall(r"@import|url\(|https?:|//[a-z]", source) == []


@pytest.mark.parametrize("state", STATES)
def test_tables_have_headers_and_plots_have_words(session: Connection, state: State) -> None:
    state(session)
    read = page(session)
    assert read.one("html").attributes["lang"] == "en"
    assert all(header.attributes.get("scope") in {"col", "row"} for header in read.all("th"))
    assert all(plot.attributes["aria-label"] == plot.one("title").text for plot in read.all("svg"))
    assert all("".join(cell.pieces) for row in read.heat().values() for cell in row.values())


@pytest.mark.parametrize("state", STATES)
def test_all_16_tables_are_there(session: Connection, state: State) -> None:
    state(session)
    read = page(session)
    assert list(read.heat())[:16] == list(TABLES)
    assert {s.attributes["id"] for s in read.all("section", **{"class": "table"})} >= set(TABLES)


def test_before_any_import_it_says_what_to_do_once(session: Connection) -> None:
    read = page(session)
    assert "No : nothing has been imported yet." in read.verdict()
    assert read.one("section", id="broken").text.endswith("Nothing has been imported yet: daybreak import")
    assert {row["import"].text for row in read.heat().values()} == {"✕ never"}
    assert "no problem" not in read.text


def test_where_nothing_is_wrong_it_says_so(session: Connection) -> None:
    everything_fine(session)
    read = page(session)
    assert "Yes : all 16 tables are imported" in read.verdict()
    assert read.problems() == []
    assert {cell.text for row in read.heat().values() for cell in row.values()} == {"✓"}


def test_the_worst_comes_first_where_everything_is_wrong(session: Connection) -> None:
    everything_wrong(session)
    read = page(session)
    severities = [problem[0] for problem in read.problems()]
    assert severities == sorted(severities, key=lambda text: ("new" not in text, "ERROR" not in text))
    old = [problem for problem in read.problems() if "new" not in problem[0]]
    assert {problem[2] for problem in old[:16]} == {"import"}
    assert "imports fail for" in read.verdict()
    assert read.heat()["kinships"]["import"].text == "✕ failed for 1 d"


def test_what_broke_comes_before_the_overview_and_the_rest_of_many_is_folded(session: Connection) -> None:
    everything_wrong(session)
    read = page(session)
    places = [section.attributes.get("id") for section in read.all("section")]
    assert places.index("broken") < places.index("overview") < places.index("imports")
    (folded,) = [part for part in read.one("section", id="broken").children if part.tag == "details"]
    assert folded.all("summary")[0].text == f"{len(read.problems()) - 10} more"


# --- The heat map and what is broken ----------------------------------------------------------------------


def test_a_cell_shows_state_count_and_duration_and_leads_to_the_finding(session: Connection) -> None:
    everything_fine(session)
    checked(session, "kinships", "orphans", 3, severity="WARN", hours_ago=-0.1)
    checked(session, "referrals", "valid_enums", 1234, hours_ago=-0.1)
    checked(session, "referrals", "valid_enums", 1235, hours_ago=-0.2)
    read = page(session)
    warned, broken = read.heat()["kinships"]["orphans"], read.heat()["referrals"]["valid_enums"]
    assert (warned.attributes["class"], warned.text) == ("WARN", "▲ 3 new")
    assert broken.attributes["class"] == "ERROR"
    assert broken.text.startswith("✕ 1,235 for")
    assert broken.one("a").attributes["href"] == "#referrals-valid_enums"
    # Who says aloud what they see must be understood: the name begins with it.
    assert broken.one("a").attributes["aria-label"] == f"{broken.text}: error, valid_enums"
    finding = read.one("div", id="referrals-valid_enums")
    assert "1,235 of 100" in finding.text


def test_a_check_that_never_ran_is_grey(session: Connection) -> None:
    imported(session, "kinships")
    checked(session, "kinships", "orphans", hours_ago=-0.1)
    cells = page(session).heat()["kinships"]
    assert (cells["orphans"].attributes["class"], cells["orphans"].text) == ("passed", "✓")
    assert (cells["valid_enums"].attributes["class"], cells["valid_enums"].text) == ("none", "—")


def test_a_result_from_before_the_last_import_is_marked(session: Connection) -> None:
    everything_fine(session)
    imported(session, "kinships", hours_ago=-0.1)
    read = page(session)
    assert read.heat()["kinships"]["orphans"].text == "✓ old"
    assert "not checked since the last import: kinships" in read.verdict()


def test_a_skipped_import_does_not_outdate_results(session: Connection) -> None:
    everything_fine(session)
    imported(session, "kinships", hours_ago=-0.1, status="skipped")
    assert page(session).heat()["kinships"]["orphans"].text == "✓"


def test_a_check_that_nobody_announced_gets_a_column(session: Connection) -> None:
    checked(session, "kinships", "phase_of_the_moon", 1)
    assert page(session).heat()["kinships"]["phase_of_the_moon"].text == "✕ 1 new"


def test_a_check_of_the_whole_database_has_a_row_and_no_column(session: Connection) -> None:
    everything_fine(session)
    checked(session, "database", "backup_age", 2, description="2 backups are late")
    read = page(session)
    assert "backup_age" not in read.heat()["kinships"]
    assert [problem[1:4] for problem in read.problems()] == [
        ["database", "backup_ age", "2 backups are late"]
    ]
    assert "checks find errors in database ; 16 tables are checked and have no error" in read.verdict()


def test_a_failed_import_shows_its_error_and_since_when(session: Connection) -> None:
    everything_fine(session)
    for hours in (0.5, 0.4):
        imported(
            session, "documents", hours_ago=hours, status="failed", error="documents: no file documents.csv"
        )
    read = page(session)
    assert "imports fail for documents ; 15 tables are checked and have no error" in read.verdict()
    ((severity, table, check, what, since, action),) = read.problems()
    assert (severity, table, check) == ("✕ ERROR", "documents care-operations", "import")
    assert what == "import failed: documents: no file documents.csv"
    assert since.endswith("for 30 min, 2 times")
    assert action.startswith("Ask the sender of documents for a file that can be read.")
    assert action.endswith(" daybreak import --only documents")
    assert "documents: no file documents.csv" in read.one("section", id="documents").text


def test_an_absent_file_is_a_warning_with_the_day_of_the_rows(session: Connection) -> None:
    everything_fine(session)
    imported(session, "documents", hours_ago=0.5, status="failed", error="documents: it is empty")
    session.execute("INSERT INTO ingest.absent_files (table_name) VALUES ('documents')")
    read = page(session)
    assert "no file came for documents" in read.verdict()
    ((severity, table, check, what, _, action),) = read.problems()
    assert (severity, table, check) == ("▲ WARN", "documents care-operations", "import")
    assert re.fullmatch(r"its file is absent; its rows of \d{4}-\d\d-\d\d stay, 1 h old", what)
    assert action.startswith("Ask the sender of documents when the file comes.")
    assert action.endswith(" daybreak import --only documents")
    assert "✕" not in read.heat()["documents"]["import"].text
    assert "Its file has been absent since" in read.one("section", id="documents").text


def test_a_table_that_was_never_imported_stands_out(session: Connection) -> None:
    everything_fine(session)
    session.execute("DELETE FROM ingest.imports WHERE table_name = 'documents'")
    read = page(session)
    assert "never imported: documents" in read.verdict()
    assert read.heat()["documents"]["import"].text == "✕ never"
    assert "Never imported." in read.one("section", id="documents").text


@pytest.mark.parametrize(
    ("check", "reason", "command"),
    [
        ("orphans", "missing_parent", "daybreak quarantine list --table kinships --reason missing_parent"),
        ("valid_enums", "invalid_enum", "daybreak quarantine list --table kinships --reason invalid_enum"),
        ("required_values", "missing_required", "--table kinships --reason missing_required"),
        ("duplicates", "duplicate_key", "daybreak quarantine list --table kinships --reason duplicate_key"),
        ("quarantine_rate", "invalid_value", "daybreak quarantine list --table kinships"),
        ("orphans", "invalid_value", "daybreak trace kinships row-1"),
    ],
)
def test_each_problem_comes_with_what_to_do(
    session: Connection, check: str, reason: str, command: str
) -> None:
    everything_fine(session)
    checked(session, "kinships", check, 1, rows=["row-1"], counts={"kind": 1}, hours_ago=-0.1)
    quarantined(session, "kinships", reason, "kind")
    (commands,) = page(session).commands()
    assert commands[0].endswith(command)
    assert commands[-1] == f"daybreak checks accept kinships {check} --why '…'"


def test_a_checks_own_query_is_there_to_copy(session: Connection) -> None:
    checked(session, "kinships", "orphans", 1, sql="SELECT id FROM kinships WHERE a < 'b';")
    ((*_, action),) = [problem for problem in page(session).problems() if problem[2] == "orphans"]
    assert "See the rows (SQL) SELECT id FROM kinships WHERE a < 'b';" in action


# --- One table -------------------------------------------------------------------------------------------


def test_a_table_shows_what_became_of_its_records(session: Connection) -> None:
    imported(session, "kinships", hours_ago=2, read=1500, quarantined=6, seconds=3)
    imported(session, "kinships", hours_ago=1, status="skipped", seconds=0.004)
    quarantined(session, "kinships", "invalid_enum", "kind", records=4)
    quarantined(session, "kinships", "malformed_record", None, records=2)
    session.execute(
        "INSERT INTO ingest.field_issues (import_id, table_name, row_id, column_name, code, value_encrypted) "
        "SELECT 1, 'kinships', n::text, 'notes', 'invalid_json', 'x' FROM generate_series(1, 5) n"
    )
    checked(session, "kinships", "orphans", 9, severity="WARN", counts={"user_0_id": 2, "user_1_id": 7})
    text = page(session).one("section", id="kinships").text
    assert "skipped, the file had not changed, 4 ms" in text
    assert "read 1,500 inserted 1,494 quarantined 6" in text
    assert "In quarantine: 6 records reason column records invalid_enum kind 4 malformed_record — 2" in text
    assert "column issue values notes invalid_json 5" in text
    assert "reference values user_1_id 7 user_0_id 2" in text


def test_a_record_with_two_reasons_counts_once_in_quarantine(session: Connection) -> None:
    session.execute(
        """
        INSERT INTO ingest.quarantine (import_id, table_name, record_number, reasons, record_encrypted, record_key)
        SELECT 1, 'kinships', n, '[{"code": "invalid_enum", "column": "kind"}, {"code": "invalid_value", "column": "id"},
               {"code": "invalid_value", "column": "id"}]', 'x', n::text::bytea FROM generate_series(1, 2) n
        """
    )
    found = next(table for table in facts(session).tables if table.name == "kinships")
    assert found.quarantined_records == 2
    assert set(found.quarantined) == {("invalid_enum", "kind", 2), ("invalid_value", "id", 2)}


def test_resolved_quarantine_is_no_longer_told(session: Connection) -> None:
    quarantined(session, "kinships", "invalid_enum", "kind")
    session.execute("UPDATE ingest.quarantine SET resolved_at = now(), resolution = 'loaded'")
    assert all(table.quarantined == () for table in facts(session).tables)


def test_what_loaded_from_quarantine_later_is_told(session: Connection) -> None:
    imported(session, "kinships", hours_ago=2, read=10, quarantined=4)
    imported(session, "kinships", hours_ago=1, read=4, quarantined=1, uri="quarantine:kinships")
    read = page(session)
    text = read.one("section", id="kinships").text
    assert "read 10 inserted 6 quarantined 4 loaded from quarantine since 3" in text


def test_rows_are_counted_and_large_tables_estimated(export: Export, monkeypatch: pytest.MonkeyPatch) -> None:
    export.load("documents", record("documents", "a"), record("documents", "b"))
    assert _rows(export.connection) == (2, False)
    export.connection.execute("ANALYZE documents")
    monkeypatch.setattr(queries, "_COUNTED_BYTES", 0)
    assert _rows(export.connection) == (2, True)
    assert "about 2 rows" in page(export.connection).one("section", id="documents").text


def _rows(connection: Connection) -> tuple[int | None, bool]:
    (table,) = [table for table in facts(connection).tables if table.name == "documents"]
    return table.rows, table.rows_estimated


def test_trends_show_the_last_30_imports_that_read_the_file_or_failed(session: Connection) -> None:
    for day in reversed(range(2, 41)):
        imported(session, "kinships", hours_ago=24 * day, read=100 + day)
        imported(session, "kinships", hours_ago=24 * day - 1, status="skipped")
    imported(session, "kinships", hours_ago=24, status="failed", error="kinships: gone")
    row = next(r for r in page(session).one("section", id="imports").all("tr") if "kinships" in r.text)
    plots = row.all("svg")
    assert plots[0].attributes["aria-label"] == (
        "Records read over 30 imports: from 102 to 130, last 102; 1 failed"
    )
    assert [path.attributes["class"] for path in plots[0].all("path")] == ["spark-line", "spark-failed"]
    assert len(re.findall("[ML]", plots[0].all("path")[0].attributes["d"])) == 29


def test_one_import_is_a_dot(session: Connection) -> None:
    imported(session, "kinships")
    (plot, *_) = page(session).all("svg")
    assert [path.attributes["class"] for path in plot.all("path")][-1] == "spark-last"
    assert plot.attributes["aria-label"] == "Records read over 1 import: from 10 to 10, last 10"


# --- Hostile content and personal values -------------------------------------------------------------------

HOSTILE = """</style><script>alert(1)</script>"><img src=x onerror='alert(2)'>|`*_[a](javascript:b)"""


def hostile(connection: Connection) -> None:
    checked(
        connection,
        "kinships",
        "orphans",
        1,
        description=HOSTILE,
        counts={f"a{HOSTILE}": 1},
        rows=[HOSTILE],
        sql=HOSTILE,
    )
    checked(connection, "kinships", HOSTILE, 1)
    checked(connection, HOSTILE, "orphans", 1)
    imported(connection, "documents", status="failed", error=HOSTILE)
    quarantined(connection, "kinships", HOSTILE, HOSTILE)


def test_hostile_content_is_shown_as_the_text_that_it_is(session: Connection) -> None:
    hostile(session)
    read = page(session)
    assert read.all("script") == read.all("img") == []
    assert len(read.all("style")) == 1
    assert {name for e in read.all() for name in e.attributes if name.startswith("on")} == set()
    assert HOSTILE in [code.text for code in read.one("div", id="kinships-orphans").all("code")]
    assert HOSTILE in read.one("section", id="documents").text


def test_a_hostile_row_id_is_harmless_in_the_command_to_copy(session: Connection) -> None:
    checked(session, "kinships", "orphans", 1, rows=["x; rm -rf ~ 'y'"])
    (command,) = [text for row in page(session).commands() for text in row if " trace " in text]
    assert shlex.split(command) == ["daybreak", "trace", "kinships", "x; rm -rf ~ 'y'"]


def test_hostile_content_breaks_no_markdown(session: Connection) -> None:
    hostile(session)
    text = render.markdown(facts(session))
    assert "<" not in text
    rows = [line for line in text.splitlines() if line.startswith("|")]
    unescaped = {len(re.findall(r"(?<!\\)\|", row)) for row in rows}
    assert unescaped == {
        6,
        len(RULES) + 4,
    }  # five columns of problems; table, import, the rules and one more check
    assert re.findall(r"(?<!\\)[`\[\]]", text) == []


def test_markdown_tells_verdict_problems_and_heat_map(session: Connection) -> None:
    everything_fine(session)
    checked(session, "referrals", "valid_enums", 1235, hours_ago=-0.1)
    text = render.markdown(facts(session))
    assert text.startswith("**Can I trust today's data? ✕ No**: checks find errors in referrals;")
    assert re.search(r"^\| ✕ ERROR \| referrals \| valid\\_enums \| what was found \|", text, re.MULTILINE)
    (row,) = re.findall(r"^\| (referrals \| ✓ .*) \|$", text, re.MULTILINE)
    cells = ["✕ 1,235" if rule.name == "valid_enums" else "✓" for rule in RULES]
    assert row.split(" | ") == ["referrals", "✓", *cells]


def test_no_personal_value_is_in_the_report(export: Export) -> None:
    person = {
        "first_name": "Kanariefirst",
        "last_name": "Kanarielast",
        "phone": "+19995550147",
        "birthdate": "1913-07-29",
        "address": '{"city": "Kanarieville"}',
    }
    bad = record("patients_and_guardians", "bad", **person | {"account_status": "+19995550147"})
    nameless = record("patients_and_guardians", **person) | {"id": "Kanarieid"}
    dangling = record("patients_and_guardians", "dangling", **person | {"supervisor_id": "nobody"})
    counts = export.load("patients_and_guardians", bad, nameless, dangling)
    assert (counts["quarantined"], counts["field_issues"]) == (2, 1)
    checked(export.connection, "patients_and_guardians", "orphans", 1, rows=[uuid("dangling")])
    found = facts(export.connection)
    for text in (render.html(found), render.markdown(found)):
        assert [needle for needle in ("kanarie", "9995550147", "1913-07-29") if needle in text.lower()] == []
    assert uuid("dangling") in render.html(found)
