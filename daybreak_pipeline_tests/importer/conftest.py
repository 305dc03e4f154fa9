"""What tests of the importer share."""

from __future__ import annotations

import pytest

from daybreak_pipeline.importer import known


@pytest.fixture(params=[False, True], ids=["every record", "known ones passed over"])
def passing_over(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Run a test twice: as small files are imported, and as large ones are, whose known records are passed over."""
    if request.param:
        monkeypatch.setattr(known, "SMALLEST", 0)
        monkeypatch.setattr(known, "MOSTLY", 0)
    return bool(request.param)
