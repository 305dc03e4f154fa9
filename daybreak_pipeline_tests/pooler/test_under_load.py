"""A hundred clients of an application on a small pool, while an import goes through the same PgBouncer: nobody fails."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from daybreak_pipeline import database
from daybreak_pipeline.generator import generate_export
from daybreak_pipeline.importer.run import import_table
from daybreak_pipeline.privacy import keys
from daybreak_pipeline.settings import DatabaseSettings
from daybreak_pipeline.tables import import_order
from daybreak_pipeline_tests.conftest import KEY
from daybreak_pipeline_tests.pgbouncer import needs_pgbouncer, pooled
from daybreak_pipeline_tests.privacy.test_roles import APP, PASSWORDS, SAMPLE, apply_with_passwords
from daybreak_pipeline_tests.workload import CLIENTS, Workload, is_possible

pytestmark = [
    needs_pgbouncer,
    pytest.mark.slow,
    pytest.mark.skipif(not is_possible(), reason="pgbench is not installed"),
]

PATIENTS = 3_000


def test_no_transaction_of_a_hundred_clients_fails_while_an_import_runs(
    migrated: DatabaseSettings, tmp_path: Path
) -> None:
    apply_with_passwords(migrated)
    generate_export(tmp_path / "export", patients=PATIENTS, seed=3)
    statuses: list[str] = []
    # The import's own connection is a client too.
    with (
        pooled(migrated, size=20, clients=CLIENTS + 5) as (through, log),
        database.connect(through, key=KEY, autocommit=True) as connection,
    ):
        keys.verify(connection)
        for name in import_order():
            import_table(connection, name, SAMPLE)

        def work() -> None:
            statuses.extend(
                import_table(connection, name, tmp_path / "export").status for name in import_order()
            )

        measured = Workload(replace(through, user=APP, password=PASSWORDS[APP]), KEY).run_while(work, 5)
        assert set(statuses) == {"imported"}
        assert measured.failed == 0, log.read_text()
        assert len(measured.milliseconds) >= CLIENTS
        written = database.value(
            connection, "SELECT count(*) FROM app.patients_and_guardians WHERE preferred_name = 'Working'"
        )
        assert written >= len(measured.milliseconds)
