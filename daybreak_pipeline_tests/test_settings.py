"""What the environment says and may not say, how each variable is declared, and what processes are given."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from daybreak_pipeline import settings
from daybreak_pipeline.errors import SettingsError, UsageError
from daybreak_pipeline.locations import ObjectPath
from daybreak_pipeline.privacy import roles
from daybreak_pipeline.settings import PROJECT_ROOT
from daybreak_pipeline.settings.kinds import (
    Address,
    Addresses,
    Certificates,
    Choice,
    Directory,
    Flag,
    HeaderName,
    Number,
    Password,
    Place,
    Places,
    Port,
    PrivateKeyFile,
    Setting,
    Size,
    Text,
    Url,
)
from daybreak_pipeline.settings.page import page
from daybreak_pipeline.settings.variables import (
    DB_HOST,
    ROLE_CONNECTION_LIMITS,
    ROLE_PASSWORDS,
    SECTIONS,
    SETTINGS,
)

MAIL = {
    "DAYBREAK_SMTP_HOST": "mail.example.org",
    "DAYBREAK_SMTP_FROM": "daybreak@example.org",
    "DAYBREAK_SMTP_TO": "a@example.org, b@example.org",
}
LOGIN = {"DAYBREAK_SMTP_USER": "user", "DAYBREAK_SMTP_PASSWORD": "SECRET"}


def test_without_settings_failures_are_logged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DAYBREAK_WEB_URL", raising=False)
    found = settings.notifier()
    assert (found.webhook_url, found.mail, found.web_url) == ("", None, "http://127.0.0.1:3000")
    assert str(found).startswith("log only")


def test_everything_can_be_set_and_no_secret_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    given = (
        MAIL
        | LOGIN
        | {"DAYBREAK_WEBHOOK_URL": "https://hooks.example.org/SECRET", "DAYBREAK_SMTP_PORT": "25"}
    )
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    found = settings.notifier()
    assert found.mail
    assert (found.mail.port, found.mail.starttls, found.mail.password) == (25, True, "SECRET")
    assert found.mail.recipients == ("a@example.org", "b@example.org")
    assert str(found) == (
        "webhook at hooks.example.org and mail to a@example.org, b@example.org through mail.example.org:25"
    )
    assert "SECRET" not in f"{found}{found!r}"


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"DAYBREAK_WEBHOOK_URL": "hooks.example.org/SECRET"}, "DAYBREAK_WEBHOOK_URL"),
        ({"DAYBREAK_WEBHOOK_URL": "file:///SECRET"}, "DAYBREAK_WEBHOOK_URL"),
        ({"DAYBREAK_WEBHOOK_URL": "https:///SECRET"}, "DAYBREAK_WEBHOOK_URL"),
        ({"DAYBREAK_WEBHOOK_URL": "https://host:SECRET/"}, "DAYBREAK_WEBHOOK_URL"),
        ({"DAYBREAK_WEBHOOK_URL": "https://[SECRET/"}, "DAYBREAK_WEBHOOK_URL"),
        ({"DAYBREAK_WEBHOOK_URL": "https://host/ SECRET"}, "DAYBREAK_WEBHOOK_URL"),
        ({"DAYBREAK_WEB_URL": "127.0.0.1:3000"}, "DAYBREAK_WEB_URL"),
        (MAIL | {"DAYBREAK_SMTP_HOST": ""}, "DAYBREAK_SMTP_HOST"),
        (MAIL | {"DAYBREAK_SMTP_FROM": ""}, "DAYBREAK_SMTP_FROM"),
        (MAIL | {"DAYBREAK_SMTP_TO": "nobody"}, "DAYBREAK_SMTP_TO"),
        (MAIL | {"DAYBREAK_SMTP_TO": "a@example.org\nBcc: b@example.org"}, "DAYBREAK_SMTP_TO"),
        (MAIL | {"DAYBREAK_SMTP_PORT": "0"}, "DAYBREAK_SMTP_PORT"),
        (MAIL | {"DAYBREAK_SMTP_STARTTLS": "perhaps"}, "DAYBREAK_SMTP_STARTTLS"),
        (MAIL | {"DAYBREAK_SMTP_PASSWORD": "SECRET"}, "DAYBREAK_SMTP_PASSWORD"),
        (MAIL | LOGIN | {"DAYBREAK_SMTP_STARTTLS": "false"}, "unencrypted"),
    ],
)
def test_what_cannot_be_used_is_named_without_its_value(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, str], named: str
) -> None:
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UsageError, match=named) as caught:
        settings.notifier()
    assert "SECRET" not in str(caught.value)


@pytest.mark.parametrize("given", ["0", "3601", "-1", "1.5", "soon"])
def test_a_file_rests_for_a_number_of_seconds(monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    assert settings.settle_seconds() == 10
    monkeypatch.setenv("DAYBREAK_SETTLE_SECONDS", given)
    with pytest.raises(UsageError, match="DAYBREAK_SETTLE_SECONDS"):
        settings.settle_seconds()


@pytest.mark.parametrize(
    ("given", "environment"),
    [
        ({}, "development"),
        ({"NODE_ENV": "production"}, "production"),
        ({"DAYBREAK_ENV": "staging", "NODE_ENV": "production"}, "staging"),
    ],
)
def test_our_own_variable_wins_over_the_one_of_the_plan(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, str], environment: str
) -> None:
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    assert settings.environment() == environment


# --- The declaration, and the page that is made of it ------------------------------------------------------


def test_the_page_is_what_the_declaration_says() -> None:
    """After a change: make docs."""
    assert (PROJECT_ROOT / "docs" / "settings.md").read_text(encoding="utf-8") == page()


def test_the_module_prints_the_page() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "daybreak_pipeline.settings"], capture_output=True, text=True, check=True
    )
    assert done.stdout == page()


def test_every_variable_is_declared_once_and_stands_in_a_section_of_the_page() -> None:
    names = [setting.name for setting in SETTINGS]
    assert len(names) == len(set(names))
    assert {setting.section for setting in SETTINGS} == set(SECTIONS)
    assert {
        name for name in names if page().partition("\n## Where things are")[2].count(f"\n| `{name}` |") != 1
    } == set()


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)
def test_every_setting_says_what_it_means_and_what_holds_without_it(
    setting: Setting[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(setting.name, raising=False)
    assert setting.meaning.endswith(".")
    assert setting.otherwise or setting.default is not None
    assert setting.given() is None


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)
def test_what_may_hold_a_secret_is_marked_so(setting: Setting[object]) -> None:
    named = any(word in setting.name for word in ("PASSWORD", "_KEY", "WEBHOOK", "TOKEN"))
    assert setting.secret == (named and not isinstance(setting, PrivateKeyFile))


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)
def test_a_message_names_the_variable_and_what_is_expected_and_not_the_value(
    setting: Setting[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(setting.name, "~SECRET and, more:/")
    if isinstance(setting, Text):
        assert setting.given() == "~SECRET and, more:/"
        return
    with pytest.raises(UsageError) as caught:
        setting.given()
    assert str(caught.value) == f"{setting.name} is not {setting.expected}"
    assert "SECRET" not in str(caught.value)


# --- The kinds ----------------------------------------------------------------------------------------------


def read(kind: type[Setting[Any]], text: str, **options: Any) -> Any:
    """Return what a setting of a kind makes of a text."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DAYBREAK_TRIED", text)
        return kind("DAYBREAK_TRIED", section="", meaning="", **options).given()


