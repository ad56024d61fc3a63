"""What Postfix refuses of a recipient after it was added: the copy would be accounted for and never made.

An address that a milter adds passes none of smtpd's checks. It is judged when the queue manager has
it resolved; what is refused there bounces, and a copy's bounce has no recipient. All that Postfix
(3.6 to 3.11) can refuse by the address alone is held here:

* trivial-rewrite, ``resolve.c``, "bad address syntax": a recipient that begins with ``-``
  (``allow_min_user = no``); an address literal that ``valid_mailhost_literal()`` does not take; a domain
  that ``valid_hostname()`` does not take, one of digits and dots among them
  (``resolve_numeric_domain = no``). Lengths of labels and domain: :func:`ldapmilter.address.fold_domain`.
* An empty local part in a local domain stands for ``empty_address_recipient``, MAILER-DAEMON: not who was meant.
* qmgr, ``qmgr_message.c``: what comes to ``double_bounce_sender`` in a local domain is thrown away.
"""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ldapmilter.address import Address

_NUMBERS = re.compile(r"[0-9.]+\Z")
_IPV6 = "ipv6:"
_DOUBLE_BOUNCE = "double-bounce"


def late_refusal(address: Address) -> str | None:
    """Return why Postfix takes an added recipient and does not deliver to it; ``None``: it would try."""
    local = address.local
    if not local:
        return "nothing stands before the @, which Postfix takes for MAILER-DAEMON in a domain of its own"
    if local.startswith("-"):
        return "it begins with -, which Postfix refuses (allow_min_user)"
    if local.lower() == _DOUBLE_BOUNCE:
        return f"Postfix throws away what comes to {_DOUBLE_BOUNCE} (double_bounce_sender)"
    if address.domain.startswith("["):
        if not _is_literal(address.domain[1:-1]):
            return f"{address.domain} is not an address literal that Postfix takes: [192.0.2.1] or [IPv6:2001:db8::1]"
    elif _NUMBERS.match(address.domain):
        return f"Postfix refuses the domain {address.domain}, which is all digits; an IP address stands in brackets"
    return None


def _is_literal(text: str) -> bool:
    """Whether ``valid_mailhost_addr()`` takes a text: IPv4, not in 0.0.0.0/8, or IPv6 after its prefix."""
    try:
        if text.lower().startswith(_IPV6):
            ipaddress.IPv6Address(text[len(_IPV6) :])
            return True
        return text == "0.0.0.0" or ipaddress.IPv4Address(text).packed[0] != 0  # noqa: S104 - nothing is bound
    except ValueError:
        return False
