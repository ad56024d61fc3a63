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


def kept_in_words(relay: Message) -> str | None:
    """Return how many copies the copy relay keeps; ``None``: none."""
    if not relay.get("kept"):
        return None
    kept = "1 copy is kept" if relay["kept"] == 1 else f"{relay['kept']} copies are kept"
    return f"{kept}: refused, or not through in time"


def late_in_words(relay: Message, now: float) -> str | None:
    """Return for how long the oldest copy has waited; ``None``: not for ``[relay] late_after``."""
    if relay.get("oldest") is None or now - relay["oldest"] <= relay["late_after"]:
        return None
    return f"a copy has waited for {in_words(now - relay['oldest'])}"
