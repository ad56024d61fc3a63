"""Clients that hand messages in, and hand in again what is told to wait, as a mail server does."""

from __future__ import annotations

import random
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from tests.e2e.company import PASSWORD
from tests.soak.letters import Attempt, Letter, any_kind
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
_HUNG: Final = 60.0
"""Seconds without any answer after which a client gives up: a failure of its own."""


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
                due = _Waiting(Letter(token=token, kind=any_kind(choice)), now)
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
        began = time.monotonic()
        try:
            sent = send(
                port,
                kind.author,
                kind.recipients,
                message.encode(),
                login=login,
                password=PASSWORD if login else None,
                timeout=_HUNG,
            )
            code, text = sent.code, f"{sent.stage}: {sent.text}"
        except OSError as error:
            code, text = 0, f"{type(error).__name__}: {error}"
        now = time.monotonic()
        letter.attempts.append(Attempt(at=began - self.began, seconds=now - began, code=code, text=text))


@dataclass(frozen=True, kw_only=True)
class Traffic:
    """What all clients have done so far."""

    written: int
    taken: int
    told_to_wait: int
    """Answers, not messages."""
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
            told_to_wait=len(attempts) - taken,
            slowest=max((attempt.seconds for attempt in attempts), default=0.0),
            answers=Counter(
                f"{attempt.code} {' '.join(attempt.text.split())[:90]}"
                for attempt in attempts
                if attempt.code not in range(200, 300)
            ),
        )
