"""Journal reports, read back by readers of their own: fields, recipients, octets."""

from __future__ import annotations

import tracemalloc
from typing import TYPE_CHECKING

import pytest
from msgspec.structs import replace

from ldapmilter.relay.original import header_fields
from ldapmilter.relay.report import build
from tests.support.journal_readers import archived_recipients, by_email, original_by_email, strictly
from tests.unit.relay.reports import (
    EXPANDED,
    MESSAGE,
    SETTINGS,
    TOKEN,
    decided,
    expanded,
    forwarding,
    message,
    octets,
    read,
    to_list,
)

if TYPE_CHECKING:
    from collections.abc import Iterator


class Large:
    """A message of 60 MB that nobody has to hold."""

    eight_bit = False

    @property
    def size(self) -> int:
        return sum(map(len, self.chunks()))

    def values(self, name: str) -> tuple[str, ...]:
        return header_fields(self.chunks()).get(name, ())

    def chunks(self) -> Iterator[bytes]:
        yield MESSAGE
        line = b"x" * 76 + b"\r\n"
        for _ in range(920):
            yield line * 840


class TestHeader:
    def test_a_target_that_is_not_ascii_stands_as_it_is(self) -> None:
        header = octets(decided(target="tr\u00e9sor@archive.example.net")).partition(b"\r\n\r\n")[0].decode()
        assert "\r\nTo: tr\u00e9sor@archive.example.net\r\n" in header
        assert "\r\nContent-Transfer-Encoding: 8bit" in header

    def test_the_fields_in_their_order(self) -> None:
        whole = octets(decided(classes=("archive", "legal"), refs=("K-7", "K-9")), seal="12:abc")
        header = whole.partition(b"\r\n\r\n")[0].decode("ascii")
        assert header.replace("\r\n ", " ").split("\r\n") == [
            "From: Copies <copies@example.com>",
            "To: vault@archive.example.net",
            "Subject: The offer",
            "Date: Mon, 15 Jun 2026 10:00:00 +0000",
            f"Message-ID: <{TOKEN}@copies.invalid>",
            "X-MS-Journal-Report:",
            "Auto-Submitted: auto-generated",
            "X-Ldapmilter-Queue-Id: 4Tq1Xz0abcz9",
            "X-Ldapmilter-Class: archive legal",
            "X-Ldapmilter-Ref: K-7 K-9",
            "X-Ldapmilter-Decided: 2026-06-15T10:00:00.123Z",
            "X-Ldapmilter-Expanded: 2026-06-15T10:00:01.000Z",
            "X-Ldapmilter-Seal: 12:abc",
            "MIME-Version: 1.0",
            f'Content-Type: multipart/mixed; boundary="journal-{TOKEN}-0"',
        ]

    def test_what_there_is_none_of_has_no_field(self) -> None:
        headers = strictly(octets()).headers
        assert "X-Ldapmilter-Ref" not in headers
        assert "X-Ldapmilter-Seal" not in headers

    def test_an_expansion_that_is_not_whole_says_so(self) -> None:
        whole = octets(behind=replace(expanded(), incomplete=True))
        assert strictly(whole).headers["X-Ldapmilter-Expanded"] == "2026-06-15T10:00:01.000Z incomplete"

    def test_the_subject_is_encoded_anew(self) -> None:
        journal = by_email(
            octets(message=message("From: a@b.example", "Subject: =?iso-8859-1?Q?Gr=FC=DFe?= an\r\n alle"))
        )
        assert journal.headers["Subject"] == journal.subject == "Grüße an alle"

    @pytest.mark.parametrize(
        "subject", ["x\r\n\tBcc: eve@evil.example", "=?utf-8?B?eAoNCkJjYzogZXZlQGV2aWwuZXhhbXBsZQ==?="]
    )
    def test_a_subject_breaks_out_of_no_line(self, subject: str) -> None:
        journal = read(message=message("To: bob@example.com", f"Subject: {subject}"))
        assert journal.recipients == ("To: bob@example.com",)
        assert journal.subject == "x Bcc: eve@evil.example"

    def test_a_long_subject_is_cut_between_characters(self) -> None:
        journal = read(message=message(f"Subject: {'ü' * 2000}"))
        assert journal.subject == "ü" * 450

    def test_no_subject_and_no_message_id(self) -> None:
        journal = read(message=message("To: bob@example.com"))
        assert (journal.subject, journal.message_id) == ("", "Unknown Message-ID")


