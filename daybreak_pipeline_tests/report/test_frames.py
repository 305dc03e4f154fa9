"""The ledger as frames: right types, also of an empty table, and no value of a record."""

from __future__ import annotations

import pandas as pd
import pytest

from daybreak_pipeline.report import frames
from daybreak_pipeline_tests.exports import Export, record

FRAMES = [frames.imports, frames.quarantine, frames.field_issues]


@pytest.mark.parametrize("frame", FRAMES)
def test_a_frame_of_nothing_has_its_types(export: Export, frame: object) -> None:
    found = frame(export.connection)  # type: ignore[operator]  # one of FRAMES
    assert found.empty
    assert str(found.dtypes["id"]) == "Int64"
    assert isinstance(found.dtypes["table_name"], pd.CategoricalDtype)


def test_counts_and_times_can_be_reckoned_with(export: Export) -> None:
    export.load("organizations", record("organizations", "school"), record("organizations", "bad", kind="7"))
    export.load("organizations")
    found = frames.imports(export.connection)
    assert list(found["status"]) == ["imported", "skipped"]
    assert found["rows_read"].sum() == 2
    assert ((found["finished_at"] - found["started_at"]).dt.total_seconds() >= 0).all()


def test_what_was_refused_is_there_without_its_text(export: Export) -> None:
    export.load("organizations", record("organizations", "bad", kind="7", name="Kanarie"))
    export.load("clinicians", record("clinicians", address="Kanarie"))
    found, issues = frames.quarantine(export.connection), frames.field_issues(export.connection)
    ((reason,),) = found["reasons"]
    assert (reason["code"], list(issues["code"])) == ("invalid_enum", ["invalid_json"])
    assert "Kanarie" not in found.to_csv() + issues.to_csv()
