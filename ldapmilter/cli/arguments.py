"""What is typed on the command line, read strictly: an answer to another question would be believed.

Addresses are loaded where there is one: most calls of the verbs that this serves have none.
"""

from __future__ import annotations

import argparse
import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from datetime import date

_SEPARATORS = frozenset(' \t,;:<>()[]\\"@')
"""What no unquoted local part holds: several addresses in one argument, or a display name."""
_MAX_PORT = 65535
_MAX_SECONDS = 86400


def address_problem(text: str) -> str | None:
    """Return what keeps a text from being one mail address, or ``None``.

    What a mail server takes and no directory could hold (raw octets, too long) is an address.
    """
    from ldapmilter.address import envelope_address, parse_address, strip_brackets  # noqa: PLC0415 - see above

    path = strip_brackets(text)
    if parse_address(path) is not None:
        return None
    local, at, _ = path.rpartition("@")
    if not at:
        return "has no domain: no mail address" if path else "is empty"
    quoted = len(local) > 1 and local.startswith('"') and local.endswith('"')
    if not local or envelope_address(path) is None or not (quoted or _SEPARATORS.isdisjoint(local)):
        return "is not one mail address (several are separated by blanks, each an argument of its own)"
    return None


def address(text: str) -> str:
    """Return one mail address."""
    if (problem := address_problem(text)) is not None:
        raise _wrong(text, problem)
    return text[1:-1] if text.startswith("<") else text


def domain(text: str) -> str:
    """Return one domain."""
    from ldapmilter.address import fold_domain  # noqa: PLC0415 - see above

    name = text.removeprefix("@")
    if fold_domain(name) is None:
        raise _wrong(text, "is not a domain")
    return name


def day(text: str) -> date:
    """Return one day, written as ISO 8601 has it: ``2026-11-22``."""
    from datetime import date  # noqa: PLC0415 - see above

    try:
        found = date.fromisoformat(text)
    except ValueError:
        found = None
    if found is None or found.isoformat() != text:
        raise _wrong(text, "is not a day such as 2026-11-22")
    return found


def dn(text: str) -> str:
    """Return a DN."""
    if not re.match(r"[A-Za-z0-9.-]+ *=.", text):
        raise _wrong(text, "is not a DN such as uid=ann,ou=people,dc=example,dc=com")
    return text


def ldap_server(text: str) -> str:
    """Return the URI of one LDAP server."""
    if re.match(r"ldap[si]?://\S*\Z", text, re.IGNORECASE):
        return text
    if "://" in text or not re.fullmatch(r"[^\s:/]+", text):
        raise _wrong(text, "is not one of ldap://HOST:389, ldaps://HOST:636 and ldapi://%2FPATH")
    raise _wrong(text, f"has no scheme; write ldap://{text}:389 (StartTLS), or ldaps://{text}:636")


def seconds(text: str) -> float:
    """Return a number of seconds above zero."""
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number <= _MAX_SECONDS:
        raise _wrong(text, "is not a number of seconds above 0")
    return number


def seconds_or_none(text: str) -> float:
    """Return a number of seconds, which may be none at all."""
    return 0.0 if re.fullmatch(r"0+(\.0*)?", text) else seconds(text)


def port(text: str) -> int:
    """Return a TCP port."""
    if not re.fullmatch(r"[0-9]{1,5}", text) or not 0 < int(text) <= _MAX_PORT:
        raise _wrong(text, f"is not a port from 1 to {_MAX_PORT}")
    return int(text)


def _wrong(text: str, problem: str) -> argparse.ArgumentTypeError:
    return argparse.ArgumentTypeError(f"{text!r} {problem}")