class TestSender:
    def test_nobody(self) -> None:
        assert read(decided(sender="", identified=False)).sender == "<>"

    @pytest.mark.parametrize(
        ("written", "behalf"),
        [
            ("From: Ann <ann@example.com>", None),
            ("From: ANN@Example.com", None),
            ("From: Boss <boss@example.com>", "boss@example.com"),
            ("From: ann@example.com, boss@example.com", "boss@example.com"),
            ("From: boss@example.com (", None),
            ("From: undisclosed:;", None),
            ("X-Note: no From at all", None),
        ],
    )
    def test_who_else_stands_in_from(self, written: str, behalf: str | None) -> None:
        assert read(message=message(written, "To: bob@example.com")).on_behalf_of == behalf


class TestRecipients:
    def test_each_stands_where_the_header_has_it(self) -> None:
        journal = read(
            decided(offered=("Eve@Example.com", "carl@example.com", "bob@example.com", "dan@example.com")),
            message=message("To: Bob <bob@example.com>", "Cc: carl@example.com,", " =?utf-8?Q?D?= <DAN@example.com>"),
        )
        assert journal.recipients == (
            "To: bob@example.com",
            "Cc: carl@example.com",
            "Cc: dan@example.com",
            "Bcc: eve@example.com",
        )

    def test_without_identity_a_header_proves_nothing(self) -> None:
        journal = read(
            decided(identified=False, sender="joe@client.example.net", offered=("all@example.com", "eve@example.com")),
            expanded(to_list("all@example.com", "bob@example.com")),
        )
        assert journal.recipients == (
            "Recipient: bob@example.com, Expanded: all@example.com",
            "Recipient: eve@example.com",
        )

    def test_members_stand_where_their_list_stands(self) -> None:
        journal = read(
            decided(offered=("All@example.com", "hidden@example.com")),
            expanded(
                to_list("All@example.com", "bob@example.com", "carl@example.com"),
                to_list("hidden@example.com", "dan@example.com", "eve@example.com"),
            ),
            message("To: all@example.com", "Cc: eve@example.com"),
        )
        assert journal.recipients == (
            "To: bob@example.com, Expanded: all@example.com",
            "To: carl@example.com, Expanded: all@example.com",
            "Cc: eve@example.com, Expanded: hidden@example.com",
            "Bcc: dan@example.com, Expanded: hidden@example.com",
        )

    def test_a_list_by_another_of_its_names(self) -> None:
        journal = read(
            decided(offered=("all@example.com",)),
            expanded(to_list("all@example.com", "bob@example.com", also=("everybody@example.com",))),
            message("Cc: everybody@example.com"),
        )
        assert journal.recipients == ("Cc: bob@example.com, Expanded: all@example.com",)

    def test_a_list_without_anybody_has_a_line_of_its_own(self) -> None:
        journal = read(decided(offered=("empty@example.com",)), expanded(to_list("empty@example.com")))
        assert journal.recipients == ("Bcc: empty@example.com",)

    def test_who_forwards_and_keeps_has_both_lines(self) -> None:
        journal = read(behind=expanded(forwarding("bob@example.com", "bob@home.example.net")))
        assert journal.recipients == (
            "To: bob@example.com",
            "To: bob@home.example.net, Forwarded: bob@example.com",
        )

    def test_who_forwards_and_keeps_nothing_has_none(self) -> None:
        journal = read(behind=expanded(forwarding("bob@example.com", "bob@home.example.net", keeps=False)))
        assert journal.recipients == ("To: bob@home.example.net, Forwarded: bob@example.com",)

    def test_each_address_once_direct_first(self) -> None:
        journal = read(
            decided(offered=("list-cc@example.com", "list-to@example.com", "bob@example.com", "carl@example.com")),
            expanded(
                to_list("list-cc@example.com", "bob@example.com", "dan@example.com"),
                to_list("list-to@example.com", "dan@example.com", "carl@example.com"),
            ),
            message("To: list-to@example.com", "Cc: list-cc@example.com, bob@example.com"),
        )
        assert journal.recipients == (
            "To: dan@example.com, Expanded: list-to@example.com",
            "Cc: bob@example.com",
            "Bcc: carl@example.com",
        )

    def test_copies_are_not_listed(self) -> None:
        assert b"vault@archive.example.net" not in octets().partition(b"\r\n\r\n")[2]

    def test_a_local_part_in_quotes_stays_one_address(self) -> None:
        journal = read(decided(offered=('"x, Expanded: boss@example.com"@client.example.net',)))
        assert journal.recipients == ('Bcc: "x, expanded: boss@example.com"@client.example.net',)

    def test_addresses_beyond_ascii(self) -> None:
        journal = read(decided(offered=("jörg@example.net",)), message=message("To: jörg@example.net"))
        assert journal.recipients == ("To: jörg@example.net",)

    def test_a_thousand_in_to(self) -> None:
        names = [f"person-{number}@example.com" for number in range(3000)]
        journal = read(decided(offered=tuple(names)), message=message("To: " + ",\r\n ".join(names)))
        assert journal.recipients == tuple(f"To: {name}" for name in names)


