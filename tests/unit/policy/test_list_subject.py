"""The tag of a list in a Subject: on raw header values, what is not the tag octet for octet."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ldapmilter.mailbox.reading import read_text
from ldapmilter.policy.list_subject import tagged

TAG = "[staff]"


@pytest.mark.parametrize(
    ("came", "goes"),
    [
        ("Lunch", "[staff] Lunch"),
        ("", "[staff]"),
        ("  ", "[staff]"),
        ("[staff] Lunch", None),
        ("[STAFF] Lunch", "[staff] Lunch"),
        ("[staff]", None),
        ("[staff][staff] Lunch", "[staff] Lunch"),
        ("Re: Lunch", "Re: [staff] Lunch"),
        ("Re: [staff] Lunch", None),
        ("Re: AW: [staff] Lunch", "Re: [staff] Lunch"),
        ("AW: SV: VS: RE: Lunch", "AW: [staff] Lunch"),
        ("[staff] Re: Lunch", "Re: [staff] Lunch"),
        ("[staff] Re: [staff] Lunch", "Re: [staff] Lunch"),
        ("Re[2]: Lunch", "Re[2]: [staff] Lunch"),
        ("Fwd: Lunch", "Fwd: [staff] Lunch"),
        ("Fwd: [staff] Lunch", None),
        ("Re: Fwd: Lunch", "Re: Fwd: [staff] Lunch"),
        ("Lunch [staff]", "[staff] Lunch [staff]"),
        ("Reply: Lunch", "[staff] Reply: Lunch"),
        ("Lunch\n\tand  more", "[staff] Lunch\n\tand  more"),
        ("Lunch\r\n\tand  more", "[staff] Lunch\n\tand  more"),
        ("\n\tLunch", "[staff] Lunch"),
        ("Grüße", "[staff] Grüße"),
        ("=?utf-8?Q?Gr=C3=BC=C3=9Fe?=", "[staff] =?utf-8?Q?Gr=C3=BC=C3=9Fe?="),
        ("=?utf-8?Q?=5Bstaff=5D_Gr=C3=BC=C3=9Fe?=", "[staff] =?utf-8?Q?Gr=C3=BC=C3=9Fe?="),
        ("=?utf-8?B?W3N0YWZmXSBHcsO8w59l?=", "[staff] =?utf-8?B?R3LDvMOfZQ==?="),
        ("=?iso-8859-1?q?Re:_[staff]_Gr=FC=DFe?=", "Re: [staff] =?iso-8859-1?q?Gr=FC=DFe?="),
        ("Re: =?utf-8?Q?[Staff]?= =?utf-8?Q?_Gr=C3=BC=C3=9Fe?= x", "Re: [staff] =?utf-8?Q?Gr=C3=BC=C3=9Fe?= x"),
        ("=?utf-8?Q?[sta?= =?utf-8?Q?ff]_Gr=C3=BC?=", "[staff] =?utf-8?Q?Gr=C3=BC?="),
        ("=?utf-8?Q?[staff]?=", "[staff]"),
        ("=?utf-8?Q?[staff]_G=C3?= =?utf-8?Q?=BC?=", "[staff] =?utf-8?Q?G=C3?= =?utf-8?Q?=BC?="),
        ("=?iso-2022-jp?B?W3N0YWZmXSAbJEI/TRsoQg==?=", "[staff] =?iso-2022-jp?B?GyRCP00bKEI=?="),
        ("=?x-unknown?Q?[staff]_x?=", "[staff] =?x-unknown?Q?[staff]_x?="),
        ("=?utf-16?B?//5bAHMA?=", "[staff] =?utf-16?B?//5bAHMA?="),
        ("caf\udce9 now", "[staff] =?windows-1252?Q?caf=E9?= now"),
        ("=?utf-8?Q?a?= caf\udce9 =?utf-8?Q?b?=", "[staff] =?utf-8?Q?a?= =?windows-1252?Q?_caf=E9_?= =?utf-8?Q?b?="),
        ("caf\udce9 th\udce9", "[staff] =?windows-1252?Q?caf=E9_th=E9?="),
    ],
)
def test_tag(came: str, goes: str | None) -> None:
    assert tagged(came, TAG) == goes


def test_a_line_of_998_octets_stays_and_the_tag_gets_one_of_its_own() -> None:
    long = "x" * (998 - len("Subject: "))
    assert tagged(long, TAG) == f"[staff]\n {long}"


@pytest.mark.parametrize("came", ["Essen", "=?utf-8?Q?Gr=C3=BC=C3=9Fe?="])
def test_a_tag_that_is_not_ascii_is_parted_from_what_follows(came: str) -> None:
    changed = tagged(came, "[Büro]")
    assert changed is not None
    assert changed.isascii()
    assert read_text(changed) == f"[Büro] {read_text(came)}"
    assert changed.endswith(came)


SUBJECTS = st.lists(
    st.sampled_from(
        [
            "Re: ", "AW:", "fwd: ", "[staff]", "[STAFF] ", " ", "\n ", "\n\t", "x", "Grüße", "caf\udce9",
            "=?utf-8?Q?[staff]?=", "=?utf-8?Q?Re:_[staff]_G=C3?= =?utf-8?Q?=BC?=", "=?utf-8?B?W3N0YWZmXSBH?=",
            "=?bad?X??=",
        ]
    ),
    max_size=8,
).map("".join) | st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=30)  # fmt: skip


@given(SUBJECTS)
def test_a_tagged_subject_is_tagged_once_and_stays_so(came: str) -> None:
    changed = tagged(came, TAG)
    once = came if changed is None else changed
    if changed is not None:
        changed.encode()  # libmilter can pass it on
    assert tagged(once, TAG) in (None, once)
    assert "[staff]" in once


@given(st.text(st.characters(codec="utf-8", exclude_characters="\x00\r\n"), max_size=200))
def test_what_is_not_the_tag_is_left_to_the_octet(came: str) -> None:
    plain = f"Lunch {came}".rstrip(" \t")
    changed = tagged(plain, TAG)
    assert changed is not None
    assert changed in (f"[staff] {plain}", f"[staff]\n {plain}")


def test_a_tag_that_a_mail_program_folded_is_found() -> None:
    assert tagged("Re:\n [our\n\tstaff] x", "[our staff]") == "Re: [our staff] x"
    assert tagged("[our\r\n staff] x", "[our staff]") == "[our staff] x"


@pytest.mark.parametrize("mark", ["=?utf-8?Q?=C5=BFv:_x?=", "=?utf-8?Q?Re[=D9=A3]:_x?="])
def test_what_only_resembles_a_mark_is_none_and_stays_encoded(mark: str) -> None:
    assert tagged(mark, "[staff]") == f"[staff] {mark}"


LONG = {
    "one word": "a" * 300_000,
    "one word before another with an octet that is no UTF-8": "a" * 300_000 + " \udcff",
    "blanks": "a" + " " * 300_000 + "b",
    "words of nothing": "=?utf-8?Q??= " * 20_000 + "x",
    "marks": "Re: " * 20_000,
}


@pytest.mark.parametrize("what", LONG)
def test_an_enormous_subject_takes_no_longer_than_its_length(what: str) -> None:
    """In the square of it, this would not come to an end."""
    value = tagged(LONG[what], TAG)
    assert value is not None
    assert TAG in value
