"""Why a server could not be reached, secured or asked: what happened, and what to look at.

ldap3 wraps what the operating system and OpenSSL say in texts and types of its own, several deep.
"""

from __future__ import annotations

import errno
import os
import re
import ssl

from ldap3.core.exceptions import LDAPException, LDAPSessionTerminatedByServerError, LDAPStartTLSError

# Text, not compiled here: whoever starts a verb would wait for it, and most see no failure.
_PREFIXES = (
    r"^(?:wrap socket error|socket ssl wrapping error|socket connection error while opening"
    r"|socket creation error|error receiving data|startTLS failed -): ?|^startTLS failed - |^socket sending error"
)
_OPENSSL = r"^\[[A-Z0-9_]+(?:: \w+)?\] | \(_ssl\.c:\d+\)$"
"""What Python's ssl puts around a text: names of OpenSSL, a line of its own source."""
_ERRNO = r"\[Errno (\d+)\]"
_HINTS = {
    errno.ECONNREFUSED: "nothing listens there: does slapd run, is the port right?",
    errno.ENOENT: "there is no such socket: does slapd run on this host, is the path right?",
    errno.EACCES: "this user may not connect to the socket",
    errno.EHOSTUNREACH: "is the host up, and the address right?",
    errno.ENETUNREACH: "is the address right, and the network up?",
    errno.ECONNRESET: "the server, or a firewall, ended the connection",
    errno.EPIPE: "the server, or a firewall, ended the connection",
}
_BIND_HINTS = {
    8: "the server wants TLS: set [ldap] starttls = yes, or take ldaps://",
    13: "the server wants TLS: set [ldap] starttls = yes, or take ldaps://",
    48: "the identity has no password there",
    49: "wrong password, or there is no such identity",
}
_NO_TLS = ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "HTTP_REQUEST", "UNKNOWN_PROTOCOL", "PACKET_LENGTH_TOO_LONG")

_OTHERS = {"invalid server address": "the host name does not resolve: look at [ldap] uri and the DNS"}

_ENDED = "the server ended the connection, or did not answer in time"

EXPIRED = "the server's certificate has expired"
# X509_V_ERR_... (openssl-verification-options(1), x509_vfy.h)
_NOT_YET_VALID, _HAS_EXPIRED = 9, 10
_UNKNOWN_AUTHORITY = frozenset({2, 18, 19, 20, 21})
_ANOTHER_NAME = frozenset({62, 64})


def certificate(error: ssl.SSLCertVerificationError, ca: str | None) -> str:
    """Return why a certificate is not accepted, and the way out.

    Args:
        error: OpenSSL's.
        ca: the file of the authorities that are believed; ``None``: the system's.
    """
    code = error.verify_code
    if code == _HAS_EXPIRED:
        return f"{EXPIRED}: renew it on that server (Zimbra: zmcertmgr)"
    if code == _NOT_YET_VALID:
        return "the server's certificate is not valid yet: compare the clocks of both hosts"
    if code in _ANOTHER_NAME:
        told = error.verify_message.partition("certificate is ")[2].rstrip(".") or error.verify_message
        return f"the server's certificate is {told}: name the host in [ldap] uri as its certificate does"
    if code in _UNKNOWN_AUTHORITY:
        whom = f"[ldap] ca_file = {ca}" if ca is not None else "the system's authorities"
        return (
            f"the authority of the server's certificate is not in {whom} ({error.verify_message}): "
            "name the file with its CA certificate in [ldap] ca_file (Zimbra: /opt/zimbra/conf/ca/ca.pem)"
        )
    return f"the server's certificate is not accepted: {error.verify_message}"


def handshake(error: OSError) -> str:
    """Return why TLS does not come about, for another cause than the certificate."""
    reason = getattr(error, "reason", None) or str(error)
    if reason in _NO_TLS:
        return (
            "what answers at this port does not speak TLS from the start: "
            "ldaps:// has port 636; with ldap://, port 389, set [ldap] starttls = yes"
        )
    if isinstance(error, ssl.SSLEOFError) or "EOF" in reason.upper():
        return (
            "the server ended the TLS handshake, or did not answer in time: "
            "is this the port of ldaps:// (636, not 389), and has it a certificate?"
        )
    return f"TLS failed: {reason}"


def refused_bind(who: str, said: str, code: int) -> str:
    """Return that a server refuses a bind, and what to look at (RFC 4511, appendix A)."""
    hint = _BIND_HINTS.get(code)
    return f"bind as {who} refused: {said}" + (f": {hint}" if hint else "")


def in_words(error: Exception, said: str | None = None) -> str:
    """Return what went wrong on a connection.

    Args:
        error: what ldap3, or Python, raised.
        said: what ldap3 noted about it, where it did.
    """
    if isinstance(error, LDAPSessionTerminatedByServerError):
        return _ENDED
    text = re.sub(_PREFIXES, "", said or "") if isinstance(error, LDAPException) and said else str(error)
    if isinstance(error, LDAPStartTLSError) and said and said.startswith("startTLS failed"):
        return (
            f"the server offers no StartTLS ({text}): give it a certificate (olcTLSCertificateFile),"
            " or take ldaps://, or set [ldap] starttls = no"
        )
    of_system = isinstance(error, OSError) and not isinstance(error, ssl.SSLError)  # the latter's number is OpenSSL's
    number = error.errno if isinstance(error, OSError) and of_system and error.errno else None
    if number is None and (found := re.search(_ERRNO, text)) is not None:
        number = int(found.group(1))
    if number is not None and (number in _HINTS or of_system):
        hint = _HINTS.get(number)
        return os.strerror(number) + (f" ({hint})" if hint else "")
    if isinstance(error, TimeoutError) or text.endswith("timed out"):
        return "no answer in time (is the host up, does a firewall let this host in?)"
    if isinstance(error, LDAPException | OSError):
        text = re.sub(_OPENSSL, "", text)
        return _ENDED if text.startswith("EOF occurred") else _OTHERS.get(text, text)
    return f"the answer broke off or is not LDAP ({type(error).__name__}: {error})"
