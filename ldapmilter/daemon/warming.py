"""A group that takes long is read in every worker as soon as one has put a message off for it.

Each worker has a cache of its own: the message would else be put off once in each that it meets. A
worker tells its parent, which tells the other workers; each decides on that message by itself, and
drops the decision. What it is about is as confidential as the message, and never logged.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from ldapmilter.daemon.channel import about

if TYPE_CHECKING:
    from ldapmilter.daemon.channel import Message
    from ldapmilter.message import Envelope, Headers

MOST_MESSAGES = 8
"""Messages that a worker decides on for others at a time; and that it tells of at a time."""


class PutOff:
    """Messages that were put off while a group is being read, until the parent is told.

    A session only notes its message: a parent that does not listen must not hold it up.
    """

    def __init__(self) -> None:
        """Nothing was put off yet."""
        self._lock = threading.Lock()
        self._messages: dict[tuple[Envelope, Headers | None], None] = {}

    def note(self, envelope: Envelope, headers: Headers | None) -> None:
        """Note a message, once; beyond the bound none: it is told of when it is put off again."""
        with self._lock:
            if len(self._messages) < MOST_MESSAGES:
                self._messages[envelope, headers] = None

    def take(self) -> list[Message]:
        """Return a request for each message that was noted since the last time (:func:`as_request`)."""
        with self._lock:
            messages, self._messages = self._messages, {}
        return [as_request(envelope, headers) for envelope, headers in messages]


def as_request(envelope: Envelope, headers: Headers | None) -> Message:
    """Return the request to read what the decision on a message needs."""
    return about("warm", envelope) | {"fields": None if headers is None else [list(field) for field in headers.fields]}
