"""What the daemon has noticed, in words: for ``status`` and ``check``."""

from __future__ import annotations

from ldapmilter.durations import in_words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ldapmilter.daemon.channel import Message


def waits_in_words(one: Message) -> str:
    """Return what some mail waits for, as a sentence without its end."""
    messages = "1 message waits" if one["messages"] == 1 else f"{one['messages']} messages wait"
    return f"{messages} for {one['cause']}, the longest for {in_words(one['seconds'])}"


def client_in_words(one: Message, now: float) -> str:
    """Return what an unknown client has sent."""
    messages = "1 message" if one["messages"] == 1 else f"{one['messages']} messages"
    return (
        f"{one['client']}: {messages} from hosted senders without identity, the last {in_words(now - one['last'])} ago"
    )
