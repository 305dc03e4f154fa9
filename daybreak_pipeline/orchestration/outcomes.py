"""What a run did, as the command line reports it: status and accounting of every table, findings of every check."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from daybreak_pipeline.checks.findings import Finding
from daybreak_pipeline.checks.rules import BLOCKING
from daybreak_pipeline.importer.find import Ignored, Unknown
from daybreak_pipeline.importer.ledger import Accounting

TableStatus = Literal["imported", "skipped", "absent", "not_tried", "failed"]


@dataclass(frozen=True)
class TableOutcome:
    """What a run did with one table, which may have no row in the ledger: not every table is tried.

    ``reason`` says why it failed, was skipped for another that failed, or has no file.
    """

    status: TableStatus
    accounting: Accounting
    seconds: float
    reason: str = ""
    ignored: tuple[Ignored, ...] = ()

    @property
    def loaded(self) -> bool:
        """Whether the table matches its file, from this run or an earlier one."""
        return self.status in {"imported", "skipped"}


@dataclass
class Outcome:
    """What a run did. A dry run has no ``run_id``. In a ``partial`` export, files may be absent."""

    run_id: str | None
    tables: dict[str, TableOutcome] = field(default_factory=dict)
    checks: dict[str, dict[str, Finding]] = field(default_factory=dict)
    unknown_files: list[Unknown] = field(default_factory=list)
    partial: bool = False

    @property
    def exit_code(self) -> int:
        """0 when every table is loaded (or absent from a partial export) and no blocking check failed, else 1."""
        blocked = any(
            name in BLOCKING and not check.passed
            for checks in self.checks.values()
            for name, check in checks.items()
        )
        fine = all(t.loaded or (self.partial and t.status == "absent") for t in self.tables.values())
        return int(blocked or not fine)

    def as_json(self) -> dict[str, Any]:
        """Return the object that ``--json`` prints."""
        return {
            "run_id": self.run_id,
            "tables": {
                name: {
                    "status": t.status,
                    **asdict(t.accounting),
                    "seconds": round(t.seconds, 3),
                    **({"reason": t.reason} if t.reason else {}),
                }
                for name, t in self.tables.items()
            },
            "checks": {
                name: {
                    check: {"passed": c.passed, "severity": c.severity, "count": c.count}
                    | ({"accepted": True} if c.is_accepted else {})
                    for check, c in checks.items()
                }
                for name, checks in self.checks.items()
            },
            "ignored_files": [
                {"file": ignored.file, "table": name, "why": ignored.why}
                for name, table in self.tables.items()
                for ignored in table.ignored
            ],
            "unknown_files": [asdict(unknown) for unknown in self.unknown_files],
        }
