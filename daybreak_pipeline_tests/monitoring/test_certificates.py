"""For how long the server's certificate is good: read from a real server, whoever has signed it."""

from __future__ import annotations

import shutil
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from daybreak_pipeline.monitoring import certificates, thresholds
from daybreak_pipeline.monitoring.metrics import Measurement
from daybreak_pipeline.settings import DatabaseSettings
from daybreak_pipeline_tests.test_tls import Authority, authority, openssl, secured  # noqa: F401 - fixtures

pytestmark = pytest.mark.skipif(not shutil.which("openssl"), reason="certificates are made with openssl")
DAY = 86_400


def state(found: list[Measurement]) -> str:
    (threshold,) = [one for one in thresholds.THRESHOLDS if one.check == "certificate"]
    return thresholds.judge(found, role="somebody", limits=[threshold])[0].state


@pytest.mark.slow
def test_a_certificate_that_ends_soon_is_an_error(secured: DatabaseSettings) -> None:  # noqa: F811 - fixture
    now = datetime.now(UTC)
    (found,) = certificates.read(secured, now)
    assert found.value == pytest.approx(2 * DAY, abs=600)
    assert state([found]) == "ERROR"
    (later,) = certificates.read(secured, now + timedelta(days=3))
    assert (later.value or 0) < 0
    assert state([later]) == "ERROR"


def test_a_server_without_tls_has_no_certificate(migrated: DatabaseSettings) -> None:
    (found,) = certificates.read(migrated, datetime.now(UTC))
    assert (found.value, found.note, state([found])) == (None, "no TLS", "none")


@pytest.mark.parametrize(
    ("days", "expected"), [(5, "ERROR"), (20, "WARN"), (40, "passed"), (40_000, "passed")]
)
def test_certificates_of_any_length_are_read(tmp_path: Path, days: int, expected: str) -> None:
    made = (
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-days",
        str(days),
    )
    openssl(tmp_path, *made, "-subj", "/CN=localhost", "-keyout", "k", "-out", "c")
    now = datetime.now(UTC)
    ends = certificates.until(ssl.PEM_cert_to_DER_cert((tmp_path / "c").read_text()))
    assert ends is not None
    assert abs((ends - now).total_seconds() - days * DAY) < 600
    assert state([Measurement("certificate_seconds", (ends - now).total_seconds())]) == expected


def test_what_is_no_certificate_says_nothing() -> None:
    assert certificates.until(b"nothing") is None
