"""Who is alerted to failures, and how: a webhook, mail, or the log alone. Sending is ``operations.notifications``."""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import urlsplit

from daybreak_pipeline.errors import UsageError
from daybreak_pipeline.settings import variables
from daybreak_pipeline.settings.web import web_url


@dataclass(frozen=True)
class MailSettings:
    """A mail server, and the sender and the recipients of alerts."""

    host: str
    port: int
    sender: str
    recipients: tuple[str, ...]
    starttls: bool
    user: str = ""
    password: str = field(default="", repr=False)


@dataclass(frozen=True)
class NotifierSettings:
    """Where alerts go, besides the log. A webhook's URL is a secret: whoever has it can post."""

    web_url: str
    webhook_url: str = field(default="", repr=False)
    mail: MailSettings | None = None

    def __str__(self) -> str:
        """Say who is alerted, without any secret."""
        heard = [f"webhook at {urlsplit(self.webhook_url).hostname}"] if self.webhook_url else []
        if self.mail:
            heard.append(
                f"mail to {', '.join(self.mail.recipients)} through {self.mail.host}:{self.mail.port}"
            )
        return (
            " and ".join(heard)
            or "log only: set DAYBREAK_WEBHOOK_URL or DAYBREAK_SMTP_HOST to be alerted to failures"
        )


def notifier() -> NotifierSettings:
    """Return where alerts go: ``DAYBREAK_WEBHOOK_URL``, ``DAYBREAK_SMTP_HOST`` and the other
    ``DAYBREAK_SMTP_*`` variables; links in messages begin with ``DAYBREAK_WEB_URL``.

    Raises:
        UsageError: a variable cannot be used; the message does not repeat a secret.
    """
    return NotifierSettings(web_url=web_url(), webhook_url=variables.WEBHOOK_URL.given() or "", mail=mail())


def mail() -> MailSettings | None:
    """Return the mail server and who gets mail, None where there is none.

    Raises:
        UsageError: as ``notifier`` does.
    """
    host, user, password = (
        variables.SMTP_HOST.given(),
        variables.SMTP_USER.given(),
        variables.SMTP_PASSWORD.given(),
    )
    sender, recipients = variables.SMTP_FROM.given(), variables.SMTP_TO.given()
    if not host:
        if sender or recipients or user:
            msg = "DAYBREAK_SMTP_HOST is not set, other DAYBREAK_SMTP_ variables are: set it to the mail server's name"
            raise UsageError(msg)
        return None
    if not sender or not recipients:
        msg = "DAYBREAK_SMTP_FROM and DAYBREAK_SMTP_TO are not both set: set them to mail addresses"
        raise UsageError(msg)
    if bool(user) != bool(password):
        msg = "DAYBREAK_SMTP_USER and DAYBREAK_SMTP_PASSWORD are only of use together"
        raise UsageError(msg)
    encrypted = variables.SMTP_STARTTLS.value()
    if user and not encrypted:
        msg = "DAYBREAK_SMTP_PASSWORD would be sent unencrypted: leave DAYBREAK_SMTP_STARTTLS on, or the password out"
        raise UsageError(msg)
    return MailSettings(
        host, variables.SMTP_PORT.value(), sender, recipients, encrypted, user or "", password or ""
    )