@pytest.mark.parametrize(
    ("kind", "text", "value", "options"),
    [
        (Text, " text\n", "text", {}),
        (Text, " ", None, {}),
        (Password, " pass word \r\n", " pass word ", {}),
        (Number, "1", 1, {}),
        (Number, "7", 7, {"most": 7}),
        (Number, "0", 0, {"least": 0}),
        (Size, "1", 1 << 20, {}),
        (Size, "2 MB", 2 << 20, {}),
        (Size, "128mb", 128 << 20, {"most": 128}),
        (Port, "65535", 65535, {}),
        (Choice, "b", "b", {"choices": ("a", "b")}),
        (Flag, "TRUE", True, {}),
        (Flag, "1", True, {}),
        (Flag, "no", False, {}),
        (Flag, "off", False, {}),
        (Url, "https://example.org/a", "https://example.org/a", {}),
        (Directory, "/a b ", Path("/a b "), {}),
        (Directory, "~", Path.home(), {}),
        (Directory, "a", Path.cwd() / "a", {}),
        (Places, "/a:b c: /d", (Path("/a"), Path.cwd() / "b c", Path.cwd() / " /d"), {}),
        (Places, ":/a::", (Path("/a"),), {}),
        (
            Places,
            "s3://a-bucket/b/:/c:gs://b2",
            (ObjectPath("s3", "a-bucket", "b"), Path("/c"), ObjectPath("gs", "b2")),
            {},
        ),
        (Place, "a", Path.cwd() / "a", {}),
        (Place, "S3://a-bucket/b/c d/", ObjectPath("s3", "a-bucket", "b/c d"), {}),
        (HeaderName, "X-Forwarded-User", "X-Forwarded-User", {}),
        (Certificates, "system", "system", {}),
        (Certificates, "ca.crt", str(Path.cwd() / "ca.crt"), {}),
        (Address, "a@example.org", "a@example.org", {}),
        (Addresses, "a@example.org,, b@example.org,", ("a@example.org", "b@example.org"), {}),
    ],
)
def test_every_kind_is_read_in_one_way(
    kind: type[Setting[Any]], text: str, value: object, options: dict[str, Any]
) -> None:
    assert read(kind, text, **options) == value


