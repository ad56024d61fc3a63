"""Every finding about policy values, each provoked by a directory that has it, and by nothing else."""

from __future__ import annotations

import itertools
from datetime import datetime, timedelta, timezone
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from ldapmilter.checks import lists
from ldapmilter.checks.reading import RawDirectory
from tests.support.builders import account, alias_domain, cos, domain, dynamic_group, static_list
from tests.support.names import zimbra_id
from tests.unit.checks.scene import codes, look_at, site, texts

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from tests.support.record import Record

TODAY = datetime.now(timezone.utc).date()
VAULT = "vault@example.test"
ANN = "ann@example.test"
KIM = "kim@brand.test"
RULE = "example.net => Sales <sales@example.test>"


def vault(**attributes: Any) -> list[Record]:
    return account(VAULT, **attributes)


def ann(**attributes: Any) -> list[Record]:
    return account(ANN, **attributes)


def team(**attributes: Any) -> list[Record]:
    return static_list("team@example.test", [ANN], **{"zimbraHideInGal": "TRUE", **attributes})


def test_values_that_are_in_order_give_rise_to_nothing(tmp_path: Path) -> None:
    until = TODAY + timedelta(days=300)
    good = ann(
        ldapMilterArchiveBcc=f"{VAULT} with=group:team@example.test until={until} ref=A1",
        # A name may have letters that a domain had better not have.
        ldapMilterSenderFromRewrite=[
            RULE,
            "* => Stra\u00dfe {displayName} <{address}>",
            "b\u00fccher.test => {address}",
        ],
    )
    report = look_at(tmp_path, site(vault(), good, team(), account("sales@example.test")))
    assert report.findings == ()
    assert report.figures["policy_values"] == 4


