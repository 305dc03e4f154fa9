"""What the environment says about notifications, and what it may not say."""

from __future__ import annotations

import pytest

from daybreak_pipeline import settings
from daybreak_pipeline.errors import UsageError

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
