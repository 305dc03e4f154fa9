"""Mail about failures, received by a real SMTP server on this machine."""

from __future__ import annotations

import email
import email.policy
import socket
from collections.abc import Iterator
from email.message import EmailMessage

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

from daybreak_pipeline.operations import notifications
from daybreak_pipeline.settings import MailSettings, NotifierSettings

TEXT = "Daybreak: run 12345678 of import_all failed\nnot imported: organizations\nhttp://127.0.0.1:3000/runs/12345678"


class Mailbox:
    """Keeps what is sent; answers with the replies that it was given first, then takes everything."""

    def __init__(self) -> None:
        self.kept: list[Envelope] = []
        self.replies: list[str] = []

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802 - its name
        if self.replies:
            return self.replies.pop(0)
        self.kept.append(envelope)
        return "250 OK"


@pytest.fixture
def mailbox() -> Mailbox:
    return Mailbox()


@pytest.fixture
def mail(mailbox: Mailbox) -> Iterator[MailSettings]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    server = Controller(mailbox, hostname="127.0.0.1", port=port)
    server.start()
    yield MailSettings(
        "127.0.0.1", port, "daybreak@example.org", ("a@example.org", "b@example.org"), starttls=False
    )
    server.stop()


def deliver(mail: MailSettings) -> list[str]:
    return notifications.deliver(TEXT, NotifierSettings("", mail=mail), waits=(0.0, 0.0))


def received(envelope: Envelope) -> EmailMessage:
    assert isinstance(envelope.content, bytes)
    message = email.message_from_bytes(envelope.content, policy=email.policy.default)
    assert isinstance(message, EmailMessage)
    return message


def test_everybody_gets_the_message_once(mailbox: Mailbox, mail: MailSettings) -> None:
    assert deliver(mail) == []
    (envelope,) = mailbox.kept
    assert (envelope.mail_from, envelope.rcpt_tos) == (mail.sender, list(mail.recipients))
    message = received(envelope)
    assert message["Subject"] == TEXT.splitlines()[0]
    assert message["Date"]
    assert message["Message-ID"].endswith("@example.org>")
    assert message.get_content().split() == TEXT.split()


def test_a_server_that_is_busy_is_tried_again(mailbox: Mailbox, mail: MailSettings) -> None:
    mailbox.replies = ["451 later", "451 later"]
    assert deliver(mail) == []
    assert len(mailbox.kept) == 1


def test_a_server_that_refuses_is_logged_and_does_not_stop_the_webhook(
    mailbox: Mailbox, mail: MailSettings, caplog: pytest.LogCaptureFixture
) -> None:
    mailbox.replies = ["554 no"] * 4
    assert deliver(mail) == ["mail"]
    assert (
        "the mail server 127.0.0.1 did not take the message (SMTPDataError), and is not tried again"
        in caplog.text
    )


def test_encryption_that_the_server_does_not_offer_is_not_done_without(
    mailbox: Mailbox, mail: MailSettings
) -> None:
    from dataclasses import replace

    assert deliver(replace(mail, starttls=True)) == ["mail"]
    assert mailbox.kept == []
