"""LDAP servers that lie: whatever octets come back, the answer is right or there is none.

"No such entry" would let mail pass without its copies, so no lie may be taken for that; nor may one raise
anything but `DirectoryUnavailable`, hang, or keep the next server from being asked. The lies are against
RFC 4511 (LDAP) and X.690 (BER).
"""

from __future__ import annotations

import contextlib
import random
import time
from typing import TYPE_CHECKING, Any, Final

import pytest

from ldapmilter.directory.backend.filters import Equal
from ldapmilter.directory.backend.store import Deadline
from ldapmilter.directory.ldap.endpoints import LdapSettings
from ldapmilter.directory.ldap.servers import LdapStore
from ldapmilter.errors import DirectoryUnavailable
from tests.support.identities import MILTER_DN, MILTER_PASSWORD
from tests.support.names import account_dn
from tests.unit.directory.peers import Peer, answering, found, lying, result, tlv

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    Lie = Callable[[bytes], bytes]

SHORT: Final = 1.0
"""Seconds after which a server that says no more is given up."""
AMPLE: Final = 60.0
ANN_DN: Final = account_dn("ann@example.test")
ANN: Final = found(ANN_DN, "ann")
DONE: Final = result(0x65, 0)
DN: Final = tlv(0x04, ANN_DN.encode())
UID: Final = tlv(0x30, tlv(0x04, b"uid") + tlv(0x31, tlv(0x04, b"ann")))
DEEP: Final = 20_000


def message(number: bytes, *operations: bytes) -> bytes:
    return b"".join(tlv(0x30, number + operation) for operation in operations)


def whole(number: bytes) -> bytes:
    """Return an answer without a lie."""
    return message(number, ANN, DONE)


def entry(*parts: bytes) -> Lie:
    """Return the answer that has one entry of these parts."""
    return lambda number: message(number, tlv(0x64, b"".join(parts)), DONE)


def attribute(*parts: bytes) -> Lie:
    return entry(DN, tlv(0x30, tlv(0x30, b"".join(parts))))


def ended(body: bytes) -> Lie:
    """Return the answer that has no entry and ends like this."""
    return lambda number: message(number, tlv(0x65, body))


def instead(operation: bytes) -> Lie:
    return lambda number: message(number, operation)


def octets(text: bytes) -> Lie:
    return lambda _number: text


def nested(depth: int) -> bytes:
    """Return sequences in sequences, of definite lengths."""
    text = b""
    for _ in range(depth):
        length = len(text)
        size = bytes([length]) if length < 128 else b"\x83" + length.to_bytes(3, "big")
        text = b"\x30" + size + text
    return text


def with_length(size: bytes) -> Lie:
    """Return the last message of an answer, with another length."""
    return lambda number: b"\x30" + size + number + DONE


_RANDOM: Final = random.Random(11)

