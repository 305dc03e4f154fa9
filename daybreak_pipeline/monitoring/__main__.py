"""``python -m daybreak_pipeline.monitoring`` writes the files in ``prometheus`` again, after a change of thresholds."""

from __future__ import annotations

from daybreak_pipeline.monitoring import rules

for name, text in rules.files().items():
    (rules.DIRECTORY / name).write_text(text, encoding="utf-8")