@pytest.mark.parametrize(
    ("kind", "text", "options"),
    [
        (Number, "0", {}),
        (Number, "8", {"most": 7}),
        (Number, "²", {}),
        (Number, "٣", {}),
        (Number, "9" * 5000, {}),
        (Size, "0", {}),
        (Size, "129", {"most": 128}),
        (Size, "1 GB", {}),
        (Size, "1048576 bytes", {}),
        (Port, "65536", {}),
        (Choice, "A", {"choices": ("a", "b")}),
        (Flag, "perhaps", {}),
        (Url, "https://example.org:0/", {}),
        (Directory, "~nobody-of-this-name/a", {}),
        (Places, "/a:~nobody-of-this-name/a", {}),
        (Places, "/a:s3://", {}),
        (Place, "s3://a-bucket/../b", {}),
        (Place, "s3://a-bucket//b", {}),
        (Place, "s3://_/b", {}),
        (HeaderName, "X-Forwarded-User:", {}),
        (HeaderName, "X_User", {}),
        (HeaderName, "Ünser", {}),
        (Address, "a@example.org, b@example.org", {}),
        (Addresses, ",", {}),
    ],
)
def test_what_is_not_of_the_kind_is_refused(
    kind: type[Setting[Any]], text: str, options: dict[str, Any]
) -> None:
    with pytest.raises(UsageError, match=r"^DAYBREAK_TRIED is not "):
        read(kind, text, **options)


def test_a_number_out_of_its_range_is_told_the_range_and_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DAYBREAK_SETTLE_SECONDS", "DAYBREAK_AUDIT_MONTHS"):
        monkeypatch.setenv(name, "0")
    with pytest.raises(
        UsageError, match=r"of seconds: set it to a number from 1 to 3600, or leave it out for 10$"
    ):
        settings.settle_seconds()
    monkeypatch.setenv("DAYBREAK_MAX_CELL", "129")
    with pytest.raises(UsageError, match=r"of megabytes from 1 to 128, or leave it out for 64 MB$"):
        settings.max_cell()
    with pytest.raises(UsageError, match=r"of months: set it to 1 or more, or leave it out for 72$"):
        settings.audit_months()


def test_a_setting_without_a_default_is_only_asked_for_what_is_given() -> None:
    with pytest.raises(LookupError, match="DB_HOST has no default"):
        DB_HOST.value()


# --- What the environment says ------------------------------------------------------------------------------


@pytest.mark.parametrize(("given", "shown"), [("", False), ("0", False), ("1", True), ("whatever", True)])
def test_a_word_that_is_not_understood_never_hides_a_trace(
    monkeypatch: pytest.MonkeyPatch, given: str, shown: bool
) -> None:
    monkeypatch.setenv("DAYBREAK_DEBUG", given)
    assert settings.debug() is shown


def test_an_executor_that_there_is_not_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert settings.executor() == "in_process"
    monkeypatch.setenv("DAYBREAK_EXECUTOR", "many")
    with pytest.raises(UsageError, match="DAYBREAK_EXECUTOR is not one of in_process, multiprocess"):
        settings.executor()