MESSAGES: Final[Mapping[str, Lie]] = {
    "nothing": octets(b""),
    "another number": lambda _: message(b"\x02\x01\x63", ANN, DONE),
    "number zero": lambda _: message(b"\x02\x01\x00", ANN, DONE),
    "a negative number": lambda _: message(b"\x02\x01\xff", ANN, DONE),
    "a number of nine octets": lambda _: message(b"\x02\x09" + b"\x01" * 9, ANN, DONE),
    "a number without octets": lambda _: message(b"\x02\x00", ANN, DONE),
    "a number that is text": lambda _: message(b"\x04\x01\x02", ANN, DONE),
    "no number": lambda _: message(b"", ANN, DONE),
    "no operation": lambda number: message(number, b""),
    "an empty message": octets(b"\x30\x00"),
    "a set": lambda number: tlv(0x31, number + ANN) + tlv(0x31, number + DONE),
    "a primitive sequence": lambda number: tlv(0x10, number + ANN) + tlv(0x10, number + DONE),
    "a sequence of unknown length": lambda number: b"\x30\x80" + number + DONE + b"\0\0",
    "a length too short": with_length(b"\x04"),
    "a length too long": with_length(b"\x7f"),
    "a length of eight octets": with_length(b"\x88" + b"\x7f" * 8),
    "a length of 126 octets": with_length(b"\xfe" + b"\x7f" * 126),
    "the length that is reserved": with_length(b"\xff"),
    "half a message": lambda number: whole(number)[:-5],
    "one octet": octets(b"\x30"),
    "an entry, then nothing": lambda number: message(number, ANN),
    "an entry, then half a message": lambda number: message(number, ANN) + message(number, DONE)[:5],
    "an entry, then zeros": lambda number: message(number, ANN) + b"\0" * 500,
    "two operations in one": lambda number: tlv(0x30, number + ANN + DONE),
    "a refusal of another number first": lambda number: message(b"\x02\x01\x63", result(0x65, 53)) + whole(number),
    "zeros": octets(b"\0" * 1000),
    "ones": octets(b"\xff" * 1000),
    "HTTP": octets(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
    "SMTP": octets(b"220 mx.example.test ESMTP\r\n"),
    "noise": octets(_RANDOM.randbytes(4000)),
    "noise in a message": lambda number: tlv(0x30, number + _RANDOM.randbytes(100)),
    "sequences in sequences": octets(nested(DEEP)),
    "sequences of unknown length": octets(b"\x30\x80" * DEEP),
    "sequences in an operation": lambda number: (
        message(number, b"\x65\x83" + len(nested(DEEP)).to_bytes(3, "big"))[:2] + nested(DEEP)
    ),
}
OPERATIONS: Final[Mapping[str, Lie]] = {
    "the answer to a bind": instead(result(0x61, 0)),
    "the answer to a change": instead(result(0x67, 0)),
    "the answer to an extension": instead(result(0x78, 0)),
    "an operation that does not exist": instead(result(0x7E, 0)),
    "the question": instead(tlv(0x63, b"")),
    "an unbind": instead(b"\x42\x00"),
    "a notice of disconnection": lambda _: message(
        b"\x02\x01\x00", tlv(0x78, result(0x78, 52)[2:] + tlv(0x8A, b"1.3.6.1.4.1.1466.20036"))
    ),
    "an intermediate answer and no more": instead(tlv(0x79, b"")),
}
RESULTS: Final[Mapping[str, Lie]] = {
    "no result": ended(b""),
    "a negative code": ended(b"\x0a\x01\xff\x04\x00\x04\x00"),
    "a code of two octets": ended(b"\x0a\x02\x12\x67\x04\x00\x04\x00"),
    "a code of nine octets": ended(b"\x0a\x09" + b"\x01" * 9 + b"\x04\x00\x04\x00"),
    "a code that is text": ended(b"\x04\x01\x00\x04\x00\x04\x00"),
    "a code and no more": ended(b"\x0a\x01\x35"),
    "a code in a sequence": ended(tlv(0x30, b"\x0a\x01\x00\x04\x00\x04\x00")),
    "a refusal that is not UTF-8": ended(b"\x0a\x01\x35\x04\x02\xff\xfe\x04\x02\xff\xfe"),
    "a referral to nowhere": ended(b"\x0a\x01\x0a\x04\x00\x04\x00\xa3\x00"),
    **{f"code {code}": ended(bytes((0x0A, 1, code)) + b"\x04\x00\x04\x00") for code in (1, 2, 8, 14, 50, 52, 80, 123)},
}
ENTRIES: Final[Mapping[str, Lie]] = {
    "no parts": entry(),
    "no attributes": entry(DN),
    "attributes that are text": entry(DN, tlv(0x04, b"uid")),
    "a DN that is a number": entry(tlv(0x02, b"\x01"), tlv(0x30, UID)),
    "a DN that is a sequence": entry(tlv(0x30, DN), tlv(0x30, UID)),
    "a DN that is not UTF-8": entry(tlv(0x04, b"uid=\xff\xfe"), tlv(0x30, UID)),
    "a DN with NUL": entry(tlv(0x04, b"uid=a\0b"), tlv(0x30, UID)),
    "no DN": entry(tlv(0x04, b""), tlv(0x30, UID)),
    "a DN longer than the message": entry(b"\x04\x7f" + ANN_DN.encode(), tlv(0x30, UID)),
    "an attribute without parts": attribute(),
    "an attribute without values": attribute(tlv(0x04, b"uid")),
    "an attribute without a name": attribute(tlv(0x31, tlv(0x04, b"ann"))),
    "an attribute whose name is empty": attribute(tlv(0x04, b""), tlv(0x31, tlv(0x04, b"ann"))),
    "an attribute whose name is not UTF-8": attribute(tlv(0x04, b"\xff\xfe"), tlv(0x31, tlv(0x04, b"ann"))),
    "an attribute whose name is a number": attribute(tlv(0x02, b"\x01"), tlv(0x31, tlv(0x04, b"ann"))),
    "values that are a text": attribute(tlv(0x04, b"uid"), tlv(0x04, b"ann")),
    "a value that is a number": attribute(tlv(0x04, b"uid"), tlv(0x31, tlv(0x02, b"\x01"))),
    "a value that is a sequence": attribute(tlv(0x04, b"uid"), tlv(0x31, tlv(0x30, tlv(0x04, b"ann")))),
    "a value longer than the message": attribute(tlv(0x04, b"uid"), tlv(0x31, b"\x04\x7fann")),
    "an attribute named twice": entry(DN, tlv(0x30, UID + UID)),
    "noise for attributes": entry(DN, tlv(0x30, _RANDOM.randbytes(100))),
    "noise behind the attributes": entry(DN, tlv(0x30, UID), _RANDOM.randbytes(100)),
}
HARMLESS: Final[Mapping[str, Lie]] = {
    "no lie": whole,
    "lengths with leading zeros": lambda number: b"".join(
        b"\x30\x84" + len(number + one).to_bytes(4, "big") + number + one for one in (ANN, DONE)
    ),
    "a controls field": lambda number: message(number, ANN) + tlv(0x30, number + DONE + tlv(0xA0, b"")),
    "a result in other words": lambda number: message(
        number, ANN, tlv(0x65, b"\x0a\x01\x00" + tlv(0x04, b"\xff") + tlv(0x04, b"\xff\xfe"))
    ),
}
BINDS: Final[Mapping[str, Lie]] = {
    "nothing": octets(b""),
    "another number": lambda _: message(b"\x02\x01\x63", result(0x61, 0)),
    "the end of a search": instead(DONE),
    "no result": instead(tlv(0x61, b"")),
    "more is needed": instead(result(0x61, 14)),
    "an entry": instead(ANN),
    "noise": octets(_RANDOM.randbytes(2000)),
    "zeros": octets(b"\0" * 1000),
    "sequences in sequences": octets(nested(DEEP)),
}
LIES: Final = {
    f"{kind}: {name}": lie
    for kind, lies in (("message", MESSAGES), ("operation", OPERATIONS), ("result", RESULTS), ("entry", ENTRIES))
    for name, lie in lies.items()
}


OUTRIGHT: Final = {name: lie for name, lie in LIES.items() if not name.startswith("entry")}
"""Those that leave nothing to read."""


@contextlib.contextmanager
def opened(*uris: str) -> Iterator[LdapStore]:
    settings: dict[str, Any] = {"bind_dn": MILTER_DN, "read_password": lambda: MILTER_PASSWORD, "starttls": False}
    store = LdapStore(LdapSettings(uris=uris, connect_timeout=0.5, **settings), time.monotonic)
    try:
        yield store
    finally:
        store.close()


def ask(store: LdapStore, seconds: float) -> list[str]:
    question = Equal("zimbraMailDeliveryAddress", "ann@example.test")
    deadline = Deadline.after(seconds, time.monotonic)
    return [one.dn for one in store.search("", "sub", question, ("uid",), deadline)]


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES)
def test_a_lie_is_never_no_such_entry(lie: Lie) -> None:
    with Peer(lying(lie)) as peer, opened(peer.uri) as store, contextlib.suppress(DirectoryUnavailable):
        # What was read of an entry that is not whole fits no question: who asked will say so.
        assert len(ask(store, SHORT)) == 1


@pytest.mark.parametrize("lie", OUTRIGHT.values(), ids=OUTRIGHT)
def test_the_next_server_is_asked(lie: Lie) -> None:
    with Peer(lying(lie)) as peer, Peer(answering(ANN, DONE)) as other, opened(peer.uri, other.uri) as store:
        assert ask(store, AMPLE) == [ANN_DN]


@pytest.mark.parametrize("lie", BINDS.values(), ids=BINDS)
def test_a_lie_about_the_bind(lie: Lie) -> None:
    with Peer(lying(whole, bind=lie)) as peer, Peer(answering(ANN, DONE)) as other:
        with opened(peer.uri) as store, pytest.raises(DirectoryUnavailable, match=peer.uri):
            ask(store, SHORT)
        with opened(peer.uri, other.uri) as store:
            assert ask(store, AMPLE) == [ANN_DN]


@pytest.mark.parametrize("lie", HARMLESS.values(), ids=HARMLESS)
def test_what_is_odd_and_no_lie(lie: Lie) -> None:
    with Peer(lying(lie)) as peer, opened(peer.uri) as store:
        assert ask(store, AMPLE) == [ANN_DN]
