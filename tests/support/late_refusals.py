"""Recipients as a milter adds them, by what a real Postfix does with them."""

from __future__ import annotations

from typing import Final

REFUSED: Final = (
    "-hold@vault.test",
    '"-ho ld"@vault.test',
    "-@vault.test",
    "hold@1.2.3.4",
    "hold@12345",
    "hold@[vault]",
    "hold@[300.2.3.4]",
    "hold@[0.2.3.4]",
    "hold@[1.2.3]",
    "hold@[2001:db8::1]",
    "hold@[IPv6:2001:db8:::1]",
    "hold@[IPv6:192.0.2.1]",
)
"""Bounced: bad address syntax."""

THROWN_AWAY: Final = ('""@vault.test', "double-bounce@[127.0.0.1]")
"""Delivered to nobody who was meant: taken for MAILER-DAEMON, or dropped."""

DELIVERED: Final = (
    "hold@vault.test",
    "h-old-@vault.test",
    "_hold@_vault.test",
    "hold@a.1",
    "hold@1-2.3",
    "hold@[192.0.2.1]",
    "hold@[IPv6:2001:db8::1]",
    "hold@[ipv6:::ffff:192.0.2.1]",
    "a..b@vault.test",
    '"two words"@vault.test',
    "double-bounces@vault.test",
    "at%other.test@vault.test",
    "other.test!at@vault.test",
    f"{'l' * 100}@vault.test",
    f"hold@{'d' * 63}.{'d' * 63}.{'d' * 60}.test",
)