def test_a_proxy_must_have_an_address(monkeypatch: pytest.MonkeyPatch) -> None:
    assert settings.web() == settings.WebSettings("token", "X-Forwarded-User")
    monkeypatch.setenv("DAYBREAK_WEB_AUTH", "proxy")
    with pytest.raises(UsageError, match="DAYBREAK_WEB_URL is not set"):
        settings.web()
    monkeypatch.setenv("DAYBREAK_WEB_URL", "https://daybreak.example/")
    monkeypatch.setenv("DAYBREAK_WEB_PROXY_HEADER", "X-Email")
    assert settings.web() == settings.WebSettings("proxy", "X-Email")
    monkeypatch.setenv("DAYBREAK_WEB_AUTH", "password")
    with pytest.raises(UsageError, match="DAYBREAK_WEB_AUTH is not one of token, proxy, none"):
        settings.web()


def test_a_role_that_nobody_logs_in_as_has_no_login(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAYBREAK_REPORTING_PASSWORD", "SECRET")
    monkeypatch.setenv("DAYBREAK_APP_PASSWORD", "SECRET")
    assert settings.role_login("daybreak_reporting") == settings.RoleLogin("", None)
    login = settings.role_login("daybreak_app")
    assert login == settings.RoleLogin("SECRET", None)
    assert "SECRET" not in repr(login)


def test_every_role_that_logs_in_has_its_settings() -> None:
    wanted = {role.name for role in roles.ROLES if role.logs_in}
    assert set(ROLE_PASSWORDS) == set(ROLE_CONNECTION_LIMITS) == wanted


def test_a_database_is_the_same_when_a_child_reads_it(monkeypatch: pytest.MonkeyPatch) -> None:
    db = settings.DatabaseSettings("db.example.org", 5433, "name", "user", " word ", "verify-full", "/ca.crt")
    for name, value in db.environment().items():
        monkeypatch.setenv(name, value)
    assert settings.given_database() == db


def test_settings_wait_for_no_driver() -> None:
    program = "import sys, daybreak_pipeline.settings; print('psycopg' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


# --- The environment as a whole -----------------------------------------------------------------------------

GOOD = {
    "DB_HOST": "db.example.org",
    "DB_NAME": "daybreak_staging",
    "DAYBREAK_DAGSTER_DB": "dagster_staging",
    "DAYBREAK_ENV": "staging",
    "ENCRYPTION_KEY": "00112233445566778899aabbccddeeff0123456789abcdeffedcba9876543210",
}


def set_all(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


def test_a_good_environment_has_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    assert settings.faults() == []
    set_all(monkeypatch, GOOD)
    settings.require_sound()
    assert settings.unknown() == []


def test_all_faults_are_named_at_once_and_no_value_is(monkeypatch: pytest.MonkeyPatch) -> None:
    set_all(
        monkeypatch,
        {
            "DB_PORT": "SECRET",
            "DB_NAME": "SECRET",
            "DAYBREAK_ENV": "SECRET",
            "DAYBREAK_WEBHOOK_URL": "SECRET",
            "DAYBREAK_SMTP_TO": "nobody@example.org",
            "ENCRYPTION_KEY": "SECRET",
            "NEW_ENCRYPTION_KEY": "SECRET",
            "POOL_SIZE": "1000",
            "DAYBREAK_WEB_AUTH": "proxy",
        },
    )
    with pytest.raises(SettingsError) as caught:
        settings.require_sound()
    named = [fault.split()[0] for fault in caught.value.faults]
    assert sorted(named) == [
        "DAYBREAK_ENV",
        "DAYBREAK_SMTP_HOST",
        "DAYBREAK_WEBHOOK_URL",
        "DAYBREAK_WEB_AUTH",
        "DB_PORT",
        "DB_PORT",
        "ENCRYPTION_KEY",
        "NEW_ENCRYPTION_KEY",
        "POOL_SIZE",
    ]
    assert "SECRET" not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        ({"DB_NAME": "a"}, "DB_NAME is set and DB_HOST is not"),
        (
            {"DB_USER": "a", "DB_PASSWORD": "a", "DAYBREAK_DAGSTER_HOST": "a"},
            "DB_USER, DB_PASSWORD and DAYBREAK_DAGSTER_HOST are set and DB_HOST is not",
        ),
        ({"DAYBREAK_DAGSTER_DB": "daybreak_health"}, "DAYBREAK_DAGSTER_DB is the database of the tables"),
        ({"DB_HOST": "a", "DB_NAME": "dagster"}, "DAYBREAK_DAGSTER_DB is the database of the tables"),
    ],
)
def test_settings_that_contradict_each_other_are_named(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, str], fault: str
) -> None:
    set_all(monkeypatch, given)
    (found,) = settings.faults()
    assert fault in found


