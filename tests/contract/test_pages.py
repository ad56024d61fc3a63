"""Going through a large answer page by page: the same entries, a few at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ldapmilter.directory.backend.filters import And, Equal, Present, Substring
from ldapmilter.directory.backend.store import PAGE_SIZE, Deadline
from tests.contract.backends import LIMIT
from tests.contract.crowd import BULK
from tests.contract.shapes import ANN, ANN_DN

if TYPE_CHECKING:
    from ldapmilter.directory.backend.filters import Filter
    from ldapmilter.directory.backend.raw_entry import RawEntry
    from ldapmilter.directory.backend.store import Scope
    from tests.contract.backends import BackEnd, Searcher

DELIVERY = "zimbraMailDeliveryAddress"
EVERYBODY = And((Equal("objectClass", "zimbraAccount"), Substring(DELIVERY, ("", "@bulk.test"))))


def pages(store: Searcher, search_filter: Filter, base: str = "", scope: Scope = "sub") -> list[list[RawEntry]]:
    deadline = Deadline.after(LIMIT, store.clock)
    return list(store.store.pages(base, scope, search_filter, (DELIVERY,), deadline))


def test_many_entries_come_in_bounded_pages_each_of_them_once(store: Searcher) -> None:
    found = pages(store, EVERYBODY)
    assert all(0 < len(page) <= PAGE_SIZE for page in found)
    assert len(found) == -(-BULK // PAGE_SIZE)
    dns = [raw.dn for page in found for raw in page]
    assert len(dns) == BULK
    assert sorted(dns) == sorted(raw.dn for raw in store.raws(EVERYBODY, DELIVERY))


def test_pages_hold_what_was_asked_for(store: Searcher) -> None:
    ((raw,),) = pages(store, Equal(DELIVERY, ANN))
    assert (raw.dn.lower(), dict(raw.attributes)) == (ANN_DN, {DELIVERY.lower(): (ANN,)})


def test_nothing_found_is_no_page(store: Searcher) -> None:
    assert pages(store, Equal(DELIVERY, "nobody@example.test")) == []


def test_a_page_obeys_the_scope(store: Searcher) -> None:
    (found,) = pages(store, Present("objectClass"), scope="one")
    assert sorted(raw.dn.lower() for raw in found) == ["cn=zimbra", "dc=test"]


def test_other_searches_may_be_sent_between_two_pages(store: Searcher) -> None:
    seen = 0
    for page in store.store.pages("", "sub", EVERYBODY, (DELIVERY,), Deadline.after(LIMIT, store.clock)):
        seen += len(page)
        assert [raw.dn.lower() for raw in store.raws(Equal(DELIVERY, ANN))] == [ANN_DN]
        assert len(store.raws(EVERYBODY)) == BULK
    assert seen == BULK


def test_two_can_page_at_a_time(store: Searcher) -> None:
    deadline = Deadline.after(LIMIT, store.clock)
    both = [store.store.pages("", "sub", EVERYBODY, (DELIVERY,), deadline) for _ in range(2)]
    sizes = [(len(one), len(other)) for one, other in zip(*both, strict=True)]
    assert sum(one for one, _ in sizes) == sum(other for _, other in sizes) == BULK


def test_pages_come_over_every_transport(transport: BackEnd) -> None:
    with transport.opened() as opened:
        found = list(opened.store.pages("", "sub", EVERYBODY, (DELIVERY,), Deadline.after(LIMIT, transport.clock)))
    assert [len(page) for page in found] == [PAGE_SIZE, PAGE_SIZE, BULK - 2 * PAGE_SIZE]
