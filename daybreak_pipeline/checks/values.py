"""Checks of single rows: codes, required values, JSON, constants and times (the plan, 2.3 and "Data Integrity Tests").

Each states the conditions of its faults for the one scan of the table, and then judges what the scan counted,
together with what imports refused for the same reason.
"""

from __future__ import annotations

from psycopg import sql

from daybreak_pipeline.checks.evidence import Evidence
from daybreak_pipeline.checks.findings import Finding, Tally, Wording, conclude
from daybreak_pipeline.checks.scan import Fault
from daybreak_pipeline.importer.expressions import TEXT_TYPES
from daybreak_pipeline.tables import COMMITTED_AT, SYNCED_AT, JsonShape

_TIME = "timestamp with time zone"
# Times that say when something was done; others, such as those of appointments, may well lie ahead.
_DONE = ("created_at", "updated_at", "completed_at", SYNCED_AT, COMMITTED_AT)


def unlisted_codes(evidence: Evidence) -> list[Fault]:
    """Return what each CHECK refuses; such rows can exist only where it is NOT VALID."""
    return [
        Fault(
            f"{', '.join(check.columns)} ({check.name})",
            sql.SQL("({}) IS FALSE").format(sql.SQL(check.expression)),
            check.columns,
        )
        for check in evidence.catalog.checks
    ]


def valid_enums(evidence: Evidence, tallies: list[Tally]) -> Finding:
    """Judge codes that no CHECK lists."""
    return conclude(
        Wording("code outside its list", "codes outside their list", "every code is in its list"),
        evidence.threshold("valid_enums"),
        [*tallies, *evidence.refused("invalid_enum")],
        evidence.looked_at,
    )


def empty_required(evidence: Evidence) -> list[Fault]:
    """Return the condition that a required column is NULL."""
    required = tuple(column.name for column in evidence.catalog.columns if column.required)
    return [
        Fault(
            "in the table",
            sql.SQL(" OR ").join(sql.SQL("{} IS NULL").format(sql.Identifier(name)) for name in required),
            required,
        )
    ]


def required_values(evidence: Evidence, tallies: list[Tally]) -> Finding:
    """Judge required columns without a value."""
    return conclude(
        Wording("required value missing", "required values missing", "every required value is there"),
        evidence.threshold("required_values"),
        [*tallies, *evidence.refused("missing_required")],
        evidence.looked_at,
    )


def odd_shapes(evidence: Evidence) -> list[Fault]:
    """Return the condition that a JSONB column does not hold what the plan describes, for each."""
    return [
        Fault(_told(shape), _odd(evidence, shape), hidden=(shape.column,))
        for shape in evidence.catalog.table.json_shapes
        if shape.column in evidence.catalog.by_name
    ]


def valid_json(evidence: Evidence, tallies: list[Tally]) -> Finding:
    """Judge JSONB that came as text and was kept as a JSON string, and JSON of another shape than the plan's."""
    return conclude(
        Wording(
            "value that is not the JSON it should be",
            "values that are not the JSON they should be",
            "every JSON value is what it should be",
        ),
        evidence.threshold("valid_json"),
        [*evidence.issues("invalid_json"), *tallies],
        evidence.looked_at,
    )


def placeholders(evidence: Evidence) -> list[Fault]:
    """Return the condition that a text is a word for nothing (``#N/A``, ``########``), for each plain column."""
    table = evidence.catalog.table
    plain = [
        column.name
        for column in evidence.catalog.columns
        if column.type in TEXT_TYPES
        and (column.name not in table.sealed_columns or column.name in table.kept_plain)
    ]
    return [_each(name, "ingest.is_placeholder({})", name) for name in plain]


def placeholder_values(evidence: Evidence, tallies: list[Tally]) -> Finding:
    """Judge texts that are words for nothing. In sealed columns the import has counted them, in the last file."""
    last = evidence.last_file
    sealed = (last and last.placeholder_values) or {}
    return conclude(
        Wording(
            "text that is a word for nothing",
            "texts that are words for nothing",
            "no text is a word for nothing",
            of="rows",
        ),
        evidence.threshold("placeholder_values"),
        [
            *tallies,
            *(
                Tally(f"{column} (sealed, in the last file)", number, columns=(column,))
                for column, number in sealed.items()
            ),
        ],
        evidence.rows,
    )


