"""The rules as Dagster asset checks: one multi-check for each table; each check can run alone."""

# Dagster reads the annotations of what it decorates: no postponed evaluation in this module.

from collections.abc import Iterator, Mapping
from dataclasses import replace
from urllib.parse import urlencode

import dagster as dg

from daybreak_pipeline.checks import acceptance, history
from daybreak_pipeline.checks.findings import Finding
from daybreak_pipeline.checks.history import Failed
from daybreak_pipeline.checks.rules import RULES, examine
from daybreak_pipeline.orchestration import check_labels as labels
from daybreak_pipeline.orchestration import run_requests
from daybreak_pipeline.orchestration.resources import HealthDatabase, step_failures
from daybreak_pipeline.privacy import sealed_faults
from daybreak_pipeline.report import steps
from daybreak_pipeline.report.render import escape_markdown
from daybreak_pipeline.schema import catalog as catalogs
from daybreak_pipeline.tables import TABLES, Table
from daybreak_pipeline.wording import code, code_block, shown

_NOT_OPENED = "as of the last look: without ENCRYPTION_KEY no value is opened"


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
            failed = history.failed_of_run(connection, context.run.run_id)
            findings = acceptance.judged(acceptance.in_force(connection), table.name, findings)
        _tell_run(context, table.name, findings, failed)
        for name, finding in findings.items():
            yield result(table.name, name, finding)

    return check


def _tell_run(
    context: dg.AssetCheckExecutionContext, table: str, findings: Mapping[str, Finding], failed: Failed
) -> None:
    """Say on the run's page what fails: Dagster calls a run a success whatever its checks find."""
    for name, finding in findings.items():
        if not finding.passed:
            tell = context.log.error if finding.severity == "ERROR" else context.log.warning
            tell("%s.%s: %s", table, name, finding.summary)
    tag = run_requests.checks_tag(failed.errors, failed.warnings)
    if tag:
        context.instance.add_run_tags(context.run.run_id, tag)


def conclude(instance: dg.DagsterInstance, run_id: str) -> None:
    """Say in the last line of a run that has ended, which its page shows first, how many checks failed in it."""
    run = instance.get_run_by_id(run_id)
    told = run.tags.get(run_requests.FAILED_CHECKS) if run else None
    if told:
        instance.report_engine_event(
            f"Checks found {told}: the lines above say what, /report says what to do.", run
        )


def result(table: str, rule: str, finding: Finding) -> dg.AssetCheckResult:
    """Return a finding as a step yields it."""
    shown_as = evaluation(table, rule, finding)
    return dg.AssetCheckResult(
        asset_key=shown_as.asset_key,
        check_name=rule,
        passed=shown_as.passed,
        severity=shown_as.severity,
        description=shown_as.description,
        metadata=shown_as.metadata,
    )


def evaluation(table: str, rule: str, finding: Finding) -> dg.AssetCheckEvaluation:
    """Return a finding as Dagster shows it."""
    metadata: dict[str, dg.MetadataValue] = {
        labels.FAILING: dg.MetadataValue.int(finding.count),
        labels.LOOKED_AT: dg.MetadataValue.int(finding.total),
        labels.SHARE: dg.MetadataValue.float(finding.percent),
    }
    if not finding.passed:  # of one that passes it would be how bad it might be, which reads as if it were
        metadata[labels.SEVERITY] = dg.MetadataValue.text(finding.severity)
    if finding.accepted:
        metadata[labels.ACCEPTED] = dg.MetadataValue.md(
            "\n".join(f"- {escape_markdown(told)}" for told in finding.accepted)
        )
    if finding.tallies:
        metadata[labels.KINDS] = dg.MetadataValue.table(
            [dg.TableRecord({"what": shown(tally.label), "count": tally.count}) for tally in finding.tallies],
            dg.TableSchema([dg.TableColumn("what", "string"), dg.TableColumn("count", "int")]),
        )
    if finding.rows:
        metadata[labels.FIRST_ROWS] = dg.MetadataValue.md("\n".join(f"- {code(row)}" for row in finding.rows))
    if not finding.passed:
        told = {
            labels.RECORDS: steps.where(finding),
            labels.OWNER: steps.owner(table),
            labels.WHAT_TO_DO: steps.step(table, rule, finding),
        }
        metadata |= {name: dg.MetadataValue.text(text) for name, text in told.items() if text}
    if acceptance.can_be_accepted(rule, finding) and (finding.accepted or not finding.passed):
        where = urlencode({"table": table, "check": rule})
        metadata[labels.ACCEPT] = dg.MetadataValue.md(f"[Here is the form](/report/finding?{where})")
    if finding.sql:
        metadata[labels.SQL] = dg.MetadataValue.md(code_block(finding.sql, "sql"))
    return dg.AssetCheckEvaluation(
        asset_key=dg.AssetKey(table),
        check_name=rule,
        passed=finding.passed,
        severity=dg.AssetCheckSeverity("WARN" if finding.is_accepted else finding.severity),
        description=f"accepted: {finding.summary}" if finding.is_accepted else finding.summary,
        metadata=metadata,
    )
