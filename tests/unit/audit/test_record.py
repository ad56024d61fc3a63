"""What is kept of a message, of which messages, and that nothing in one can break a line."""

from __future__ import annotations

import json
from datetime import timedelta, timezone
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ldapmilter import __version__
from ldapmilter.audit.record import (
    FORMAT,
    is_record,
    line,
    must_be_durable,
    record,
    record_shape,
    taken_back,
    wants_audit,
)
from ldapmilter.cli.audit_text import as_text
from ldapmilter.config import load
from ldapmilter.message import Envelope, HandledMessage
from ldapmilter.policy.effect import FromChange, HeaderChange
from ldapmilter.policy.model import TEMPFAIL_REPLY, Decision, Notice, Refusal
from ldapmilter.relay.ends import FATES, EndLine
from tests.unit.audit.example import ANN, ANN_DN, ENVELOPE, FULL, NOON, SALES_DN, copy, recorded
from tests.unit.policy.table import read_tables

if TYPE_CHECKING:
    from pathlib import Path

    from ldapmilter.policy.settings import Policy


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Policy:
    file = tmp_path_factory.mktemp("policy") / "config.ini"
    file.write_text("[ldap]\nuri = ldif:none.ldif\n[copy journal]\nsent_attributes = x\n", encoding="ascii")
    return load(file).policy


def test_everything_about_a_message_is_kept() -> None:
    because = {
        "level": "cos",
        "dn": SALES_DN,
        "recipient": "bob@example.test",
        "group_path": ["team@example.test", "sub@example.test"],
    }
    rule = {
        **because,
        "attribute": "ldapMilterSenderFromRewrite",
        "value": "x.test => Legal <legal@example.test>",
    }
    assert recorded() == {
        "format": FORMAT,
        "time": "2026-11-22T12:00:00.123Z",
        "host": "mta1.example.test",
        "version": __version__,
        "worker": 4711,
        "queue_id": "4XyZ",
        "message_id": "<one@example.test>",
        "message_ids": ["<one@example.test>"],
        "probe": False,
        "address_test": False,
        "login": "Ann",
        "client": "192.0.2.1",
        "sender": "ann@example.test",
        "offered": ["joe@x.test", "team@example.test"],
        "identity": {"address": "ann@example.test", "source": "sasl", "dn": ANN_DN},
        "verdict": "reject",
        "verdict_mode": "apply",
        "smtp_reply": "550 5.7.1 not yours",
        "mode": "apply",
        "from": {
            "old": ["Ann <ann@example.test>"],
            "value": "Legal <legal@example.test>",
            "cause": "rewrite",
            "mode": "apply",
            "reasons": [rule],
        },
        "headers": [
            {"name": "Reply-To", "value": "ann@example.test", "mode": "apply", "reasons": [rule]},
            {"name": "X-Old", "value": None, "mode": "apply", "reasons": []},
        ],
        "envelope_sender": None,
        "list": None,
        "refused": {"address": "boss@example.test", "reasons": [rule]},
        "copies": [
            {
                "address": "hold@counsel.test",
                "classes": ["legal"],
                "mode": "apply",
                "already_a_recipient": [],
                "added": True,
                "delivery": "direct",
                "token": None,
                "reasons": [
                    {
                        "class": "legal",
                        "direction": "received",
                        **because,
                        "attribute": "ldapMilterLegalBcc",
                        "value": "hold@counsel.test ref=case-7",
                        "ref": "case-7",
                    }
                ],
            }
        ],
        "unavailable": False,
        "decided_before": None,
        "waits_because": [],
        "warnings": ["a broken value"],
        "incomplete": ["no answer from ldap://a"],
        "stale": True,
        "searches": 4,
        "takes_back": None,
    }


def test_the_time_is_utc_whatever_zone_it_comes_in() -> None:
    late = (NOON + timedelta(hours=12)).astimezone(timezone(timedelta(hours=13)))
    assert late.hour == 13
    message = HandledMessage(queue_id="", envelope=ENVELOPE)
    kept = record(time=late, host="h", worker=1, message=message, decision=Decision(identity=ANN))
    assert kept["time"] == "2026-11-23T00:00:00.123Z"


@pytest.mark.parametrize(
    "kept",
    [
        recorded(),
        recorded(Decision(identity=ANN), message_ids=None, old_from=None),
        recorded(Decision(identity=ANN), envelope=Envelope()),
        recorded(Decision(identity=ANN, from_change=FULL.from_change), old_from=None),
        {**recorded(), "a_later_key": 1},
    ],
)
def test_every_record_has_the_shape_that_is_promised(kept: Any) -> None:
    assert is_record(json.loads(line(kept)))


