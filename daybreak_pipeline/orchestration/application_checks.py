"""The checks of the tables that applications have protected (``privacy.protect``). Which there are, only the database knows.

So there is one asset for all of them. Its checks are the rules that make sense for a table that no export fills; each
table's results are on record under its own name, as those of the plan's tables are, and so in the report and in alerts.
"""

# Dagster reads the annotations of what it decorates: no postponed evaluation in this module.

from collections.abc import Iterator, Mapping

import dagster as dg

from daybreak_pipeline.checks import acceptance, history
from daybreak_pipeline.checks.findings import Finding, Tally
from daybreak_pipeline.checks.rules import RULES, examine
from daybreak_pipeline.database import Connection
from daybreak_pipeline.orchestration import asset_checks
from daybreak_pipeline.orchestration.resources import HealthDatabase, step_failures
from daybreak_pipeline.privacy import sealed_faults
from daybreak_pipeline.runbooks import Runbook
from daybreak_pipeline.schema import catalog as catalogs
from daybreak_pipeline.schema import protected

ASSET = "application_tables"
OP = f"check_{ASSET}"
_PAGES = {
    "plain_values": Runbook.BREACH,
    "sealed_values": Runbook.LOST_KEY,
    "database_matches_migrations": Runbook.SCHEMA_CHANGES,
}
"""The rules, with the page that helps where one fails."""


def build_application_asset() -> dg.AssetSpec:
    """Return the asset that stands for all protected tables of applications."""
    return dg.AssetSpec(
        ASSET,
        group_name=protected.APPLICATION_GROUP,
        owners=["team:data-engineering"],
        kinds={"postgres", "table"},
        description="Tables with personal columns that applications fill: those that `privacy.protect` was called for.",
    )


def build_application_checks() -> dg.AssetChecksDefinition:
    """Return the multi-check of all protected tables of applications. Where there is none, it finds nothing."""

    @dg.multi_asset_check(
        name=OP,
        specs=[
            dg.AssetCheckSpec(
                rule.name,
                asset=ASSET,
                description=rule.description,
                metadata={"runbook": _PAGES[rule.name].page},
            )
            for rule in RULES
            if rule.name in _PAGES
        ],
        can_subset=True,
    )
    def check(
        context: dg.AssetCheckExecutionContext, health_database: dg.ResourceParam[HealthDatabase]
    ) -> Iterator[dg.AssetCheckResult]:
        wanted = {key.name for key in context.selected_asset_check_keys}
        opens = health_database.installation().key is not None
        with step_failures(context), health_database.connection() as connection:
            found = look(connection, wanted, run_id=context.run.run_id, opens=opens)
        for name in (rule.name for rule in RULES):
            of_tables = {table: findings[name] for table, findings in found.items() if name in findings}
            if of_tables:
                yield asset_checks.result(ASSET, name, together(of_tables))

    return check


def look(
    connection: Connection, wanted: set[str], *, run_id: str | None, opens: bool
) -> dict[str, dict[str, Finding]]:
    """Apply the rules to each protected table of an application, and put the findings on record.

    Args:
        connection: of the tables' owner, with the key if ``opens``.
        wanted: names of the rules.
        run_id: the Dagster run that checks.
        opens: whether sealed values can be opened; else those that were noted before count.
    """
    accepted = acceptance.in_force(connection)
    found = {}
    for table in protected.of_applications(connection):
        catalog = catalogs.read(connection, table)
        if "sealed_values" in wanted and opens:
            sealed_faults.look(connection, catalog)
        findings = examine(connection, catalog, wanted & set(_PAGES))
        history.append(connection, table, findings, run_id=run_id)
        found[table] = acceptance.judged(accepted, table, findings)
    return found


def together(of_tables: Mapping[str, Finding]) -> Finding:
    """Return one finding for a rule's findings of several tables: it fails where one does, as badly as the worst."""
    failed = {table: finding for table, finding in of_tables.items() if not finding.passed}
    worst = max(of_tables.values(), key=lambda finding: finding.badness)
    told = "; ".join(f"{table}: {finding.summary}" for table, finding in (failed or of_tables).items())
    return Finding(
        summary=told,
        count=sum(finding.count for finding in of_tables.values()),
        total=sum(finding.total for finding in of_tables.values()),
        severity=worst.severity,
        passed=not failed,
        tallies=tuple(
            Tally(f"{table}: {tally.label}", tally.count)
            for table, finding in failed.items()
            for tally in finding.faults
        ),
    )