class TestOctets:
    @pytest.mark.parametrize(
        "body",
        [
            b"\r\n",
            b"",
            b"8-bit \xe9\xff without MIME\r\n",
            b"." * 998 + b"\r\n.\r\n..\r\n",
            b"x" * 5000 + b"\r\n",
            b"\r\n\r\n\r\n",
            b"bare \r and \n and \x00\r\n",
        ],
    )
    def test_the_message_is_the_same_to_the_last_octet(self, body: bytes) -> None:
        whole = MESSAGE.partition(b"\r\n\r\n")[0] + b"\r\n\r\n" + body
        assert strictly(octets(message=whole)).original == whole

    @pytest.mark.parametrize(
        "whole", [b"\r\nno header\r\n", b"no header at all\r\n", b"\r\n", b"From: ann@example.com\r\n", b"a b: c\r\n"]
    )
    def test_no_header_or_no_body(self, whole: bytes) -> None:
        journal = strictly(octets(message=whole))
        assert journal.original == whole
        assert journal.recipients == ("Bcc: bob@example.com",)

    def test_the_boundary_stands_nowhere_in_the_message(self) -> None:
        taken = f"--journal-{TOKEN}-0\r\n".encode()
        whole = MESSAGE + taken
        journal = strictly(octets(message=whole))
        assert journal.original == whole
        assert journal.headers["Content-Type"].endswith('-1"')

    def test_a_report_that_is_made_again_is_the_same(self) -> None:
        assert octets() == octets()

    def test_a_message_of_60_mb_is_never_held(self) -> None:
        tracemalloc.start()
        try:
            made = build(decided(), EXPANDED, Large(), SETTINGS)
            size = sum(map(len, made.chunks()))
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert size == made.size > 60_000_000
        assert peak < 2_000_000

    def test_python_finds_the_same_message(self) -> None:
        assert original_by_email(octets()) == MESSAGE


class TestArchive:
    def test_it_finds_everybody_and_not_the_archive_itself(self) -> None:
        whole = octets(
            decided(offered=("all@example.com", "bob@example.com", "eve@client.example.net")),
            expanded(
                to_list("all@example.com", "carl@example.com"),
                forwarding("bob@example.com", "bob@home.example.net"),
            ),
            message(
                "From: ann@example.com",
                "To: all@example.com, bob@example.com",
                "Subject: x",
                body="To: no@x.example\r\n",
            ),
        )
        assert archived_recipients(whole) == [
            "carl@example.com",
            "bob@example.com",
            "bob@home.example.net",
            "eve@client.example.net",
            "all@example.com",
        ]
