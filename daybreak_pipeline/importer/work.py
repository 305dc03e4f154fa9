"""The working tables of one import, and what each record's fate can be.

All of them are unlogged, live in the import's transaction and are dropped at its end.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from psycopg import sql

from daybreak_pipeline.importer.catalog import TableCatalog
from daybreak_pipeline.importer.expressions import Expressions
from daybreak_pipeline.importer.staging import Stage

if TYPE_CHECKING:
    from daybreak_pipeline.database import Connection

ACCEPTED = ("insert", "update")
"""Fates of records that are (to be) loaded; the others are named as in the ledger."""


@dataclass
class Work:
    """One import in progress. ``fates`` has one row for each staged record; ``faults`` one for each fault."""

    connection: Connection
    catalog: TableCatalog
    stage: Stage
    expressions: Expressions
    import_id: int

    @property
    def target(self) -> sql.Identifier:
        """The table that is imported into."""
        return sql.Identifier("public", self.catalog.table.name)

    @property
    def fates(self) -> sql.Identifier:
        """(record, id, hash, updated, outcome): what becomes of each record."""
        return self._table("fates")

    @property
    def faults(self) -> sql.Identifier:
        """(record, code, column_name, detail): why records are refused."""
        return self._table("faults")

    @property
    def issues(self) -> sql.Identifier:
        """(record, column_name, code, value): values that were repaired."""
        return self._table("issues")

    def table(self, name: str) -> sql.Identifier:
        """Return the name of a further working table."""
        return self._table(name)

    def run(self, template: str, parameters: Mapping[str, Any] | None = None, **parts: sql.Composable) -> int:
        """Run one statement; the working tables are at hand by name. Returns how many rows it touched."""
        names = {
            "target": self.target,
            "stage": self.stage.table,
            "fates": self.fates,
            "faults": self.faults,
            "issues": self.issues,
        }
        query = sql.SQL(template).format(**(names | parts))
        return self.connection.execute(query, parameters).rowcount

    def create(self) -> None:
        """Create the tables for faults and issues."""
        self.run(
            "CREATE UNLOGGED TABLE {faults} (record bigint, code text, column_name text, detail text);"
            "CREATE UNLOGGED TABLE {issues} (record bigint, column_name text, code text, value text)"
        )

    def drop(self) -> None:
        """Drop every working table."""
        self.run("DROP TABLE {stage}, {fates}, {faults}, {issues}")

    def _table(self, kind: str) -> sql.Identifier:
        return sql.Identifier("ingest", f"{kind}_{self.catalog.table.name}")
