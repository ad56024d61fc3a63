"""What the MTA is answered: a message goes on, waits, or is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypedDict

from msgspec import Struct

from ldapmilter.policy.model import TEMPFAIL_REPLY

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from ldapmilter.policy.effect import Mode
    from ldapmilter.policy.model import Notice, Refusal, Verdict
    from ldapmilter.policy.settings import Policy

WAITS_FOR_DIRECTORY: Final = ("the directory",)
WAITS_FOR_AUDIT: Final = ("the audit",)
WAITS_FOR_RELAY: Final = ("the route to the copy relay",)
"""What mail waits for in an outage."""
NO_SUCH_RECIPIENT: Final = "550 5.1.1 No such recipient"


class Cause(Struct, frozen=True):
    """Why a message has to wait."""

    text: str
    """In words that name no person."""
    mode: Mode
    confidential: bool
    because: tuple[str, ...] = ()
    """The notices that say what exactly it is, which may name people."""


class AnswerToMta(TypedDict):
    """The part of a decision that the MTA is answered by."""

    verdict: Verdict
    smtp_reply: str | None
    verdict_mode: Mode
    waits_for: tuple[str, ...]
    waits_because: tuple[str, ...]
    waits_in_secret: bool


_GOES_ON: Final = AnswerToMta(
    verdict="accept", smtp_reply=None, verdict_mode="apply", waits_for=(), waits_because=(), waits_in_secret=False
)


def causes_to_wait(policy: Policy, truncations: Collection[Notice], notices: Collection[Notice]) -> list[Cause]:
    """Return each cause for which a message has to wait; none: it goes on.

    Args:
        policy: the configuration.
        truncations: what was more than a limit.
        notices: everything else that is wrong, invalid values among it.
    """
    causes: list[Cause] = []
    if not (truncations or notices):
        return causes
    if policy.directory_failure == "tempfail":
        what = "a list or a number of copies past its limit"
        causes.extend(Cause(what, policy.hold_mode, notice.confidential, (notice.text,)) for notice in truncations)
    broken: dict[str | None, list[str]] = {}
    for notice in notices:
        broken.setdefault(notice.invalid_value_of, []).append(notice.text)
    causes.extend(
        Cause(f"an invalid value of copy class {one.name}", one.mode, one.confidential, tuple(broken[one.name]))
        for one in policy.copy_classes
        if one.name in broken and one.invalid_value == "tempfail"
    )
    if "from" in broken and policy.from_policy.invalid_value == "tempfail":
        mode = policy.from_policy.mode
        causes.append(Cause("an invalid value of [from]", mode, confidential=False, because=tuple(broken["from"])))
    return causes


def answer(causes: Sequence[Cause], refusal: Refusal | None, policy: Policy) -> AnswerToMta:
    """Return verdict, reply and mode: waiting comes first, since a look-up may still change the rest."""
    if not causes and refusal is None:  # as of most mail
        return _GOES_ON
    verdict: Verdict = "accept"
    reply: str | None = None
    mode: Mode = "apply"
    if causes:
        modes = [cause.mode for cause in causes]
        verdict, reply, mode = "tempfail", TEMPFAIL_REPLY, "apply" if "apply" in modes else modes[0]
    elif refusal is not None:
        verdict, reply, mode = "reject", refusal.reply, policy.from_policy.mode
    return {
        "verdict": verdict,
        "smtp_reply": reply,
        "verdict_mode": mode,
        "waits_for": tuple(dict.fromkeys(cause.text for cause in causes if cause.mode == "apply")),
        "waits_because": tuple(dict.fromkeys(text for cause in causes for text in cause.because)),
        "waits_in_secret": bool(causes) and all(cause.confidential for cause in causes),
    }
