"""Clients that hand messages in, and hand in again what is deferred, as a mail server does."""

from __future__ import annotations

import random
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from tests.e2e.company import PASSWORD
from tests.soak.letters import EVERYBODY, LATER, Attempt, Letter, any_kind, to_everybody
from tests.support.later_milter import REFUSAL
from tests.support.ports import HANG
from tests.support.smtp_client import send

if TYPE_CHECKING:
    import threading
    from collections.abc import Sequence

    from tests.e2e.scene import Scene

_PAUSE: Final = 0.25
"""Seconds between two messages of a client, at most."""
_FIRST_RETRY: Final = 1.0
_LAST_RETRY: Final = 15.0
_WAITING: Final = 60
"""Messages that wait at one client before it writes no new ones."""


@dataclass
class _Waiting:
    letter: Letter
    due: float
    pause: float = _FIRST_RETRY


@dataclass
class Client:
    """One client; :meth:`run` is what its thread does.

    Attributes:
        letters: everything that it wrote, with all answers.
    """

    scene: Scene
    number: int
    seed: int
    began: float
    calm: threading.Event
    """No new messages from now on: only what waits is handed in again."""
    give_up: threading.Event
    letters: list[Letter] = field(default_factory=list)

    def run(self) -> None:
        """Write until it is calm, then until nothing waits or all is given up."""
        choice = random.Random(self.seed * 1000 + self.number)
        waiting: list[_Waiting] = []
        while not self.give_up.is_set():
            now = time.monotonic()
            due = next((one for one in waiting if one.due <= now or self.calm.is_set()), None)
            if due is not None:
                waiting.remove(due)
            elif self.calm.is_set():
                return
            elif len(waiting) < _WAITING:
                token, _ = self.scene.compose("")
                # The list of everybody is mailed to rarely, but for certain.
                first = self.number == 0 and not self.letters
                due = _Waiting(Letter(token=token, kind=to_everybody(choice) if first else any_kind(choice)), now)
                self.letters.append(due.letter)
            if due is not None:
                self._hand_in(due.letter)
                if due.letter.waits:
                    waiting.append(_Waiting(due.letter, time.monotonic() + due.pause, min(due.pause * 2, _LAST_RETRY)))
            self.give_up.wait(choice.uniform(0, _PAUSE))

    def _hand_in(self, letter: Letter) -> None:
        kind = letter.kind
        message = f"From: <{kind.author}>\nMessage-ID: <{letter.token}@client.test>\nSubject: minutes\n\nHello.\n"
        (port,) = self.scene.ports.values()
        login = kind.author if kind.logged_in else None
        refused: frozenset[str] = frozenset()
        began = time.monotonic()
        try:
            sent = send(
                port,
                kind.author,
                kind.recipients,
                message.encode(),
                login=login,
                password=PASSWORD if login else None,
                timeout=HANG,
            )
            code, text = sent.code, f"{sent.stage}: {sent.text}"
            refused = frozenset(rcpt for rcpt, reply in sent.refused.items() if reply.text == REFUSAL)
        except OSError as error:
            code, text = 0, f"{type(error).__name__}: {error}"
        now = time.monotonic()
        took = now - began
        letter.attempts.append(Attempt(at=began - self.began, seconds=took, code=code, text=text, refused=refused))


@dataclass(frozen=True, kw_only=True)
class Traffic:
    """What all clients have done so far."""

    written: int
    taken: int
    told_to_wait: int
    """Answers, not messages."""
    refused: int
    """Messages that a later milter refused, whole or for all recipients."""
    refused_recipients: int
    """Recipients that it refused of messages that were taken."""
    to_a_copy: int
    """Messages that were taken, with the address of a copy among the recipients."""
    to_everybody: int
    """Messages to the list that were taken."""
    slowest: float
    answers: Counter[str]
    """How often each answer but 2xx was given."""

    @classmethod
    def of(cls, clients: Sequence[Client]) -> Traffic:
        """Count, while they may still be at work."""
        letters = [letter for client in clients for letter in tuple(client.letters)]
        attempts = [attempt for letter in letters for attempt in tuple(letter.attempts)]
        taken = sum(letter.taken for letter in letters)
        return cls(
            written=len(letters),
            taken=taken,
            told_to_wait=sum(attempt.code in LATER for attempt in attempts),
            refused=sum(attempt.is_anothers for attempt in attempts),
            refused_recipients=sum(len(letter.attempts[-1].refused) for letter in letters if letter.taken),
            to_a_copy=sum(letter.taken and letter.kind.is_to_a_copy for letter in letters),
            to_everybody=sum(letter.taken and EVERYBODY in letter.kind.recipients for letter in letters),
            slowest=max((attempt.seconds for attempt in attempts), default=0.0),
            answers=Counter(
                f"{attempt.code} {' '.join(attempt.text.split())[:90]}"
                for attempt in attempts
                if attempt.code not in range(200, 300)
            ),
        )
