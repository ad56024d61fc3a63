"""A milter of somebody else's in the same list: it refuses recipients, or changes the envelope at the end.

It speaks the protocol itself, in threads of the test: libmilter knows one milter a process.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import struct
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from ldapmilter.mta.wire import PROTOCOL_VERSION, SMFIC_ABORT, SMFIC_MACRO, SMFIC_OPTNEG, SMFIC_QUIT, Action, packet

if TYPE_CHECKING:
    from collections.abc import Sequence

    from typing_extensions import Self

_CONTINUE = packet(b"c")
REFUSAL = "5.7.1 not for you"
_REFUSED = packet(b"y", f"571 {REFUSAL}\0".encode())
_RCPT, _EOM = b"R", b"E"
_SECONDS = 120.0


class LaterMilter:
    """A milter that listens on a unix socket.

    Attributes:
        refuses: recipients that get 571, in lower case and without brackets.
        at_the_end: what it asks of the MTA at the end of a message, packet by packet.
        refuses_all: whether a message is refused as a whole at its end.
        recipients: every RCPT that it saw, as written.
    """

    def __init__(self, refuses: Sequence[str] = ()) -> None:
        """Listen; nothing is answered yet."""
        self.directory = Path(tempfile.mkdtemp(prefix="milter-"))
        self.directory.chmod(0o755)
        self.refuses = set(refuses)
        self.refuses_all = False
        self.at_the_end: list[bytes] = []
        self.recipients: list[str] = []
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self.directory / "socket"))
        os.chmod(self.directory / "socket", 0o666)  # noqa: PTH101 - smtpd is another user
        self._listener.listen(64)

    @property
    def address(self) -> str:
        """As `smtpd_milters` takes it."""
        return f"unix:{self.directory / 'socket'}"

    def __enter__(self) -> Self:
        """Begin to answer."""
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *exception: object) -> None:
        """Stop listening."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        shutil.rmtree(self.directory, ignore_errors=True)

    def is_refused(self, recipient: str) -> bool:
        """Tell whether a recipient, in lower case and without brackets, gets 571."""
        return recipient in self.refuses

    def is_all_refused(self) -> bool:
        """Tell whether a message gets 571 at its end."""
        return self.refuses_all

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as stream, contextlib.suppress(OSError):
            connection.settimeout(_SECONDS)
            while len(head := stream.read(5)) == 5:
                length, command = struct.unpack("!Ic", head)
                answer = self._answer(command, stream.read(length - 1))
                if answer is None:
                    return
                connection.sendall(answer)

    def _answer(self, command: bytes, payload: bytes) -> bytes | None:
        if command == SMFIC_QUIT:
            return None
        if command in (SMFIC_ABORT, SMFIC_MACRO):
            return b""
        if command == SMFIC_OPTNEG:
            actions = Action.ADDRCPT | Action.DELRCPT | Action.ADDRCPT_PAR
            return packet(SMFIC_OPTNEG, struct.pack("!III", PROTOCOL_VERSION, actions, 0))
        if command == _RCPT:
            written = payload.split(b"\0")[0].decode("utf-8", "surrogateescape")
            self.recipients.append(written)
            return _REFUSED if self.is_refused(written.strip("<>").lower()) else _CONTINUE
        if command == _EOM:
            return b"".join(self.at_the_end) + (_REFUSED if self.is_all_refused() else _CONTINUE)
        return _CONTINUE
