"""Small exports for tests: the smallest valid record of each table, written, imported and looked at."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid5

from psycopg import sql

from daybreak_pipeline.database import Connection
from daybreak_pipeline.importer.run import Result, import_table
from daybreak_pipeline.tables import TABLES

_NAMESPACE = UUID("6ba7b810-9dad-11d1-80b4-00c04fd430c8")
NOON = "2025-06-25T12:00:00.000000"

SMALLEST: dict[str, dict[str, str]] = {
    "patients_and_guardians": {"role": "1"},
    "clinicians": {},
    "kinships": {
        "user_0_id": "patient",
        "user_1_id": "child",
        "kind": "1",
        "user_0_label": "1",
        "user_1_label": "2",
    },
    "questionnaires": {
        "subject_id": "child",
        "respondent_id": "patient",
        "question_answers": "{}",
        "type": "3",
    },
    "clinician_credentialed_insurances": {"name": "Any Insurance"},
    "insurance_coverages": {"kind": "2", "user_id": "patient"},
    "organizations": {"kind": "2", "name": "Any School"},
    "contracts": {"effective_date": "2025-01-01", "services": '["onsite_care"]', "terms": "[]"},
    "org_contracts": {"organization_id": "school", "contract_id": "contract"},
    "referrals": {
        "submitter_id": "patient",
        "organization_id": "school",
        "service_kind": "1",
        "contract_id": "contract",
    },
    "referral_members": {"referral_id": "referral", "user_id": "child"},
    "memberships": {"user_id": "patient", "organization_id": "school"},
    "patient_availabilities": {"user_id": "patient", "availability": "[]"},
    "clinician_availabilities": {
        "user_id": "7",
        "range_start": NOON,
        "range_end": NOON,
        "timezone": "UTC",
        "created_at": NOON,
    },
    "clinician_insurance_affiliations": {
        "care_provider_profile_id": "clinician",
        "credentialed_insurance_id": "insurance",
    },
    "documents": {"label": "privacy_policy"},
}
"""The required columns of each table. A word in an ``_id`` column stands for an id: see ``uuid``."""


def uuid(word: str) -> str:
    """Return the id that a word stands for, so that tests can say ``school`` where an id must be."""
    return str(uuid5(_NAMESPACE, word))


def record(table: str, word: str = "", /, **values: str | None) -> dict[str, str | None]:
    """Return the smallest record of a table. ``word`` names its id; a value of None leaves the cell empty."""
    number = table == "clinician_availabilities"
    merged: dict[str, str | None] = {
        "id": (word or "1") if number else uuid(word or table),
        **SMALLEST[table],
        "updated_at": NOON,
        **values,
    }
    return {
        name: uuid(value)
        if value and name.endswith("_id") and value.isalpha() and name != "healthie_id"
        else value
        for name, value in merged.items()
    }


def in_blocks(text: bytes, block: int) -> Iterator[bytes]:
    """Yield a text as blocks of a size, as it is read from a file."""
    return (text[start : start + block] for start in range(0, len(text), block))


def soon() -> str:
    """Return a time that can be, and is newer than whatever an application has written until now."""
    return (datetime.now(UTC) + timedelta(minutes=5)).isoformat()


class Export:
    """An export directory and the database that it is imported into."""

    def __init__(self, directory: Path, connection: Connection) -> None:
        self.directory = directory
        self.connection = connection

    def write(self, table: str, *records: dict[str, str | None], header: list[str] | None = None) -> Path:
        """Write a table's CSV file; the header has every column that any of the records has."""
        columns = header or list(dict.fromkeys(name for r in records for name in r)) or list(record(table))
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows({name: value or "" for name, value in r.items()} for r in records)
        return self.write_bytes(table, text.getvalue().encode())

    def write_bytes(self, table: str, content: bytes, suffix: str = ".csv") -> Path:
        """Write a table's file as it is."""
        path = self.directory / f"{TABLES[table].file_stems[0]}{suffix}"
        path.write_bytes(content)
        return path

    def load(self, table: str, *records: dict[str, str | None], **options: Any) -> dict[str, int | str]:
        """Write records if any are given, import the table, and return its counts that are not 0, and its status."""
        if records:
            self.write(table, *records)
        return told(import_table(self.connection, table, self.directory, **options))

    def rows(self, table: str, *columns: str) -> list[tuple[Any, ...]]:
        """Return a table's rows, ordered by what is asked for."""
        names = sql.SQL(", ").join(sql.Identifier(column) for column in columns)
        query = sql.SQL("SELECT {} FROM {} ORDER BY {}").format(names, sql.Identifier(table), names)
        return self.connection.execute(query).fetchall()

    def refused(self, table: str) -> list[tuple[int, list[tuple[str, str | None]]]]:
        """Return the open quarantine: record number, and (code, column) of each reason."""
        found = self.connection.execute(
            "SELECT record_number, reasons FROM ingest.quarantine WHERE table_name = %s AND resolved_at IS NULL ORDER BY 1",
            [table],
        ).fetchall()
        return [(number, sorted((r["code"], r["column"]) for r in reasons)) for number, reasons in found]

    def issues(self, table: str) -> list[tuple[str, str, str]]:
        """Return the open field issues: column, code and the value that was repaired."""
        return self.connection.execute(
            "SELECT column_name, code, privacy.unseal(value_encrypted, privacy.key('seal')) FROM ingest.field_issues "
            "WHERE table_name = %s AND resolved_at IS NULL ORDER BY 1, 2, 3",
            [table],
        ).fetchall()

    def add_parents(self) -> None:
        """Import one row of every table that others refer to: patient, child, school, contract, referral …"""
        self.load("clinicians", record("clinicians", "clinician", healthie_id="7"))
        self.load(
            "patients_and_guardians",
            *(record("patients_and_guardians", word) for word in ("patient", "child")),
        )
        self.load(
            "clinician_credentialed_insurances", record("clinician_credentialed_insurances", "insurance")
        )
        self.load("organizations", record("organizations", "school"))
        self.load("contracts", record("contracts", "contract"))
        self.load("referrals", record("referrals", "referral"))


def told(result: Result) -> dict[str, int | str]:
    """Return what an import did: its counts that are not 0, and its status."""
    return {"status": result.status} | {name: n for name, n in asdict(result.accounting).items() if n}
