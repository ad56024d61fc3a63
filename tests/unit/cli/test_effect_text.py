"""What happens to a message, in words: expected by ``explain``, recorded by the audit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from msgspec.structs import replace

from ldapmilter.address import make_address
from ldapmilter.cli import audit_text, decision_text
from ldapmilter.cli.why_not_text import WhyNotText
from ldapmilter.policy.document import as_json
from ldapmilter.policy.effect import SenderChange
from ldapmilter.policy.identity import NOBODY
from ldapmilter.policy.model import ListPost, Notice
from tests.unit.audit.example import FULL, recorded

if TYPE_CHECKING:
    from ldapmilter.policy.effect import Mode
    from ldapmilter.policy.explanation import NotAppliedDocument

ENCODED = "=?utf-8?q?Z=C3=B6=C3=AB?= <zoe@example.test>"
BECAUSE = (
    "ldapMilterSenderFromRewrite: x.test => Legal <legal@example.test>   [cos cn=sales,cn=cos,cn=zimbra]"
    " for bob@example.test through team@example.test > sub@example.test"
)


def explained(**changes: Any) -> list[str]:
    decision = replace(FULL, verdict="accept", smtp_reply=None, refusal=None, **changes)
    return decision_text.as_text(as_json(decision)).splitlines()


def test_every_effect_is_named_with_its_reasons() -> None:
    lines = explained()
    start = lines.index("From      Legal <legal@example.test> (rewrite)")
    assert lines[start : start + 7] == [
        "From      Legal <legal@example.test> (rewrite)",
        f"            {BECAUSE}",
        "header    Reply-To: ann@example.test",
        f"            {BECAUSE}",
        "header    X-Old: (removed)",
        "copy      hold@counsel.test (legal)",
        (
            "            received: ldapMilterLegalBcc: hold@counsel.test ref=case-7   [cos cn=sales,cn=cos,cn=zimbra]"
            " for bob@example.test through team@example.test > sub@example.test"
        ),
    ]


def test_a_value_is_shown_as_people_read_it_and_as_it_is_sent() -> None:
    assert FULL.from_change is not None
    change = replace(FULL.from_change, value=ENCODED)
    header = replace(FULL.header_changes[0], value=ENCODED)
    lines = explained(from_change=change, header_changes=(header,))
    for first in ("From      Zöë <zoe@example.test> (rewrite)", "header    Reply-To: Zöë <zoe@example.test>"):
        assert lines[lines.index(first) + 1] == f"            sent as {ENCODED}"


def test_a_folded_value_is_shown_on_one_line() -> None:
    header = replace(FULL.header_changes[0], name="Cc", value="Joe <joe@client.test>,\n\tx@y.test", verbatim=True)
    lines = explained(header_changes=(header,))
    assert lines[lines.index("header    Cc: Joe <joe@client.test>, x@y.test") + 1] == f"            {BECAUSE}"
    assert header.told == (("header", "Cc: Joe <joe@client.test>, x@y.test"),)
    folded = replace(header, value=f"{ENCODED},\n x@y.test")
    lines = explained(header_changes=(folded,))
    assert (
        lines[lines.index("header    Cc: Zöë <zoe@example.test>, x@y.test") + 1]
        == f"            sent as {ENCODED}, x@y.test"
    )


@pytest.mark.parametrize("mode", ["observe", "pass"])
def test_what_is_not_applied_is_said_not_to_be(mode: Mode) -> None:
    changed: dict[str, Any] = {
        "from_change": replace(FULL.from_change, mode=mode) if FULL.from_change is not None else None,
        "header_changes": tuple(replace(change, mode=mode) for change in FULL.header_changes),
        "copies": tuple(replace(one, mode=mode) for one in FULL.copies),
    }
    effects = [line for line in explained(**changed) if line.startswith(("From ", "header ", "copy "))]
    assert len(effects) == 4
    assert all(line.endswith(f" [{mode}: not applied]") for line in effects)
    text = audit_text.as_text(recorded(replace(FULL, **changed)))
    assert text.count(f" [{mode}: would, was not applied]") == 4


def test_a_refusal_that_is_not_carried_out_hides_no_copy() -> None:
    observed: Any = replace(FULL, verdict="reject", verdict_mode="observe", smtp_reply="550 5.7.1 No")
    document = as_json(observed)
    text = decision_text.as_text(document)

    assert document["verdict_mode"] == "observe"
    assert "verdict   reject: 550 5.7.1 No [observe: not applied]\n" in text
    assert "refused   From " in text
    assert "copy      hold@counsel.test (legal)\n" in text
    assert "copy " not in decision_text.as_text(as_json(replace(observed, verdict_mode="apply")))
    earlier: Any = as_json(replace(observed, verdict_mode="apply"))
    del earlier["verdict_mode"]
    assert "verdict   reject: 550 5.7.1 No\n" in decision_text.as_text(earlier)


def test_what_could_not_be_asked_is_not_denied() -> None:
    """Whether a client is a mailbox server stands in the directory."""
    unknown: Any = replace(FULL, identity=NOBODY, verdict="tempfail", refusal=None, unavailable=True)

    assert "identity  none: nobody logged in" in decision_text.as_text(as_json(unknown))
    assert "mailbox server" not in decision_text.as_text(as_json(unknown))


def test_a_header_field_without_reasons_is_shown() -> None:
    """As a daemon of an earlier version, and a record of one, has it."""
    decision: Any = as_json(replace(FULL, verdict="accept", refusal=None))
    record: Any = recorded()
    for document in (decision, record):
        for header in document["headers"]:
            del header["reasons"]
    assert "header    Reply-To: ann@example.test\n" in decision_text.as_text(decision)
    assert "header      Reply-To: ann@example.test\n" in audit_text.as_text(record)


def test_a_post_to_a_list_is_named_with_what_it_changes() -> None:
    assert FULL.from_change is not None
    reasons = FULL.from_change.reasons
    change = SenderChange(address=make_address("bounces", "example.test"), reasons=reasons)
    staff = make_address("staff", "example.test")
    post = ListPost(address=staff, sender_change=change, from_stays="the list reaches no address outside")
    lines = explained(sender_change=change, list_post=post)
    assert lines[lines.index("list      staff@example.test") + 1] == (
        "            From stays: the list reaches no address outside"
    )
    assert lines[lines.index("sender    bounces@example.test") + 1] == f"            {BECAUSE}"
    alone = replace(post, left_alone="it carries its List-Id")
    assert "list      staff@example.test: left as it is, it carries its List-Id" in explained(list_post=alone)


def test_why_a_message_waits_stands_below_its_verdict_and_once() -> None:
    why, other = "invalid value of ldapMilterLegalBcc at cn=x: is no address", "a value names its own address"
    waiting = replace(
        FULL,
        verdict="tempfail",
        smtp_reply="451 4.3.0 Wait",
        refusal=None,
        waits_because=(why,),
        warnings=(Notice(text=other), Notice(text=why)),
    )
    lines = decision_text.as_text(as_json(waiting)).splitlines()
    verdict = next(number for number, line in enumerate(lines) if line.startswith("verdict "))
    assert lines[verdict + 1] == f"because   {why}"
    assert [line for line in lines if why in line] == [f"because   {why}"]
    assert f"warning   {other}" in lines


def test_why_the_directory_could_not_be_asked_is_told_by_a_daemon_of_an_earlier_version() -> None:
    document = as_json(
        replace(FULL, unavailable=True, verdict="tempfail", warnings=(Notice(text="no server answers"),))
    )
    del document["waits_because"]  # type: ignore[misc]
    assert "because   no server answers" in decision_text.as_text(document)


def test_what_is_wrong_with_a_setting_of_a_list_is_said_once() -> None:
    one: NotAppliedDocument = {
        "class": None,
        "direction": None,
        "way": "list",
        "cause": "invalid",
        "text": "cannot be used: has no @",
        "values": [],
        "looked_at": [],
    }
    assert list(WhyNotText([one]).of_lists()) == ["list      not used: has no @"]
