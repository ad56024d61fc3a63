"""Whatever octets a message has: its report is one that the grammar allows, with the message in it unchanged."""

from __future__ import annotations

from typing import Final

from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.support.journal_readers import archived_recipients, by_email, strictly
from tests.unit.relay.reports import decided, expanded, octets, to_list

NAMES: Final = [b"From", b"To", b"Cc", b"Subject", b"Message-ID", b"Received", b"X-Note", b"content-type"]
PIECES: Final = st.lists(
    st.sampled_from(
        [
            b"bob@example.com",
            b"<",
            b">",
            b",",
            b'"',
            b"(",
            b")",
            b":",
            b";",
            b"=?utf-8?B?",
            b"?=",
            b"\r\n ",
            b"\r",
            b"\n",
            b"\xe9",
            b"\x00",
            b"eve@evil.example",
            b"\r\nBcc: x@y.example",
            b"Expanded: ",
            b" ",
            b"\xe2\x80\xae",
            b"\\",
        ]
    )
    | st.binary(max_size=8),
    max_size=12,
).map(b"".join)
FIELDS: Final = st.lists(st.tuples(st.sampled_from(NAMES), PIECES), max_size=6)
OFFERED: Final = ("all@example.com", "bob@example.com", "eve@client.example.net")


@settings(max_examples=60, deadline=None)
@given(FIELDS, st.binary(max_size=80))
@example([(b"Subject", b"=?utf-8?B?DQpCY2M6IGV2ZUBldmlsLmV4YW1wbGUNCg==?=")], b"")
@example([(b"To", b"\r\n\r\n")], b"--journal-\r\n")
@example([(b"From", b"\r\n :\xe9")], b"")
def test_any_message(fields: list[tuple[bytes, bytes]], body: bytes) -> None:
    message = b"".join(name + b": " + value + b"\r\n" for name, value in fields) + b"\r\n" + body + b"\r\n"
    made = octets(decided(offered=OFFERED), expanded(to_list("all@example.com", "carl@example.com")), message)
    journal = strictly(made)
    assert journal.original == message
    assert sorted(line.partition(": ")[2] for line in journal.recipients) == [
        "bob@example.com",
        "carl@example.com, Expanded: all@example.com",
        "eve@client.example.net",
    ]
    other = by_email(made)
    assert (other.sender, other.recipients) == (journal.sender, journal.recipients)
    assert {"bob@example.com", "carl@example.com", "eve@client.example.net"} <= set(archived_recipients(made))
