"""Why a copy is not made and why the From stays: one answer each, true, and from the value that was nearest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.support import builders
from tests.support.names import zimbra_id
from tests.unit.policy.example import GLOBAL, example
from tests.unit.policy.world import ANN, BOB, JOE, MAILBOX_SERVER, OUTSIDER, Message

if TYPE_CHECKING:
    from ldapmilter.policy.not_applied import NotApplied
    from tests.unit.policy.example import Values
    from tests.unit.policy.world import Options, World

TEAM: Final = "team@example.com"
ANN_DN: Final = "uid=ann,ou=people,dc=example,dc=com"
FROM_ANN: Final = [("From", ANN)]
UNION: Final = {"copy archive": {"inherit": "union"}}


def copy_of(explained: tuple[NotApplied, ...], name: str, direction: str) -> NotApplied:
    (one,) = [one for one in explained if (one.copy_class, one.direction) == (name, direction)]
    return one


def way_of(explained: tuple[NotApplied, ...], way: str) -> NotApplied:
    (one,) = [one for one in explained if one.way == way]
    return one


def sent(values: Values, message: Message | None = None, options: Options | None = None) -> NotApplied:
    """Return why the archive has no copy of a message that ann sends."""
    return copy_of(example(values, options=options).explain(message)[1], "archive", "sent")


def received(values: Values, *recipients: str) -> NotApplied:
    """Return why the archive has no copy of what an outsider writes."""
    message = Message(login=None, sender=JOE, to=recipients)
    return copy_of(example(values).explain(message)[1], "archive", "received")


# -- copies ---------------------------------------------------------------------------------


def test_nothing_is_set_anywhere() -> None:
    one = sent({})

    assert (one.cause, one.values) == ("no-value", ())
    assert one.text == "no value on account ann, cos sales, domain example.com, global config"
    assert [holder.level for holder in one.looked_at] == ["account", "cos", "domain", "global"]


def test_the_last_day_is_over() -> None:
    one = sent({ANN: {"ldapMilterArchiveBcc": "vault@example.net until=2026-01-31"}})

    assert (one.cause, one.text) == ("expired", "expired: 2026-01-31 was its last day (UTC)")
    (value,) = one.values
    assert (value.reason.level, value.reason.dn) == ("account", ANN_DN)
    assert (value.reason.attribute, value.reason.value) == (
        "ldapMilterArchiveBcc",
        "vault@example.net until=2026-01-31",
    )


@pytest.mark.parametrize(
    ("condition", "text"),
    [
        ("internal", "no recipient is in a domain that this directory hosts"),
        ("client.test", "no recipient is in client.test"),
        (
            ".client.example.net",
            "no recipient is in a subdomain of client.example.net (client.example.net itself is none)",
        ),
        (
            "example.net",
            "no recipient is in example.net (client.example.net is a subdomain: .example.net would match it)",
        ),
        ("jim@client.example.net", "no recipient is jim@client.example.net"),
        (f"group:{TEAM}", f"no recipient is in the group {TEAM}"),
        ("group:Team@EXAMPLE.com", f"no recipient is in the group {TEAM}"),
    ],
)
def test_nobody_matches_with(condition: str, text: str) -> None:
    one = sent({ANN: {"ldapMilterArchiveBcc": f"vault@example.net with={condition}"}})

    assert (one.cause, one.text) == ("no-match", text)


@pytest.mark.parametrize(
    ("operand", "text"),
    [
        ("nolist@example.com", "there is no list nolist@example.com"),
        (BOB, f"{BOB} is an account, not a list"),
    ],
)
def test_the_group_does_not_exist(operand: str, text: str) -> None:
    one = sent({ANN: {"ldapMilterArchiveBcc": f"vault@example.net with=group:{operand}"}})

    assert (one.cause, one.text) == ("no-group", text)


def test_the_sender_does_not_match_with() -> None:
    one = received({BOB: {"ldapMilterArchiveBcc": "vault@example.net with=internal"}}, BOB)

    assert (one.cause, one.text) == ("no-match", "the sender is not in a domain that this directory hosts")
    assert one.values[0].reason.recipient == BOB


def test_a_nearer_value_that_does_not_match_hides_the_rest() -> None:
    values = {
        ANN: {"ldapMilterArchiveBcc": "near@example.net with=internal"},
        "example.com": {"ldapMilterArchiveBcc": "far@example.net"},
    }
    one = sent(values)

    near, far = one.values
    assert [(near.cause, near.reason.level), (far.cause, far.reason.level)] == [
        ("no-match", "account"),
        ("hidden", "domain"),
    ]
    assert far.text == "hidden by the value of the account level"


def test_none_ends_inheritance() -> None:
    one = sent({ANN: {"ldapMilterArchiveBcc": "none"}, GLOBAL: {"ldapMilterArchiveBcc": "far@example.net"}})

    assert [(value.cause, value.reason.level) for value in one.values] == [("none", "account"), ("hidden", "global")]


def test_none_takes_nothing_away_under_union() -> None:
    one = sent({ANN: {"ldapMilterArchiveBcc": "none"}}, options=UNION)

    assert (one.cause, one.text) == ("none", "none asks for nothing, and takes nothing away (inherit = union)")


def test_a_value_that_cannot_be_used() -> None:
    one = sent({ANN: {"ldapMilterArchiveBcc": "vault@example.net until=soon"}})

    assert one.cause == "invalid"
    assert "until=soon is no day" in one.text


def test_a_value_that_counts_for_accounts_only() -> None:
    one = received({TEAM: {"ldapMilterArchiveBcc": "{localpart}@archive.example.net"}}, TEAM)

    assert (one.cause, one.values[0].reason.level) == ("accounts-only", "group")


def test_those_behind_a_list_were_looked_at_too() -> None:
    one = received({"carol@example.com": {"ldapMilterArchiveBcc": "vault@example.net until=2026-01-31"}}, TEAM)

    assert one.cause == "expired"
    assert one.values[0].reason.recipient == "carol@example.com"
    assert one.values[0].reason.group_path == (TEAM, "sub@example.com")
    assert "uid=carol,ou=people,dc=example,dc=com" in {holder.dn for holder in one.looked_at}


def test_a_value_with_an_option() -> None:
    one = sent({ANN: {"ldapMilterArchiveBcc;lang-en": "vault@example.net"}})

    assert one.cause == "option"


def test_a_list_whose_values_are_not_its_members() -> None:
    values = {TEAM: {"ldapMilterArchiveBcc": "vault@example.net"}}
    one = sent(values, Message(login=BOB))

    assert (one.cause, one.text) == (
        "list-only",
        f"without ldapMilterAppliesToMembers TRUE the values of {TEAM} are not its members'",
    )
    assert one.values[0].reason.group_path == (TEAM,)
    assert received(values, BOB).cause == "list-only"


def test_the_values_of_a_list_inside_which_is_the_list_of_the_sender() -> None:
    one = sent({TEAM: {"ldapMilterArchiveBcc": "vault@example.net"}}, Message(login="carol@example.com"))

    assert one.cause == "list-only"
    assert one.values[0].reason.group_path == (TEAM, "sub@example.com")


def test_the_authors_own_address() -> None:
    one = sent({ANN: {"ldapMilterArchiveSentBcc": ANN}})

    assert one.cause == "own-address"


def test_more_copies_than_there_may_be() -> None:
    values = {ANN: {"ldapMilterArchiveSentBcc": "a@example.net", "ldapMilterLegalSentBcc": "b@example.net"}}
    _, explained = example(values, options={"policy": {"max_copies": "1"}}).explain()

    assert copy_of(explained, "legal", "sent").cause == "max-copies"


@pytest.mark.parametrize("mode", ["observe", "pass"])
def test_the_mode_of_a_class(mode: str) -> None:
    values = {ANN: {"ldapMilterArchiveSentBcc": "vault@example.net"}}
    one = sent(values, options={"copy archive": {"mode": mode}})

    assert (one.cause, one.text) == ("mode", f"[copy archive] is in mode {mode}")


def test_a_direction_that_is_switched_off() -> None:
    one = sent({}, options={"copy archive": {"sent_attributes": ""}})

    assert (one.cause, one.text) == ("switched-off", "switched off: [copy archive] names no attribute for it")


@pytest.mark.parametrize(
    ("message", "text"),
    [
        (
            Message(login=None, sender=ANN),
            "nobody logged in, and the client is no mailbox server ([identity] mailbox_hosts)",
        ),
        (Message(login=None, sender=ANN, client=None), "nobody logged in, and the client's address is not known"),
        (Message(login=None, client=MAILBOX_SERVER), "nobody logged in, and the envelope sender is empty (<>)"),
        (
            Message(login=None, sender=JOE, client=MAILBOX_SERVER),
            f"the envelope sender {JOE} is in no domain that this directory hosts",
        ),
        (
            Message(login=None, sender=ANN, client=MAILBOX_SERVER, submitted_locally=True),
            "handed in by sendmail(1), which vouches for nobody",
        ),
    ],
)
def test_nobody_is_known_to_send(message: Message, text: str) -> None:
    _, explained = example({ANN: {"ldapMilterArchiveBcc": "vault@example.net"}}).explain(message)

    assert (copy_of(explained, "archive", "sent").cause, copy_of(explained, "archive", "sent").text) == (
        "no-identity",
        text,
    )
    assert {way_of(explained, way).text for way in ("rewrite", "recipient", "enforce")} == {text}


def test_a_login_that_nobody_has() -> None:
    message = Message(login="nobody@example.com")
    _, held = example().explain(message)
    passes = sent({}, message, options={"identity": {"unknown_login": "accept"}})

    assert {one.cause for one in held} == {"undecided"}
    assert "the login 'nobody@example.com' resolves to no account" in held[0].text
    assert (passes.cause, passes.text) == (
        "no-entry",
        "nobody@example.com has no account; no value on domain example.com, global config",
    )


def test_two_entries_answer_to_the_login() -> None:
    twin = builders.account("twin@example.com", zimbraMailAlias=[ANN], mail=["twin@example.com", ANN])
    _, explained = example({}, *twin).explain(Message(login=ANN))

    assert {one.cause for one in explained} == {"undecided"}
    assert "two entries answer" in explained[0].text


@pytest.mark.parametrize("failure", ["tempfail", "accept"])
def test_the_directory_cannot_be_asked(failure: str) -> None:
    world = example(
        {ANN: {"ldapMilterArchiveBcc": "vault@example.net"}}, options={"policy": {"directory_failure": failure}}
    )
    world.goes_down()
    decision, explained = world.explain()

    assert decision.unavailable is (failure == "tempfail")
    assert len(explained) == 7
    assert {one.cause for one in explained} == {"undecided"}
    assert explained[0].text


def test_what_only_explain_asks_for_cannot_be_asked() -> None:
    world = example({ANN: {"ldapMilterArchiveSentBcc": "vault@example.net"}})
    world.goes_down(lambda search_filter: "zimbraMailForwardingAddress" in search_filter)
    decision, explained = world.explain()

    assert [copy.address.text for copy in decision.copies] == ["vault@example.net"]
    # What is known is said, and that the rest is not.
    assert copy_of(explained, "archive", "received").cause == "not-hosted"
    one = copy_of(explained, "legal", "sent")
    assert one.cause == "undecided"
    assert one.text.startswith("no value on account ann, cos sales, domain example.com, global config; on which lists")


def test_recipients_outside_and_without_entry() -> None:
    outside = received({}, JOE, "x@client.test", "y@client.test")
    nobody = received({}, "nobody@example.com")
    both = received({}, BOB, JOE)

    assert (outside.cause, outside.text) == (
        "not-hosted",
        f"in no domain that this directory hosts: {JOE}, x@client.test and 1 more",
    )
    assert nobody.cause == "no-entry"
    assert nobody.text == "no such address: nobody@example.com; no value on domain example.com, global config"
    assert both.cause == "no-value"
    assert both.text.startswith(f"in no domain that this directory hosts: {JOE}; no value on account bob, cos ")


def test_an_envelope_without_recipients() -> None:
    _, explained = example({ANN: {"ldapMilterArchiveSentBcc": "vault@example.net with=*"}}).explain(Message(to=[]))

    assert copy_of(explained, "archive", "received").text == "there is no recipient"
    assert copy_of(explained, "archive", "sent").text == "there is no recipient"


# -- From -----------------------------------------------------------------------------------


def test_a_rule_that_nobody_matches() -> None:
    rule = "client.test => legal@example.com"
    one = way_of(example({ANN: {"ldapMilterSenderFromRewrite": rule}}).explain()[1], "rewrite")

    assert (one.cause, one.text, one.values[0].reason.value) == (
        "no-match",
        "no recipient is in client.test",
        rule,
    )


def test_members_do_not_match_where_they_may_not() -> None:
    values = {ANN: {"ldapMilterSenderFromRewrite": f"{BOB} => legal@example.com"}}
    world = example(values, options={"from": {"match_members": "no"}})

    assert way_of(world.explain(Message(to=[TEAM]))[1], "rewrite").text == f"no recipient is {BOB}"


AUTOMATIC: Final = "an automatic reply (Auto-Submitted) that a mailbox server sent"


def test_mail_of_a_mailbox_server_that_keeps_its_from() -> None:
    values = {
        ANN: {"ldapMilterSenderFromRewrite": "* => legal@example.com", "ldapMilterFromEnforce": "rewrite"},
        BOB: {"ldapMilterRecipientFromRewrite": "sales@example.com"},
    }
    message = Message(
        login=None, client=MAILBOX_SERVER, sender=ANN, to=[BOB], headers=[*FROM_ANN, ("Auto-Submitted", "auto-replied")]
    )
    _, explained = example(values).explain(message)

    for way in ("rewrite", "recipient", "enforce"):
        assert (way_of(explained, way).cause, way_of(explained, way).text) == ("exempt", AUTOMATIC)


def test_enforcement_is_satisfied_or_off() -> None:
    def enforcement(value: str) -> NotApplied:
        world = example({ANN: {"ldapMilterFromEnforce": value}})
        return way_of(world.explain(Message(headers=FROM_ANN))[1], "enforce")

    assert enforcement("reject").cause == "allowed"
    assert enforcement("reject").text == f"From is the sender's to use: {ANN}: the user's own address"
    assert (enforcement("off").cause, enforcement("off").text) == ("off", "any From may be used: enforcement is off")


ANN_ID: Final = zimbra_id("account", ANN)


@pytest.mark.parametrize(
    ("address", "values", "text"),
    [
        ("a.able+news@example.com", {}, "the user's own address with an extension"),
        (BOB, {BOB: {"zimbraACE": f"{ANN_ID} usr sendAs"}}, "a grant to the user (zimbraACE)"),
        (BOB, {"example.com": {"zimbraACE": f"{ANN_ID} usr sendAs"}}, "a grant to the user (zimbraACE)"),
        (BOB, {ANN: {"zimbraAllowAnyFromAddress": True}}, "zimbraAllowAnyFromAddress is TRUE"),
        (JOE, {ANN: {"zimbraAllowFromAddress": JOE}}, "zimbraAllowFromAddress or canonical address"),
    ],
)
def test_by_which_right_enforcement_is_satisfied(address: str, values: Values, text: str) -> None:
    world = example({**values, GLOBAL: {"ldapMilterFromEnforce": "reject"}})
    decision, explained = world.explain(Message(headers=[("From", f"Ann <{address}>")]))

    assert decision.refusal is None
    assert way_of(explained, "enforce").text == f"From is the sender's to use: {address}: {text}"


def test_each_way_has_a_reason_of_its_own() -> None:
    values = {ANN: {"ldapMilterSenderFromRewrite": "* => legal@example.com", "ldapMilterFromEnforce": "reject"}}
    message = Message(headers=[*FROM_ANN, ("Content-Type", "text/calendar; method=REPLY")])
    _, explained = example(values).explain(message)

    assert way_of(explained, "rewrite").cause == "exempt"
    assert way_of(explained, "rewrite").text.startswith("calendar mail (Content-Type or Content-Class)")
    assert way_of(explained, "enforce").cause == "allowed"


def test_enforcement_hidden_by_a_nearer_off() -> None:
    values = {ANN: {"ldapMilterFromEnforce": "off"}, GLOBAL: {"ldapMilterFromEnforce": "reject"}}
    one = way_of(example(values).explain(Message(headers=FROM_ANN))[1], "enforce")

    assert [(value.cause, value.reason.level) for value in one.values] == [("off", "account"), ("hidden", "global")]


@pytest.mark.parametrize("mode", ["observe", "pass"])
@pytest.mark.parametrize("enforce", ["rewrite", "reject"])
def test_the_mode_of_from(mode: str, enforce: str) -> None:
    world = example({ANN: {"ldapMilterFromEnforce": enforce}}, options={"from": {"mode": mode}})
    _, explained = world.explain(Message(headers=[("From", BOB)]))

    (one,) = [one for one in explained if one.way is not None]
    assert (one.way, one.cause, one.text) == ("enforce", "mode", f"[from] is in mode {mode}")


def test_a_message_that_is_refused_or_changed_has_no_answer_for_from() -> None:
    for values in ({"ldapMilterFromEnforce": "reject"}, {"ldapMilterSenderFromRewrite": "* => legal@example.com"}):
        _, explained = example({ANN: values}).explain(Message(headers=[("From", BOB)]))
        assert [one for one in explained if one.way is not None] == []


# -- what holds whatever the policy ---------------------------------------------------------

COPY_VALUES: Final = (
    "vault@example.net",
    "none",
    "NONE",
    "vault@example.net with=internal",
    "vault@example.net with=external",
    f"vault@example.net with=group:{TEAM}",
    "vault@example.net with=group:nolist@example.com",
    "vault@example.net until=2026-01-31",
    "vault@example.net until=2027-01-31",
    "{localpart}@{domain}.archive",
    "nowhere@example.com",
    "no address",
    ANN,
)
RULES: Final = ("* => legal@example.com", f"{BOB} => legal@example.com", "external => l@example.com", "none", "broken")
FROMS: Final = ("legal@example.com", "none", "<broken")
ENFORCE: Final = ("off", "rewrite", "reject", "none", "maybe")
ENTRIES: Final = (ANN, BOB, TEAM, "sales", "example.com", GLOBAL)


def some_of(values: tuple[str, ...], most: int = 2) -> st.SearchStrategy[list[str]]:
    return st.lists(st.sampled_from(values), max_size=most, unique=True)


ATTRIBUTES: Final = st.fixed_dictionaries(
    {
        "ldapMilterArchiveBcc": some_of(COPY_VALUES),
        "ldapMilterArchiveSentBcc": some_of(COPY_VALUES, 1),
        "ldapMilterLegalBcc": some_of(COPY_VALUES),
        "ldapMilterSenderFromRewrite": some_of(RULES, 1),
        "ldapMilterRecipientFromRewrite": some_of(FROMS, 1),
        "ldapMilterFromEnforce": some_of(ENFORCE, 1),
    }
)
OPTIONS: Final = st.fixed_dictionaries(
    {
        "copy archive": st.fixed_dictionaries(
            {"inherit": st.sampled_from(["override", "union"]), "mode": st.sampled_from(["apply", "apply", "observe"])}
        ),
        "copy legal": st.fixed_dictionaries({"invalid_value": st.sampled_from(["ignore", "tempfail"])}),
        "from": st.fixed_dictionaries(
            {"mode": st.sampled_from(["apply", "apply", "pass"]), "match_members": st.sampled_from(["yes", "no"])}
        ),
        "identity": st.fixed_dictionaries({"unknown_login": st.sampled_from(["accept", "tempfail"])}),
        "policy": st.fixed_dictionaries({"max_copies": st.sampled_from(["1", "50"])}),
    }
)
AUTOMATIC_REPLY: Final = [*FROM_ANN, ("Auto-Submitted", "auto-replied")]
CALENDAR: Final = [*FROM_ANN, ("Content-Type", "text/calendar")]
RESENT: Final = [("Resent-From", ANN), ("From", JOE)]
MESSAGES: Final = st.builds(
    Message,
    to=st.lists(st.sampled_from([ANN, BOB, TEAM, JOE, "nobody@example.com", "not an address"]), max_size=3),
    login=st.sampled_from([ANN, BOB, None, "nobody@example.com"]),
    sender=st.sampled_from([ANN, "", JOE]),
    client=st.sampled_from([MAILBOX_SERVER, OUTSIDER, None]),
    headers=st.sampled_from([FROM_ANN, [("From", BOB)], AUTOMATIC_REPLY, CALENDAR, RESENT, []]),
)


@given(
    values=st.fixed_dictionaries({}, optional=dict.fromkeys(ENTRIES, ATTRIBUTES)),
    members=st.sampled_from(["TRUE", "FALSE"]),
    options=OPTIONS,
    message=MESSAGES,
)
@settings(deadline=None, max_examples=100)
def test_one_answer_each(
    values: dict[str, dict[str, list[str]]], members: str, options: dict[str, dict[str, str]], message: Message
) -> None:
    given_values: dict[str, dict[str, builders.Value]] = {name: {**more} for name, more in values.items()}
    given_values.setdefault(TEAM, {})["ldapMilterAppliesToMembers"] = members
    world = example(given_values, options=options)

    decision, explained = world.explain(message)

    assert replace(decision, searches=0) == replace(world.decide(message), searches=0)
    copied = {
        (reason.copy_class, reason.direction)
        for copy in decision.copies
        if copy.mode == "apply"
        for reason in copy.reasons
    }
    answers = [(one.copy_class, one.direction) for one in explained if one.copy_class is not None]
    every = {(name, direction) for name in ("archive", "legal") for direction in ("sent", "received")}
    assert len(answers) == len(set(answers))
    assert copied | set(answers) == every
    assert copied.isdisjoint(answers)
    changes = decision.from_change or decision.refusal
    ways = [one.way for one in explained if one.way is not None]
    if changes is None:
        assert ways == ["rewrite", "recipient", "enforce"]
    else:
        assert len(ways) == (options["from"]["mode"] != "apply")
    for one in explained:
        assert one.text
        says_what_is_so(one)
        names_every_value(one, world)


def says_what_is_so(one: NotApplied) -> None:
    """Every value has the cause that it can have."""
    assert one.cause == one.values[0].cause if one.values else True
    for value in one.values:
        text = value.reason.value
        assert {
            "expired": "until=2026-01-31" in text,
            "none": text.lower() == "none",
            "no-match": "with=" in text or "=>" in text,
            "no-group": "nolist" in text,
            "accounts-only": "{localpart}" in text and value.reason.level != "account",
            "invalid": text in {"nowhere@example.com", "no address", "broken", "<broken", "maybe"},
            "own-address": text == ANN,
            "off": text == "off",
            "list-only": value.reason.level == "group",
        }.get(value.cause, True), (value.cause, text)


def names_every_value(one: NotApplied, world: World) -> None:
    """No value that was looked at is passed over in silence."""
    if one.cause == "mode" and one.way is not None:
        return
    policy = world.config.policy
    attributes: tuple[str, ...] = {
        "rewrite": policy.from_policy.sender_attributes,
        "recipient": policy.from_policy.recipient_attributes,
        "enforce": policy.from_policy.enforce_attributes,
    }.get(one.way or "", ())
    for copy_class in policy.copy_classes:
        if copy_class.name == one.copy_class and one.direction is not None:
            attributes = copy_class.attributes(one.direction)
    told = {(value.reason.dn, value.reason.attribute, value.reason.value) for value in one.values}
    there = {
        (holder.dn, attribute, text)
        for holder in one.looked_at
        for attribute in attributes
        for text in holder.values(attribute)
    }
    assert there <= told
