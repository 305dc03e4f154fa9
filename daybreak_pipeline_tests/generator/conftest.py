"""Exports that several tests read: made once, never written to."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from daybreak_pipeline.generator import generate_export

if TYPE_CHECKING:
    from pathlib import Path

CLEAN_PATIENTS = 300
FAULTY_PATIENTS = 2_100


@pytest.fixture(scope="session")
def clean_export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("clean") / "export"
    generate_export(out, patients=CLEAN_PATIENTS)
    return out


@pytest.fixture(scope="session")
def faulty_export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("faulty") / "export"
    generate_export(out, patients=FAULTY_PATIENTS, seed=7, faults=True)
    return out
