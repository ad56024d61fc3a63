"""What a reload keeps and what it replaces, what a flush reaches, and which messages are waited for."""

from __future__ import annotations

import itertools
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from ldapmilter.config import parse
from ldapmilter.daemon import requests, service
from ldapmilter.daemon.channel import Message, RequestRefused
from ldapmilter.daemon.service import Service, Standing
from ldapmilter.directory.opening import OpenDirectory, open_directory
from ldapmilter.errors import ConfigError
from ldapmilter.message import Envelope
from tests.support.builders import account, domain, global_config
from tests.support.directory_data import base_records
from tests.support.record import to_ldif

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from ldapmilter.config import Config

ANN, BOB = "ann@example.test", "bob@example.test"
FROM_ANN = Envelope(login=ANN, client="192.0.2.1", sender=ANN, recipients=(BOB,))
LDAP = "[ldap]\nuri = ldap://127.0.0.1:9\nstarttls = no\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path, "one@keep.test")
    return tmp_path


def write(folder: Path, archive: str) -> None:
    records = [
        *base_records(),
        *global_config(zimbraDefaultDomainName="example.test"),
        *domain("example.test"),
        *account(ANN, ldapMilterArchiveBcc=archive),
        *account(BOB),
    ]
    (folder / "directory.ldif").write_text(to_ldif(records), encoding="utf-8")


def config(folder: Path, more: str = "", ldap: str = "[ldap]\nuri = ldif:directory.ldif\n[audit]\nfile =\n") -> Config:
    return parse(ldap + more, folder / "config.ini")


@pytest.fixture
def serving(folder: Path) -> Iterator[Service]:
    serving = Service(Standing.of(config(folder)))
    yield serving
    serving.close()


def copies(serving: Service) -> list[str]:
    decision = serving.decide(FROM_ANN, None)
    assert decision is not None
    return [copy.address.text for copy in decision.copies]


# -- reload ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "more",
    [
        "[policy]\nmode = observe\n",
        "[policy]\nmax_copies = 5\n",
        "[milter]\nworkers = 7\n",
        "[metrics]\nlisten = 127.0.0.1:1\n",
    ],
)
def test_what_the_directory_has_no_part_in_keeps_it_and_its_cache(folder: Path, more: str) -> None:
    before = Standing.of(config(folder, ldap=LDAP))
    after = Standing.of(config(folder, more, ldap=LDAP), before)
    assert after.opened is before.opened
    assert after.config is not before.config
    before.opened.close()


@pytest.mark.parametrize(
    ("ldap", "more"),
    [
        (LDAP.replace(":9", ":10"), ""),
        (LDAP, "[cache]\nttl = 5\n"),
        (LDAP, "[groups]\nmax_depth = 3\n"),
        (LDAP, "[copy journal]\nsent_attributes = journalTo\n"),
        (LDAP + "lookup_deadline = 3\n", ""),
    ],
)
def test_another_directory_or_other_attributes_replace_it(folder: Path, ldap: str, more: str) -> None:
    before = Standing.of(config(folder, ldap=LDAP))
    after = Standing.of(config(folder, more, ldap=ldap), before)
    assert after.opened is not before.opened
    before.opened.close()
    after.opened.close()


def test_a_file_is_read_anew(serving: Service, folder: Path) -> None:
    assert copies(serving) == ["one@keep.test"]
    write(folder, "two@keep.test")
    assert copies(serving) == ["one@keep.test"]
    serving.take_over(config(folder))
    assert copies(serving) == ["two@keep.test"]


def test_a_configuration_that_cannot_be_used_changes_nothing(serving: Service, folder: Path) -> None:
    (folder / "directory.ldif").write_text("no ldif\n", encoding="ascii")
    with pytest.raises(ConfigError):
        serving.take_over(config(folder))
    assert copies(serving) == ["one@keep.test"]


