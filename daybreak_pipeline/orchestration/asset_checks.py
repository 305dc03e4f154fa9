"""The rules as Dagster asset checks: one multi-check for each table; each check can run alone."""

# Dagster reads the annotations of what it decorates: no postponed evaluation in this module.

from collections.abc import Iterator
from dataclasses import replace

import dagster as dg

from daybreak_pipeline.checks import acceptance, history
from daybreak_pipeline.checks.findings import Finding
from daybreak_pipeline.checks.rules import RULES, examine
from daybreak_pipeline.orchestration.resources import HealthDatabase, step_failures
from daybreak_pipeline.privacy import sealed_faults
from daybreak_pipeline.report import steps
from daybreak_pipeline.report.render import escape_markdown
from daybreak_pipeline.schema import catalog as catalogs
from daybreak_pipeline.tables import TABLES, Table
from daybreak_pipeline.wording import code, code_block, shown

_NOT_OPENED = "as of the last look: without ENCRYPTION_KEY no value is opened"
ACCEPTED = "accepted"
"""Name of the metadata that says who accepted what a check found. Dagster has no grey: an accepted check passes."""


def build_checks() -> list[dg.AssetChecksDefinition]:
    """Return one multi-check for each table."""
    return [_table_checks(table) for table in TABLES.values()]


def _table_checks(table: Table) -> dg.AssetChecksDefinition:
    @dg.multi_asset_check(
        name=f"check_{table.name}",
        specs=[
            dg.AssetCheckSpec(
                rule.name, asset=table.name, description=rule.description, blocking=rule.blocking
            )
            for rule in RULES
        ],
        can_subset=True,
    )
    def check(
        context: dg.AssetCheckExecutionContext, health_database: dg.ResourceParam[HealthDatabase]
    ) -> Iterator[dg.AssetCheckResult]:
        wanted = {key.name for key in context.selected_asset_check_keys}
        with step_failures(context), health_database.connection() as connection:
            catalog = catalogs.read(connection, table.name)
            opens = health_database.installation().key is not None
            if "sealed_values" in wanted and opens:
                sealed_faults.look(connection, catalog)
            findings = examine(connection, catalog, wanted)
            if "sealed_values" in findings and catalog.sealed and not opens:
                found = findings["sealed_values"]
                findings["sealed_values"] = replace(found, summary=f"{found.summary} ({_NOT_OPENED})")
            history.append(connection, table.name, findings, run_id=context.run.run_id)
            findings = acceptance.judged(acceptance.in_force(connection), table.name, findings)
        for name, finding in findings.items():
            shown_as = evaluation(table.name, name, finding)
            yield dg.AssetCheckResult(
                asset_key=shown_as.asset_key,
                check_name=name,
                passed=shown_as.passed,
                severity=shown_as.severity,
                description=shown_as.description,
                metadata=shown_as.metadata,
            )

    return check


def evaluation(table: str, rule: str, finding: Finding) -> dg.AssetCheckEvaluation:
    """Return a finding as Dagster shows it."""
    metadata: dict[str, dg.MetadataValue] = {
        "count": dg.MetadataValue.int(finding.count),
        "total": dg.MetadataValue.int(finding.total),
        "percent": dg.MetadataValue.float(finding.percent),
        "severity": dg.MetadataValue.text("accepted" if finding.is_accepted else finding.severity),
    }
    if finding.accepted:
        metadata[ACCEPTED] = dg.MetadataValue.md(
            "\n".join(f"- {escape_markdown(told)}" for told in finding.accepted)
        )
    if finding.tallies:
        metadata["counts"] = dg.MetadataValue.table(
            [dg.TableRecord({"what": shown(tally.label), "count": tally.count}) for tally in finding.tallies],
            dg.TableSchema([dg.TableColumn("what", "string"), dg.TableColumn("count", "int")]),
        )
    if finding.rows:
        metadata["first_rows"] = dg.MetadataValue.md("\n".join(f"- {code(row)}" for row in finding.rows))
    if not finding.passed:
        told = {
            "records": steps.where(finding),
            "owner": steps.owner(table),
            "what_to_do": steps.step(table, rule, finding),
        }
        metadata |= {name: dg.MetadataValue.text(text) for name, text in told.items() if text}
    if finding.sql:
        metadata["sql"] = dg.MetadataValue.md(code_block(finding.sql, "sql"))
    return dg.AssetCheckEvaluation(
        asset_key=dg.AssetKey(table),
        check_name=rule,
        passed=finding.passed,
        severity=dg.AssetCheckSeverity("WARN" if finding.is_accepted else finding.severity),
        description=f"accepted: {finding.summary}" if finding.is_accepted else finding.summary,
        metadata=metadata,
    )
