"""The rules that every table is checked by, and how all of them are applied at once. Nothing here knows Dagster.

A rule looks at the table *and* at what imports could not load because of it: what the database enforces
can never be wrong in the table, but may well be wrong in the export. Counts, columns and row ids are
reported, never values. What each rule looks for is in the other modules of this folder.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

from psycopg.pq import TransactionStatus

from daybreak_pipeline import database
from daybreak_pipeline.checks import imports, links, missing, places, sealed_values, structure, values
from daybreak_pipeline.checks.evidence import Evidence
from daybreak_pipeline.checks.findings import Finding, Tally
from daybreak_pipeline.checks.scan import LOCAL_SETTINGS, Fault, scan
from daybreak_pipeline.errors import UsageError
from daybreak_pipeline.schema.catalog import TableCatalog

if TYPE_CHECKING:
    from daybreak_pipeline.database import Connection


def _nothing(_: Evidence) -> list[Fault]:
    return []


@dataclass(frozen=True)
class Rule:
    """A named rule. A blocking one that fails with ERROR keeps what depends on the table from running.

    ``faults`` are counted in the one scan of the table; ``judge`` gets their tallies.
    """

    name: str
    description: str
    judge: Callable[[Evidence, list[Tally]], Finding]
    faults: Callable[[Evidence], list[Fault]] = _nothing
    blocking: bool = False


RULES = (
    Rule("orphans", "Every reference leads to a row.", links.orphans),
    Rule(
        "valid_enums",
        "Every coded value is one that the schema lists.",
        values.valid_enums,
        values.unlisted_codes,
    ),
    Rule(
        "required_values",
        "Every required column has a value in every record.",
        values.required_values,
        values.empty_required,
    ),
    Rule(
        "valid_json",
        "Every JSONB value came as JSON, in the documented shape.",
        values.valid_json,
        values.odd_shapes,
    ),
    Rule(
        "placeholder_values",
        "No text is a word for nothing, or what a spreadsheet leaves of a value.",
        values.placeholder_values,
        values.placeholders,
    ),
    Rule("duplicates", "There are no duplicate records or rows.", links.duplicates),
    Rule(
        "row_accounting",
        "Every record read ended in exactly one place.",
        imports.row_accounting,
        imports.rows_of_last_imports,
        blocking=True,
    ),
    Rule("schema_drift", "The last file has the columns that the schema knows.", imports.schema_drift),
    Rule("row_count_change", "The last file has as many records as usual.", imports.row_count_change),
    Rule(
        "missing_rows",
        "The last file has every row that came from an export.",
        missing.missing_rows,
        missing.rows_of_exports,
    ),
    Rule("quarantine_rate", "Few records of the last file are in quarantine.", imports.quarantine_rate),
    Rule(
        "constants",
        "A column that the plan gives one value for every row (market_id) has it everywhere.",
        values.constants,
        values.other_constants,
    ),
    Rule(
        "plain_values",
        "No personal value is stored in plain.",
        values.plain_values,
        values.plain_personal_values,
    ),
    Rule("sealed_values", "Every sealed value opens and fits its column.", sealed_values.sealed_values),
    Rule("timestamps", "Times are possible and in order.", values.timestamps, values.odd_times),
    Rule(
        "database_matches_migrations",
        "The table is as the migrations made it.",
        structure.database_matches_migrations,
    ),
)
"""All rules, in the order in which they are shown."""

BLOCKING = frozenset(rule.name for rule in RULES if rule.blocking)
"""Names of the rules that block."""

_ALL = frozenset(rule.name for rule in RULES)


def examine(
    connection: Connection, catalog: TableCatalog, wanted: Collection[str] = _ALL
) -> dict[str, Finding]:
    """Apply rules to one table, in one transaction that reads the table itself as rarely as possible.

    Args:
        connection: to the migrated database; the encryption key is not needed.
        catalog: of the table.
        wanted: names of the rules to apply.

    Returns:
        The findings by rule, in the order of ``RULES``.

    Raises:
        UsageError: there is no such table.
    """
    if not catalog.columns:
        msg = f"{catalog.table.name}: the table is missing: restore a backup, or take the migrations back and apply them"
        raise UsageError(msg)
    chosen = [rule for rule in RULES if rule.name in wanted]
    own = connection.info.transaction_status == TransactionStatus.IDLE
    # Read ledger, quarantine and rows as of one moment: an import that ends meanwhile must not look like a fault.
    with database.snapshot(connection) if own else connection.transaction():
        connection.execute(LOCAL_SETTINGS)
        evidence = Evidence(connection, catalog)
        faults = {rule.name: rule.faults(evidence) for rule in chosen}
        evidence.rows, tallies = scan(
            connection,
            catalog.table.name,
            [fault for listed in faults.values() for fault in listed],
            imported="_record_number" in catalog.technical,
        )
        findings: dict[str, Finding] = {}
        for rule in chosen:
            number = len(faults[rule.name])
            findings[rule.name] = rule.judge(evidence, tallies[:number])
            tallies = tallies[number:]
        return places.add(evidence, findings)