ADDED = {"version", "message_ids", "address_test", "takes_back", "envelope_sender", "list", "waits_because"}


@pytest.mark.parametrize("key", record_shape())
def test_what_lacks_a_key_or_has_it_otherwise_is_no_record(key: str) -> None:
    whole = recorded()
    # A record made before a key was added is still one, ten years on.
    assert is_record({name: value for name, value in whole.items() if name != key}) is (key in ADDED)
    assert not is_record({**whole, key: 1.5})
    assert not is_record({**whole, key: [1]})


@pytest.mark.parametrize("key", ["already_a_recipient", "added", "delivery", "token"])
def test_a_copy_of_the_time_before_a_key_was_added_is_one(key: str) -> None:
    whole = recorded()
    del whole["copies"][0][key]
    assert is_record({**whole})
    whole["copies"][0][key] = 1.5
    assert not is_record(whole)


def test_a_header_field_of_the_time_before_it_had_reasons_is_one() -> None:
    whole = recorded()
    del whole["headers"][0]["reasons"]
    assert is_record({**whole})
    assert "header      Reply-To: ann@example.test" in as_text(whole)
    whole["headers"][0]["reasons"] = [{}]
    assert not is_record(whole)


def test_a_record_is_taken_back_by_one_that_names_the_same_and_did_nothing() -> None:
    kept = recorded(Decision(identity=ANN, copies=(copy("a@b.test", "legal"),)))
    other = taken_back(kept, time=NOON + timedelta(seconds=12))
    assert is_record(json.loads(line(other)))
    changed = {key: value for key, value in other.items() if value != kept[key]}
    assert changed == {
        "time": "2026-11-22T12:00:12.123Z",
        "verdict": "tempfail",
        "smtp_reply": TEMPFAIL_REPLY,
        "takes_back": "2026-11-22T12:00:00.123Z",
    }


@pytest.mark.parametrize("value", [None, [], "x", 1, {}, {"format": 1}])
def test_other_json_is_no_record(value: object) -> None:
    assert not is_record(value)


def test_a_truth_value_is_no_number() -> None:
    assert not is_record({**recorded(), "worker": True})


HOSTILE = ["a\nb", "a\r\n{}", "\u2028\u2029\u0085", "\0", "\x1b[31m", 'a"b\\', "Zoë", "caf\udce9", "\ud800", "😀", ""]


@pytest.mark.parametrize("text", HOSTILE)
def test_nothing_breaks_the_line(text: str) -> None:
    check_line(text)


@settings(max_examples=200, deadline=None)
@given(text=st.text(alphabet=st.characters(exclude_categories=[]), max_size=30))
def test_no_text_breaks_the_line(text: str) -> None:
    check_line(text)


def check_line(text: str) -> None:
    decision = Decision(identity=ANN, warnings=(Notice(text=text),), copies=(copy("a@b.test", "legal"),))
    octets = line(recorded(decision, envelope=Envelope(login=text, sender=text, recipients=(text,)), queue_id=text))
    assert octets.isascii()
    assert octets.endswith(b"}\n")
    assert octets.count(b"\n") == 1
    assert len(octets.splitlines()) == 1
    back = json.loads(octets)
    assert is_record({**back})
    for kept in (back["sender"], back["offered"][0], back["queue_id"], back["login"], back["warnings"][0]):
        kept.encode("utf-8")  # no half of a surrogate pair, which many programs refuse
        if not any("\ud800" <= character <= "\udfff" for character in text):
            assert kept == text


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(st.text(), _VALUES, max_size=6))
@settings(max_examples=200, deadline=None)
def test_the_line_is_that_of_the_standard_library(value: dict[str, Any]) -> None:
    plain = json.dumps(value, separators=(",", ":"))
    assert line(value) == plain.encode("ascii") + b"\n"


@pytest.mark.parametrize("character", [chr(number) for number in range(0x81)])
def test_each_character_is_spelt_as_by_the_standard_library(character: str) -> None:
    assert line({"value": character}) == json.dumps({"value": character}, separators=(",", ":")).encode() + b"\n"


