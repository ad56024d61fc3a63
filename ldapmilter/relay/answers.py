"""What becomes of a copy when the archive's server answers so or so. Pure.

Only the server that a copy is meant for can refuse it, and only where the answer is about this copy: at RCPT,
or from DATA on. Whatever goes wrong before says something of the server, its certificate or our session: that
passes, and another next hop may be better off. What is in doubt is not through: a copy may come twice with
the same Message-ID, it is never lost.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Iterable

Step = Literal["connect", "banner", "hello", "tls", "mail", "rcpt", "data", "end"]
"""Where a session stands: what the server was last told, and its answer is waited for."""

Becomes = Literal["goes on", "accepted", "refused", "next hop"]
"""``next hop``: the copy is not through here for now; the next hop in order is tried, Postfix keeps the copy."""

STEPS: Final[tuple[Step, ...]] = ("connect", "banner", "hello", "tls", "mail", "rcpt", "data", "end")

_UNREACHED: Final[frozenset[Step]] = frozenset({"connect", "banner"})
_ABOUT_THE_COPY: Final[frozenset[Step]] = frozenset({"rcpt", "data", "end"})
_CLOSING: Final = 421
_WORDS: Final[dict[Step, str]] = {
    "connect": "the connection",
    "banner": "the greeting",
    "hello": "EHLO or LHLO",
    "tls": "STARTTLS and the certificate",
    "mail": "MAIL",
    "rcpt": "RCPT",
    "data": "DATA",
    "end": "the message, up to the final dot",
}
_OUTCOMES: Final[dict[Becomes, str]] = {
    "goes on": "goes on",
    "accepted": "accepted",
    "refused": "refused: kept, and reported",
    "next hop": "the next hop in order is tried; after the last one Postfix keeps the copy (451)",
}


class ServerAnswer(Struct, frozen=True, kw_only=True):
    """What a server said last, or that it said nothing."""

    server: str
    """The next hop, as the configuration spells it; empty: none was asked."""
    step: Step
    code: int | None = None
    """The reply code (RFC 5321, 4.2); ``None``: there was no reply."""
    text: str = ""
    """The reply's text in one line, or why there is none. It may name addresses."""
    silent: bool = False
    """Whether it said nothing in the time that it had."""

    @property
    def becomes(self) -> Becomes:
        """What becomes of the copy."""
        return becomes(self.step, self.code)

    @property
    def hop_is_down(self) -> bool:
        """Whether the server could not be reached, greets nobody, or fell silent: no other copy need wait as well."""
        return self.silent or (self.step in _UNREACHED and self.code is None)


def becomes(step: Step, code: int | None) -> Becomes:
    """Return what becomes of a copy.

    Args:
        step: what the server was last told.
        code: its reply code; ``None``: the connection could not be had or was lost, the certificate is not good, or
            nothing came in time.
    """
    if code is None or code == _CLOSING:
        return "next hop"
    kind = code // 100
    if kind == 5 and step in _ABOUT_THE_COPY:  # noqa: PLR2004 - the first digit of RFC 5321, 4.2.1
        return "refused"
    expected = 3 if step == "data" else 2
    if kind != expected:
        return "next hop"
    return "accepted" if step == "end" else "goes on"


def decisive(answers: Iterable[ServerAnswer]) -> ServerAnswer:
    """Return which of the answers of several next hops, in the order they were asked, tells what became of a copy.

    The last one, where it accepted or refused: no other was asked then. Else the one that got furthest.
    """
    *_, last = all_of = list(answers)
    if last.becomes in {"accepted", "refused"}:
        return last
    return max(all_of, key=lambda answer: (answer.code is not None, STEPS.index(answer.step)))


def table() -> list[tuple[str, str, str]]:
    """Return all that a server may answer, as the documents print it: step, answer, what becomes of the copy."""
    kinds = [("2xx", 250), ("3xx", 354), ("4xx", 451), ("421", _CLOSING), ("5xx", 554), ("none, or cut off", None)]
    rows = []
    for step in STEPS:
        outcomes: dict[Becomes, list[str]] = {}
        for name, code in kinds:
            if step != "connect" or code is None:
                outcomes.setdefault(becomes(step, code), []).append(name)
        rows += [(_WORDS[step], ", ".join(names), _OUTCOMES[outcome]) for outcome, names in outcomes.items()]
    return rows
