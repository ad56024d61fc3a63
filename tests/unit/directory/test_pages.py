"""Paged searches that break off: an error wherever it happens, never an answer that is too short."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from ldapmilter.directory.backend.filters import Substring
from ldapmilter.directory.backend.store import PAGE_SIZE, Deadline
from ldapmilter.directory.ldap.endpoints import LdapSettings
from ldapmilter.directory.ldap.servers import LdapStore
from ldapmilter.errors import DirectoryUnavailable
from tests.support.builders import account, domain
from tests.support.identities import MILTER_DN, MILTER_PASSWORD
from tests.support.ports import HANG, free_port
from tests.support.slapd import Slapd
from tests.support.zimbra_base import base_records
from tests.unit.directory import peers
from tests.unit.directory.hand import Clock
from tests.unit.directory.peers import Peer, answering, found, hang_up

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ldapmilter.directory.backend.raw_entry import RawEntry

ACCOUNTS = 2 * PAGE_SIZE + 10
AMPLE, SHORT = 60.0, 3.0
RECORDS = [
    *base_records(),
    *domain("example.test"),
    *(one for number in range(ACCOUNTS) for one in account(f"u{number}@example.test")),
]
FILTER = Substring("zimbraMailDeliveryAddress", ("u", "@example.test"))


@pytest.fixture
def slapd() -> Iterator[Slapd]:
    """Return a running server of the test's own with three pages of accounts."""
    with Slapd(RECORDS) as server:
        yield server


@contextmanager
def opened(*uris: str, **settings: Any) -> Iterator[LdapStore]:
    given = {"bind_dn": MILTER_DN, "read_password": lambda: MILTER_PASSWORD, "starttls": False, **settings}
    store = LdapStore(LdapSettings(uris=uris, **given), time.monotonic)
    try:
        yield store
    finally:
        store.close()


def pages(store: LdapStore, seconds: float = AMPLE) -> Iterator[list[RawEntry]]:
    return store.pages("", "sub", FILTER, ("uid",), Deadline.after(seconds, time.monotonic))


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_a_server_that_goes_away_between_two_pages_is_unavailable(slapd: Slapd, how: str) -> None:
    with opened(slapd.uri) as store:
        iteration = pages(store)
        assert len(next(iteration)) == PAGE_SIZE
        getattr(slapd, how)()
        with pytest.raises(DirectoryUnavailable, match="in the middle of a paged search"):
            next(iteration)


def test_the_rest_is_not_taken_from_another_server(slapd: Slapd) -> None:
    with Slapd(RECORDS) as other, opened(slapd.uri, other.uri) as store:
        iteration = pages(store)
        next(iteration)
        slapd.stop()
        with pytest.raises(DirectoryUnavailable, match="in the middle"):
            next(iteration)


def test_a_server_that_freezes_between_two_pages_is_given_up_in_the_time_of_a_page(slapd: Slapd) -> None:
    with opened(slapd.uri) as store:
        iteration = pages(store, SHORT)
        next(iteration)
        slapd.suspend()
        started = time.monotonic()
        try:
            with pytest.raises(DirectoryUnavailable, match="in the middle"):
                next(iteration)
        finally:
            slapd.resume()
        assert time.monotonic() - started < HANG


def test_every_page_has_the_time_anew(slapd: Slapd) -> None:
    clock = Clock()
    settings = LdapSettings(uris=(slapd.uri,), bind_dn=MILTER_DN, read_password=lambda: MILTER_PASSWORD, starttls=False)
    store = LdapStore(settings, clock)
    sizes = []
    for page in store.pages("", "sub", FILTER, ("uid",), clock.deadline()):
        sizes.append(len(page))
        clock.now += 3600  # a caller who thinks for longer than a page may take
    store.close()
    assert sizes == [PAGE_SIZE, PAGE_SIZE, 10]


@pytest.mark.parametrize(
    "limit",
    [
        "olcLimits: * size.pr=0 size.prtotal=700\n",
        "olcLimits: * size.prtotal=disabled\n",
        "olcLimits: * size.soft=100 size.hard=700\n",
    ],
    ids=["in the middle", "no paging for this identity", "a hard limit"],
)
def test_a_size_limit_is_an_error_that_says_so(slapd: Slapd, limit: str) -> None:
    slapd.modify(f"dn: olcDatabase={{2}}mdb,cn=config\nchangetype: modify\nadd: olcLimits\n{limit}")
    with opened(slapd.uri) as store:
        got: list[int] = []
        with pytest.raises(DirectoryUnavailable, match=r"(size|admin)LimitExceeded .*olcLimits"):
            got.extend(len(page) for page in pages(store))
        assert sum(got) <= 700


def test_the_next_server_gives_the_first_page(slapd: Slapd) -> None:
    with Peer(hang_up) as bad, opened(f"ldap://127.0.0.1:{free_port()}", bad.uri, slapd.uri) as store:
        assert [len(page) for page in pages(store)] == [PAGE_SIZE, PAGE_SIZE, 10]


def test_a_server_that_ignores_paging_is_not_believed() -> None:
    operations = (found("uid=only", "only"), peers.result(0x65, peers.SUCCESS))
    with (
        Peer(answering(*operations)) as peer,
        opened(peer.uri) as store,
        pytest.raises(DirectoryUnavailable, match="ignores paged results"),
    ):
        list(pages(store))


def test_no_server_at_all_is_unavailable() -> None:
    with opened(f"ldap://127.0.0.1:{free_port()}") as store, pytest.raises(DirectoryUnavailable):
        list(pages(store))


def test_whoever_has_seen_enough_leaves_no_connection_in_the_middle_of_a_search(slapd: Slapd) -> None:
    with opened(slapd.uri) as store:
        for _ in range(3):
            iteration = pages(store)
            next(iteration)
            iteration.close()  # type: ignore[attr-defined]
        assert sum(len(page) for page in pages(store)) == ACCOUNTS
        assert len(store.search("", "sub", FILTER, ("uid",), Deadline.after(AMPLE, time.monotonic))) == ACCOUNTS
