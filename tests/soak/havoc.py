"""What goes wrong in the soak: directory, workers, configuration and cache, at random."""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from tests.soak.letters import ANN, CARL, CLERKS
from tests.support.processes import workers_of

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Mapping

    from tests.e2e.scene import Scene

LONGEST_OUTAGE: Final = 20.0
_REST: Final = 8.0


@dataclass
class Havoc:
    """Breaks one thing after the other until it is stopped; leaves everything whole.

    Attributes:
        done: how often each act was played.
        problems: what should have worked and did not: a flush that was refused, say.
    """

    scene: Scene
    seed: int
    stop: threading.Event
    ttl: float
    """Seconds that an answer of the directory counts."""
    done: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)

    def run(self) -> None:
        """Play acts at random; the first one is an outage."""
        choice = self._choice = random.Random(self.seed)
        acts: Mapping[Callable[[], None], int] = {
            self._hang: 4,
            self._crash: 3,
            self._restart: 2,
            self._hang_and_crash: 2,
            self._kill_worker: 3,
            self._kill_all_workers: 1,
            self._reload: 3,
            self._reload_wrong: 1,
            self._flush: 3,
        }
        act = self._hang
        try:
            while not self.stop.is_set():
                self.done[act.__name__.strip("_").replace("_", " ")] += 1
                act()
                self.stop.wait(choice.uniform(0.3, _REST))
                (act,) = choice.choices(list(acts), list(acts.values()))
        except Exception as error:  # noqa: BLE001 - a helper that fails is a finding, not a dead thread
            self.problems.append(f"the soak itself failed in {act.__name__}: {type(error).__name__}: {error}")
        finally:
            self.scene.slapd.resume()
            self.scene.slapd.start()
            self._configure(f"{self.ttl:g}")
            self._hang_up()

    # -- the directory ----------------------------------------------------------------------

    def _outage(self) -> None:
        self.stop.wait(self._choice.choice((self._choice.uniform(0, 3), self._choice.uniform(0, LONGEST_OUTAGE))))

    def _hang(self) -> None:
        self.scene.slapd.suspend()
        self._outage()
        self.scene.slapd.resume()

    def _crash(self) -> None:
        self.scene.slapd.kill()
        self._outage()
        self.scene.slapd.start()

    def _restart(self) -> None:
        self.scene.slapd.stop()
        self.scene.slapd.start()

    def _hang_and_crash(self) -> None:
        self.scene.slapd.suspend()
        self._outage()
        self._crash()

    # -- the daemon -------------------------------------------------------------------------

    def _kill_worker(self) -> None:
        if pids := workers_of(self.scene.daemon.pid):
            os.kill(self._choice.choice(pids), signal.SIGKILL)

    def _kill_all_workers(self) -> None:
        for pid in workers_of(self.scene.daemon.pid):
            os.kill(pid, signal.SIGKILL)

    def _reload(self) -> None:
        """Half of the time another lifetime, so that cache and connections are new ones."""
        self._configure(f"{self.ttl * self._choice.choice((1, self._choice.uniform(0.6, 1.6))):.1f}")
        self._hang_up()

    def _reload_wrong(self) -> None:
        self._configure("soon")
        self._hang_up()
        time.sleep(0.5)
        self._configure(f"{self.ttl:g}")

    def _configure(self, ttl: str) -> None:
        self.scene.daemon.configure({"cache": {"ttl": ttl}})

    def _hang_up(self) -> None:
        os.kill(self.scene.daemon.pid, signal.SIGHUP)

    def _flush(self) -> None:
        what = self._choice.choice(
            (
                ("--all",),
                ("--domain", "example.test"),
                ("--cos", "sales"),
                (ANN, CARL),
                (f"clerk-{self._choice.randrange(CLERKS)}@example.test",),
            )
        )
        done = self.scene.daemon.cli("cache", "flush", *what)
        if done.returncode not in {
            0,
            3,
        }:  # 3: forgotten; the directory cannot be asked whether there is any
            said = " ".join((done.stdout + done.stderr).split())
            self.problems.append(f"cache flush {' '.join(what)}: exit status {done.returncode}: {said}")
            sys.stdout.write(f"! {self.problems[-1]}\n")
