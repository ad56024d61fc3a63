"""What an LDAP server says, out of ldap3's forms into ours."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ldapmilter.directory.backend.raw_entry import RawEntry
from ldapmilter.directory.ldap.exchange import Result, ServerFailed
from ldapmilter.directory.ldap.request import PAGED_RESULTS

if TYPE_CHECKING:
    from collections.abc import Callable

    import ldap3

_SEARCH_RESULT_ENTRY = 4
"""RFC 4511 section 4.5.2: [APPLICATION 4]."""


def decode_entries_directly(connection: ldap3.Connection) -> None:
    """Decode search entries once, straight into our own form.

    ldap3 decodes every entry twice (raw and converted), asking its configuration several times for
    each name: more than half of what an answer costs. The strategy's decoder is where it can be had
    cheaper without touching the wire.
    """
    decode: Callable[[dict[str, Any]], dict[str, Any]] = connection.strategy.decode_response_fast

    def decode_fast(message: dict[str, Any]) -> dict[str, Any]:
        if message["protocolOp"] != _SEARCH_RESULT_ENTRY:
            return decode(message)
        name, attributes = message["payload"][:2]
        entry = RawEntry(
            name[3].decode(),
            {
                attribute[3][0][3].decode().lower(): tuple(
                    value[3].decode("utf-8", "surrogateescape") for value in attribute[3][1][3]
                )
                for attribute in attributes[3]
            },
        )
        return {"type": "searchResEntry", "entry": entry}

    connection.strategy.decode_response_fast = decode_fast


def entry_in(item: dict[str, Any]) -> RawEntry:
    """Return the entry in one item of an answer.

    Raises:
        ServerFailed: it is a reference to another server.
    """
    if item.get("type") != "searchResEntry":
        message = f"the server refers to another one ({item.get('uri')}), which is not followed"
        raise ServerFailed(message)
    entry: RawEntry = item["entry"]
    return entry


def next_cookie(result: dict[str, Any]) -> bytes:
    """Return what the next page is asked for with (RFC 2696 section 3); empty after the last one.

    Raises:
        ServerFailed: the server did not page, so whether that was all cannot be known.
    """
    control = (result.get("controls") or {}).get(PAGED_RESULTS)
    if control is None:
        message = "the server ignores paged results (RFC 2696): whether its answer is whole cannot be known"
        raise ServerFailed(message)
    cookie: bytes = control["value"]["cookie"]
    return cookie


def result_of(result: dict[str, Any], kind: str) -> Result:
    """Return how an operation ended.

    Args:
        result: as ldap3 keeps it.
        kind: of the answer that ends it, as ldap3 names it. The end of something else says nothing, and
            with a code of 0 would be taken for "no such entry".

    Raises:
        ServerFailed: it is of another kind.
    """
    if result["type"] != kind:
        message = f"the answer is a {result['type']}, not a {kind}"
        raise ServerFailed(message)
    text = f"{result.get('description')} ({result.get('result')})"
    return Result(code=int(result["result"]), text=f"{text}: {result['message']}" if result.get("message") else text)