CASES: dict[str, tuple[list[Iterable[Record]], str]] = {
    "value-invalid": ([ann(ldapMilterLegalBcc="no-address")], "no-address"),
    "value-invalid: of enforcement": ([ann(ldapMilterFromEnforce="maybe")], "maybe"),
    "value-invalid: too many": (
        [ann(ldapMilterLegalBcc=[f"u{number}@vault.example" for number in range(1001)])],
        "too many values: 1001",
    ),
    "value-invalid: refused late": ([ann(ldapMilterLegalBcc="-hold@vault.example")], "no copy can reach -hold@"),
    "value-invalid: filled in": (
        [account("-ann@example.test", ldapMilterLegalBcc="{localpart}@vault.example")],
        "no copy can reach -ann@vault.example",
    ),
    "value-invalid: filled in for somebody": (
        [
            account("-ann@example.test", cos_id=zimbra_id("cos", "sales")),
            cos("sales", ldapMilterArchiveBcc="{localpart}@{domain}"),
        ],
        "no copy can reach -ann@example.test",
    ),
    "value-expired": ([vault(), ann(ldapMilterLegalBcc=f"{VAULT} until=2020-02-01")], "since 2020-02-02"),
    "value-expires-soon": (
        [vault(), ann(ldapMilterLegalBcc=f"{VAULT} until={TODAY + timedelta(days=5)}")],
        f"last day {TODAY + timedelta(days=5)}",
    ),
    "value-deviation": (
        [ann(ldapMilterSenderFromRewrite="stra\u00dfe.test => Stra\u00dfe <ann@example.test>")],
        "read as xn--strae-oqa.test",
    ),
    "value-deviation: of a copy": (
        [vault(), ann(ldapMilterArchiveSentBcc=f"{VAULT} with=.\u03b2\u03cc\u03bb\u03bf\u03c2.test ref=A1")],
        "read as xn--nxasmm1c.test",
    ),
    "value-conflict": (
        [ann(ldapMilterSenderFromRewrite=[RULE, "example.net => Shop <shop@example.test>"])],
        "shop@example.test",
    ),
    "value-conflict: none": ([vault(), ann(ldapMilterArchiveBcc=[VAULT, "none"])], "none beside values"),
    "value-conflict: of two policy groups": (
        [
            ann(),
            team(ldapMilterAppliesToMembers=True, ldapMilterSenderFromRewrite=RULE),
            static_list(
                "crew@example.test",
                [ANN],
                zimbraHideInGal="TRUE",
                ldapMilterAppliesToMembers=True,
                ldapMilterSenderFromRewrite="example.net => Crew <crew@example.test>",
            ),
        ],
        "both for uid=ann",
    ),
    "value-with-option": (
        [vault(), ann(**{"ldapMilterLegalBcc;lang-en": VAULT})],
        f"ldapMilterLegalBcc;lang-en: {VAULT} at uid=ann,",
    ),
    "value-with-option: members": (
        [vault(), ann(), team(**{"ldapMilterAppliesToMembers;x-old": "TRUE", "ldapMilterLegalBcc": VAULT})],
        "ldapMilterAppliesToMembers;x-old: TRUE at ",
    ),
    "value-no-effect: a list sends nothing": (
        [vault(), ann(), team(ldapMilterLegalSentBcc=VAULT)],
        "a list sends nothing",
    ),
    "value-no-effect: placeholders on a list": (
        [ann(), team(ldapMilterArchiveReceivedBcc="{localpart}@example.test")],
        "a list as recipient has none",
    ),
    "value-no-effect: members of an account": ([ann(ldapMilterAppliesToMembers=True)], "not a list or dynamic group"),
    "value-no-effect: nothing for members": ([ann(), team(ldapMilterAppliesToMembers=True)], "no policy values"),
    "value-no-effect: an alias domain": (
        [vault(), alias_domain("alias.test", "example.test", ldapMilterLegalBcc=VAULT)],
        "follow the domain",
    ),
    "value-no-effect: one's own address": ([ann(ldapMilterArchiveSentBcc=ANN)], "own address"),
    "target-missing": ([ann(ldapMilterLegalBcc="ghost@example.test")], "ghost@example.test does not exist"),
    "target-missing: made from placeholders": (
        [
            vault(),
            account(ANN, cos_id=zimbra_id("cos", "sales")),
            cos("sales", ldapMilterArchiveBcc="{localpart}.archive@{domain}"),
        ],
        "ann.archive@example.test does not exist",
    ),
    "target-foreign": ([ann(ldapMilterArchiveBcc="in@archive.example")], "archive.example: 1 address"),
    "target-copied": (
        [
            vault(ldapMilterArchiveReceivedBcc="second@example.test"),
            account("second@example.test"),
            ann(ldapMilterLegalBcc=VAULT),
        ],
        "vault@example.test is copied to second@example.test (ldapMilterArchiveReceivedBcc at uid=vault,",
    ),
    "target-copied-union": (
        [vault(), account("second@example.test"), cos("default", ldapMilterLegalBcc=[VAULT, "second@example.test"])],
        "vault@example.test is copied to second@example.test (ldapMilterLegalBcc at cn=default,",
    ),
    "target-forwards": (
        [vault(zimbraPrefMailForwardingAddress="out@example.net"), ann(ldapMilterLegalBcc=VAULT)],
        "forwards to out@example.net",
    ),
    "forward-unreadable": ([ann(zimbraPrefMailForwardingAddress="out@example.net and others")], "'out@example.net and"),
    "forward-unreadable: the administrator's": ([ann(zimbraMailForwardingAddress="out@x..y")], "'out@x..y'"),
    "forward-unreadable: a member": ([ann(), static_list("crew@example.test", [ANN, "everybody"])], "'everybody'"),
    "target-list": ([ann(ldapMilterArchiveBcc="team@example.test"), team()], "team@example.test is a list"),
    "target-replies": (
        [vault(zimbraPrefOutOfOfficeReplyEnabled="TRUE"), ann(ldapMilterLegalBcc=VAULT)],
        "out-of-office",
    ),
    "target-replies: notices": (
        [vault(zimbraPrefNewMailNotificationEnabled="TRUE"), ann(ldapMilterLegalBcc=VAULT)],
        "notices of new mail",
    ),
    "condition-group-missing": (
        [vault(), ann(ldapMilterLegalBcc=f"{VAULT} with=group:gone@example.test")],
        "group:gone@example.test is not a list",
    ),
    "condition-group-missing: an account": (
        [vault(), ann(ldapMilterLegalBcc=f"{VAULT} with=group:{VAULT}")],
        "is not a list",
    ),
    "condition-nobody": (
        [vault(), ann(ldapMilterLegalBcc=f"{VAULT} with=gone@example.test")],
        "gone@example.test does not exist",
    ),
    "from-foreign": ([ann(ldapMilterSenderFromRewrite="* => Sales <sales@example.net>")], "example.net is not hosted"),
    "from-foreign: made from placeholders": (
        [ann(ldapMilterRecipientFromRewrite="{localpart}@brand.{domain}")],
        "brand.example.test is not hosted",
    ),
    "from-without-dkim": (
        [domain("brand.test"), ann(ldapMilterSenderFromRewrite="* => {localpart}@brand.test")],
        "brand.test has no DKIM key",
    ),
    "from-without-dkim: senders of every domain": (
        [domain("brand.test"), cos("default", ldapMilterSenderFromRewrite="* => {localpart}@brand.test")],
        "brand.test has no DKIM key",
    ),
    "from-without-dkim: senders in an alias domain": (
        [
            domain("brand.test", ldapMilterSenderFromRewrite="* => desk@brand.test"),
            alias_domain("brands.test", "brand.test"),
        ],
        "brand.test has no DKIM key",
    ),
    "from-without-dkim: a selector without a key": (
        [domain("brand.test", DKIMSelector="s2"), ann(ldapMilterSenderFromRewrite="* => {localpart}@brand.test")],
        "brand.test has no DKIM key",
    ),
    "policy-group-visible": (
        [vault(), ann(), team(zimbraHideInGal="FALSE", ldapMilterAppliesToMembers=True, ldapMilterLegalBcc=VAULT)],
        "team@example.test: zimbraHideInGal",
    ),
    "policy-group-leavable": (
        [
            vault(),
            ann(),
            team(
                zimbraDistributionListUnsubscriptionPolicy="ACCEPT",
                ldapMilterAppliesToMembers=True,
                ldapMilterLegalBcc=VAULT,
            ),
        ],
        "zimbraDistributionListUnsubscriptionPolicy ACCEPT",
    ),
    "policy-group-joinable": (
        [
            vault(),
            ann(),
            team(
                zimbraDistributionListSubscriptionPolicy="ACCEPT",
                ldapMilterAppliesToMembers=True,
                ldapMilterLegalBcc=VAULT,
            ),
        ],
        "zimbraDistributionListSubscriptionPolicy ACCEPT",
    ),
    "policy-group-owned": (
        [
            vault(),
            ann(),
            team(
                zimbraACE=f"{zimbra_id('account', ANN)} usr ownDistList",
                ldapMilterAppliesToMembers=True,
                ldapMilterLegalBcc=VAULT,
            ),
        ],
        "a grant of ownDistList",
    ),
    "identity-envelope-unrestricted": ([ann(zimbraSmtpRestrictEnvelopeFrom="FALSE")], f"account {ANN}: zimbra"),
    "identity-any-from": ([ann(zimbraAllowAnyFromAddress="TRUE")], f"account {ANN}: zimbra"),
}


