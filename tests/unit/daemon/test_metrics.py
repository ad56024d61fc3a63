"""The metrics page, read back with Prometheus's own parser."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from msgspec.structs import asdict
from prometheus_client.parser import text_string_to_metric_families

from ldapmilter.daemon.metrics import page
from ldapmilter.daemon.seal_keeper import LastSeal
from ldapmilter.daemon.snapshot import Snapshot
from ldapmilter.daemon.tally import SECONDS_BOUNDS, Tally, add
from ldapmilter.message import Identity
from ldapmilter.policy.model import Decision
from tests.unit.policy.example import example_records
from tests.unit.policy.world import ANN, BOB, JOE, Message, World

if TYPE_CHECKING:
    from collections.abc import Mapping

NOBODY = Identity(source="none")


def snapshot(counts: Mapping[str, Any], **more: Any) -> Snapshot:
    values: dict[str, Any] = {
        "version": "1.2.3",
        "counts": counts,
        "confidential": False,
        "bounds": SECONDS_BOUNDS,
        "workers": 1,
        "workers_wanted": 2,
        "restarts": 3,
        "sessions": 4,
        "in_flight": 5,
        "cached": 6,
        "not_applied": 1,
        "audit_fails": False,
        "last_message": None,
        "started_at": 1000.0,
        "reloaded_at": 2000.0,
        "reload_failed": True,
    }
    return Snapshot(**{**values, **more})


def samples(shown: Snapshot) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Return every sample of the page by name and labels."""
    found: dict[tuple[str, tuple[tuple[str, str], ...]], float] = {}
    for family in text_string_to_metric_families(page(shown).decode()):
        assert family.documentation
        for sample in family.samples:
            key = (sample.name, tuple(sorted(sample.labels.items())))
            assert key not in found
            found[key] = sample.value
    return found


def value(shown: Snapshot, name: str, **labels: str) -> float:
    return samples(shown)[name, tuple(sorted(labels.items()))]


def test_a_daemon_that_has_done_nothing_yet() -> None:
    shown = snapshot(Tally().numbers())
    assert value(shown, "ldapmilter_info", version="1.2.3") == 1
    assert value(shown, "ldapmilter_workers") == 1
    assert value(shown, "ldapmilter_workers_wanted") == 2
    assert value(shown, "ldapmilter_worker_restarts_total") == 3
    assert value(shown, "ldapmilter_reload_failed") == 1
    assert value(shown, "ldapmilter_errors_total") == 0
    assert value(shown, "ldapmilter_decision_seconds_count") == 0
    assert not [name for name, _ in samples(shown) if name == "ldapmilter_last_message_time_seconds"]
    assert value(snapshot({}, last_message=1234.5), "ldapmilter_last_message_time_seconds") == 1234.5


def test_decisions_and_waits_of_two_workers_add_up() -> None:
    one, other = Tally(), Tally()
    one.decided(Decision(identity=NOBODY))
    one.waited(0.00005)
    other.decided(Decision(identity=NOBODY, verdict="tempfail"))
    other.waited(0.3)
    other.waited(60.0)
    shown = snapshot(add(one.numbers(), other.numbers()))
    assert value(shown, "ldapmilter_decisions_total", verdict="accept") == 1
    assert value(shown, "ldapmilter_decisions_total", verdict="tempfail") == 1
    buckets = [count for (name, _), count in samples(shown).items() if name == "ldapmilter_decision_seconds_bucket"]
    assert buckets == sorted(buckets)
    assert value(shown, "ldapmilter_decision_seconds_bucket", le="0.0001") == 1
    assert value(shown, "ldapmilter_decision_seconds_bucket", le="0.5") == 2
    assert value(shown, "ldapmilter_decision_seconds_bucket", le="+Inf") == 3
    assert value(shown, "ldapmilter_decision_seconds_count") == 3
    assert abs(value(shown, "ldapmilter_decision_seconds_sum") - 60.30005) < 1e-6


def test_every_event_that_is_counted_is_shown() -> None:
    tally = Tally()
    tally.decided(Decision(identity=NOBODY, stale=True, incomplete=("a", "b")))
    tally.decided(Decision(identity=NOBODY, verdict="tempfail", unavailable=True))
    for event in ("probes", "errors", "audit_failures", "dropped_log_lines"):
        tally.happened(event)
    shown = samples(snapshot(tally.numbers(), confidential=True))
    for name in (
        "stale_decisions",
        "unavailable",
        "incomplete",
        "probes",
        "errors",
        "audit_failures",
        "dropped_log_lines",
    ):
        assert shown[f"ldapmilter_{name}_total", ()] == 1
    assert value(snapshot({}, audit_fails=True), "ldapmilter_audit_failing") == 1
    sealed = snapshot({}, seal=LastSeal(17, 1234.5))
    assert value(sealed, "ldapmilter_audit_seal") == 17
    assert value(sealed, "ldapmilter_audit_seal_time_seconds") == 1234.5


