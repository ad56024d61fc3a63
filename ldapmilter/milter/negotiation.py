"""What is asked of the MTA when a connection begins, and what it agreed to.

What CONNECT would tell is asked for as macros, which come anyway: every callback costs two turns at
the interpreter's lock, which all connections of a process share.
"""

from __future__ import annotations

import logging
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import milter

from ldapmilter.milter.effects import ACTIONS, CHANGES_SENDER
from ldapmilter.milter.macros import CONNECT_MACROS

if TYPE_CHECKING:
    from ldapmilter.milter.header_mode import HeaderMode

_log = logging.getLogger(__name__)

_NOT_ASKED_FOR = milter.P_NOHELO | milter.P_NOUNKNOWN | milter.P_NOBODY
# The end of the header is asked for although nothing is done there: libmilter takes no end of a
# message right after DATA, so a message without any header field would never be answered.
_UNANSWERED = milter.P_NR_CONN | milter.P_NR_MAIL | milter.P_NR_RCPT | milter.P_NR_EOH


class AgreedOptions(NamedTuple):
    """What holds for one connection."""

    missing_actions: int
    """Of those that effects need (:data:`ACTIONS`), those that the MTA does not offer."""
    changes_sender: bool
    """Whether the MTA lets the envelope sender be changed: asked for only where lists may need it."""
    may_skip: bool
    """Whether SKIP may answer a header field."""
    asks_by_macro: bool
    """Whether the MTA was asked for macros instead of CONNECT."""
    unanswered: int
    """Steps that the MTA waits for no answer to (P_NR_*)."""


def negotiate(context: Any, options: list[int], header_mode: HeaderMode, *, changes_sender: bool) -> AgreedOptions:  # noqa: ANN401 - C type
    """Choose from what the MTA offers, and ask for macros.

    Args:
        context: libmilter's.
        options: what is offered: actions, steps and two words without a meaning; replaced by what is wanted.
        header_mode: how header fields are to travel.
        changes_sender: whether a message may come whose envelope sender is to change.
    """
    offered_actions = options[0]
    actions, agreed, outcome = _chosen(offered_actions, options[1], header_mode.unanswered, changes_sender)
    if outcome.missing_actions:
        _log.error(
            "the MTA does not offer the milter actions %#x: mail that needs them is deferred", outcome.missing_actions
        )
    if offered_actions & milter.SETSYMLIST:
        context.setsymlist(milter.M_CONNECT, CONNECT_MACROS)
    options[:] = actions, agreed, 0, 0
    return outcome


@lru_cache(maxsize=16)
def _chosen(
    offered_actions: int,
    offered_steps: int,
    headers_unanswered: bool,  # noqa: FBT001 - part of a key
    changes_sender: bool,  # noqa: FBT001 - as above
) -> tuple[int, int, AgreedOptions]:
    """Return the actions and steps to ask for, and what then holds; an MTA offers the same every time."""
    asks_by_macro = bool(offered_actions & milter.SETSYMLIST and offered_steps & milter.P_NOCONNECT)
    wanted = _NOT_ASKED_FOR | _UNANSWERED | milter.P_SKIP
    if asks_by_macro:
        wanted ^= milter.P_NOCONNECT | milter.P_NR_CONN
    if headers_unanswered:
        wanted |= milter.P_NR_HDR
    agreed = wanted & offered_steps
    actions = (ACTIONS | CHANGES_SENDER if changes_sender else ACTIONS) & offered_actions
    return (
        actions,
        agreed,
        AgreedOptions(
            missing_actions=ACTIONS & ~offered_actions,
            changes_sender=bool(actions & CHANGES_SENDER),
            may_skip=bool(agreed & milter.P_SKIP),
            asks_by_macro=asks_by_macro,
            unanswered=agreed & (_UNANSWERED | milter.P_NR_HDR),
        ),
    )
