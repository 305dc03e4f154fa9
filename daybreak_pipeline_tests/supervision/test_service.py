"""``daybreak service``: what is written, with which rights, and what is asked of systemd, which need not be there."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from daybreak_pipeline.cli.main import main
from daybreak_pipeline.errors import UsageError
from daybreak_pipeline.settings import PROJECT_ROOT
from daybreak_pipeline.supervision import alone, service
from daybreak_pipeline.supervision.service import Service
from daybreak_pipeline.supervision.units import Unit, environment_file
from daybreak_pipeline_tests.embedded_postgres.test_programs import script

SECRET = 'a "pass\\word" with $HOME, `id` and 100 %'


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine of the test's own: its units, its settings, and a systemctl that notes what it is asked."""
    monkeypatch.setattr(service, "SYSTEM_UNITS", tmp_path / "units")
    monkeypatch.setattr(service, "SYSTEM_SETTINGS", tmp_path / "settings")
    monkeypatch.setattr(service, "BOOTED", tmp_path / "booted")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setenv("HOME", str(tmp_path / "person"))
    monkeypatch.setenv("DAYBREAK_HOME", str(tmp_path / "home"))
    (tmp_path / "bin").mkdir()
    for program in ("systemctl", "loginctl"):
        script(
            tmp_path / "bin" / program,
            f'echo "$(basename "$0") $*" >> {tmp_path}/asked; cat {tmp_path}/shown 2>/dev/null; exit 0',
        )
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    return tmp_path


