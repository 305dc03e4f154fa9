"""How failures reach people: a webhook that Slack and its likes understand, and mail.

Pure: it is given a text and settings. ``alerts`` decides what to report. The text holds names of tables and
checks, and counts; never a value of a record.
"""

from __future__ import annotations

import http.client
import json
import logging
import smtplib
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from email.message import EmailMessage
from email.utils import formatdate, make_msgid

from daybreak_pipeline.settings import MailSettings, NotifierSettings

log = logging.getLogger("daybreak.notifications")

WAITS = (1.0, 3.0)
"""Seconds before the second and the third attempt."""
_TIMEOUT = 10


def deliver(text: str, notifier: NotifierSettings, *, waits: tuple[float, ...] = WAITS) -> list[str]:
    """Send a text to everybody who is alerted to failures, and return the channels that did not accept it.

    A channel that fails is retried and then logged. It never stops another one, and raises nothing: the failure itself
    matters more than a failed message about it.
    """
    failed = []
    if notifier.webhook_url and not _tried("the webhook", lambda: _post(notifier.webhook_url, text), waits):
        failed.append("webhook")
    mail = notifier.mail
    if mail and not _tried(f"the mail server {mail.host}", lambda: _mail(mail, text), waits):
        failed.append("mail")
    return failed


def _tried(channel: str, send: Callable[[], None], waits: tuple[float, ...]) -> bool:
    for wait in (*waits, None):
        try:
            send()
        except (OSError, http.client.HTTPException, smtplib.SMTPException, ValueError) as error:
            # Log only the error's type: its text may repeat the webhook's secret URL.
            reason = (
                f"HTTP {error.code}" if isinstance(error, urllib.error.HTTPError) else type(error).__name__
            )
            if wait is None:
                log.error("%s did not take the message (%s), and is not tried again", channel, reason)  # noqa: TRY400
                return False
            log.warning("%s did not take the message (%s); again in %.0f s", channel, reason, wait)
            time.sleep(wait)
        else:
            return True
    return False


def _post(url: str, text: str) -> None:
    request = urllib.request.Request(  # noqa: S310 - settings allow http and https only
        url,
        data=json.dumps({"text": text}).encode(),
        headers={"Content-Type": "application/json", "User-Agent": "daybreak-pipeline"},
    )
    with urllib.request.urlopen(request, timeout=_TIMEOUT):  # noqa: S310 - as above
        pass


def _mail(mail: MailSettings, text: str) -> None:
    message = EmailMessage()
    message["Subject"] = text.splitlines()[0]
    message["From"] = mail.sender
    message["To"] = ", ".join(mail.recipients)
    message["Date"] = formatdate()
    message["Message-ID"] = make_msgid(domain=mail.sender.rpartition("@")[2])
    message.set_content(text)
    with smtplib.SMTP(mail.host, mail.port, timeout=_TIMEOUT) as server:
        if mail.starttls:
            server.starttls(context=ssl.create_default_context())
        if mail.user:
            server.login(mail.user, mail.password)
        server.send_message(message)
