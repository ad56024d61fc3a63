"""Each reader of an option: what it takes, and what it says about the rest."""

from __future__ import annotations

import contextlib
from pathlib import Path
from types import FunctionType
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ldapmilter import options

if TYPE_CHECKING:
    from collections.abc import Callable

ACCEPTED: list[tuple[Callable[[str], Any], str, Any]] = [
    (options.boolean, "yes", True),
    (options.boolean, "YES", True),
    (options.boolean, "true", True),
    (options.boolean, "on", True),
    (options.boolean, "1", True),
    (options.boolean, "no", False),
    (options.boolean, "No", False),
    (options.boolean, "false", False),
    (options.boolean, "off", False),
    (options.boolean, "0", False),
    (options.choice("apply", "observe"), "apply", "apply"),
    (options.choice("apply", "observe"), "OBSERVE", "observe"),
    (options.whole(1, 64), "1", 1),
    (options.whole(1, 64), "64", 64),
    (options.whole(1, 64), "007", 7),
    (options.seconds(0.1, 60), "0.1", 0.1),
    (options.seconds(0.1, 60), "3", 3.0),
    (options.seconds(0, 60), "0", 0.0),
    (options.octal_mode, "0660", 0o660),
    (options.octal_mode, "660", 0o660),
    (options.octal_mode, "0600", 0o600),
    (options.octal_mode, "0000", 0),
    (options.path, "", None),
    (options.path, "/etc/x", Path("/etc/x")),
    (options.attributes, "", ()),
    (options.attributes, "a", ("a",)),
    (options.attributes, "ldapMilterArchiveBcc zimbraArchiveAccount", ("ldapMilterArchiveBcc", "zimbraArchiveAccount")),
    (options.attributes, "  a \t b\nc ", ("a", "b", "c")),
    (options.attributes, "a, b,c", ("a", "b", "c")),
    (options.attributes, "a b a", ("a", "b")),
    (options.uris, "ldap://one", ("ldap://one",)),
    (options.uris, "ldap://one:389 ldaps://two:636", ("ldap://one:389", "ldaps://two:636")),
    (options.uris, "LDAP://One", ("LDAP://One",)),
    (options.uris, "ldap://one:389/", ("ldap://one:389/",)),
    (options.uris, "ldap://[::1]:389", ("ldap://[::1]:389",)),
    (options.uris, "ldapi://%2Frun%2Fldapi", ("ldapi://%2Frun%2Fldapi",)),
    (options.uris, "ldapi:///", ("ldapi:///",)),
    (options.uris, "ldif:directory.ldif", ("ldif:directory.ldif",)),
    (options.uris, "ldif:/a file with blanks.ldif", ("ldif:/a file with blanks.ldif",)),
    (options.networks, "auto", "auto"),
    (options.networks, "AUTO", "auto"),
    (options.networks, "", ()),
    (options.networks, "192.0.2.1", ("192.0.2.1",)),
    (options.networks, "192.0.2.0/24 2001:db8::/32", ("192.0.2.0/24", "2001:db8::/32")),
    (options.networks, "192.0.2.0/24,10.0.0.0/8", ("192.0.2.0/24", "10.0.0.0/8")),
]

REFUSED: list[tuple[Callable[[str], Any], str, str]] = [
    (options.boolean, "", "yes or no"),
    (options.boolean, "maybe", "yes or no"),
    (options.boolean, "2", "yes or no"),
    (options.choice("apply", "observe"), "", "apply or observe"),
    (options.choice("apply", "observe"), "appl", "apply or observe"),
    (options.whole(1, 64), "0", "from 1 to 64"),
    (options.whole(1, 64), "65", "from 1 to 64"),
    (options.whole(1, 64), "", "whole number"),
    (options.whole(1, 64), "-1", "whole number"),
    (options.whole(1, 64), "+1", "whole number"),
    (options.whole(1, 64), "1.5", "whole number"),
    (options.whole(1, 64), "1_0", "whole number"),
    (options.whole(1, 64), "\u0661", "whole number"),
    (options.whole(1, 64), "0x10", "whole number"),
    (options.whole(1, 64), "9" * 5000, "whole number"),
    (options.seconds(0.1, 60), "0", "from 0.1 to 60"),
    (options.seconds(0.1, 60), "61", "from 0.1 to 60"),
    (options.seconds(0.1, 60), "nan", "seconds"),
    (options.seconds(0.1, 60), "inf", "seconds"),
    (options.seconds(0.1, 60), "1e1", "seconds"),
    (options.seconds(0.1, 60), "3s", "seconds"),
    (options.seconds(0.1, 60), "", "seconds"),
    (options.octal_mode, "0888", "octal"),
    (options.octal_mode, "rw-rw----", "octal"),
    (options.octal_mode, "", "octal"),
    (options.octal_mode, "0o660", "octal"),
    (options.octal_mode, "66", "octal"),
    (options.octal_mode, "17777", "octal"),
    (options.attributes, "1a", "attribute"),
    (options.attributes, "a b*", "'b*'"),
    (options.attributes, "a)(b", "attribute"),
    (options.attributes, "ä", "attribute"),
    (options.uris, "", "ldap://"),
    (options.uris, "one", "ldap://"),
    (options.uris, "http://one", "ldap://"),
    (options.uris, "ldap://", "ldap://"),
    (options.uris, "ldap://one two", "ldap://"),
    (options.uris, "ldap://one/dc=test", "ldap://"),
    (options.uris, "ldap://one ldif:x", "ldif:FILE"),
    (options.uris, "ldif:", "ldif:FILE"),
    (options.networks, "auto 192.0.2.1", "CIDR"),
    (options.networks, "mail.example.test", "'mail.example.test'"),
    (options.networks, "192.0.2.0/33", "CIDR"),
    (options.milter_socket, "inet:8800", "inet:host:port"),
    (options.milter_socket, "", "unix:/path"),
]


def _name(value: object) -> str:
    return value.__qualname__ if isinstance(value, FunctionType) else repr(value)[:40]


@pytest.mark.parametrize(("read", "text", "value"), ACCEPTED, ids=_name)
def test_accepted(read: Callable[[str], Any], text: str, value: object) -> None:
    assert read(text) == value


@pytest.mark.parametrize(("read", "text", "words"), REFUSED, ids=_name)
def test_refused(read: Callable[[str], Any], text: str, words: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        read(text)
    assert words in str(caught.value)


@settings(deadline=None)
@given(st.text())
def test_any_text_is_taken_or_refused_and_nothing_else(text: str) -> None:
    for read in (
        options.boolean,
        options.choice("a", "b"),
        options.whole(0, 10),
        options.seconds(0, 10),
        options.octal_mode,
        options.attributes,
        options.uris,
        options.networks,
        options.milter_socket,
    ):
        with contextlib.suppress(ValueError):
            read(text)


@pytest.mark.parametrize(
    ("name", "meant"),
    [("ur", "uri"), ("URI", "uri"), ("bind_pasword_file", "bind_password_file"), ("start_tls", "starttls")],
)
def test_the_nearest_name(name: str, meant: str) -> None:
    assert options.nearest(name, ["uri", "bind_dn", "bind_password_file", "starttls", "ca_file"]) == meant


def test_some_name_is_always_nearest() -> None:
    assert options.nearest("zzzz", ["uri"]) == "uri"
    assert options.nearest("", ["uri", "ttl"]) in {"uri", "ttl"}
