"""A hop that signs (RFC 6376) as amavisd does for mail of one's own: SMTP in, a signature, SMTP out."""

from __future__ import annotations

import base64
import smtplib
import socketserver
import subprocess
import threading
from typing import TYPE_CHECKING, Final

import dkim

from tests.support.ports import LOOPBACK

if TYPE_CHECKING:
    from typing_extensions import Self

SELECTOR: Final = b"test"
_SIGNED: Final = [b"from", b"to", b"cc", b"subject", b"reply-to", b"list-id", b"message-id"]


class Keys:
    """A key for each of some domains, and what the name service says of them."""

    def __init__(self, *domains: str) -> None:
        """Make the keys."""
        self._private: dict[str, bytes] = {}
        self._records: dict[bytes, bytes] = {}
        for domain in domains:
            key = _openssl("genrsa", "-traditional", "1024")
            public = base64.b64encode(_openssl("rsa", "-pubout", "-outform", "DER", given=key))
            self._private[domain] = key
            self._records[b"%s._domainkey.%s." % (SELECTOR, domain.encode())] = b"v=DKIM1; k=rsa; p=" + public

    def signed(self, message: bytes, domain: str) -> bytes:
        """Return a message with a signature of a domain before it."""
        fields = [name for name in _SIGNED if b"\n" + name + b":" in b"\n" + message.lower()]
        return bytes(dkim.sign(message, SELECTOR, domain.encode(), self._private[domain], include_headers=fields)) + (
            message
        )

    def verified(self, message: bytes) -> str | None:
        """Return the domain whose signature holds; ``None``: none does."""
        verifier = dkim.DKIM(message)
        if not verifier.verify(dnsfunc=lambda name, timeout=5: self._records.get(name)):  # noqa: ARG005 - its interface
            return None
        return str(verifier.domain.decode())


def _openssl(*arguments: str, given: bytes = b"") -> bytes:
    return subprocess.run(["openssl", *arguments], input=given, capture_output=True, check=True, timeout=60).stdout


class Signer:
    """A server that signs whatever comes for one domain and hands it on.

    Attributes:
        port: where it takes mail, on 127.0.0.1.
        signed: how many messages it has signed.
    """

    def __init__(self, keys: Keys, domain: str, forward: int) -> None:
        """Listen; nothing is taken yet.

        Args:
            keys: where its key is.
            domain: that it signs for.
            forward: the port that gets the mail.
        """
        self.signed = 0
        signer = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                signer.serve(self)

        self._server = socketserver.ThreadingTCPServer((LOOPBACK, 0), Handler)
        self._server.daemon_threads = True
        self.port = int(self._server.server_address[1])
        self._keys, self._domain, self._forward = keys, domain, forward
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> Self:
        """Take mail."""
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        """Stop."""
        self._server.shutdown()
        self._server.server_close()

    def serve(self, session: socketserver.StreamRequestHandler) -> None:
        """Speak SMTP with one client."""
        sender, recipients = "", list[str]()

        def say(text: str) -> None:
            session.wfile.write(text.encode() + b"\r\n")

        say("220 signer")
        for line in session.rfile:
            verb = line[:4].upper()
            argument = line.partition(b":")[2].strip().partition(b">")[0].lstrip(b"<").decode()
            if verb == b"MAIL":
                sender, recipients = argument, []
            elif verb == b"RCPT":
                recipients.append(argument)
            elif verb == b"DATA":
                say("354 go on")
                lines = iter(session.rfile.readline, b".\r\n")
                message = b"".join(one.removeprefix(b".") if one.startswith(b"..") else one for one in lines)
                self.signed += 1
                with smtplib.SMTP(LOOPBACK, self._forward, timeout=60) as out:
                    out.sendmail(sender, recipients, self._keys.signed(message, self._domain))
            elif verb == b"QUIT":
                say("221 bye")
                return
            say("250 fine")