def test_the_directory_of_before_is_let_go_of_in_time_and_what_its_cache_counted_stays(
    serving: Service, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copies(serving)
    copies(serving)
    closed: list[OpenDirectory] = []
    monkeypatch.setattr(OpenDirectory, "close", lambda self: closed.append(self))  # noqa: PLW0108 - a method
    before, counted = serving.standing.opened, [serving.directory_numbers()["cache"]]
    assert counted[0]["hits"] > 0
    serving.take_over(config(folder))
    counted.append(serving.directory_numbers()["cache"])
    serving.every_minute()
    assert closed == []
    later = time.monotonic() + 1000
    monkeypatch.setattr(time, "monotonic", lambda: later)
    serving.every_minute()
    assert closed == [before]
    counted.append(serving.directory_numbers()["cache"])
    for earlier, then in itertools.pairwise(counted):
        assert all(then[name] >= earlier[name] for name in earlier)
    assert requests.report(serving, dropped_lines=0)["counts"]["cache"] == counted[-1]


# -- flush ----------------------------------------------------------------------------------


def test_a_flush_reaches_what_a_reload_is_just_warming_up(
    serving: Service, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It does not wait for the reload either, which may be waiting for a directory that is down."""
    warming, go_on = threading.Event(), threading.Event()
    new = open_directory(config(folder))
    monkeypatch.setattr(service, "open_directory", lambda _config: new)
    warm_up = Service.warm_up

    def slow(self: Service, standing: Standing) -> None:
        warm_up(self, standing)
        warming.set()
        assert go_on.wait(20)

    monkeypatch.setattr(Service, "warm_up", slow)
    reloading = threading.Thread(target=serving.take_over, args=(config(folder),), daemon=True)
    reloading.start()
    assert warming.wait(20)
    assert len(new.cache) > 0
    copies(serving)
    held = len(new.cache) + len(serving.standing.opened.cache)
    assert requests.serve(serving, {"verb": "flush", "all": True}) == {"entries": held}
    assert len(new.cache) == 0
    go_on.set()
    reloading.join(20)
    assert serving.standing.opened is new
    assert serving.caches() == [new.cache]


def test_flushes_count_what_they_forget(serving: Service) -> None:
    assert requests.serve(serving, {"verb": "flush", "addresses": [ANN]}) == {"entries": 0}
    copies(serving)
    held = len(serving.standing.opened.cache)
    assert requests.serve(serving, {"verb": "flush", "addresses": ["ANN@Example.Test"]})["entries"] == 1
    assert requests.serve(serving, {"verb": "flush", "domain": "example.test"})["entries"] >= 1
    assert requests.serve(serving, {"verb": "flush", "cos": "nosuch"})["entries"] >= 0
    copies(serving)
    assert requests.serve(serving, {"verb": "flush", "all": True})["entries"] == held


# -- other requests -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "request_",
    [
        {"verb": "nonsense"},
        {"verb": None},
        {},
        {"verb": "flush", "addresses": "ann@example.test"},
        {"verb": "flush", "addresses": [1]},
        {"verb": "flush", "cos": ["x"]},
        {"verb": "show"},
        {"verb": "show", "address": "nobody"},
        {"verb": "show", "address": {}},
        {"verb": "explain", "recipients": [None]},
        {"verb": "explain", "recipients": [BOB], "login": 5},
        {"verb": "explain", "recipients": [BOB], "fields": [["From"]]},
        {"verb": "explain", "recipients": [BOB], "fields": 7},
        {"verb": "explain", "recipients": [BOB], "fields": [["from", None]]},
    ],
)
def test_what_is_no_request_is_refused(serving: Service, request_: Message) -> None:
    with pytest.raises(RequestRefused):
        requests.serve(serving, request_)


def test_show_and_explain(serving: Service) -> None:
    assert requests.serve(serving, {"verb": "show", "address": ANN}) == {"answers": []}
    told: dict[str, Any] = requests.serve(
        serving, {"verb": "explain", "login": ANN, "sender": ANN, "recipients": [BOB]}
    )
    assert [copy["address"] for copy in told["decision"]["copies"]] == ["one@keep.test"]
    (held,) = requests.serve(serving, {"verb": "show", "address": "ann@EXAMPLE.test"})["answers"]
    assert held["dns"] == ["uid=ann,ou=people,dc=example,dc=test"]
    assert held["fresh_for"] > 0
    assert serving.tally.numbers()["verdicts"] == {}  # nobody's message


# -- messages in flight ---------------------------------------------------------------------


def waited(serving: Service, seconds: float, during: Callable[[], None]) -> int:
    left: list[int] = []
    thread = threading.Thread(target=lambda: left.append(serving.wait_for_messages(seconds, pause=0.001)), daemon=True)
    thread.start()
    during()
    thread.join(20)
    return left[0]


def test_only_messages_that_are_in_flight_now_are_waited_for(serving: Service) -> None:
    first = serving.transaction_began()
    later: list[int] = []

    def during() -> None:
        while not later or later[-1] == first:  # until the waiting has begun
            later.append(serving.transaction_began())
            if later[-1] == first:
                serving.transaction_ended(later.pop())
        serving.transaction_ended(first)

    assert waited(serving, 20, during) == 0
    assert serving.in_flight == 1


def test_the_wait_has_a_bound(serving: Service) -> None:
    serving.transaction_began()
    assert waited(serving, 0.01, lambda: None) == 1
