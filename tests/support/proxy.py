"""A TCP proxy in front of a server, that can make the server look half dead.

How answers travel is switched while connections are open.  What an octet count speaks of is
the answers of one connection since the switch, or since the connection was opened.
"""

from __future__ import annotations

import contextlib
import select
import socket
import struct
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from tests.support.ports import HANG, LOOPBACK, free_port

if TYPE_CHECKING:
    from typing_extensions import Self

_TICK: Final = 0.01  # seconds between two looks at what has changed
_CHUNK: Final = 65536
_RESET: Final = struct.pack("ii", 1, 0)  # SO_LINGER: close with a reset

Ending = Literal["stall", "reset", "cut"]


@dataclass(frozen=True, slots=True)
class Manner:
    """How the answers of a server travel.

    Attributes:
        delay: seconds that each chunk is held back.
        pace: seconds after each octet; None: as they come.
        ending: what happens after `after` octets of the answers of a connection; None: nothing.
        after: see there; 0: before the first octet, and the server is never asked.
        refuses: nobody listens.
    """

    delay: float = 0.0
    pace: float | None = None
    ending: Ending | None = None
    after: int = 0
    refuses: bool = False


PASS: Final = Manner()
REFUSE: Final = Manner(refuses=True)
DRIBBLE: Final = Manner(pace=1.0)


def delayed(seconds: float) -> Manner:
    """Hold each chunk back."""
    return Manner(delay=seconds)


def stalled(after: int = 0) -> Manner:
    """Accept, pass so many octets of the answers on, and say nothing more."""
    return Manner(ending="stall", after=after)


def reset(after: int = 0) -> Manner:
    """Pass so many octets on and break the connection as a crashed host does."""
    return Manner(ending="reset", after=after)


def cut(after: int = 0) -> Manner:
    """Pass so many octets on and close the connection in order."""
    return Manner(ending="cut", after=after)


