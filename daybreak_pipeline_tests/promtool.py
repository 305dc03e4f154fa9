"""Prometheus' own checker of rules and metrics.

``python -m daybreak_pipeline_tests.promtool`` installs it where that is possible; without it its tests are skipped.
"""

from __future__ import annotations

import shutil
import sys

import pytest

from daybreak_pipeline.embedded_postgres.bootstrap import provide_package

PACKAGE = "prometheus"
needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is not installed (make promtool)"
)


def main() -> None:
    """Install promtool where that is possible, and say what its tests will do."""
    if not provide_package(PACKAGE, lambda: shutil.which("promtool")):
        sys.stdout.write(f"no promtool, so its tests are skipped: install the package {PACKAGE}\n")


if __name__ == "__main__":
    main()