def test_who_may_write_to_a_list_with_copies_is_not_guessed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RawDirectory, "hidden", lambda _sight, _dn, attributes: tuple(attributes))
    report = look_at(tmp_path, site(ann(ldapMilterArchiveBcc="team@example.test"), team()))
    assert codes(report) == {"target-list", "target-restricted-unseen"}


BOB = "bob@example.test"


@pytest.mark.parametrize(
    ("records", "reached"),
    [
        ([ann(ldapMilterLegalBcc="team@example.test"), team()], True),
        ([ann(ldapMilterLegalSentBcc="team@alias.test"), team()], True),
        ([ann(ldapMilterLegalReceivedBcc=VAULT), vault(zimbraPrefMailForwardingAddress=ANN)], True),
        ([ann(cos_id=zimbra_id("cos", "sales")), cos("sales", ldapMilterLegalBcc="team@example.test"), team()], True),
        ([ann(ldapMilterArchiveBcc="team@example.test"), team()], False),
        ([ann(), account(BOB, ldapMilterLegalBcc="team@example.test"), team()], False),
        ([ann(ldapMilterLegalBcc=f"team@example.test until={TODAY - timedelta(days=5)}"), team()], False),
    ],
)
def test_a_confidential_copy_that_comes_to_whom_it_is_about(
    tmp_path: Path,
    records: list[Iterable[Record]],
    reached: bool,  # noqa: FBT001 - a table
) -> None:
    report = look_at(tmp_path, site(alias_domain("alias.test", "example.test"), *records))
    found = [one for one in report.findings if one.code == "target-betrays"]
    assert bool(found) == reached
    assert all(ANN in one.text and ANN in one.remedy and one.confidential for one in found)


