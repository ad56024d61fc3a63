"""The verdict: what was handed in against what arrived. Pure, so that its own tests are quick."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from tests.soak.letters import LATER, TAKEN

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from tests.soak.letters import Arrival, Letter


def judge(letters: Sequence[Letter], arrivals: Iterable[Arrival], limit: float) -> list[str]:
    """Return everything that is wrong, a line each; nothing wrong is an empty list.

    Args:
        letters: all that was handed in, with every answer.
        arrivals: all that was found in any mailbox.
        limit: seconds after which an answer is late.
    """
    by_token: dict[str, list[Arrival]] = {letter.token: [] for letter in letters}
    strangers = []
    for arrival in arrivals:
        if arrival.token in by_token:
            by_token[arrival.token].append(arrival)
        else:
            strangers.append(f"a message that nobody sent is in {arrival.mailbox}, From {arrival.froms}")
    return [
        *strangers,
        *(
            f"{letter.token} ({letter.kind.author} to {', '.join(letter.kind.recipients)}): {problem}"
            for letter in letters
            for problem in (*_answers(letter, limit), *_deliveries(letter, by_token[letter.token]))
        ),
    ]


def _answers(letter: Letter, limit: float) -> Iterator[str]:
    for attempt in letter.attempts:
        when = f"at {attempt.at:.1f} s"
        if attempt.code == 0:
            yield f"no answer {when}: {attempt.text}"
        elif attempt.code not in TAKEN and attempt.code not in LATER and not attempt.is_anothers:
            yield f"refused for good {when}: {attempt.code} {attempt.text}"
        if attempt.seconds > limit:
            yield f"answered late {when}: {attempt.code} after {attempt.seconds:.1f} s"
    if letter.waits:
        yield "still deferred at the end, although everything runs"


def _deliveries(letter: Letter, arrivals: Sequence[Arrival]) -> Iterator[str]:
    found = Counter(arrival.mailbox for arrival in arrivals)
    wanted = letter.mailboxes
    for mailbox in sorted(wanted - found.keys()):
        yield f"missing in {mailbox}"
    for mailbox in sorted(found.keys() - wanted):
        yield f"wrongly in {mailbox}" if letter.taken else f"in {mailbox}, although it was never taken"
    for mailbox, count in sorted(found.items()):
        if count > 1:
            yield f"{count} times in {mailbox}"
    for arrival in arrivals:
        if arrival.froms != (letter.kind.sender,):
            yield f"From in {arrival.mailbox} is {arrival.froms}, not {letter.kind.sender!r}"
