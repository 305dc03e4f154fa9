"""The page docs/data-dictionary.md, made from the catalog and the sample."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from daybreak_pipeline.documentation import relations
from daybreak_pipeline.documentation.relations import Column, Relation
from daybreak_pipeline.documentation.sample import TableFacts
from daybreak_pipeline.tables import TABLES, TRANSPORT_COLUMNS

if TYPE_CHECKING:
    from daybreak_pipeline.database import Connection

READ_BY_PEOPLE = (
    "ingest.imports",
    "ingest.file_imports",
    "ingest.quarantine",
    "ingest.field_issues",
    "ingest.check_results",
    "ingest.accepted_findings",
    "ingest.absent_files",
    "ingest.missing_rows",
    "ingest.tombstones",
    "ingest.alerts",
    "ingest.server_measurements",
    "audit.changes",
)
"""The pipeline's own tables that a person may want to look into."""

_HEAD = """\
# Data dictionary

Every table and view that people and applications read: what each column means, which column of the export it comes from,
whether it is personal, and how often it is empty in the sample. `make docs` makes this page from a database with the
sample. What a table or column means is said by `COMMENT ON` in the migrations, so `\\d+` in psql and BI tools show the same.

![The tables and their references](images/schema.svg)

**Personal.** *sealed*: stored encrypted; a session that holds the key reads it through the view named above the columns, and the
plain column is always NULL. *sealed, and plain*: encrypted, and readable as well. *withheld*: applications read it, analysts do
not, since it names a person in another system, is free text or was looked at by nobody. *no*: analysts see it in `reporting`, of
a time only the day. More on [personal data](personal-data.md).

**In the file.** The importer takes a column of the export by its name, whatever its case. *not in the sample*: the sample's file
lacks it. What a file has beyond that is kept, sealed where it looks personal ([import contract](import-contract.md), rule 12).

**Empty.** The share of the sample's rows in which the column is NULL.
"""
_SHOWN_TO_ANALYSTS = """
    SELECT c.relname::text, shown.column_name::text
    FROM reporting.columns() shown JOIN pg_class c ON c.oid = shown.target
"""
_SHORT = {
    "timestamp with time zone": "timestamptz",
    "timestamp without time zone": "timestamp",
    "character varying": "varchar",
    "double precision": "float8",
}


def page(connection: Connection, sample: Mapping[str, TableFacts]) -> str:
    """Return the page as it should be."""
    found = {relation.full_name: relation for relation in relations.read(connection)}
    shown: dict[str, set[str]] = {}
    for table, column in connection.execute(_SHOWN_TO_ANALYSTS):
        shown.setdefault(table, set()).add(column)
    tables = [
        relation for relation in found.values() if relation.schema == "public" and relation.kind == "table"
    ]
    parts = [
        _HEAD,
        _contents(tables),
        *(
            section
            for group in [*dict.fromkeys(table.group for table in TABLES.values()), None]
            for section in _group(group, tables, found, shown, sample)
        ),
        _codes(tables),
        _views(
            "Views for applications",
            "`daybreak_app` reads them. How to ask is on the page of [common queries](common-queries.md).",
            [r for r in found.values() if r.schema in {"app", "public"} and r.kind != "table"],
        ),
        _views(
            "Views for analysts",
            "`daybreak_readonly` reads them. Besides, each table has a view of its name in `reporting`, without the columns "
            "that are sealed or withheld, without rows that are deleted at the source, and with the day in place of each time.",
            [r for r in found.values() if r.schema == "reporting" and f"public.{r.name}" not in found],
        ),
        _views(
            "The pipeline's own tables",
            "What became of every file, record and finding, and who changed what. Sealed columns open with the key.",
            [found[name] for name in READ_BY_PEOPLE],
        ),
    ]
    return "\n".join(parts)


def _group(
    group: str | None,
    tables: Sequence[Relation],
    found: Mapping[str, Relation],
    shown: Mapping[str, set[str]],
    sample: Mapping[str, TableFacts],
) -> Iterable[str]:
    members = [relation for relation in tables if _group_of(relation) == group]
    if members:
        yield f"## {(group or 'other tables').capitalize()}\n"
    for relation in sorted(members, key=_order):
        yield _table(relation, found, shown.get(relation.name, set()), sample.get(relation.name))


def _group_of(relation: Relation) -> str | None:
    return TABLES[relation.name].group if relation.name in TABLES else None


def _order(relation: Relation) -> int:
    return list(TABLES).index(relation.name) if relation.name in TABLES else len(TABLES)