def after_a_message(ann: Mapping[str, str], *, confidential: bool, recipient: str = BOB) -> Snapshot:
    """Return what is known after one message of hers to a daemon that has seen none."""
    example = example_records({ANN: {"ldapMilterArchiveBcc": "vault@elsewhere.test", **ann}})
    world = World(example, {"copy legal": {"invalid_value": "ignore"}})
    tally = Tally()
    decision = world.decide(Message(to=[recipient]))
    tally.decided(decision, world.config.policy.confidential)
    counts = {
        **tally.numbers(),
        "cache": asdict(world.cache.statistics),
        "servers": {"ldap://a": {"searches": decision.searches, "failures": 0, "seconds": decision.searches / 100}},
    }
    return snapshot(counts, cached=len(world.cache), confidential=confidential)


@pytest.mark.parametrize(
    "legal",
    [
        "hold@elsewhere.test",
        "bob@example.com",  # which is searched for
        "vault@elsewhere.test",  # the archive's, too
        "no-at-sign",
        "none",
    ],
)
def test_a_legal_copy_moves_nothing_on_the_page_unless_it_was_asked_for(legal: str) -> None:
    hold = {"ldapMilterLegalBcc": legal}
    for recipient in (JOE, "carol@example.com"):
        pages = [page(after_a_message(ann, confidential=False, recipient=recipient)) for ann in ({}, hold)]
        assert pages[0] == pages[1]


def test_an_administrator_can_ask_for_the_counts_of_legal_copies() -> None:
    shown = after_a_message({"ldapMilterLegalBcc": "hold@elsewhere.test"}, confidential=True)
    for name in ("copies", "confidential_copies", "confidential_messages"):
        assert value(shown, f"ldapmilter_{name}_total") == 1
    assert value(shown, "ldapmilter_directory_searches_total", uri="ldap://a") > 0
    broken = after_a_message({"ldapMilterLegalBcc": "no-at-sign"}, confidential=True)
    assert value(broken, "ldapmilter_confidential_invalid_values_total") == 1
    assert value(broken, "ldapmilter_invalid_values_total") == 0


def test_no_label_comes_from_a_message() -> None:
    tally = Tally()
    before = len(samples(snapshot(tally.numbers())))
    for number in range(1000):
        tally.decided(Decision(identity=NOBODY, warnings=(), incomplete=(f"user-{number}@example.test",)))
    text = page(snapshot(tally.numbers())).decode()
    assert "example.test" not in text
    assert len(samples(snapshot(tally.numbers()))) == before + 1
    labels = {name for _, pairs in samples(snapshot(tally.numbers())) for name, _ in pairs}
    assert labels <= {"verdict", "effect", "uri", "version", "hash", "le"}


def test_mail_that_waits_is_one_number_and_says_for_what_only_where_few_can_read() -> None:
    cause = "an invalid value of copy class legal"
    waiting = [{"cause": cause, "messages": 50, "seconds": 7200.0}, {"cause": "x", "messages": 1, "seconds": 60.0}]

    open_page = snapshot({}, waiting=waiting, confidential=False)
    assert value(open_page, "ldapmilter_waiting_messages") == 51
    assert value(open_page, "ldapmilter_waiting_oldest_seconds") == 7200
    assert not any("legal" in str(labels) for _, labels in samples(open_page))
    secret = snapshot({}, waiting=waiting, confidential=True)
    assert value(secret, "ldapmilter_confidential_waiting_messages", cause=cause) == 50


def test_how_changes_are_followed() -> None:
    told = {"server": "ldap://one", "why_not": None, "seconds_behind": 0.4, "changes": 7, "answers": 3, "outdated": 2}
    text = page(snapshot({}, following=told, policy_hash="0123456789abcdef")).decode()
    assert "ldapmilter_following 1.0" in text
    assert "ldapmilter_following_behind_seconds 0.4" in text
    assert "ldapmilter_following_changes_total 7.0" in text
    assert "ldapmilter_following_outdated_total 2.0" in text
    assert 'ldapmilter_policy_configuration_info{hash="0123456789abcdef"} 1.0' in text


def test_that_changes_are_not_followed() -> None:
    told = {"server": None, "why_not": "no index", "seconds_behind": None, "changes": 0, "answers": 0, "outdated": 0}
    text = page(snapshot({}, following=told)).decode()
    assert "ldapmilter_following 0.0" in text
    assert "behind_seconds" not in text