def plain_personal_values(evidence: Evidence) -> list[Fault]:
    """Return the condition that a personal column has a value in plain, for each; the table's own CHECK refuses such rows."""
    table = evidence.catalog.table
    return [
        Fault(column, sql.SQL("{} IS NOT NULL").format(sql.Identifier(column)), hidden=(column,))
        for column in sorted(evidence.catalog.sealed)
        if column not in table.kept_plain
    ]


def plain_values(evidence: Evidence, tallies: list[Tally]) -> Finding:
    """Judge personal values that are stored in plain."""
    return conclude(
        Wording(
            "personal value stored in plain",
            "personal values stored in plain",
            "no personal value is stored in plain",
            of="rows",
        ),
        evidence.threshold("plain_values"),
        tallies,
        evidence.rows,
    )


def other_constants(evidence: Evidence) -> list[Fault]:
    """Return the condition that a column does not have the value that all rows have."""
    return [
        Fault(
            column,
            sql.SQL("{} IS DISTINCT FROM {}").format(sql.Identifier(column), sql.Literal(value)),
            (column,),
        )
        for column, value in evidence.catalog.table.constants
    ]


def constants(evidence: Evidence, tallies: list[Tally]) -> Finding:
    """Judge columns that are the same in all rows."""
    named = ", ".join(column for column, _ in evidence.catalog.table.constants)
    return conclude(
        Wording(
            "row with another value than all rows have",
            "rows with another value than all rows have",
            f"{named} is the same in every row" if named else "no column has to be the same in every row",
            of="rows",
        ),
        evidence.threshold("constants"),
        tallies,
        evidence.rows,
    )


def odd_times(evidence: Evidence) -> list[Fault]:
    """Return the conditions for impossible times.

    Where a file has no ``created_at``, its import fills in its own time, which is later than any ``updated_at``: no fault.
    """
    times = [column.name for column in evidence.catalog.columns if column.type == _TIME]
    faults = []
    last = evidence.last_file
    if last is None or last.source_columns is None or "created_at" in last.source_columns:
        faults.append(
            Fault(
                "created_at after updated_at",
                sql.SQL("created_at > updated_at"),
                ("created_at", "updated_at"),
            )
        )
    # An hour, because the clocks of source and server need not agree.
    ahead = "{} > now() + interval '1 hour'"
    before = "{} < timestamptz '2000-01-01 00:00:00+00'"
    faults += [_each(f"{name} in the future", ahead, name) for name in times if name in _DONE]
    faults += [_each(f"{name} before 2000", before, name) for name in times]
    return faults


def timestamps(evidence: Evidence, tallies: list[Tally]) -> Finding:
    """Judge implausible times."""
    return conclude(
        Wording("implausible timestamp", "implausible timestamps", "no implausible timestamp", of="rows"),
        evidence.threshold("timestamps"),
        tallies,
        evidence.rows,
    )


def _each(label: str, condition: str, column: str) -> Fault:
    return Fault(label, sql.SQL(condition).format(sql.Identifier(column)), (column,))


def _told(shape: JsonShape) -> str:
    inside = " as documented" if shape.faults else ""
    return f"{shape.column} (not an {shape.type}{inside})"


def _odd(evidence: Evidence, shape: JsonShape) -> sql.Composed:
    """Return the condition; what came as text is left out, as it is counted already."""
    column = sql.Identifier(shape.column)
    odd = sql.SQL(" OR ").join(
        [sql.SQL("jsonb_typeof({}) <> {}").format(column, sql.Literal(shape.type))]
        + [
            sql.SQL("jsonb_path_exists({}, {}, '{{}}', true)").format(column, sql.Literal(path))
            for path in shape.faults
        ]
    )
    if shape.column not in evidence.repaired("invalid_json"):
        return sql.SQL("({})").format(odd)
    return sql.SQL(
        "({}) AND NOT EXISTS (SELECT FROM ingest.field_issues i WHERE i.table_name = {} AND i.column_name = {} "
        "AND i.code = 'invalid_json' AND i.resolved_at IS NULL AND i.row_id = {}.id::text)"
    ).format(odd, sql.Literal(evidence.table), sql.Literal(shape.column), sql.Identifier(evidence.table))
