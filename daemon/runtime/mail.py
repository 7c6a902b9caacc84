"""Mails, by the SMTP server of the settings.

Comes from: daemon/nodes/notices. Goes to: the server.
"""

from __future__ import annotations

import ssl
from email.message import EmailMessage
from email.utils import formatdate
from hashlib import sha256
from typing import TYPE_CHECKING

import aiosmtplib

from daemon.nodes.context import StepFailure

if TYPE_CHECKING:
    from daemon.nodes.context import Mail
    from daemon.settings_people import Smtp

TIMEOUT_S = 20.0
_PERMANENT = 500
"""From this reply code on the server will not change its mind (RFC 5321)."""


async def send(settings: Smtp, mail: Mail) -> object:
    """Send; return the recipients. A connection for each mail: they are few.

    Raises StepFailure: `smtp_unknown` without a server, `smtp_refused` for what the server will not take, and
    `smtp_unavailable`, which may be tried again.
    """
    if settings.host is None:
        raise StepFailure("the daemon has no mail server: set [smtp] host", "smtp_unknown", retryable=False)
    try:
        message = message_of(settings, mail)
        await aiosmtplib.send(
            message,
            hostname=settings.host,
            port=settings.port,
            username=settings.username,
            password=settings.password,
            use_tls=settings.tls == "tls",
            start_tls=settings.tls == "starttls",
            tls_context=_tls_context(settings),
            timeout=TIMEOUT_S,
        )
    except ValueError as error:
        raise StepFailure(f"the mail cannot be written: {error}", "smtp_refused", retryable=False) from error
    except aiosmtplib.SMTPException as error:
        raise _failure(settings, error) from error
    return {"to": list(mail.to)}


def message_of(settings: Smtp, mail: Mail) -> EmailMessage:
    """Return the message. Its id is the same at each attempt, so that who gets it twice can tell. Raises ValueError."""
    message = EmailMessage()
    message["From"] = settings.sender
    message["To"] = ", ".join(mail.to)
    message["Subject"] = " ".join(mail.subject.split())
    message["Date"] = formatdate()
    message["Message-ID"] = f"<{sha256(mail.key.encode()).hexdigest()[:32]}@sagad>"
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(mail.text)
    return message


def _failure(settings: Smtp, error: aiosmtplib.SMTPException) -> StepFailure:
    where = f"the mail server {settings.host}:{settings.port}"
    codes = [getattr(error, "code", None)]
    if isinstance(error, aiosmtplib.SMTPRecipientsRefused):
        codes = [refused.code for refused in error.recipients]
    if codes and all(code is not None and code >= _PERMANENT for code in codes):
        return StepFailure(f"{where} refused the mail: {error}", "smtp_refused", retryable=False)
    return StepFailure(f"{where} did not take the mail: {error}", "smtp_unavailable")


def _tls_context(settings: Smtp) -> ssl.SSLContext | None:
    if settings.tls == "none":
        return None
    return ssl.create_default_context(cafile=str(settings.ca_file) if settings.ca_file is not None else None)
