"""The line in the mail log: what stands in it, what cannot break out of it, what it never names."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from ldapmilter.address import make_address
from ldapmilter.config import load
from ldapmilter.daemon import decision_log
from ldapmilter.message import Envelope, HandledMessage, Identity
from ldapmilter.policy.effect import Copy, CopyReason, FromChange, Reason
from ldapmilter.policy.model import Decision, Notice

if TYPE_CHECKING:
    from ldapmilter.policy.effect import Mode
    from ldapmilter.policy.settings import Policy

ANN = Identity(source="sasl", address=make_address("ann", "example.test"), dn="uid=ann,ou=people,dc=example,dc=test")
ENVELOPE = Envelope(login="ann", client="192.0.2.1", sender="ann@example.test", recipients=("joe@x.test", "bob@x.test"))
SALES = "cn=sales,cn=cos,cn=zimbra"
HOLD_DN = "cn=on-hold,cn=cos,cn=zimbra"
_FIELD = re.compile(r' ([a-z_]+)=("(?:[^"\\]|\\.)*"|[^ "\\]*)')


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Policy:
    """Return the default policy with one more copy class, which is confidential like legal."""
    folder = tmp_path_factory.mktemp("policy")
    file = folder / "config.ini"
    file.write_text("[ldap]\nuri = ldif:none.ldif\n[copy journal]\nsent_attributes = x\n", encoding="ascii")
    return load(file).policy


def reason(dn: str = SALES, **more: object) -> Reason:
    values: dict[str, object] = {
        "level": "cos",
        "dn": dn,
        "attribute": "ldapMilterSenderFromRewrite",
        "value": "secret-value@counsel.test",
    }
    return Reason(**{**values, **more})  # type: ignore[arg-type]


def copy_reason(copy_class: str, dn: str = SALES, group_path: tuple[str, ...] = ()) -> CopyReason:
    return CopyReason(
        level="cos",
        dn=dn,
        attribute=f"the{copy_class}Attribute",
        value="secret-value@counsel.test",
        group_path=group_path,
        copy_class=copy_class,
        direction="sent",
    )


def copy(address: str, *reasons: CopyReason, mode: Mode = "apply") -> Copy:
    local, _, domain = address.partition("@")
    return Copy(address=make_address(local, domain), reasons=reasons, mode=mode)


def line_of(
    decision: Decision, policy: Policy, queue_id: str = "4QID", envelope: Envelope = ENVELOPE, **more: bool
) -> str:
    """Return the line for a message; there has to be one."""
    message = HandledMessage(queue_id=queue_id, envelope=envelope, probe=more.get("probe", False))
    line = decision_log.line(message, decision, policy, verbose=more.get("verbose", True))
    assert line is not None
    return line


def fields(line: str) -> list[tuple[str, str]]:
    """Take a line apart again; fail where anything is left over."""
    queue_id, colon, rest = line.partition(":")
    assert queue_id
    assert colon
    found: list[tuple[str, str]] = []
    position = 0
    for match in _FIELD.finditer(rest):
        assert match.start() == position, rest[position:]
        position = match.end()
        value = match.group(2)
        if value.startswith('"'):
            value = re.sub(r"\\(.)", r"\1", value[1:-1])
        found.append((match.group(1), value))
    assert position == len(rest), rest[position:]
    return found


def values(line: str, name: str) -> list[str]:
    return [value for found, value in fields(line) if found == name]


def test_a_message_without_policy(policy: Policy) -> None:
    line = line_of(Decision(identity=ANN, searches=3), policy)
    assert line.startswith("4QID: ")
    assert "\n" not in line
    assert dict(fields(line)) == {
        "verdict": "accept",
        "identity": "sasl:ann@example.test",
        "mail_from": "<ann@example.test>",
        "nrcpt": "2",
    }


def test_only_effects_and_problems_have_a_line(policy: Policy) -> None:
    message = HandledMessage(queue_id="4QID", envelope=ENVELOPE)
    quiet = (
        Decision(identity=ANN, searches=3),
        Decision(identity=ANN, decided_before="it came to port 10025"),
        # A line for a message of which a legal copy is all that happens would tell that there is one.
        Decision(identity=ANN, copies=(copy("hold@counsel.test", copy_reason("legal")),)),
        Decision(identity=ANN, warnings=(Notice(text="hold@counsel.test names the author", confidential=True),)),
    )
    for decision in quiet:
        assert decision_log.line(message, decision, policy) is None
    telling = (
        Decision(identity=ANN, verdict="tempfail", smtp_reply="451 4.3.0 x"),
        Decision(identity=ANN, copies=(copy("vault@keep.test", copy_reason("archive")),)),
        Decision(identity=ANN, warnings=(Notice(text="conflict"),)),
        Decision(identity=ANN, incomplete=("the list",)),
        Decision(identity=ANN, stale=True),
    )
    for decision in telling:
        assert decision_log.line(message, decision, policy) is not None


def test_a_probe_is_marked_and_always_has_a_line(policy: Policy) -> None:
    line = line_of(Decision(identity=ANN), policy, probe=True, verbose=False)
    assert values(line, "probe") == ["yes"]
    assert not values(line_of(Decision(identity=ANN), policy), "probe")


def test_what_was_done_and_why(policy: Policy) -> None:
    decision = Decision(
        identity=ANN,
        from_change=FromChange(
            value="Legal Dept. <legal@example.test>",
            cause="rewrite",
            reasons=(reason(recipient="joe@x.test", group_path=("all@x.test", "eng@x.test")),),
        ),
        copies=(copy("vault@keep.test", copy_reason("archive")),),
    )
    line = line_of(decision, policy)
    assert values(line, "from") == ["Legal Dept. <legal@example.test>"]
    assert values(line, "copy") == ["vault@keep.test"]
    (why,) = values(line, "from_reason")
    for word in ("cos", "ldapMilterSenderFromRewrite", SALES, "joe@x.test", "all@x.test", "eng@x.test"):
        assert word in why
    (why,) = values(line, "copy_reason")
    for word in ("cos", "thearchiveAttribute", SALES):
        assert word in why


@pytest.mark.parametrize("copy_class", ["legal", "journal"])
def test_a_confidential_copy_is_not_there(policy: Policy, copy_class: str) -> None:
    decision = Decision(
        identity=ANN,
        copies=(
            copy("hold@counsel.test", copy_reason(copy_class, HOLD_DN)),
            copy("vault@keep.test", copy_reason("archive")),
        ),
        warnings=(
            Notice(text="hold@counsel.test names the author", confidential=True),
            Notice(text=f"invalid value at {HOLD_DN}", confidential=True, invalid_value_of=copy_class),
            Notice(text="a plain warning"),
        ),
    )
    line = line_of(decision, policy)
    assert values(line, "copy") == ["vault@keep.test"]
    assert values(line, "warning") == ["a plain warning"]
    for secret in ("counsel", "on-hold", f"the{copy_class}Attribute"):
        assert secret not in line


@pytest.mark.parametrize("mode", ["apply", "observe"])
def test_with_a_confidential_copy_the_line_is_the_same_as_without(policy: Policy, mode: Mode) -> None:
    without = Decision(identity=ANN)
    with_copy = Decision(identity=ANN, copies=(copy("hold@counsel.test", copy_reason("legal"), mode=mode),))
    lines = {line_of(decision, policy) for decision in (without, with_copy)}
    assert len(lines) == 1


@pytest.mark.parametrize("first", ["archive", "legal"])
def test_an_address_that_both_ask_for_is_named_for_the_archive_only(policy: Policy, first: str) -> None:
    both = (copy_reason("archive"), copy_reason("legal", HOLD_DN))
    reasons = both if first == "archive" else both[::-1]
    line = line_of(Decision(identity=ANN, copies=(copy("vault@keep.test", *reasons),)), policy)
    only = line_of(Decision(identity=ANN, copies=(copy("vault@keep.test", both[0]),)), policy)
    assert line == only


@pytest.mark.parametrize("mode", ["observe", "pass"])
def test_what_is_not_applied_is_said_to_be_what_would_be(policy: Policy, mode: Mode) -> None:
    decision = Decision(
        identity=ANN,
        verdict="tempfail",
        smtp_reply="451 4.3.0 x",
        verdict_mode=mode,
        mode=mode,
        from_change=FromChange(value="l@example.test", cause="rewrite", reasons=(reason(),), mode=mode),
        copies=(
            copy("vault@keep.test", copy_reason("archive"), mode=mode),
            copy("h@counsel.test", copy_reason("legal"), mode=mode),
        ),
    )
    line = line_of(decision, policy)
    assert values(line, "verdict") == ["would-tempfail"]
    assert values(line, "would_from") == ["l@example.test"]
    assert values(line, "would_copy") == ["vault@keep.test"]
    assert values(line, "mode") == [mode]
    assert not values(line, "from")
    assert not values(line, "copy")
    assert "counsel" not in line


def test_modes_may_differ_in_one_line(policy: Policy) -> None:
    decision = Decision(
        identity=ANN,
        from_change=FromChange(value="l@example.test", cause="rewrite", reasons=(reason(),), mode="observe"),
        copies=(copy("vault@keep.test", copy_reason("archive")),),
    )
    line = line_of(decision, policy)
    assert values(line, "would_from")
    assert values(line, "copy")


def test_incomplete_and_stale_are_said(policy: Policy) -> None:
    decision = Decision(identity=ANN, incomplete=("no answer from ldap://a",), stale=True)
    line = line_of(decision, policy)
    assert values(line, "incomplete") == ["no answer from ldap://a"]
    assert values(line, "stale") == ["yes"]


def test_nobody_and_no_queue_id(policy: Policy) -> None:
    line = line_of(Decision(identity=Identity(source="none")), policy, "", Envelope(recipients=("a@x.test",)))
    assert line.startswith("NOQUEUE: ")
    assert values(line, "identity") == ["none"]
    assert values(line, "mail_from") == ["<>"]


HOSTILE = [
    "x\ny",
    "x\r\n4QID: verdict=reject",
    'x" verdict=reject "',
    'x\\" verdict=reject',
    "x\\",
    "a b=c",
    "",
    "\x1b[31mred\x1b[0m",
    "a\u2028b\u2029c\u0085d",
    "\u202egnp.exe",
    "caf\udce9",
    "Zoë",
    "\x00",
    "\t",
    "\u00a0",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_nothing_breaks_out_of_its_field(policy: Policy, text: str) -> None:
    check(policy, text)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(alphabet=st.characters(), max_size=40))
def test_no_text_breaks_out_of_its_field(policy: Policy, text: str) -> None:
    check(policy, text)


def check(policy: Policy, text: str) -> None:
    decision = Decision(
        identity=Identity(source="sasl", address=make_address(text or "x", "example.test")),
        from_change=FromChange(value=text, cause="rewrite", reasons=(reason(dn=text, recipient=text),)),
        copies=(copy(f"{text.replace('@', '') or 'x'}@keep.test", copy_reason("archive", text, group_path=(text,))),),
        warnings=(Notice(text=text),),
        incomplete=(text,),
    )
    envelope = Envelope(sender=text, recipients=(text,))
    line = line_of(decision, policy, text, envelope)
    assert line.isprintable()
    assert line.encode("utf-8")
    if not set(text) & set(": "):
        names = [name for name, _ in fields(line)]
        assert names == [
            *("verdict", "identity", "mail_from", "nrcpt", "from", "from_reason"),
            *("copy", "copy_reason", "warning", "incomplete"),
        ]
        assert values(line, "verdict") == ["accept"]


@pytest.mark.parametrize("text", ["4QID verdict=reject x", "a: verdict=reject copy=b", 'a"b'])
def test_a_queue_id_is_no_place_to_hide_fields_either(policy: Policy, text: str) -> None:
    """The id is the MTA's own; still, whoever reaches the socket can send any macro."""
    line = line_of(Decision(identity=ANN), policy, text)
    assert line.count("\n") == 0
    assert line.endswith("nrcpt=2")


def test_the_line_has_a_bound_for_thousands_of_recipients(policy: Policy) -> None:
    envelope = Envelope(sender="a@x.test", recipients=tuple(f"r{number}@x.test" for number in range(5000)))
    line = line_of(Decision(identity=ANN), policy, envelope=envelope)
    assert values(line, "nrcpt") == ["5000"]
    assert len(line) < 300


def test_a_copy_to_a_recipient_is_told_from_one_that_is_no_copy_at_all(policy: Policy) -> None:
    made = replace(copy("keep@x.test", copy_reason("archive")), already=("KEEP@x.test",))
    line = line_of(Decision(identity=ANN, copies=(made,)), policy)
    assert ("copy", "keep@x.test") in fields(line)
    assert ("already_a_recipient", "yes") in fields(line)
    settled = replace(made, added=False)
    assert "copy=" not in line_of(Decision(identity=ANN, copies=(settled,)), policy)
    secret = replace(copy("hold@x.test", copy_reason("legal")), already=("hold@x.test",))
    assert "already" not in line_of(Decision(identity=ANN, copies=(secret,)), policy)
