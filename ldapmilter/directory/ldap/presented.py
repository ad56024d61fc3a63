"""When the certificate of a server expired: OpenSSL refuses it in the handshake, and does not say that.

So it is looked at once more, on a connection of its own on which times are not checked, and on which
nothing else is said.
"""

from __future__ import annotations

import contextlib
import copy
import math
import ssl
import time

import ldap3
from ldap3.core.exceptions import LDAPException

from ldapmilter.directory.ldap.failure_text import EXPIRED
from ldapmilter.directory.ldap.tls import CheckedTls
from ldapmilter.directory.ldap.watchdog import Watchdog

_MOST_SECONDS = 2.0
_KEPT = 60.0
"""Seconds for which the outcome holds: a server is tried again and again in an outage."""


def with_date(failure: str, handle: ldap3.Server, seconds: float) -> str:
    """Return a failure, with the date when it is that the certificate has expired.

    Args:
        failure: in words (:mod:`~ldapmilter.directory.ldap.failure_text`).
        handle: the server.
        seconds: in which the date has to be found, two at most.
    """
    if not failure.startswith(EXPIRED) or not isinstance(handle.tls, CheckedTls):
        return failure
    known = handle.tls.ends
    when, ends = known.get(handle.name, (-math.inf, None))
    if time.monotonic() - when >= _KEPT:
        ends = _looked_at(handle, handle.tls, min(seconds, _MOST_SECONDS))
        known[handle.name] = (time.monotonic(), ends)
    if ends is None:
        return failure
    if ends > time.time():
        return "the certificate of the authority that signed the server's has expired: renew it (Zimbra: zmcertmgr)"
    day = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(ends))
    return failure.replace(EXPIRED, f"the server's certificate expired on {day}", 1)


def _looked_at(handle: ldap3.Server, tls: CheckedTls, seconds: float) -> float | None:
    """Return when a server's certificate ends, in seconds since the epoch; ``None``: it cannot be found out."""
    server = copy.copy(handle)
    server.reset_availability()  # ldap3 passes over an address that failed a moment ago
    server.tls = tls.without_time()
    connection = ldap3.Connection(server, receive_timeout=math.ceil(seconds))
    watchdog = Watchdog(time.monotonic)
    try:
        with watchdog.guard(connection, seconds):
            connection.open(read_server_info=False)
            if not server.ssl:
                connection.start_tls(read_server_info=False)
            certificate = connection.socket.getpeercert()
        return float(ssl.cert_time_to_seconds(certificate["notAfter"]))
    except (LDAPException, OSError, ValueError, TypeError, AttributeError, LookupError):
        return None
    finally:
        watchdog.stop()
        with contextlib.suppress(Exception):
            connection.strategy.close()
