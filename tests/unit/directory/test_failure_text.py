"""What ldap3 and OpenSSL say of a failed connection, in words that name what to look at."""

from __future__ import annotations

import errno
import ssl

import pytest
from ldap3.core.exceptions import LDAPSessionTerminatedByServerError, LDAPSocketOpenError, LDAPStartTLSError

from ldapmilter.directory.ldap.failure_text import EXPIRED, certificate, handshake, in_words

CA = "/etc/ca.pem"


def refused(code: int, message: str) -> str:
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_code, error.verify_message = code, message
    return certificate(error, CA)


@pytest.mark.parametrize(
    ("code", "message", "words"),
    [
        (10, "certificate has expired", (EXPIRED, "renew it")),
        (9, "certificate is not yet valid", ("not valid yet", "clocks")),
        (
            62,
            "Hostname mismatch, certificate is not valid for 'ldap2.test'.",
            ("certificate is not valid for 'ldap2.test': ", "[ldap] uri"),
        ),
        (64, "IP address mismatch, certificate is not valid for '192.0.2.1'.", ("'192.0.2.1': ", "[ldap] uri")),
        (19, "self-signed certificate in certificate chain", (f"[ldap] ca_file = {CA} (self-signed", "ca.pem")),
        (23, "certificate revoked", ("not accepted: certificate revoked",)),
    ],
)
def test_a_certificate_that_is_not_accepted(code: int, message: str, words: tuple[str, ...]) -> None:
    assert [word for word in words if word not in refused(code, message)] == []


def test_without_a_ca_file_the_systems_authorities_are_named() -> None:
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_code, error.verify_message = 20, "unable to get local issuer certificate"
    assert "is not in the system's authorities (unable to get" in certificate(error, None)


def test_a_port_without_tls_is_named() -> None:
    error = ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] wrong version number")
    error.reason = "WRONG_VERSION_NUMBER"
    assert "ldaps:// has port 636" in handshake(error)
    assert "636" in handshake(ssl.SSLEOFError(8, "EOF occurred in violation of protocol"))


@pytest.mark.parametrize(
    ("error", "said", "words"),
    [
        (
            LDAPSocketOpenError("x"),
            "socket connection error while opening: [Errno 111] Connection refused",
            "Connection refused (nothing listens there: does slapd run, is the port right?)",
        ),
        (LDAPSocketOpenError("x"), "socket connection error while opening: timed out", "no answer in time"),
        (LDAPStartTLSError("x"), "startTLS failed - protocolError", "offers no StartTLS (protocolError)"),
        (LDAPStartTLSError("x"), f"wrap socket error: {EXPIRED}", EXPIRED),
        (LDAPSocketOpenError("invalid server address"), None, "does not resolve"),
        (LDAPSessionTerminatedByServerError("x"), "an old one", "the server ended the connection, or did not answer"),
        (OSError(errno.EHOSTUNREACH, "No route to host"), None, "No route to host (is the host up"),
        (OSError(errno.EMFILE, "Too many open files"), None, "Too many open files"),
        (TypeError("'NoneType' object"), None, "the answer broke off or is not LDAP (TypeError: "),
    ],
)
def test_what_failed_is_told_without_the_names_of_a_library(error: Exception, said: str | None, words: str) -> None:
    text = in_words(error, said)
    assert text.startswith(words) or words in text
    assert "LDAPS" not in text
    assert "Errno" not in text