@pytest.mark.parametrize(
    "given",
    [
        {"DB_HOST": "a", "DB_NAME": "dagster", "DAYBREAK_DAGSTER_HOST": "b"},
        {"DB_HOST": "a", "DB_SSLMODE": "disable", "PGSSLROOTCERT": "/ca.crt"},
        {"DB_NAME": "", "DB_PASSWORD": "\n"},
    ],
)
def test_what_only_looks_like_a_contradiction_is_none(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, str]
) -> None:
    set_all(monkeypatch, given)
    assert settings.faults() == []


def test_a_child_finds_no_fault_in_what_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    db = settings.DatabaseSettings("127.0.0.1", 5433, "name", "user", "word", "disable")
    set_all(monkeypatch, db.environment() | {"DAYBREAK_DAGSTER_URL": "postgresql://"})
    assert (settings.faults(), settings.unknown()) == ([], [])


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("DAYBREAK_EXPROT_DIR", "DAYBREAK_EXPORT_DIR"),
        ("DAYBREAK_WEBHOOK", "DAYBREAK_WEBHOOK_URL"),
        ("daybreak_home", "DAYBREAK_HOME"),
        ("DB_PASSWD", "DB_PASSWORD"),
        ("OTHERS_ENCRYPTION_OPTION", None),
        ("ENCRYPTON_KEY", "ENCRYPTION_KEY"),
        ("ENCRYPTION_KY", "ENCRYPTION_KEY"),
        ("DAYBREAK_ZZZZZZ", "docs/settings.md"),
        ("DB_POOL", None),
        ("MY_DAYBREAK_HOME", None),
    ],
)
def test_a_name_that_nobody_reads_is_told_with_what_may_be_meant(
    monkeypatch: pytest.MonkeyPatch, name: str, meant: str | None
) -> None:
    monkeypatch.setenv(name, "SECRET")
    lines = settings.unknown()
    assert len(lines) == (meant is not None)
    assert all(meant in line and "SECRET" not in line for line in lines if meant)


def test_what_is_set_is_shown_without_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    set_all(
        monkeypatch,
        {
            "DB_HOST": "db.example.org",
            "DB_PASSWORD": "SECRET",
            "DAYBREAK_WEB_URL": "https://user:SECRET@daybreak.example:8443/a?token=SECRET",
        },
    )
    lines = settings.given()
    assert lines[0] == "DB_HOST is db.example.org"
    assert "DB_PASSWORD is set, and not shown" in lines
    assert "DAYBREAK_WEB_URL is https://daybreak.example:8443/a" in lines
    assert "SECRET" not in "".join(lines)


# --- The environment of processes ---------------------------------------------------------------------------


def test_a_child_gets_this_environment_with_what_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DB_HOST", "before")
    monkeypatch.setenv("DB_NAME", "kept")
    told = settings.child_environment(DB_HOST="after")
    assert (told["DB_HOST"], told["DB_NAME"], told["PATH"]) == ("after", "kept", os.environ["PATH"])
    assert os.environ["DB_HOST"] == "before"


def test_a_child_gets_only_what_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENCRYPTION_KEY", "SECRET")
    told = settings.child_environment(only=("PATH", "DB_HOST"), LC_ALL="C")
    assert told == {"PATH": os.environ["PATH"], "LC_ALL": "C"}


def test_this_environment_is_as_before_after_the_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAGSTER_HOME", "before")

    def leave() -> None:
        with settings.own_environment(DAGSTER_HOME="meanwhile", DAYBREAK_DAGSTER_URL="meanwhile"):
            assert os.environ["DAGSTER_HOME"] == os.environ["DAYBREAK_DAGSTER_URL"] == "meanwhile"
            raise KeyError

    with pytest.raises(KeyError):
        leave()
    assert os.environ["DAGSTER_HOME"] == "before"
    assert "DAYBREAK_DAGSTER_URL" not in os.environ
