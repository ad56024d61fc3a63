"""Who the recipients of an envelope lead to: lists in lists, dynamic groups, forwards that keep and that do not."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import pytest

from ldapmilter.directory.groups import GroupLimits
from ldapmilter.errors import DirectoryUnavailable
from ldapmilter.relay.expansion import Expanded, LeadsOn, expand, expand_as_known
from tests.support.builders import account, alias_domain, cos, domain, dynamic_group, global_config, static_list
from tests.support.names import zimbra_id
from tests.unit.directory.scene import Scene
from tests.unit.relay.reports import decided, message, read

if TYPE_CHECKING:
    from tests.support.record import Record

AT: Final = "2026-06-15T10:00:01.000Z"
ALL: Final = "all@example.com"
NOT_KEPT: Final = {"zimbraPrefMailLocalDeliveryDisabled": "TRUE"}


def people(*more: list[Record], **bob: Any) -> list[Record]:
    return [
        *global_config(),
        *cos("default"),
        *domain("example.com"),
        *alias_domain("example.org", "example.com"),
        *account("ann@example.com"),
        *account("bob@example.com", aliases=["robert@example.com"], **bob),
        *(record for records in more for record in records),
    ]


def leads(records: list[Record], *offered: str, limits: GroupLimits | None = None) -> Expanded:
    found = expand(offered, Scene(records, limits).view(), AT)
    assert Expanded.from_json(json.loads(json.dumps(found.as_json()))) == found
    return found


def only(found: Expanded) -> LeadsOn:
    assert not found.incomplete
    assert len(found.recipients) == 1
    return found.recipients[0]


def test_who_leads_to_nobody_is_not_named() -> None:
    found = leads(people(), "ann@example.com", "x@elsewhere.example", "nobody@example.com", "postmaster")
    assert found == Expanded(time=AT, incomplete=False)


def test_lists_in_lists_and_a_circle() -> None:
    records = people(
        static_list(
            ALL, ["Inner@example.com", "Ann@Example.com", "x@elsewhere.example"], aliases=["staff@example.com"]
        ),
        static_list("inner@example.com", ["bob@example.com", "ALL@example.com", "ann@example.com"]),
    )
    one = only(leads(records, "ALL@example.org"))
    assert (one.recipient, one.how, one.stays) == ("ALL@example.org", "expanded", False)
    assert set(one.behind) == {"ann@example.com", "x@elsewhere.example", "bob@example.com"}
    assert {ALL, "staff@example.com"} <= set(one.also)


def test_a_dynamic_group() -> None:
    group = "dyn@example.com"
    records = people(dynamic_group(group, external=["Guest@outside.example"]), zimbraMemberOf=zimbra_id("group", group))
    one = only(leads(records, group))
    assert (one.how, one.stays) == ("expanded", False)
    assert set(one.behind) == {"bob@example.com", "guest@outside.example"}


def test_a_list_without_anybody_stays_a_recipient() -> None:
    one = only(leads(people(static_list(ALL, [])), ALL))
    assert (one.stays, one.behind) == (True, ())


def test_a_list_without_anybody_in_a_list() -> None:
    records = people(static_list(ALL, ["empty@example.com", "ann@example.com"]), static_list("empty@example.com", []))
    assert set(only(leads(records, ALL)).behind) == {"empty@example.com", "ann@example.com"}


def test_a_list_whose_members_were_met_before_is_not_without_anybody() -> None:
    records = people(
        static_list(ALL, ["one@example.com", "two@example.com"]),
        static_list("one@example.com", ["ann@example.com"]),
        static_list("two@example.com", ["ann@example.com"]),
    )
    assert only(leads(records, ALL)).behind == ("ann@example.com",)


@pytest.mark.parametrize(
    ("keeping", "stays"), [({}, True), (NOT_KEPT, False), ({"zimbraPrefMailLocalDeliveryDisabled": "FALSE"}, True)]
)
def test_forwards(keeping: dict[str, str], stays: bool) -> None:  # noqa: FBT001 - a parameter of the table
    records = people(zimbraPrefMailForwardingAddress="Bob@Home.example, bob2@home.example", **keeping)
    one = only(leads(records, "Robert@example.com"))
    assert (one.recipient, one.how, one.stays) == ("Robert@example.com", "forwarded", stays)
    assert set(one.behind) == {"bob@home.example", "bob2@home.example"}


def test_a_member_that_forwards_and_keeps_nothing() -> None:
    records = people(
        static_list(ALL, ["bob@example.com"]), zimbraPrefMailForwardingAddress="b@home.example", **NOT_KEPT
    )
    assert only(leads(records, ALL)).behind == ("b@home.example",)


def test_to_keep_nothing_without_a_forward_takes_nobody_away() -> None:
    records = people(static_list(ALL, ["bob@example.com"]), **NOT_KEPT)
    assert only(leads(records, ALL)).behind == ("bob@example.com",)


def test_a_value_that_is_no_address_leaves_somebody_unknown() -> None:
    found = leads(people(static_list(ALL, ["ann@example.com", ":include:/etc/people"])), ALL)
    assert found.incomplete
    assert found.recipients[0].behind == ("ann@example.com",)


def test_more_members_than_are_read() -> None:
    members = [f"x{number}@elsewhere.example" for number in range(30)]
    found = leads(people(static_list(ALL, members)), ALL, limits=GroupLimits(max_members=5))
    assert found.incomplete


def test_a_directory_that_cannot_be_asked() -> None:
    scene = Scene(people(static_list(ALL, ["ann@example.com"])))
    scene.store.down = True
    with pytest.raises(DirectoryUnavailable):
        expand([ALL], scene.view(), AT)
    assert expand_as_known([ALL, "ann@example.com"], scene.view(), AT) == Expanded(time=AT, incomplete=True)


def test_what_can_be_asked_is_kept_of_an_expansion_that_is_given_up() -> None:
    scene = Scene(people(static_list(ALL, ["ann@example.com"]), static_list("b@example.com", ["bob@example.com"])))
    scene.store.fails = lambda search_filter: "b@example.com" in search_filter
    found = expand_as_known(["b@example.com", ALL], scene.view(), AT)
    assert found.incomplete
    assert [one.recipient for one in found.recipients] == [ALL]


def test_a_report_line_by_line() -> None:
    group = "dyn@example.com"
    records = people(
        static_list(ALL, ["inner@example.com", "carl@example.com"]),
        static_list("inner@example.com", ["dan@example.com", "carl@example.com"]),
        account("carl@example.com", zimbraMailForwardingAddress="carl@home.example"),
        account("dan@example.com"),
        account("eve@example.com", zimbraMemberOf=zimbra_id("group", group)),
        dynamic_group(group),
        zimbraPrefMailForwardingAddress="bob@home.example",
    )
    offered = (ALL, "Robert@example.com", group, "frank@client.example.net", "dan@example.com")
    header = message("From: Boss <boss@example.com>", f"To: {ALL}", "Cc: robert@example.com", "Subject: All hands")
    journal = read(decided(offered=offered), leads(records, *offered), header)
    assert journal.on_behalf_of == "boss@example.com"
    assert journal.recipients == (
        "To: carl@example.com, Expanded: all@example.com",
        "To: carl@home.example, Expanded: all@example.com",
        "Cc: robert@example.com",
        "Cc: bob@home.example, Forwarded: robert@example.com",
        "Bcc: eve@example.com, Expanded: dyn@example.com",
        "Bcc: frank@client.example.net",
        "Bcc: dan@example.com",
    )
