"""What a reload keeps and what it replaces, and what a flush reaches."""

from __future__ import annotations

import itertools
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from ldapmilter.config import parse
from ldapmilter.daemon import active_configuration, reloading, requests
from ldapmilter.daemon.active_configuration import ActiveConfiguration
from ldapmilter.daemon.channel import Message, RequestRefused
from ldapmilter.daemon.deciding import Decider
from ldapmilter.errors import ConfigError
from ldapmilter.message import Envelope
from ldapmilter.opening import OpenDirectory, open_directory
from ldapmilter.policy.basis import Basis
from tests.support.builders import account, domain, global_config
from tests.support.ports import HANG
from tests.support.record import to_ldif
from tests.support.zimbra_base import base_records

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ldapmilter.config import Config
    from ldapmilter.directory.zimbra import MessageDirectory

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
def serving(folder: Path) -> Iterator[Decider]:
    serving = Decider(ActiveConfiguration.of(config(folder)))
    yield serving
    serving.close()


def copies(serving: Decider) -> list[str]:
    decision = serving.decide(FROM_ANN, None, Basis())
    assert decision is not None
    return [copy.address.text for copy in decision.copies]


def test_the_directory_is_told_all_that_a_message_needs(serving: Decider, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that what is read in the background for one value is followed by the rest."""
    told: list[Any] = []
    directory = serving.configurations.active.opened.directory
    for_message = directory.for_message

    def noting(**options: Any) -> MessageDirectory:
        told.append(options["whole"])
        return for_message(**options)

    monkeypatch.setattr(directory, "for_message", noting)
    found = copies(serving)
    (whole,) = told
    assert [copy.address.text for copy in whole(for_message()).copies] == found == ["one@keep.test"]


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
    before = ActiveConfiguration.of(config(folder, ldap=LDAP))
    after = ActiveConfiguration.of(config(folder, more, ldap=LDAP), before)
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
    before = ActiveConfiguration.of(config(folder, ldap=LDAP))
    after = ActiveConfiguration.of(config(folder, more, ldap=ldap), before)
    assert after.opened is not before.opened
    before.opened.close()
    after.opened.close()


def test_a_file_is_read_anew(serving: Decider, folder: Path) -> None:
    assert copies(serving) == ["one@keep.test"]
    write(folder, "two@keep.test")
    assert copies(serving) == ["one@keep.test"]
    serving.configurations.take_over(config(folder))
    assert copies(serving) == ["two@keep.test"]


def test_a_configuration_that_cannot_be_used_changes_nothing(serving: Decider, folder: Path) -> None:
    (folder / "directory.ldif").write_text("no ldif\n", encoding="ascii")
    with pytest.raises(ConfigError):
        serving.configurations.take_over(config(folder))
    assert copies(serving) == ["one@keep.test"]


def test_the_directory_of_before_is_let_go_of_in_time_and_what_its_cache_counted_stays(
    serving: Decider, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copies(serving)
    copies(serving)
    closed: list[OpenDirectory] = []
    monkeypatch.setattr(OpenDirectory, "close", lambda self: closed.append(self))  # noqa: PLW0108 - a method
    before, counted = serving.configurations.active.opened, [serving.configurations.directory_numbers()["cache"]]
    assert counted[0]["hits"] > 0
    serving.configurations.take_over(config(folder))
    counted.append(serving.configurations.directory_numbers()["cache"])
    serving.configurations.close_retired()
    assert closed == []
    later = time.monotonic() + 1000
    monkeypatch.setattr(time, "monotonic", lambda: later)
    serving.configurations.close_retired()
    assert closed == [before]
    counted.append(serving.configurations.directory_numbers()["cache"])
    for earlier, then in itertools.pairwise(counted):
        assert all(then[name] >= earlier[name] for name in earlier)
    assert requests.report(serving, dropped_lines=0)["counts"]["cache"] == counted[-1]


# -- flush ----------------------------------------------------------------------------------


def test_a_flush_reaches_what_a_reload_is_just_warming_up(
    serving: Decider, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It does not wait for the reload either, which may be waiting for a directory that is down."""
    warming, go_on = threading.Event(), threading.Event()
    new = open_directory(config(folder))
    monkeypatch.setattr(active_configuration, "open_directory", lambda _config: new)
    warm_up = reloading.warm_up

    def slow(active: ActiveConfiguration) -> None:
        warm_up(active)
        warming.set()
        assert go_on.wait(HANG)

    monkeypatch.setattr(reloading, "warm_up", slow)
    reload = threading.Thread(target=serving.configurations.take_over, args=(config(folder),), daemon=True)
    reload.start()
    assert warming.wait(HANG)
    assert len(new.cache) > 0
    copies(serving)
    held = len(new.cache) + len(serving.configurations.active.opened.cache)
    assert requests.serve(serving, {"verb": "flush", "all": True}) == {"entries": held}
    assert len(new.cache) == 0
    go_on.set()
    reload.join(HANG)
    assert serving.configurations.active.opened is new
    assert serving.configurations.directories() == [new]


def test_flushes_count_what_they_forget(serving: Decider) -> None:
    assert requests.serve(serving, {"verb": "flush", "addresses": [ANN]}) == {"entries": 0}
    copies(serving)
    held = len(serving.configurations.active.opened.cache)
    # Hers; the site, with which policy groups are kept, is still the same.
    assert requests.serve(serving, {"verb": "flush", "addresses": ["ANN@Example.Test"]})["entries"] == 1
    assert requests.serve(serving, {"verb": "flush", "domain": "example.test"})["entries"] >= 1
    assert requests.serve(serving, {"verb": "flush", "cos": "nosuch"})["entries"] >= 0
    copies(serving)
    assert requests.serve(serving, {"verb": "flush", "all": True})["entries"] == held


def test_names_that_the_directory_does_not_have_are_told(serving: Decider) -> None:
    asked: Message = {"verb": "names", "cos": "default", "domain": "example.test"}
    assert requests.serve(serving, asked) == {"unknown": []}
    assert requests.serve(serving, {**asked, "cos": "dfault", "domain": "exmaple.test"}) == {
        "unknown": [
            {"kind": "COS", "name": "dfault", "near": "default"},
            {"kind": "domain", "name": "exmaple.test", "near": "example.test"},
        ]
    }
    asked = {"verb": "names", "addresses": [ANN, "ann@exmaple.test", "nobody@example.test"]}
    assert requests.serve(serving, asked) == {
        "unknown": [
            {"kind": "address", "name": "ann@exmaple.test", "near": "ann@example.test"},
            {"kind": "address", "name": "nobody@example.test", "near": None},
        ]
    }


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
def test_what_is_no_request_is_refused(serving: Decider, request_: Message) -> None:
    with pytest.raises(RequestRefused):
        requests.serve(serving, request_)


def test_show_and_explain(serving: Decider) -> None:
    assert requests.serve(serving, {"verb": "show", "address": ANN}) == {"answers": []}
    told: dict[str, Any] = requests.serve(
        serving, {"verb": "explain", "login": ANN, "sender": ANN, "recipients": [BOB]}
    )
    assert [copy["address"] for copy in told["decision"]["copies"]] == ["one@keep.test"]
    answers = requests.serve(serving, {"verb": "show", "address": "ann@EXAMPLE.test"})["answers"]
    (held,) = [one for one in answers if one["dns"]]
    assert held["dns"] == ["uid=ann,ou=people,dc=example,dc=test"]
    assert held["fresh_for"] > 0
    assert serving.tally.numbers()["verdicts"] == {}  # nobody's message
