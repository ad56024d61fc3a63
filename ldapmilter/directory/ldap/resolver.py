"""From host names to addresses, without waiting longer than one can afford.

The system's resolver knows no deadline: with a name server that is gone, ``getaddrinfo`` holds its
thread for ten seconds and more. So it is asked in threads of its own, one per name at a time, and
a caller waits as long as its deadline allows; a late answer serves the next one. What a
name meant last stands in while the resolver does not answer.
"""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import threading
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import TYPE_CHECKING, Any

from msgspec import Struct, field

if TYPE_CHECKING:
    from collections.abc import Callable

SocketAddress = tuple[int, int, int, str, Any]
"""One item of ``getaddrinfo``: family, type, protocol, canonical name, address."""

_FRESH = 60.0
"""Seconds for which an answer is not asked for again."""
_PATIENCE = 0.5
"""Seconds that an answer is waited for while an older one is at hand."""
_GIVEN_UP = 60.0
"""Seconds after which a thread that is still waiting is believed lost, and another one may ask."""
_MOST_LOST = 3
"""Threads for one name that may be lost: then no more are started."""


class NotResolved(Exception):
    """A name has no address, as the resolver says."""


class NotAnswered(Exception):
    """The resolver could not say in time, or at all: a name may have addresses or not."""


class _Name(Struct):
    """What is known of one name."""

    addresses: tuple[SocketAddress, ...] = ()
    answered_at: float = 0.0
    asked_at: float = 0.0
    waiting: list[Future[tuple[SocketAddress, ...]]] = field(default_factory=list)
    """Questions that are under way, the newest last; all but that one are believed lost."""


class Resolver:
    """Resolves names in threads of its own."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """Know nothing yet; the clock gives monotonic seconds."""
        self._clock = clock
        self._lock = threading.Lock()
        self._names: dict[tuple[str, int], _Name] = {}

    def addresses(self, host: str, port: int, seconds: float) -> tuple[SocketAddress, ...]:
        """Return the addresses of a host, IPv6 and IPv4, in the order in which they are to be tried (RFC 6724).

        Args:
            host: a name, or an address as text, which needs no look-up.
            port: goes into the addresses.
            seconds: how long to wait at most.

        Raises:
            NotResolved: there is no such name.
            NotAnswered: there was no answer in time, and none before.
        """
        if _is_address(host):
            return _ask(host, port)
        now = self._clock()
        with self._lock:
            name = self._names.setdefault((host, port), _Name())
            if name.addresses and now - name.answered_at < _FRESH:
                return name.addresses
            known = name.addresses
            question = self._question(host, port, name, now)
            patience = min(seconds, name.asked_at + _PATIENCE - now) if known else seconds
        try:
            return question.result(timeout=max(0.0, patience))
        except FutureTimeoutError:
            failure = NotAnswered(f"the resolver has not answered for {host} yet")
        except NotAnswered as error:
            failure = error
        if known:
            return known
        raise failure

    def _question(self, host: str, port: int, name: _Name, now: float) -> Future[tuple[SocketAddress, ...]]:
        """Return the question that is under way, or ask."""
        if name.waiting and (now - name.asked_at < _GIVEN_UP or len(name.waiting) > _MOST_LOST):
            return name.waiting[-1]
        question: Future[tuple[SocketAddress, ...]] = Future()
        name.asked_at = now
        name.waiting.append(question)
        threading.Thread(target=self._resolve, args=(host, port, name, question), name="resolver", daemon=True).start()
        return question

    def _resolve(self, host: str, port: int, name: _Name, question: Future[tuple[SocketAddress, ...]]) -> None:
        found: tuple[SocketAddress, ...] = ()
        failure: Exception | None = None
        try:
            found = _ask(host, port)
        except (NotResolved, NotAnswered) as error:
            failure = error
        except BaseException as error:
            failure = NotAnswered(f"{host}: {error!r}")
            raise
        finally:
            with self._lock:
                name.waiting.remove(question)
                if not isinstance(failure, NotAnswered):
                    name.addresses, name.answered_at = found, self._clock()
            if failure is None:
                question.set_result(found)
            else:
                question.set_exception(failure)


def _ask(host: str, port: int) -> tuple[SocketAddress, ...]:
    # Octets go as they are. Text would go through Python's IDNA codec, which takes longer to load than an answer.
    name = host.encode("ascii") if host.isascii() else host
    try:
        found = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    except socket.gaierror as error:
        message = f"{host} does not resolve: {error.strerror} (is the name right, does the DNS know it?)"
        if error.errno in {socket.EAI_AGAIN, socket.EAI_FAIL, socket.EAI_MEMORY, socket.EAI_SYSTEM}:
            raise NotAnswered(message) from error
        raise NotResolved(message) from error
    except OSError as error:
        message = f"{host} does not resolve: {error.strerror or error}"
        raise NotAnswered(message) from error
    except UnicodeError as error:
        message = f"{host} is not a host name: {error}"
        raise NotResolved(message) from error
    return tuple((int(family), int(kind), protocol, name, address) for family, kind, protocol, name, address in found)


def _is_address(host: str) -> bool:
    with contextlib.suppress(ValueError):
        ipaddress.ip_address(host.partition("%")[0])
        return True
    return False