class Proxy:
    """One loopback port that stands for another.

    Attributes:
        port: where it listens, also after it refused for a while.
        target: the port that new connections are passed on to.
        opened: when each connection was accepted, monotonic seconds.
        answered: octets of answers that were passed on, of all connections.
    """

    def __init__(self, target: int, manner: Manner = PASS) -> None:
        """Choose a port; it listens as soon as the context is entered."""
        self.port = free_port()
        self.target = target
        self.opened: list[float] = []
        self.answered = 0
        self._manner = manner
        self._switches = 0
        self._breaks = 0
        self._forgotten = 0
        self._changed = threading.Condition()
        self._listens: bool | None = None
        self._ended = False
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Self:
        """Listen, unless it is to refuse."""
        self._start(threading.Thread(target=self._accept, daemon=True))
        self._await_listener()
        return self

    def __exit__(self, *exception: object) -> None:
        """Break every connection and end every thread."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()
            threads = list(self._threads)
        for thread in threads:
            thread.join(HANG)

    @property
    def uri(self) -> str:
        """Its address for LDAP."""
        return f"ldap://{LOOPBACK}:{self.port}"

    @property
    def ldaps_uri(self) -> str:
        """Its address for LDAP in TLS, where the target speaks it."""
        return f"ldaps://{LOOPBACK}:{self.port}"

    @property
    def connections(self) -> int:
        """How many connections were accepted so far."""
        return len(self.opened)

    def switch(self, manner: Manner, *, breaking: bool = True) -> None:
        """Let answers travel in another manner from now on; return when that is so.

        Args:
            manner: the new one.
            breaking: break the connections that are open now.
        """
        with self._changed:
            self._manner = manner
            self._switches += 1
            self._breaks += breaking
            self._changed.notify_all()
        self._await_listener()

    def forget(self) -> None:
        """Stop passing anything on between the connections that are open now, as a firewall does that
        has lost their state; new connections are fine.
        """
        with self._changed:
            self._forgotten = len(self.opened)

    def _await_listener(self) -> None:
        with self._changed:
            done = self._changed.wait_for(lambda: self._listens == (not self._manner.refuses), HANG)
        if not done:
            message = f"port {self.port} could not be switched"
            raise TimeoutError(message)

    def _start(self, thread: threading.Thread) -> None:
        with self._changed:
            self._threads.append(thread)
        thread.start()

    def _tell(self, *, listens: bool) -> None:
        with self._changed:
            self._listens = listens
            self._changed.notify_all()

    # -- the listener, opened and closed by its own thread only ------------------------------

    def _accept(self) -> None:
        while not self._ended:
            if self._manner.refuses:
                self._tell(listens=False)
                with self._changed:
                    self._changed.wait_for(lambda: self._ended or not self._manner.refuses)
                continue
            with socket.create_server((LOOPBACK, self.port), backlog=256) as listener:
                self._tell(listens=True)
                while not self._ended and not self._manner.refuses:
                    if select.select([listener], [], [], _TICK)[0]:
                        self._take(listener)

    def _take(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            client, _ = listener.accept()
            self.opened.append(time.monotonic())
            arguments = (client, self._breaks, len(self.opened))
            self._start(threading.Thread(target=self._serve, args=arguments, daemon=True))

    # -- one connection ----------------------------------------------------------------------

    def _serve(self, client: socket.socket, breaks: int, number: int) -> None:
        with contextlib.ExitStack() as stack:
            stack.enter_context(client)
            stack.enter_context(contextlib.suppress(OSError))
            _Link(self, client, number, stack).run(breaks)

    def state(self, number: int) -> tuple[Manner, int, int, bool]:
        """Return what counts for a connection.

        The manner, how often it was switched and connections were broken, and whether all is over.
        """
        with self._changed:
            manner = stalled() if number <= self._forgotten else self._manner
            return manner, self._switches, self._breaks, self._ended

    def count(self, octets: int) -> None:
        """Count octets that were passed on."""
        with self._changed:
            self.answered += octets


class _Link:
    """One client's connection, and the one to the server once there is something to say."""

    def __init__(self, proxy: Proxy, client: socket.socket, number: int, stack: contextlib.ExitStack) -> None:
        self._proxy = proxy
        self._number = number
        self._client = client
        self._stack = stack
        self._server: socket.socket | None = None
        self._held = b""
        self._passed = 0
        self._server_ended = False

    def run(self, breaks: int) -> None:
        switches = None
        while True:
            manner, now, broken, ended = self._proxy.state(self._number)
            if ended or broken != breaks:
                self._end(reset=True)
                return
            if now != switches:
                switches, self._passed = now, 0
            if not self._go_on(manner):
                return

    def _go_on(self, manner: Manner) -> bool:
        """Take one step; tell whether the connection lives on."""
        over = manner.ending is not None and self._passed >= manner.after
        if over and manner.ending != "stall":
            self._end(reset=manner.ending == "reset")
            return False
        if over:
            return self._idle()
        if not self._read(manner):
            return False
        self._pass_on(manner)
        return not (self._server_ended and not self._held)

    def _idle(self) -> bool:
        time.sleep(_TICK)
        if select.select([self._client], [], [], 0)[0]:
            return bool(self._client.recv(1, socket.MSG_PEEK))
        return True

    def _read(self, manner: Manner) -> bool:
        server = self._server
        if server is None:
            server = socket.create_connection((LOOPBACK, self._proxy.target), HANG)
            self._server = self._stack.enter_context(server)
        sources = [self._client] if self._held or self._server_ended else [self._client, server]
        readable = select.select(sources, [], [], 0 if self._held else _TICK)[0]
        if self._client in readable:
            asked = self._client.recv(_CHUNK)
            if not asked:
                return False
            server.sendall(asked)
        if server in readable:
            self._held = server.recv(_CHUNK)
            self._server_ended = not self._held
            if manner.delay:
                time.sleep(manner.delay)
        return True

    def _pass_on(self, manner: Manner) -> None:
        size = len(self._held)
        if manner.ending is not None:
            size = min(size, manner.after - self._passed)
        if manner.pace is not None:
            size = min(size, 1)
        if not size:
            return
        self._client.sendall(self._held[:size])
        self._held = self._held[size:]
        self._passed += size
        self._proxy.count(size)
        if manner.pace is not None:
            self._sleep(manner.pace)

    def _sleep(self, seconds: float) -> None:
        """Wait, unless something is switched."""
        before = self._proxy.state(self._number)
        until = time.monotonic() + seconds
        while time.monotonic() < until and self._proxy.state(self._number) == before:
            time.sleep(_TICK)

    def _end(self, *, reset: bool) -> None:
        if reset:
            self._client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        else:
            self._client.shutdown(socket.SHUT_RDWR)
        self._client.close()
