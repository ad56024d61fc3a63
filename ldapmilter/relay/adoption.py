"""Kept copies at a relay's start: the Maildir is compared with what the audit says of them."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from ldapmilter.relay.ends import EVENT
from ldapmilter.relay.kept import OTHER_MESSAGE_ID, KeepError

if TYPE_CHECKING:
    from ldapmilter.relay.kept import KeptCopy, Maildir
    from ldapmilter.relay.state import RelayState

_log = logging.getLogger(__name__)

_NAMED: Final = 10
"""Files that the log names."""


def adopt(maildir: Maildir, state: RelayState) -> None:
    """Know of every kept copy, should the audit have lost the line; a file that is none is left where it is.

    A copy that was sent again or discarded, by the audit, is removed: the relay ended before it had done so.

    Raises:
        KeepError: the Maildir cannot be read.
        StateError: the state cannot be read or written.
    """
    foreign = 0
    for kept in maildir.copies():
        if isinstance(kept, KeepError):
            foreign += 1
            if foreign <= _NAMED:
                _log.error("%s", kept)
        else:
            _adopt_one(kept, maildir, state)
    if foreign > _NAMED:
        _log.error("%s: %d files are no copies that can be read", maildir.path, foreign)


def _adopt_one(kept: KeptCopy, maildir: Maildir, state: RelayState) -> None:
    fields, token = kept.fields, kept.token
    known = state.copy(token)
    # Another message has ended it, and what is kept is the one that was decided: the audit has lost that line.
    awaited = known is not None and known.other_message_id is not None and fields.get(OTHER_MESSAGE_ID) == ""
    if known is None or awaited:
        told = {"time": fields.get("Kept"), "target": fields.get("Target"), "why": fields.get("Why")}
        told["other_message_id"] = fields.get(OTHER_MESSAGE_ID) or None
        state.take([{"event": EVENT, "token": token, "state": "kept", **told}])
    elif known.state == "ended" and known.fate != "kept":
        maildir.remove(token)