def run(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(main, ["service", *arguments])
    return done.exit_code, done.output


def asked(machine: Path) -> list[str]:
    path = machine / "asked"
    return path.read_text().splitlines() if path.exists() else []


def test_a_service_of_the_machine_is_written_and_started(
    machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (machine / "booted").mkdir()
    monkeypatch.setenv("DB_HOST", "db.example.org")
    monkeypatch.setenv("DB_PASSWORD", SECRET)
    monkeypatch.setenv("DAYBREAK_EXPORT_ROOTS", "first:/second")
    monkeypatch.setenv("BROWSER", "lynx")
    monkeypatch.setenv("NEW_ENCRYPTION_KEY", bytes(range(32)).hex())
    code, said = run("install", "--port", "3456")
    assert code == 0, said
    unit, settings = machine / "units" / "daybreak.service", machine / "settings" / "daybreak.env"
    assert said.splitlines() == [
        f"wrote {settings}, for you alone: edit the service's settings there",
        f"wrote {unit}",
        "it starts now and at boot; what it says: journalctl -u daybreak",
    ]
    assert (settings.stat().st_mode & 0o777, unit.stat().st_mode & 0o777) == (0o600, 0o644)
    assert service.read_settings(Service()) == {
        "DAYBREAK_HOME": str(machine / "home"),
        "DAYBREAK_EXPORT_DIR": str(PROJECT_ROOT / "data" / "sample"),
        "DAYBREAK_EXPORT_ROOTS": f"{Path('first').absolute()}:/second",
        "DAYBREAK_BACKUP_REPO": "none",  # all tests have it so
        "DB_HOST": "db.example.org",
        "DB_PASSWORD": SECRET,
    }
    text = unit.read_text()
    assert f"\nEnvironmentFile={settings}\n" in text
    assert f"\nExecStart={Path(sys.executable).with_name('daybreak')} up --no-open --port 3456\n" in text
    assert SECRET not in text
    assert asked(machine) == [
        "systemctl daemon-reload",
        "systemctl enable daybreak",
        "systemctl restart --no-block daybreak",
    ]


def test_a_service_of_a_user_is_theirs_and_starts_at_boot_too(machine: Path) -> None:
    (machine / "booted").mkdir()
    code, said = run("install", "--user")
    assert code == 0, said
    unit = machine / "person" / ".config/systemd/user/daybreak.service"
    assert "WantedBy=default.target" in unit.read_text()
    assert "CapabilityBoundingSet" not in unit.read_text()  # which a user's systemd cannot set
    assert (machine / "person" / ".config/daybreak/daybreak.env").stat().st_mode & 0o777 == 0o600
    assert asked(machine)[0] == "systemctl --user daemon-reload"
    assert f"loginctl enable-linger {pwd.getpwuid(os.getuid()).pw_name}" in asked(machine)
    assert "it starts now and at boot" in said


def test_a_user_whom_only_an_administrator_lets_stay_is_told_so(machine: Path) -> None:
    (machine / "booted").mkdir()
    script(machine / "bin" / "loginctl", "exit 1")
    code, said = run("install", "--user")
    assert code == 0
    assert (
        "it starts now and when you log in (at boot, after an administrator's loginctl enable-linger" in said
    )


def test_where_systemd_does_not_run_one_line_says_so_after_all_is_written(machine: Path) -> None:
    code, said = run("install")
    assert code == 0
    assert (
        said.splitlines()[-1] == "systemd does not run here; where it does: systemctl enable --now daybreak"
    )
    assert (machine / "units" / "daybreak.service").exists()
    assert asked(machine) == []


def test_a_dry_run_shows_everything_but_secrets_and_writes_nothing(
    machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DB_HOST", "db.example.org")
    monkeypatch.setenv("DB_PASSWORD", "canaryword")
    monkeypatch.setenv("DAYBREAK_WEBHOOK_URL", "https://hooks.example/canarypath")
    code, said = run("install", "--dry-run")
    assert code == 0
    assert "canary" not in said
    assert "DB_PASSWORD=(not shown)" in said
    assert "ExecStart=" in said
    assert not (machine / "units").exists()
    assert not (machine / "settings").exists()


def test_settings_that_are_there_are_kept_by_install_and_remove(
    machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("install")
    settings = machine / "settings" / "daybreak.env"
    settings.write_text("# mine\nDAYBREAK_HOME='/somewhere/else'\n")
    monkeypatch.setenv("DB_HOST", "another")
    monkeypatch.setenv("DB_SSLMODE", "disable")
    code, said = run("install")
    assert (code, said.splitlines()[0]) == (0, f"kept {settings}, as it is")
    code, said = run("remove")
    assert code == 0
    assert f"kept {settings}: it may hold the only copy of a password or key" in said
    assert settings.read_text() == "# mine\nDAYBREAK_HOME='/somewhere/else'\n"
    assert not (machine / "units" / "daybreak.service").exists()
    code, said = run("remove")
    assert (code, said.count("\n")) == (2, 1)
    assert "nothing to remove" in said


def test_a_running_up_is_not_fought_over_its_home(machine: Path) -> None:
    (machine / "booted").mkdir()
    with alone.held(machine / "home"):
        code, said = run("install")
    assert code == 0
    assert f"it starts at boot, and not now: daybreak up runs already (process {os.getpid()})" in said
    assert not any("restart" in line for line in asked(machine))


def test_status_says_how_it_is_for_people_and_machines(machine: Path) -> None:
    assert run("status") == (2, "the service daybreak is not installed: daybreak service install\n")
    (machine / "booted").mkdir()
    run("install")
    (machine / "shown").write_text(
        "ActiveState=active\nSubState=running\nUnitFileState=enabled\nMainPID=1\nNRestarts=2\n"
        "StateChangeTimestamp=Thu 2026-11-26 02:00:00 UTC\nStatusText=importing\n"
    )
    code, said = run("status")
    assert (code, said.splitlines()) == (
        0,
        [
            "the service daybreak is active since Thu 2026-11-26 02:00:00 UTC (importing); it starts at boot",
            "systemd has started it again 2 times: journalctl -u daybreak says why",
        ],
    )
    with alone.held(machine / "home") as place:
        place.say("http://127.0.0.1:3007")
        code, said = run("status", "--json")
    assert json.loads(said) == {
        "name": "daybreak",
        "scope": "system",
        "installed": True,
        "up_to_date": True,
        "starts_at_boot": True,
        "active": "active",
        "since": "Thu 2026-11-26 02:00:00 UTC",
        "restarts": 2,
        "pid": os.getpid(),
        "doing": "importing",
        "url": "http://127.0.0.1:3007",
    }


def test_a_unit_of_another_version_or_place_is_noticed(machine: Path) -> None:
    run("install", "--port", "3456")
    assert service.state(Service()).up_to_date is True
    unit = machine / "units" / "daybreak.service"
    unit.write_text(unit.read_text().replace("ExecStart=/", "ExecStart=/old/"))
    assert service.state(Service()).up_to_date is False
    assert "run daybreak service install again" in run("status")[1]


def test_what_systemd_refuses_is_one_line(machine: Path) -> None:
    (machine / "booted").mkdir()
    script(machine / "bin" / "systemctl", "echo 'first line' >&2; echo 'Access denied' >&2; exit 1")
    code, said = run("install")
    assert code == 2
    assert said.splitlines()[-1] == (
        "daybreak: systemctl daemon-reload failed: Access denied; see docs/runbooks/server-gone.md"
    )


@pytest.mark.usefixtures("machine")
def test_only_root_installs_for_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    code, said = run("install")
    assert (code, said) == (
        2,
        "daybreak: a service of the machine needs root: use sudo, or --user for one of your own\n",
    )
    assert run("install", "--user")[0] == 0


@pytest.mark.parametrize("name", ["", "../x", "a b", "-x", "x" * 80])
def test_a_name_is_no_path(name: str) -> None:
    with pytest.raises(UsageError):
        Service(name)


def test_bad_settings_are_named_before_anything_is_written(
    machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAYBREAK_SMTP_HOST", "mail.example")
    code, said = run("install")
    assert code == 2
    assert "DAYBREAK_SMTP_FROM" in said
    assert not (machine / "units").exists()


def test_a_shell_reads_the_settings_as_systemd_does(tmp_path: Path) -> None:
    (tmp_path / "env").write_text(environment_file({"WORD": SECRET, "EMPTY": ""}))
    done = subprocess.run(
        ["sh", "-c", f'. {tmp_path}/env; printf "%s|%s" "$WORD" "$EMPTY"'],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == f"{SECRET}|"


ODD = "a dir/100% of $it"


@pytest.fixture
def odd_place(tmp_path: Path) -> Path:
    """A project in a directory whose name systemd would expand."""
    directory = tmp_path / ODD
    directory.mkdir(parents=True)
    (directory / "daybreak").write_text("#!/bin/sh\n")
    (directory / "daybreak").chmod(0o755)
    return directory


@pytest.mark.parametrize("of_user", [False, True])
@pytest.mark.skipif(
    not shutil.which("systemd-analyze"), reason="systemd-analyze (Debian: systemd) is not there"
)
def test_systemd_itself_finds_no_fault_with_the_unit(
    odd_place: Path, tmp_path: Path, of_user: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    unit = Unit(
        "daybreak", (str(odd_place / "daybreak"), "up"), odd_place, odd_place / "settings", of_user=of_user
    )
    file = tmp_path / "daybreak.service"
    file.write_text(unit.text())
    scope = ["--user"] if of_user else []
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *scope, file], capture_output=True, text=True, check=False
    )
    assert [line for line in (done.stdout + done.stderr).splitlines() if "daybreak.service" in line] == []
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("of_user", [False, True])
def test_the_unit_has_what_a_clean_stop_and_a_watch_need(of_user: bool) -> None:
    """For machines without systemd: every line is a section, a comment or a setting, and the ones that matter are there."""
    text = Unit("daybreak", ("/opt/daybreak", "up"), Path("/opt"), Path("/etc/x"), of_user=of_user).text()
    settings: dict[str, str] = {}
    for line in text.splitlines():
        if line and line[0] not in "#[":
            name, equals, value = line.partition("=")
            assert equals
            assert name.isalpha()
            assert name not in settings
            settings[name] = value
    assert settings["Type"] == "notify"
    assert settings["KillMode"] == "mixed"
    assert int(settings["TimeoutStopSec"]) > 300  # what the embedded server may take for its last checkpoint
    assert settings["Restart"] == "on-failure"
    assert settings["OOMPolicy"] == "continue"
    assert settings["NoNewPrivileges"] == "yes"
    assert ("ProtectHome" in settings) is not of_user


def test_people_s_homes_are_closed_unless_something_is_in_there() -> None:
    unit = Unit("daybreak", ("/opt/daybreak", "up"), Path("/opt"), Path("/etc/x"), of_user=False)
    assert "ProtectHome=yes" in unit.text()
    inside = Unit("daybreak", ("/home/ada/daybreak", "up"), Path("/opt"), Path("/etc/x"), of_user=False)
    assert "ProtectHome" not in inside.text()