def test_octets_that_are_not_utf_8_can_still_be_read() -> None:
    kept = recorded(envelope=Envelope(sender="caf\udce9@x.test", recipients=("\ud800😀",)))
    back = json.loads(line(kept))
    assert back["sender"] == "caf\\xE9@x.test"
    assert back["offered"] == ["\\uD800😀"]


@pytest.mark.parametrize(
    "change",
    [
        {"copies": (copy("a@b.test", "archive"),)},
        {"copies": (copy("a@b.test", "archive", mode="observe"),)},
        {"from_change": FromChange(value="a@b.test", cause="enforce", reasons=())},
        {"header_changes": (HeaderChange(name="Reply-To", value="a@b.test", reasons=()),)},
        {"refusal": Refusal(reply="550 5.7.1 x", address="a@b.test", reasons=())},
        {"verdict": "tempfail"},
        {"verdict": "tempfail", "verdict_mode": "observe"},
        {"unavailable": True},
        {"incomplete": ("x",)},
        {"stale": True},
        {"warnings": (Notice(text="x", invalid_value_of="archive"),)},
        {"warnings": (Notice(text="x", error=True),)},
    ],
)
def test_an_effect_or_a_problem_is_audited(change: dict[str, Any]) -> None:
    assert wants_audit(Decision(identity=ANN, **change))


@pytest.mark.parametrize(
    "decision",
    [
        Decision(identity=ANN),
        Decision(identity=ANN, mode="observe", searches=9),
        Decision(identity=ANN, decided_before="re-injected on port 10025"),
        Decision(identity=ANN, warnings=(Notice(text="two rules conflict"),)),
    ],
)
def test_a_message_that_nothing_happened_to_is_not(decision: Decision) -> None:
    assert not wants_audit(decision)


@pytest.mark.parametrize(
    ("classes", "mode", "durable"),
    [
        (("legal",), "apply", True),
        (("journal",), "apply", True),
        (("archive", "legal"), "apply", True),
        (("archive",), "apply", False),
        (("legal",), "observe", False),
        (("legal",), "pass", False),
    ],
)
def test_a_legal_copy_is_on_disk_before_the_verdict(
    policy: Policy, classes: tuple[str, ...], mode: str, *, durable: bool
) -> None:
    decision = Decision(identity=ANN, copies=(copy("a@b.test", *classes, mode=mode),))
    assert must_be_durable(decision, policy) is durable


def test_a_message_that_waits_has_no_copy_to_account_for(policy: Policy) -> None:
    copies = (copy("a@b.test", "legal"),)
    assert not must_be_durable(Decision(identity=ANN, verdict="tempfail", copies=copies), policy)
    observed = Decision(identity=ANN, verdict="tempfail", verdict_mode="observe", copies=copies)
    assert must_be_durable(observed, policy)


def test_the_page_names_every_key_and_no_other(repository: Path) -> None:
    (rows,) = (rows for name, rows in read_tables(page(repository)).items() if name == "audit-keys")
    assert [row.value("key") for row in rows] == list(_paths(record_shape()))


def test_the_page_names_every_key_of_the_end_of_a_copy(repository: Path) -> None:
    (rows,) = (rows for name, rows in read_tables(page(repository)).items() if name == "end-keys")
    assert [row.value("key") for row in rows] == list(EndLine.__annotations__)
    table = page(repository).partition("<!-- table: end-keys -->")[2].partition("\n\n| ")[2].partition("\n\n")[0]
    assert all(f"`{state}`" in table for state in FATES)


@pytest.fixture
def repository(request: pytest.FixtureRequest) -> Path:
    return request.config.rootpath


def page(repository: Path) -> str:
    return (repository / "docs" / "audit.md").read_text(encoding="utf-8")


def _paths(shape: object, prefix: str = "") -> list[str]:
    """Return the keys of a shape as the page writes them: ``copies[].address``; reasons are spelt once."""
    if isinstance(shape, tuple):
        return _paths(shape[1], prefix)
    if isinstance(shape, list):
        return _paths(shape[0], f"{prefix}[]") if isinstance(shape[0], dict) else []
    if not isinstance(shape, dict):
        return []
    found = []
    for key, inner in shape.items():
        path = f"{prefix}.{key}" if prefix else key
        found.append(path)
        if key != "reasons" or prefix == "copies[]":
            found += _paths(inner, path)
    return found


def test_the_example_on_the_page_is_a_record(repository: Path) -> None:
    text = page(repository)
    (block,) = [part.partition("```")[0] for part in text.split("```json\n")[1:]]
    assert is_record(json.loads(block))