def _contents(tables: Sequence[Relation]) -> str:
    rows = "".join(
        f"| [{relation.name}](#{relation.name}) | {_group_of(relation) or ''} | {_text(relation.comment)} |\n"
        for relation in sorted(tables, key=_order)
    )
    return f"| table | subject | holds |\n|---|---|---|\n{rows}"


def _table(
    relation: Relation, found: Mapping[str, Relation], shown: set[str], facts: TableFacts | None
) -> str:
    lines = [f"### {relation.name}\n", f"{_text(relation.comment)}\n"]
    if facts:
        lines.append(
            f"From `{facts.file}`, {facts.rows:,} rows in the sample. {_read_through(relation, found)}\n"
        )
    rows = [
        f"| `{column.name}` | {_type(column, relation)} | {_text(column.comment)} | {_personal(column, shown)} "
        f"| {_in_file(column, facts)} | {_share(column, facts)} |\n"
        for column in relation.columns
        if not column.is_internal
    ]
    lines.append(
        "| column | type | meaning | personal | in the file | empty |\n|---|---|---|---|---|--:|\n"
        + "".join(rows)
    )
    twins = [f"{column.name}_encrypted" for column in relation.columns if column.is_sealed]
    internal = [column for column in relation.columns if column.is_internal and column.name not in twins]
    if internal:
        listed = "; ".join(f"`{column.name}`: {_text(column.comment).rstrip('.')}" for column in internal)
        lines.append(f"Of the pipeline's own: {listed}.\n")
    if twins:
        lines.append(f"Sealed values are in {_names(twins)}.\n")
    if facts and facts.others:
        lines.append(f"The sample's file also has {_names(facts.others)}.\n")
    return "\n".join(lines)


def _read_through(relation: Relation, found: Mapping[str, Relation]) -> str:
    views = [f"`reporting.{relation.name}` for analysts"]
    if f"app.{relation.name}" in found:
        views.insert(0, f"`app.{relation.name}` with the key")
    return f"Views: {', '.join(views)}."


def _type(column: Column, relation: Relation) -> str:
    name = column.sql_type
    for long, short in _SHORT.items():
        name = name.replace(long, short)
    marks = ["key"] if relation.primary_key == (column.name,) else ["required"] if column.required else []
    return " ".join([f"`{name}`", *marks])


def _personal(column: Column, shown: set[str]) -> str:
    if column.is_sealed:
        return "**sealed**" if column.kept_empty else "**sealed**, and plain"
    return "no" if column.name in shown else "**withheld**"


def _in_file(column: Column, facts: TableFacts | None) -> str:
    if facts is None or column.name in TRANSPORT_COLUMNS:
        return ""
    return f"`{column.name}`" if column.name in facts.columns else "not in the sample"


def _share(column: Column, facts: TableFacts | None) -> str:
    if facts is None or not facts.rows:
        return ""
    empty = facts.empty[column.name]
    percent = 100 * empty / facts.rows
    if 0 < percent < 1:
        return "<1 %"
    if 99 < percent < 100:  # noqa: PLR2004 - a hundred per cent says that no row has a value
        return ">99 %"
    return f"{percent:.0f} %"


def _codes(tables: Sequence[Relation]) -> str:
    rows = "".join(
        f"| `{relation.name}.{column.name}` | {_listed(column)} | {'no' if column.codes.is_closed else 'yes'} |\n"
        for relation in sorted(tables, key=_order)
        for column in relation.columns
        if column.codes
    )
    return (
        "## Codes\n\nWhat the numbers mean. Where no others are taken, a record with another goes to quarantine. Columns that "
        "are called codes above and are not here have values that nobody has documented.\n\n"
        f"| column | codes | others are taken |\n|---|---|---|\n{rows}"
    )


def _listed(column: Column) -> str:
    if column.codes is None:
        return ""
    return ", ".join(
        f"`{value}` {column.codes.names.get(value, '')}".rstrip() for value in column.codes.values
    )


def _views(title: str, begins: str, members: Sequence[Relation]) -> str:
    parts = [f"## {title}\n\n{begins}\n"]
    for relation in members:
        rows = "".join(
            f"| `{column.name}` | {_type(column, relation)} | {_text(column.comment)} |\n"
            for column in relation.columns
        )
        parts.append(
            f"### {relation.full_name}\n\n{_text(relation.comment)}\n\n| column | type | meaning |\n|---|---|---|\n{rows}"
        )
    return "\n".join(parts)


def _names(names: Iterable[str]) -> str:
    *first, last = [f"`{name}`" for name in names]
    return f"{', '.join(first)} and {last}" if first else last


def _text(comment: str) -> str:
    """Return a comment as it can stand in a cell of a table."""
    return " ".join(comment.replace("|", "\\|").replace("<", "&lt;").split())
