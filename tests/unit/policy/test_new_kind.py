"""A kind of effect that only its own class knows: log, counts and audit take it as it comes (docs/design.md)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

from ldapmilter.audit.record import wants_audit
from ldapmilter.daemon import decision_log
from ldapmilter.daemon.tally import Tally
from ldapmilter.message import Envelope, HandledMessage, Identity
from ldapmilter.policy.effect import Effect, Reason
from ldapmilter.policy.model import Decision
from tests.unit.policy.world import read_config

if TYPE_CHECKING:
    from ldapmilter.policy.effect import Mode

REASON: Final = Reason(level="group", dn="cn=staff", attribute="tagAttribute", value="[staff]")
MESSAGE: Final = HandledMessage(queue_id="4QID", envelope=Envelope(sender="ann@example.com"))


class Tag(Effect, frozen=True, kw_only=True):
    """A subject with a tag."""

    text: str

    @property
    def kind(self) -> str:
        return "tag"

    @property
    def told(self) -> tuple[tuple[str, str], ...]:
        return (("tag", self.text), ("tagged_by", "list"))


class Tagged(Decision, frozen=True, kw_only=True):
    """A decision that holds one."""

    tag: Tag

    @property
    def effects(self) -> tuple[Effect, ...]:
        return (self.tag,)


def tagged(mode: Mode) -> Decision:
    return Tagged(identity=Identity(source="none"), tag=Tag(text="[staff]", reasons=(REASON,), mode=mode))


@pytest.mark.parametrize(("mode", "would"), [("apply", ""), ("observe", "would_")])
def test_the_log_tells_of_it_with_its_reason(mode: Mode, would: str) -> None:
    line = decision_log.line(MESSAGE, tagged(mode), read_config({}).policy)
    assert line is not None
    assert line.endswith(f' {would}tag=[staff] tagged_by=list tag_reason="group tagAttribute at cn=staff"')


@pytest.mark.parametrize(("mode", "counted"), [("apply", "tag"), ("observe", "would-tag")])
def test_it_is_counted_by_its_kind(mode: Mode, counted: str) -> None:
    tally = Tally()
    tally.decided(tagged(mode))
    numbers = tally.numbers()
    assert numbers["effects"] == {counted: 1}
    assert "copies" not in numbers["events"]


@pytest.mark.parametrize(("mode", "applied"), [("apply", 1), ("observe", 0)])
def test_the_message_is_audited_and_the_effect_is_carried_out_in_mode_apply_alone(mode: Mode, applied: int) -> None:
    decision = tagged(mode)
    assert wants_audit(decision)
    assert len(decision.applied) == applied
    assert decision.changed_fields == frozenset()


def test_an_effect_without_a_kind_and_words_cannot_be_made() -> None:
    class Silent(Effect, frozen=True, kw_only=True):
        """An effect that forgot them."""

    with pytest.raises(TypeError, match="abstract"):
        Silent(reasons=(REASON,))  # type: ignore[abstract]
