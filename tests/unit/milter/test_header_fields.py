"""The header fields that are kept of a message: all that any mail has, and little of one that has a million."""

from __future__ import annotations

import sys

from ldapmilter.mailbox.reading import read_from
from ldapmilter.milter.header_fields import MAX_KEPT, MAX_KEPT_CHARACTERS, HeaderFields


def taken(*fields: tuple[str, bytes]) -> HeaderFields:
    found = HeaderFields(frozenset({"from", "x-authenticated-user", "message-id"}))
    for name, value in fields:
        found.take(name, value)
    return found


def test_what_is_wanted_is_kept_in_order_and_counted() -> None:
    found = taken(("from", b"a"), ("subject", b"s"), ("message-id", b"<1>"), ("from", b"caf\xe9"))
    assert found.all() == [("from", "a"), ("message-id", "<1>"), ("from", "caf\udce9")]
    assert found.headers().fields == tuple(found.all())
    assert found.counts == {"from": 2, "message-id": 1}
    assert found.values("from") == ("a", "caf\udce9")
    assert found.values("message-id") == ("<1>",)


def test_past_the_bound_the_first_and_the_last_are_kept_and_a_field_that_nobody_can_read() -> None:
    found = taken(*[("from", b"%d" % number) for number in range(MAX_KEPT + 50)], ("message-id", b"<1>"))
    values = found.values("from")
    assert values[:MAX_KEPT] == tuple(map(str, range(MAX_KEPT)))
    assert values[MAX_KEPT:] == ("(49 more fields, which were not kept)", str(MAX_KEPT + 49))
    assert not read_from([values[MAX_KEPT]]).mailboxes
    assert found.counts["from"] == MAX_KEPT + 50
    assert found.values("message-id") == ("<1>",)  # one that came too late for the others' sake


def test_one_too_many_is_kept_as_it_is() -> None:
    assert taken(*[("from", b"x")] * (MAX_KEPT + 1)).values("from") == ("x",) * (MAX_KEPT + 1)


def test_the_last_of_too_many_is_the_one_that_zimbra_wrote() -> None:
    flood = [("x-authenticated-user", b"forged@x.test")] * 5000
    assert taken(*flood, ("x-authenticated-user", b"ann@x.test")).values("x-authenticated-user")[-1] == "ann@x.test"


def test_memory_is_bounded_in_characters_too() -> None:
    field = b"x" * (MAX_KEPT_CHARACTERS // 4)
    found = taken(*[("from", field)] * 100)
    assert sum(sys.getsizeof(value) for value in found.values("from")) < 2 * MAX_KEPT_CHARACTERS
    assert found.counts["from"] == 100


def test_nothing_is_kept_when_nothing_is_wanted() -> None:
    found = HeaderFields()
    found.take("from", b"a")
    assert (found.all(), found.counts) == ([], {})
