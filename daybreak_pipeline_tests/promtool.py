"""Prometheus' own checker of rules and metrics.

``python -m daybreak_pipeline_tests.promtool`` installs it where that is possible; without it its tests are skipped.
"""

from __future__ import annotations

import os
import shutil
import sys

import pytest

from daybreak_pipeline.embedded_postgres.bootstrap import install_package

PACKAGE = "prometheus"
needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is not installed (make promtool)"
)


def main() -> None:
    """Install promtool where that is possible, and say what its tests will do."""
    if shutil.which("promtool") is None and os.geteuid() == 0 and shutil.which("apt-get"):
        sys.stdout.write(f"installing the package {PACKAGE} with apt-get …\n")
        install_package(PACKAGE)
    if shutil.which("promtool") is None:
        sys.stdout.write(f"no promtool, so its tests are skipped: install the package {PACKAGE}\n")


if __name__ == "__main__":
    main()
