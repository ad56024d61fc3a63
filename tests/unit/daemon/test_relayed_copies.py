"""What is carried out of a decision with copies by way of the relay."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pytest
from msgspec.structs import replace

from ldapmilter.address import make_address
from ldapmilter.config import parse
from ldapmilter.daemon.relayed_copies import RelayedCopies, key_for
from ldapmilter.delivery.token import TokenKey, token_of
from ldapmilter.errors import ConfigError
from ldapmilter.message import Envelope, HandledMessage, Identity
from ldapmilter.policy.effect import Copy, CopyReason, HeaderChange
from ldapmilter.policy.model import TEMPFAIL_REPLY, Decision
from ldapmilter.policy.verdict import WAITS_FOR_RELAY
from ldapmilter.postfix.transport import Route

if TYPE_CHECKING:
    from pathlib import Path

    from ldapmilter.config import Config

NOBODY: Final = Identity(source="none")
ENVELOPE: Final = Envelope(sender="ann@example.test", recipients=("joe@x.test",))
GONE: Final = Route("not routed", "no table names it")


def copy(address: str, copy_class: str = "archive", **more: Any) -> Copy:
    reason = CopyReason(level="cos", dn="cn=a", attribute="x", value=address, copy_class=copy_class, direction="sent")
    local, _, domain = address.partition("@")
    values = {"openly": copy_class == "archive", "delivery": "tracked", **more}
    return Copy(address=make_address(local, domain), reasons=(reason,), **values)


DIRECT: Final = copy("direct@keep.test", delivery="direct")
TRACKED: Final = copy("tracked@keep.test")
JOURNAL: Final = copy("journal@keep.test", "legal", delivery="journal")
OBSERVED: Final = copy("observed@keep.test", mode="observe")
DECISION: Final = Decision(identity=NOBODY, copies=(DIRECT, TRACKED, JOURNAL, OBSERVED))


class Site:
    """One worker's relay."""

    def __init__(self, folder: Path, failure: str = "tempfail") -> None:
        self.folder, self.failure = folder, failure
        self.config = self.configured("listen = unix:/run/relay.sock")
        self.copies = RelayedCopies(self.config)
        self.key = TokenKey.load(folder / "relay.key")

    def configured(self, relay: str) -> Config:
        text = (
            f"[ldap]\nuri = ldif:x\n[policy]\ndirectory_failure = {self.failure}\n"
            f"[relay]\nkey_file = relay.key\nnext_hop = smtp:[a.test]:25\n{relay}\n"
        )
        return parse(text, self.folder / "config.ini")

    def routed(self, route: Route) -> None:
        self.copies.route._ask_postfix = lambda *_: route
        self.copies.route.ask()

    def settle(self, decision: Decision = DECISION, *, login: str | None = None, **more: Any) -> Decision:
        message = HandledMessage(queue_id="4Q", envelope=replace(ENVELOPE, login=login), **more)
        return self.copies.settle(message, decision, self.config.policy)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def test_each_relayed_copy_has_a_token_of_its_own(site: Site) -> None:
    direct, tracked, journal, observed = site.settle().copies
    assert (direct, observed) == (DIRECT, OBSERVED)
    tokens = {one.token for one in (tracked, journal)}
    assert len(tokens) == 2
    for one, before in ((tracked, TRACKED), (journal, JOURNAL)):
        assert one.token is not None
        assert site.key.valid(one.token)
        assert not site.key.is_probe(one.token)
        assert one.relayed_as == f"{one.token}@copies.invalid"
        assert replace(one, relayed_as=None) == before


def test_the_token_of_a_probe_is_marked(site: Site) -> None:
    tracked = site.settle(probe=True).copies[1]
    assert tracked.token is not None
    assert site.key.is_probe(tracked.token)


@pytest.mark.parametrize(
    "decision",
    [
        Decision(identity=NOBODY),
        Decision(identity=NOBODY, copies=(DIRECT, OBSERVED)),
        replace(DECISION, verdict="tempfail"),
        replace(DECISION, verdict="reject"),
    ],
)
def test_nothing_else_changes(site: Site, decision: Decision) -> None:
    site.routed(GONE)
    assert site.settle(decision) is decision


def test_an_unknown_way_holds_nothing_up(site: Site) -> None:
    site.routed(Route("unknown", "there is no postconf on this host"))
    assert site.settle().copies[1].token is not None


