"""A relay that serves: its sessions, the threads that handle copies, and what is looked after beside them."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import logging
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from ldapmilter.audit.file import AuditFile
from ldapmilter.delivery.settings import DRAIN_SECONDS
from ldapmilter.delivery.token import TokenKey, token_of
from ldapmilter.errors import LdapmilterError
from ldapmilter.plain import plain
from ldapmilter.relay.answers import ServerAnswer
from ldapmilter.relay.client import CopyClient
from ldapmilter.relay.commands import Commands
from ldapmilter.relay.desk import ANSWER_SECONDS, Desk
from ldapmilter.relay.following import Following
from ldapmilter.relay.handling import Handling
from ldapmilter.relay.hops import Hops
from ldapmilter.relay.kept import Maildir
from ldapmilter.relay.replies import BUSY
from ldapmilter.relay.session import RelaySession
from ldapmilter.relay.sole import SoleRelay
from ldapmilter.relay.spool import Room
from ldapmilter.relay.state import RelayState
from ldapmilter.relay.taking import Taking
from ldapmilter.relay.terms import Terms, host_name
from ldapmilter.relay.upkeep import Upkeep
from ldapmilter.relay.wrapping import as_it_came

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from ldapmilter.delivery.next_hop import NextHop
    from ldapmilter.delivery.settings import RelaySettings
    from ldapmilter.relay.outgoing import Outgoing
    from ldapmilter.relay.spool import Spooled
    from ldapmilter.relay.wrapping import Wrapping

_log = logging.getLogger(__name__)

_AUDIT_SECONDS: Final = 20.0
"""For which a line may take to come to disk."""
_THREADS: Final = 32
"""Copies that wait for the disk at a time."""
_LAST_ENDS_SECONDS: Final = 2.0
"""For which ends may take to be recorded when the relay ends."""


class Relay:
    """One relay."""

    def __init__(
        self,
        settings: RelaySettings,
        audit: Path,
        wrapping: Callable[[RelayState], Wrapping] = lambda _state: as_it_came,
        patience: float = 0.0,
    ) -> None:
        """Open what it needs.

        Args:
            settings: the ``[relay]`` section.
            audit: the audit file of this host.
            wrapping: returns what makes of a copy what its archive gets, by what is known of messages.
            patience: seconds for which to wait at most for another relay that has the same files, and ends.

        Raises:
            ConfigError: the key cannot be had.
            StateError: the state cannot be, or another relay has it.
            KeepError: the Maildir cannot be.
        """
        self._settings = settings
        self._key = TokenKey.load_or_make(settings.key_file)
        host, self._host_name = socket.gethostname(), host_name()
        self._audit = AuditFile(audit)
        self._sole, maildir = SoleRelay(), Maildir(settings.kept)
        try:
            maildir.prepare(partial(self._sole.take, settings, patience))
            self._state = RelayState(settings.state)
        except BaseException:
            self._sole.release()
            raise
        self._client = CopyClient(self._terms(settings))
        self._handling = Handling(
            settings,
            state=self._state,
            following=Following(audit, self._state),
            maildir=maildir,
            write=partial(self._audit.write_all, seconds=_AUDIT_SECONDS),
            host=host,
            wrap=wrapping(self._state),
        )
        self._room = Room()
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="copy")
        self._taking = Taking(self._handling, Hops(self._client), self._threads)
        self._commands = Commands(self._handling, self._hand_on)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._beside = ThreadPoolExecutor(4, thread_name_prefix="beside")
        # A copy that is sent again may take minutes, and whoever asks meanwhile waits here.
        self._commanding = ThreadPoolExecutor(4, thread_name_prefix="command")
        self._sent_again: set[asyncio.Task[ServerAnswer]] = set()
        """Copies that are handed on for somebody who asked."""
        self._desk = Desk(
            host_name=self._host_name,
            room=self._room,
            directory=settings.state.parent,
            token_in=self._token_in,
            take=self._take,
        )
        self._server: asyncio.AbstractServer | None = None
        self.upkeep = Upkeep(self._handling, self._beside)

    # -- serving ----------------------------------------------------------------------------

    async def serve(self, listening: socket.socket) -> None:
        """Begin to accept from a bound socket; what the audit says is read first, so that nothing is unknown."""
        self._loop = loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._beside, self.upkeep.begin)

        def session() -> RelaySession:
            return RelaySession(self._desk, loop)

        self._server = await loop.create_server(session, sock=listening)

    async def drain(self, seconds: float = DRAIN_SECONDS) -> bool:
        """Accept no more, let copies under way end, for so many seconds at most; return whether all have."""
        self._desk.draining = True
        self._commands.end()
        if self._server is not None:
            self._server.close()
        for session in list(self._desk.sessions):
            if session.is_idle():
                session.hang_up()
        deadline = time.monotonic() + seconds
        while self._desk.sessions or self._desk.copies or self._commands.at_work():
            if time.monotonic() >= deadline:
                return False
            await asyncio.sleep(0.05)
        return True

    async def close(self) -> None:
        """Let go of everything; threads that still wait are left to the end of the process.

        Copies that are under way stop where they are: nobody would record that a server accepts one.
        """
        for session in list(self._desk.sessions):
            session.hang_up()
        self._commands.end()
        under_way: list[asyncio.Future[Any]] = [*self._desk.copies, *self._sent_again]
        for copies in under_way:
            copies.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._last_ends(), _LAST_ENDS_SECONDS)
        self._client.close()
        self._taking.close()
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._commanding.shutdown(wait=False, cancel_futures=True)
        self._beside.shutdown(wait=False, cancel_futures=True)
        with contextlib.suppress(LdapmilterError):
            self._audit.close()
        self._state.close()
        self._sole.release()
        await asyncio.sleep(0)  # connections are let go of in the loop's next turn

    async def _last_ends(self) -> None:
        """Record what is a fact: another relay would hand those copies on again."""
        await self._taking.recorded()
        while self._commands.at_work():  # noqa: ASYNC110 - a thread's
            await asyncio.sleep(0.02)
        if self._handling.recording.owed():
            try:
                await asyncio.get_running_loop().run_in_executor(self._beside, self._handling.record_all_owed)
            except (LdapmilterError, RuntimeError) as error:  # RuntimeError: it was closed before
                _log.error("copies may come to their servers again: %s", plain(str(error)))

    def reload(self, settings: RelaySettings) -> None:
        """Let other settings count. State, Maildir, key and socket stay: they need another start."""
        old, self._settings = self._settings, settings
        self._handling.settings = settings
        if self._terms(settings) != self._terms(old):
            before, self._client = self._client, CopyClient(self._terms(settings))
            self._taking.hops = Hops(self._client)
            before.close()

    async def command(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Serve an administrator's request (:meth:`Commands.serve`).

        Raises:
            LdapmilterError: it cannot be served.
        """
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._commanding, self._commands.serve, request)
        finally:
            with contextlib.suppress(LdapmilterError, RuntimeError):  # RuntimeError: the relay has ended
                await loop.run_in_executor(self._beside, self.upkeep.count)

    def report(self) -> dict[str, Any]:
        """Return what it says of itself: numbers, and problems without an address in them."""
        return {
            **self.upkeep.numbers,
            "counts": dict(self._handling.recording.counts),
            "sessions": len(self._desk.sessions),
            "octets": self._room.in_memory + self._room.in_files,
            "problem": self._handling.recording.problem,
            "down": self._taking.hops.down(),
        }

    # -- inside -----------------------------------------------------------------------------

    async def _token_in(self, recipient: str) -> str | None:
        token = token_of(recipient)
        if token is None:
            return None
        if self._key.is_copy(token):
            return token
        if self._key.is_probe(token):
            return None
        # The key was replaced while copies were on their way, or the milter has another one already.
        known = await asyncio.get_running_loop().run_in_executor(self._beside, self._is_decided, token)
        return token if known else None

    def _is_decided(self, token: str) -> bool:
        """Whether the audit knows a token.

        Raises:
            LdapmilterError: it, or the state, cannot be read now.
        """
        try:
            self._handling.following.catch_up()
            return self._state.copy(token) is not None
        except LdapmilterError as error:
            self._handling.recording.cannot_record(error)
            raise

    async def _take(self, token: str, message: Spooled) -> str:
        until = time.monotonic() + ANSWER_SECONDS
        try:
            return await self._taking.take(token, message, until)
        except Exception:  # noqa: BLE001 - each recipient has an answer, whatever happens
            _log.exception("unexpected error with a copy")
            return BUSY
        finally:
            self.upkeep.stirred.set()

    def _hand_on(self, hops: Sequence[NextHop], copy: Outgoing, until: float) -> ServerAnswer:
        """Hand a copy on in the event loop; for a thread."""
        if self._loop is None:
            return ServerAnswer(server="", step="connect", text="the relay does not serve yet")
        handing = self._send_again(hops, copy, until)
        try:
            return asyncio.run_coroutine_threadsafe(handing, self._loop).result()
        except concurrent.futures.CancelledError:
            return ServerAnswer(server="", step="connect", text="the relay ends")

    async def _send_again(self, hops: Sequence[NextHop], copy: Outgoing, until: float) -> ServerAnswer:
        handing = asyncio.get_running_loop().create_task(self._taking.hops.hand_on(hops, copy, until))
        self._sent_again.add(handing)
        handing.add_done_callback(self._sent_again.discard)
        return await handing

    def _terms(self, settings: RelaySettings) -> Terms:
        return Terms(host_name=self._host_name, starttls=settings.starttls, ca_file=settings.ca_file)
