"""Documents that are made from a database are as they should be: whoever changes the schema runs ``make docs``."""

from __future__ import annotations

import pytest

from daybreak_pipeline.documentation.__main__ import documents
from daybreak_pipeline.settings import PROJECT_ROOT


@pytest.mark.slow
def test_make_docs_would_change_nothing() -> None:
    drifted = [
        str(path.relative_to(PROJECT_ROOT))
        for path, text in documents().items()
        if not path.exists() or path.read_text(encoding="utf-8") != text
    ]
    assert drifted == [], f"run make docs, and commit {', '.join(drifted)}"