@pytest.mark.parametrize("modifier", ["", "-"], ids=["some may", "some may not"])
def test_a_list_with_copies_that_refuses_senders(tmp_path: Path, modifier: str) -> None:
    grants = [
        f"{zimbra_id('account', ANN)} usr {modifier}sendToDistList",
        f"{zimbra_id('account', ANN)} usr viewDistList",
    ]
    report = look_at(tmp_path, site(ann(ldapMilterArchiveBcc="team@example.test"), team(zimbraACE=grants)))
    assert codes(report) == {"target-list", "target-restricted"}
    (text,) = texts(report, "target-restricted")
    assert grants[0] in text
    assert "viewDistList" not in text


@pytest.mark.parametrize("case", CASES)
def test_a_finding_and_no_other(tmp_path: Path, case: str) -> None:
    records, text = CASES[case]
    code = case.partition(":")[0]
    report = look_at(tmp_path, site(*records))
    assert codes(report) == {code}
    assert text in " ".join(texts(report, code))
    assert all(one.remedy and "$" not in one.remedy for one in report.findings)


@pytest.mark.parametrize("holder", ["brand.test", KIM])
def test_a_from_in_the_senders_own_domain_is_as_well_signed_as_before(tmp_path: Path, holder: str) -> None:
    rule = "example.net => Desk <desk@brand.test>"
    rules = {name: {"ldapMilterSenderFromRewrite": rule} if name == holder else {} for name in ("brand.test", KIM)}
    records = [domain("brand.test", **rules["brand.test"]), account(KIM, **rules[KIM]), account("desk@brand.test")]
    assert look_at(tmp_path, site(*records)).findings == ()


def test_what_ends_that_a_mailbox_with_copies_is_copied(tmp_path: Path) -> None:
    records = [vault(), account("second@example.test"), ann(ldapMilterLegalBcc=VAULT)]
    everybody = cos("default", ldapMilterArchiveBcc="second@example.test")
    (found,) = look_at(tmp_path, site(*records, everybody)).findings
    command = f"zmprov ma {VAULT} +objectClass ldapMilterPolicy ldapMilterArchiveBcc none; "
    assert (found.code, found.remedy.startswith(command)) == ("target-copied", True)
    records[0] = vault(ldapMilterArchiveBcc="none")
    assert look_at(tmp_path, site(*records, everybody)).findings == ()


def test_placeholders_are_filled_for_those_they_apply_to(tmp_path: Path) -> None:
    sales = cos("sales", ldapMilterArchiveBcc="{localpart}.archive@{domain}")
    report = look_at(tmp_path, site(vault(), account(ANN, cos_id=zimbra_id("cos", "sales")), sales))
    assert [text.partition(" ")[0] for text in texts(report, "target-missing")] == ["ann.archive@example.test"]


def test_an_expired_value_leads_nowhere(tmp_path: Path) -> None:
    report = look_at(tmp_path, site(ann(ldapMilterLegalBcc="ghost@example.test until=2020-02-01")))
    assert codes(report) == {"value-expired"}