def test_without_a_way_mail_waits(site: Site) -> None:
    site.routed(GONE)
    held = site.settle()
    assert (held.applied_verdict, held.smtp_reply, held.waits_for) == ("tempfail", TEMPFAIL_REPLY, WAITS_FOR_RELAY)
    (notice,) = held.warnings
    assert notice.confidential
    targets = "tracked@keep.test, journal@keep.test"
    assert notice.text == f"the copy relay is not routed, and has to take copies to {targets}: no table names it"
    site.routed(Route("routed", "a table names it"))
    assert site.settle().applied_verdict == "accept"


def test_that_is_foreseen_for_a_message_that_is_not_on_its_way(site: Site) -> None:
    policy = site.config.policy
    site.routed(GONE)
    foreseen = site.copies.foresee(DECISION, policy)
    assert (foreseen.applied_verdict, foreseen.waits_because) == ("tempfail", site.settle().waits_because)
    site.routed(Route("routed", "a table names it"))
    assert site.copies.foresee(DECISION, policy) is DECISION


def test_or_goes_on_without_those_copies(tmp_path: Path) -> None:
    site = Site(tmp_path, "accept")
    site.routed(GONE)
    settled = site.settle()
    assert (settled.applied_verdict, settled.copies) == ("accept", (DIRECT, OBSERVED))
    assert settled.incomplete == ("copies are not made, since the copy relay is not routed: no table names it",)
    assert [notice.confidential for notice in settled.warnings] == [True]
    assert "tracked@keep.test, journal@keep.test" in settled.warnings[0].text


def test_the_log_is_silent_of_confidential_copies_that_are_not_made(tmp_path: Path) -> None:
    site = Site(tmp_path, "accept")
    site.routed(GONE)
    settled = site.settle(replace(DECISION, copies=(JOURNAL,)))
    assert set(settled.incomplete) <= {notice.text for notice in settled.warnings if notice.confidential}


def test_a_report_that_comes_back_was_decided_before(site: Site) -> None:
    for domain in ("copies.invalid", "before.invalid"):  # the relay's own was another when it set out
        ours = f" <{site.key.new()}@{domain}> "
        assert site.settle(message_ids=(ours,)).decided_before is not None
        assert site.settle(message_ids=(ours,)).effects == ()


def test_nor_is_it_held_up_without_a_way(site: Site) -> None:
    site.routed(GONE)
    assert site.settle(message_ids=(f"<{site.key.new()}@copies.invalid>",)).applied_verdict == "accept"


def test_another_change_is_none_of_its_either(site: Site) -> None:
    change = Decision(identity=NOBODY, header_changes=(HeaderChange(name="X", value="y", reasons=()),))
    assert site.settle(change, message_ids=(f"<{site.key.new()}@copies.invalid>",)).effects == ()


def test_what_only_looks_like_it_is_decided(site: Site) -> None:
    token = site.key.new()
    others = [
        None,
        (),
        (f"<{48 * '0'}@copies.invalid>",),
        (f"<{token}@>",),
        (f"<x{token}@copies.invalid>",),
        (f"<{token}@copies.invalid>", "<second@x.test>"),
    ]
    for ids in others:
        assert site.settle(message_ids=ids).decided_before is None, ids


def test_whoever_logs_in_cannot_pass_for_it(site: Site) -> None:
    ours = (f"<{site.key.new()}@copies.invalid>",)
    assert site.settle(message_ids=ours, login="ann").decided_before is None


def test_a_reload_takes_domain_and_key_over(site: Site) -> None:
    (site.folder / "relay.key").unlink()
    config = site.configured("listen = unix:/run/relay.sock\ndomain = other.invalid")
    site.copies.route._ask_postfix = lambda *_: Route("routed", "")
    site.copies.follow(config, key_for(config))
    relayed_as = site.settle().copies[1].relayed_as or ""
    token = token_of(relayed_as)
    assert relayed_as == f"{token}@other.invalid"
    assert token is not None
    assert not site.key.valid(token)
    assert TokenKey.load(site.folder / "relay.key").valid(token)


def test_a_message_that_a_reload_leaves_without_relay_waits(tmp_path: Path) -> None:
    site = Site(tmp_path, "accept")
    config = site.configured("listen =")
    site.copies.follow(config, key_for(config))
    assert site.copies.route.route is None
    assert site.settle().applied_verdict == "tempfail"
    assert not site.copies.reads_message_ids


def test_a_key_that_cannot_be_read_is_refused(site: Site) -> None:
    (site.folder / "relay.key").write_text("no key", encoding="ascii")
    with pytest.raises(ConfigError, match="holds no key"):
        key_for(site.config)
