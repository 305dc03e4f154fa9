"""``python -m daybreak_pipeline.settings`` prints the page docs/settings.md as it should be."""

from __future__ import annotations

import sys

from daybreak_pipeline.settings.page import page

sys.stdout.write(page())
