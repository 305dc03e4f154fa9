"""What tests of the report share: rows for the ledger and the history of checks, and a reader of its HTML."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cached_property
from html.parser import HTMLParser

from daybreak_pipeline.checks.rules import RULES
from daybreak_pipeline.database import Connection
from daybreak_pipeline.report import queries, render
from daybreak_pipeline.report.facts import Facts
from daybreak_pipeline.tables import TABLES

_VOID = {"meta", "link", "wbr", "br", "img", "input", "hr"}


def imported(  # noqa: PLR0913 - the facts of a row of the ledger
    connection: Connection,
    table: str,
    *,
    hours_ago: float = 0,
    status: str = "imported",
    read: int = 10,
    quarantined: int = 0,
    seconds: float = 2,
    error: str | None = None,
    uri: str = "file:///export/x.csv",
) -> None:
    """Add an import to the ledger."""
    read, quarantined = (read, quarantined) if status == "imported" else (0, 0)
    connection.execute(
        """
        INSERT INTO ingest.imports (table_name, source_uri, source_sha256, schema_version, started_at, finished_at,
                                    status, error, rows_read, rows_inserted, rows_quarantined)
        VALUES (%(table)s, %(uri)s, CASE WHEN %(uri)s NOT LIKE 'quarantine:%%' THEN 'f00' END, '009',
                now() - make_interval(secs => %(ago)s + %(seconds)s),
                now() - make_interval(secs => %(ago)s), %(status)s, %(error)s, %(read)s, %(inserted)s, %(quarantined)s)
        """,
        {
            "table": table,
            "uri": uri,
            "ago": hours_ago * 3600,
            "seconds": seconds,
            "status": status,
            "error": error,
            "read": read,
            "inserted": read - quarantined,
            "quarantined": quarantined,
        },
    )


def checked(  # noqa: PLR0913 - the facts of a result
    connection: Connection,
    table: str,
    check: str,
    failed: int = 0,
    *,
    severity: str = "ERROR",
    hours_ago: float = 0,
    total: int = 100,
    description: str = "what was found",
    **details: object,
) -> None:
    """Add a result to the history of checks; with ``failed`` it did not pass."""
    connection.execute(
        """
        INSERT INTO ingest.check_results (table_name, check_name, passed, severity, failed, total, description, details, at)
        VALUES (%s, %s, %s, %s, %s, %s, %s, %s, now() - make_interval(secs => %s))
        """,
        [
            table,
            check,
            not failed,
            severity,
            failed,
            total,
            description,
            json.dumps(details),
            hours_ago * 3600,
        ],
    )


def everything_fine(connection: Connection, *, imports: int = 1) -> None:
    """Import all tables once a day, and check them after the last time: nothing is wrong."""
    for table in TABLES:
        for day in reversed(range(imports)):
            imported(connection, table, hours_ago=24 * day + 1, read=1000 + day)
        for rule in RULES:
            checked(connection, table, rule.name)


def everything_wrong(connection: Connection) -> None:
    """Let every import fail for two days after thirty good ones, and every check too."""
    for table in TABLES:
        for day in reversed(range(2, 32)):
            imported(connection, table, hours_ago=24 * day, read=1000 + day, quarantined=day)
        for day in (1, 0):
            imported(connection, table, hours_ago=24 * day, status="failed", error=f"{table}: no file x.csv")
        for number, rule in enumerate(RULES):
            checked(connection, table, rule.name, hours_ago=30)
            for hours in (20, 10):
                checked(
                    connection,
                    table,
                    rule.name,
                    7,
                    severity="WARN" if number % 2 else "ERROR",
                    hours_ago=hours,
                    counts={"user_id": 7},
                    rows=[f"row-{n}" for n in range(7)],
                    sql="SELECT id FROM t;",
                )
        quarantined(connection, table, "missing_parent", "user_id")
    checked(connection, "database", "database_matches_migrations", 2)


def bad_morning(connection: Connection) -> None:
    """Two good weeks with one old warning; today three files are absent, one is refused, and there are two new faults."""
    for table in TABLES:
        for day in reversed(range(1, 15)):
            imported(connection, table, hours_ago=24 * day + 1, read=1000 + 10 * (14 - day))
    for day in reversed(range(1, 15)):
        for rule in RULES:
            old = 4 if rule.name == "placeholder_values" else 0
            checked(
                connection, "clinicians", rule.name, old, severity="WARN", hours_ago=24 * day, rows=["row-1"]
            )
            checked(connection, "referrals", rule.name, hours_ago=24 * day)
            checked(connection, "memberships", rule.name, hours_ago=24 * day)
    absent, refused = ("documents", "contracts", "kinships"), "insurance_coverages"
    for table in TABLES:
        if table in absent:
            connection.execute("INSERT INTO ingest.absent_files (table_name) VALUES (%s)", [table])
        elif table == refused:
            why = f"{table}: the header has no column user_id: ask the sender for the file with it"
            imported(connection, table, status="failed", error=why)
        else:
            imported(
                connection, table, hours_ago=0.2, read=1150, quarantined=31 if table == "referrals" else 0
            )
        for rule in RULES:
            fault = _NEW_FAULTS.get((table, rule.name))
            old = {"placeholder_values": 4}.get(rule.name, 0) if table == "clinicians" else 0
            failed = 31 if fault else old
            description = fault or f"{old} texts are words for nothing"
            rows = [f"record {number}" for number in range(7, 17)] if fault else ["row-1"]
            checked(
                connection,
                table,
                rule.name,
                failed,
                total=1150,
                severity="ERROR" if fault else "WARN",
                hours_ago=0.1,
                description=description,
                rows=rows,
                counts={"kind": failed} if failed else {},
                sql="SELECT id, kind FROM referrals WHERE kind > 9 ORDER BY id;" if failed else "",
            )
    quarantined(connection, "referrals", "invalid_enum", "kind", records=31)
    connection.execute(
        "INSERT INTO ingest.alerts (run_id, message, told) VALUES ('5f0c9a6e-1', %s, '{webhook,oncall@example.org}')",
        [
            f"Daybreak: run 5f0c9a6e of import_all failed\nnot imported: {refused}\nfile absent, rows kept: {', '.join(absent)}"
        ],
    )


_NEW_FAULTS = {
    ("referrals", "valid_enums"): "31 records have a kind that is not listed",
    ("memberships", "timestamps"): "31 rows end before they begin",
}


def quarantined(
    connection: Connection, table: str, code: str, column: str | None, *, records: int = 3
) -> None:
    """Put records into quarantine."""
    connection.execute(
        """
        INSERT INTO ingest.quarantine (import_id, table_name, record_number, reasons, record_encrypted, record_key)
        SELECT 1, %(table)s, n, jsonb_build_array(jsonb_build_object('code', %(code)s::text, 'column', %(column)s::text)),
               'x', convert_to(%(table)s || %(code)s || coalesce(%(column)s::text, '') || n, 'UTF8')
        FROM generate_series(1, %(records)s) n
        """,
        {"table": table, "code": code, "column": column, "records": records},
    )


def facts(connection: Connection) -> Facts:
    """Return what the report says of a database, after what a test has written."""
    connection.commit()
    return queries.read(connection)


def page(connection: Connection) -> Page:
    """Return the report of a database."""
    return Page.read(render.html(facts(connection)))


@dataclass
class Element:
    """An element of a page: its text is that of everything in it, each piece stripped."""

    tag: str
    attributes: dict[str, str]
    children: list[Element] = field(default_factory=list)
    pieces: list[str] = field(default_factory=list)

    @cached_property
    def text(self) -> str:
        """All pieces, when the page has been read."""
        return " ".join(self.pieces)

    def all(self, tag: str = "", **attributes: str) -> list[Element]:
        """Return all elements below of a tag, with the attributes."""
        found: list[Element] = []
        for child in self.children:
            if tag in {"", child.tag} and attributes.items() <= child.attributes.items():
                found.append(child)
            found += child.all(tag, **attributes)
        return found

    def one(self, tag: str = "", **attributes: str) -> Element:
        """Return the only such element."""
        (found,) = self.all(tag, **attributes)
        return found


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open = [Element("", {})]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag, {name: value or "" for name, value in attrs})
        assert len(element.attributes) == len(attrs), f"<{tag}> has an attribute twice"
        self.open[-1].children.append(element)
        if tag not in _VOID:
            self.open.append(element)

    def handle_endtag(self, tag: str) -> None:
        element = self.open.pop()
        assert element.tag == tag, f"<{element.tag}> is closed by </{tag}>"

    def handle_data(self, data: str) -> None:
        if data.strip():
            for element in self.open:
                element.pieces.append(" ".join(data.split()))


class Page(Element):
    """A page whose elements are all closed in order."""

    @classmethod
    def read(cls, source: str) -> Page:
        """Read a page; an element that is not closed is an error."""
        reader = _Reader()
        reader.feed(source)
        reader.close()
        (root,) = reader.open
        return cls("", {}, root.children, root.pieces)

    def verdict(self) -> str:
        """Return the answer and why, as it reads."""
        (text,) = [
            element.text
            for element in self.all("section")
            if "verdict" in element.attributes.get("class", "")
        ]
        return text

    def heat(self) -> dict[str, dict[str, Element]]:
        """Return the heat map: table, then column, then cell."""
        table = self.one("table", **{"class": "heat"})
        columns = ["".join(cell.pieces) for cell in table.one("thead").all("th")][1:]
        rows = {}
        for row in table.one("tbody").all("tr"):
            rows["".join(row.one("th").pieces)] = dict(zip(columns, row.all("td"), strict=False))
        return rows

    def problems(self) -> list[list[str]]:
        """Return what is broken, cell by cell."""
        bodies = self.one("section", id="broken").all("tbody")
        return [[cell.text for cell in row.all("td")] for body in bodies for row in body.all("tr")]

    def commands(self) -> list[list[str]]:
        """Return what there is to copy and run for each problem."""
        bodies = self.one("section", id="broken").all("tbody")
        rows = [row for body in bodies for row in body.all("tr")]
        return [[code.text for code in row.all("code", **{"class": "command"})] for row in rows]
