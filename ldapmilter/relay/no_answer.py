"""Why an archive's server has not answered."""

from __future__ import annotations

import os
import ssl
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ldapmilter.relay.answers import ServerAnswer


class NoAnswer(Exception):
    """There is no reply to go on from; the answer says why."""

    def __init__(self, answer: ServerAnswer) -> None:
        super().__init__(answer.text)
        self.answer = answer


def why_not(error: Exception) -> str:
    """Say in words why nothing came."""
    if isinstance(error, TimeoutError):
        return "nothing came in time"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the certificate is not good: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"TLS: {error.reason or error}"
    number = getattr(error, "errno", None) or 0
    # asyncio puts words of its own in the place of the system's; a name that is not found has a number below zero.
    if number > 0:
        return os.strerror(number)
    said = str(getattr(error, "strerror", None) or error)
    return said or ("the connection was closed" if isinstance(error, ConnectionError) else type(error).__name__)
