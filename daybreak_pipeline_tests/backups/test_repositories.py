"""Where backups go, by settings; the program's absence; what pgBackRest's errors become. Needs no server."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from daybreak_pipeline import settings
from daybreak_pipeline.backups import listing, targets
from daybreak_pipeline.backups.listing import Backup, parsed_lsn
from daybreak_pipeline.backups.points import Point
from daybreak_pipeline.backups.timelines import Timelines
from daybreak_pipeline.embedded_postgres import archiving, bootstrap, pgbackrest
from daybreak_pipeline.embedded_postgres.pgbackrest import Answer
from daybreak_pipeline.errors import UsageError
from daybreak_pipeline.settings import S3Repository

S3 = {
    "DAYBREAK_BACKUP_REPO": "s3://a-bucket/of/ours/",
    "DAYBREAK_BACKUP_S3_ENDPOINT": "s3.example.org",
    "DAYBREAK_BACKUP_S3_USER": "AKIA-SECRET",
    "DAYBREAK_BACKUP_S3_PASSWORD": "SECRET too",
}
NOON = datetime(2026, 3, 4, 12, tzinfo=UTC)


def test_by_default_backups_are_beside_the_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DAYBREAK_BACKUP_REPO")
    found = settings.backups()
    assert (found.wanted, found.repository, found.days) == (True, None, 35)
    monkeypatch.setenv("DAYBREAK_BACKUP_REPO", "none")
    assert not settings.backups().wanted
    monkeypatch.setenv("DAYBREAK_BACKUP_REPO", "relative")
    assert settings.backups().repository == Path.cwd() / "relative"


def test_a_bucket_is_reached_by_path_and_its_secrets_are_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in S3.items():
        monkeypatch.setenv(name, value)
    found = settings.backups().repository
    assert isinstance(found, S3Repository)
    assert "SECRET" not in f"{found} {found!r}"
    lines = archiving.repository_lines(found)
    assert lines[:3] == ["repo1-type=s3", "repo1-path=/of/ours", "repo1-s3-bucket=a-bucket"]
    assert "repo1-s3-uri-style=path" in lines
    assert not [line for line in lines if "ca-file" in line]
    monkeypatch.setenv("DAYBREAK_BACKUP_S3_CA", "/etc/authority.pem")
    with_authority = settings.backups().repository
    assert with_authority is not None
    assert archiving.repository_lines(with_authority)[-1] == "repo1-storage-ca-file=/etc/authority.pem"


@pytest.mark.parametrize("missing", [name for name in S3 if name != "DAYBREAK_BACKUP_REPO"])
def test_a_bucket_without_a_login_is_refused(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in S3.items():
        if name != missing:
            monkeypatch.setenv(name, value)
    with pytest.raises(UsageError, match=missing):
        settings.backups()


@pytest.mark.parametrize(
    "wrong", ["s3://", "s3://UPPER/x", "s3://b/with space", "s3://b/line\nbreak", "/a/line\nbreak"]
)
def test_what_is_no_bucket_is_refused(wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAYBREAK_BACKUP_REPO", wrong)
    with pytest.raises(UsageError, match="DAYBREAK_BACKUP_REPO is not"):
        settings.backups()


@pytest.mark.parametrize("wrong", ["short", "0f" * 31, "0f" * 16 + "\nrepo1-cipher-type=none"])
def test_a_weak_key_of_the_repository_is_refused_and_not_repeated(
    wrong: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAYBREAK_BACKUP_KEY", wrong)
    with pytest.raises(UsageError) as caught:
        settings.backups()
    assert wrong not in str(caught.value)


def test_where_the_program_cannot_be_installed_one_line_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(pgbackrest, "program", lambda: None)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(bootstrap, "install_package", lambda _name: pytest.fail("only root may"))
    assert pgbackrest.main() == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("pgBackRest is not installed")


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (Answer(50, "", "ERROR: [050]: unable to acquire lock"), "another backup or restore is running"),
        (Answer(28, "", "ERROR: [028]: backup and archive info files exist"), "backups of another server"),
        (Answer(29, "", "ERROR: [055]: unable to load info file\nCryptoError: bad"), "another key"),
        (
            Answer(
                55,
                "",
                "ERROR: [055]: unable to load\n  HostConnectError: unable to connect to 's3.example:443': [111] refused",
            ),
            "cannot be reached, unable to connect to 's3.example:443': [111] refused; see",
        ),
        (Answer(99, "", "ERROR: [099]: something new"), "pgBackRest says: something new"),
        (Answer(1, "", ""), "ended with code 1"),
    ],
)
def test_an_error_says_what_to_do_and_where_to_read_on(answer: Answer, said: str) -> None:
    found = str(pgbackrest.problem(answer))
    assert said in found
    assert "docs/runbooks/backups-fail.md" in found


def backup(hour: int, lsn: str = "0/1000000", timeline: int = 1) -> Backup:
    stop = NOON.replace(hour=hour)
    wal = f"{timeline:08X}0000000000000001"
    return Backup(f"b{hour}", "full", stop - timedelta(minutes=1), stop, 1, 1, (wal, wal), parsed_lsn(lsn))


def test_the_newest_backup_before_the_moment_is_taken(tmp_path: Path) -> None:
    backups = [backup(1), backup(9), backup(15)]
    assert targets.find("2026-03-04T14:59:59", backups, tmp_path, Timelines()).backup.label == "b9"
    assert targets.find("2026-03-04T15:59:59+05:00", backups, tmp_path, Timelines()).backup.label == "b9"
    assert targets.find("2026-03-04 08:00", backups, tmp_path, Timelines()).backup.label == "b1"
    assert targets.find("latest", backups, tmp_path, Timelines()).backup.label == "b15"
    with pytest.raises(UsageError, match="no backup is older"):
        targets.find("2026-03-04T00:30", backups, tmp_path, Timelines())


def test_a_restore_point_needs_a_backup_before_it_in_the_log_too() -> None:
    backups = [backup(1, "0/1000000"), backup(9, "1/0")]
    branches = Timelines(ancestors={3: {1: parsed_lsn("0/2000000")}})
    found = targets.to_point(Point("before-import-1", NOON, parsed_lsn("0/F000000"), 3), backups, branches)
    assert found.backup.label == "b1"
    assert "--target-timeline=3" in found.options


def test_after_a_restore_a_backup_of_what_was_left_leads_nowhere(tmp_path: Path) -> None:
    """At 13:00 the server was restored to 8:00, at 17:00 to 14:00: the log has three branches."""
    branches = Timelines(
        begun={2: NOON.replace(hour=13), 3: NOON.replace(hour=17)},
        ancestors={
            2: {1: parsed_lsn("0/8000000")},
            3: {1: parsed_lsn("0/8000000"), 2: parsed_lsn("0/E000000")},
        },
    )
    backups = [backup(1, "0/1000000"), backup(9, "0/9000000"), backup(16, "0/F000000", timeline=2)]

    def found(to: str) -> tuple[str, list[str]]:
        target = targets.find(to, backups, tmp_path, branches)
        return target.backup.label, [one for one in target.options if "timeline" in one]

    assert found("latest") == ("b1", [])
    assert found("2026-03-04T12:59") == ("b9", ["--target-timeline=1"])
    assert found("2026-03-04T13:30") == ("b1", ["--target-timeline=2"])
    assert found("2026-03-04T16:30") == ("b16", ["--target-timeline=2"])
    assert found("2026-03-04T18:00") == ("b1", [])
    with pytest.raises(UsageError, match="no backup leads there"):
        targets.find("latest", backups[1:], tmp_path, branches)


@pytest.mark.parametrize(
    "to", ["0001-01-01T00:00:00+14:00", "2026-03-04T25:00", "2026-03-04T05:06 CET", "", "now"]
)
def test_what_is_no_time_is_refused(to: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="neither latest nor a time"):
        targets.find(to, [backup(1)], tmp_path, Timelines())


def test_a_time_may_name_its_zone(tmp_path: Path) -> None:
    for to in ("2026-03-04T10:00+02:00", "2026-03-04 08:00Z", " 2026-03-03T22:00-10:00 "):
        target = targets.find(to, [backup(1)], tmp_path, Timelines())
        assert target.words == "2026-03-04 08:00:00 UTC"
        assert "--target=2026-03-04 08:00:00.000000+00" in target.options


def test_nobody_is_told_every_day_of_a_server_that_is_not_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAYBREAK_HOME", str(tmp_path))
    monkeypatch.setattr(pgbackrest, "program", lambda: None)
    monkeypatch.delenv("DAYBREAK_BACKUP_REPO")
    assert not listing.are_expected()
    monkeypatch.setenv("DAYBREAK_ENV", "production")
    assert listing.are_expected()
    monkeypatch.setenv("DB_HOST", "192.0.2.1")
    assert not listing.are_expected()
