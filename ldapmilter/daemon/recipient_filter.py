"""By what Postfix knows two recipients for one, which says how a copy takes a recipient's place.

With ``enable_original_recipient = yes`` (the default) a recipient that a milter adds is delivered to
beside one of the same address that came with the message, so that one has to be deleted first. With
``no`` Postfix itself leaves one of both, whatever aliases led there; and one that was deleted still
counts as seen where an alias leads on: what is then added is dropped, and the address gets no message.
So recipients are deleted only where Postfix is known to tell them apart: a copy too many, never one
too few.
"""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

from ldapmilter.postfix.postconf import PostconfFailed, find_postconf, values_anywhere

if TYPE_CHECKING:
    from ldapmilter.config import OriginalRecipient

_log = logging.getLogger(__name__)
PARAMETER = "enable_original_recipient"
_POSTCONF_SECONDS = 3.0


class RecipientFilter:
    """What is known of the Postfix that asks us."""

    def __init__(self, setting: OriginalRecipient) -> None:
        """Begin with what the configuration says; :meth:`ask` where it leaves that to Postfix's own."""
        self.tells_apart = False
        """Whether Postfix is known to tell an added recipient from one that came with the message."""
        self.follow(setting)

    def follow(self, setting: OriginalRecipient) -> None:
        """Obey another configuration; what Postfix said last counts until it is asked again."""
        self._asks = setting == "auto"
        if not self._asks:
            self.tells_apart = setting == "yes"

    def ask(self) -> None:
        """Ask the Postfix of this host, where the configuration does not say."""
        if not self._asks:
            return
        postconf = find_postconf()
        try:
            values = values_anywhere(postconf, PARAMETER) if postconf is not None else frozenset()
        except PostconfFailed as error:
            _log.warning("[milter] %s = auto: %s", PARAMETER, error)
            values = frozenset()
        self.tells_apart = values == {"yes"}

    def ask_within(self, seconds: float = _POSTCONF_SECONDS) -> None:
        """Do :meth:`ask` in a thread, and wait for it so long at most."""
        asking = threading.Thread(target=self.ask, name="postconf", daemon=True)
        asking.start()
        asking.join(seconds)