def test_what_counts_in_one_direction_has_an_effect(tmp_path: Path) -> None:
    report = look_at(tmp_path, site(vault(), ann(), team(ldapMilterLegalBcc=VAULT)))
    assert report.findings == ()


def test_an_out_of_office_reply_that_is_over_says_nothing(tmp_path: Path) -> None:
    over = vault(zimbraPrefOutOfOfficeReplyEnabled="TRUE", zimbraPrefOutOfOfficeUntilDate="20200101000000Z")
    assert look_at(tmp_path, site(over, ann(ldapMilterLegalBcc=VAULT))).findings == ()


def test_none_is_no_conflict_by_itself(tmp_path: Path) -> None:
    report = look_at(tmp_path, site(vault(), ann(ldapMilterArchiveBcc="none", ldapMilterSenderFromRewrite="none")))
    assert report.findings == ()


def test_one_target_of_many_is_one_finding(tmp_path: Path) -> None:
    many = [account(f"user{number}@example.test", ldapMilterLegalBcc="ghost@example.test") for number in range(9)]
    report = look_at(tmp_path, site(*many))
    (text,) = texts(report, "target-missing")
    assert text.endswith("; and 6 more")


@pytest.mark.parametrize(
    ("members", "maximum", "code"), [(7, 10, None), (8, 10, "list-nearly-full"), (11, 10, "list-too-large")]
)
def test_lists_near_the_bound(tmp_path: Path, members: int, maximum: int, code: str | None) -> None:
    crowd = static_list("crowd@example.test", [f"m{number}@example.net" for number in range(members)])
    report = look_at(tmp_path, site(crowd), {"groups": {"max_members": str(maximum)}})
    assert codes(report) == ({code} if code else set())


@pytest.mark.parametrize(
    ("takes", "waiting"), [(9.0, []), (12.0, ["crowd@example.test"]), (60.0, ["crowd@example.test"])]
)
def test_lists_whose_first_message_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, takes: float, waiting: list[str]
) -> None:
    """Both are read together; alone, the larger one would take nine tenths of the time."""
    ticks = itertools.count(0.0, takes)
    monkeypatch.setattr(lists, "check", partial(lists.check, clock=lambda: next(ticks)))
    crowd = static_list("crowd@example.test", [f"m{number}@example.net" for number in range(9)])
    few = static_list("few@example.test", [f"m{number}@example.net" for number in range(1)])
    report = look_at(tmp_path, site(crowd, few))
    assert [text.split()[0] for text in texts(report, "list-waits")] == waiting


def test_dynamic_groups_are_policy_groups_too(tmp_path: Path) -> None:
    group = dynamic_group("crew@example.test", ldapMilterAppliesToMembers=True, ldapMilterLegalBcc=VAULT)
    assert codes(look_at(tmp_path, site(vault(), group))) == {"policy-group-visible"}


def test_attributes_that_are_not_ours(tmp_path: Path) -> None:
    report = look_at(
        tmp_path,
        site(ann(zimbraInterceptAddress="hold@@example.test")),
        {"copy legal": {"sent_attributes": "zimbraInterceptAddress", "received_attributes": "zimbraInterceptAddress"}},
    )
    (text,) = texts(report, "value-invalid")
    assert text.startswith("zimbraInterceptAddress at uid=ann,")


def test_a_target_without_a_way_by_the_relay(tmp_path: Path) -> None:
    relay = {"listen": "unix:/run/relay.sock", "next_hop_for": "vault.test smtp:[archive.vault.test]:25"}
    records = site(ann(ldapMilterArchiveSentBcc="x@elsewhere.test", ldapMilterLegalSentBcc="x@copies.invalid"))
    report = look_at(tmp_path, records, {"relay": relay, "copy archive": {"delivery": "tracked"}})
    said = [finding.text for finding in report.findings if finding.code == "value-invalid"]
    assert len(said) == 2
    assert any("no next hop for elsewhere.test" in text for text in said)
    assert any("is in the domain of the copy relay" in text for text in said)
