"""What ldap3 and OpenSSL say of a failed connection, in words that name what to look at."""

from __future__ import annotations

import errno
import ssl
from typing import TYPE_CHECKING

import pytest
from ldap3.core.exceptions import (
    LDAPSessionTerminatedByServerError,
    LDAPSocketOpenError,
    LDAPSocketReceiveError,
    LDAPSocketSendError,
    LDAPStartTLSError,
)

from ldapmilter.directory.ldap.endpoints import Endpoints
from ldapmilter.directory.ldap.failure_text import EXPIRED, certificate, handshake, in_words, refused_bind
from ldapmilter.directory.ldap.tls import tls_settings
from ldapmilter.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

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


def test_a_bind_that_is_refused_is_told_with_what_to_look_at() -> None:
    told = refused_bind("uid=x", "invalidCredentials (49)", 49)
    assert told == "bind as uid=x refused: invalidCredentials (49): wrong password, or there is no such identity"
    assert "set [ldap] starttls = yes" in refused_bind("uid=x", "confidentialityRequired (13)", 13)
    assert refused_bind("uid=x", "busy (51)", 51) == "bind as uid=x refused: busy (51)"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "No such file or directory; name the file of the CA"),
        ("root:x:0:0\n", "it holds no CA certificate in PEM form; name the file of the CA"),
    ],
)
def test_a_ca_file_that_cannot_be_used(tmp_path: Path, content: str | None, said: str) -> None:
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_text(content, encoding="utf-8")
    with pytest.raises(ConfigError) as raised:
        tls_settings(Endpoints(uris=(), ca_file=file))
    assert str(raised.value).startswith(f"[ldap] ca_file = {file}: cannot be used: {said}")


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
        (
            LDAPSocketSendError("x"),
            "socket sending errorEOF occurred in violation of protocol (_ssl.c:2427)",
            "the server ended the connection, or did not answer",
        ),
        (LDAPSocketSendError("x"), "socket sending error[Errno 32] Broken pipe", "Broken pipe (the server, or a fire"),
        (
            LDAPSocketReceiveError("x"),
            "error receiving data: [SSL: BAD_MAC] decryption failed or bad record mac (_ssl.c:2580)",
            "decryption failed or bad record mac",
        ),
        (ssl.SSLEOFError(8, "EOF occurred in violation of protocol (_ssl.c:2427)"), None, "the server ended the conn"),
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
    assert "_ssl" not in text
    assert "error" not in text.split()[0]
