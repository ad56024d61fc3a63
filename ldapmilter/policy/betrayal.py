"""Confidential copies that reach the person they are about: the address is a list or an account that leads there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ldapmilter.address import parse_address
from ldapmilter.errors import DirectoryUnavailable
from ldapmilter.policy.model import Notice

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from ldapmilter.directory.interface import Directory
    from ldapmilter.directory.model import Expansion, Member, Resolution
    from ldapmilter.policy.copy_requests import CopyRequest
    from ldapmilter.policy.effect import Direction
    from ldapmilter.policy.when import When


def confidential_copies_behind(
    requests: Sequence[CopyRequest], secret: frozenset[str], matches: Callable[[When, Direction], bool]
) -> list[CopyRequest]:
    """Return the requests for confidential copies of a message whose address leads on to others."""
    return [
        one
        for one in requests
        if one.leads_on and one.copy_class in secret and (one.when is None or matches(one.when, one.direction))
    ]


def betrayals(
    requests: Sequence[CopyRequest],
    authors: Sequence[Resolution],
    recipients: Mapping[str, Resolution],
    directory: Directory,
) -> list[Notice]:
    """Return an error for each copy that comes to the author, or to whom it is a copy of.

    The copy is made all the same: it is due. The message does not wait for a large list to be read, nor for a
    directory that does not answer: then there is no error, and ``check --directory`` finds it.

    Args:
        requests: those of :func:`confidential_copies_behind`.
        authors: who sends, and who wrote.
        recipients: what the recipients of the envelope mean, by address as written.
        directory: where lists and forwards are looked up.
    """
    failures = len(directory.failures)
    try:
        behind = directory.expand([entry for one in requests for entry in one.leads_on], wait=False)
    except DirectoryUnavailable:
        return []
    own = frozenset(key for author in authors for key in author.identity_keys)
    # What a confidential value names is as confidential as the value.
    found = {text: Notice(text=text, confidential=True) for text in directory.failures[failures:]}
    for one in requests:
        copied = own if one.direction == "sent" else _keys_of_copied(one, recipients)
        for member in _members(one, behind):
            keys = _keys_of(member.resolution)
            if not copied.isdisjoint(keys):
                who = "whom it is a copy of"
            elif not own.isdisjoint(keys):
                who = "the author"
            else:
                continue
            text = (
                f"the copy of class {one.copy_class} to {one.address} comes to {member.resolution.address}, {who},"
                f" by way of {' > '.join(member.path) or one.address.text}"
            )
            found.setdefault(text, Notice(text=text, confidential=True, error=True))
    return list(found.values())


def _members(one: CopyRequest, behind: Mapping[str, Expansion]) -> Iterator[Member]:
    for entry in one.leads_on:
        yield from behind[entry.dn].members


def _keys_of(resolution: Resolution) -> frozenset[str]:
    """Return the keys of whoever gets what an address is sent, by an extension or a catch-all too."""
    keys = set(resolution.identity_keys)
    for entry in resolution.entries:
        keys |= {f"dn:{entry.dn}", *entry.own_keys}
    return frozenset(keys)


def _keys_of_copied(one: CopyRequest, recipients: Mapping[str, Resolution]) -> frozenset[str]:
    """Return the keys of those whose mail a received copy is of."""
    keys: set[str] = set()
    for reason in one.reasons:
        if reason.recipient is None:
            continue
        if (meant := recipients.get(reason.recipient)) is not None:
            keys |= _keys_of(meant)
        elif (address := parse_address(reason.recipient)) is not None:
            keys.add(address.key)
    return frozenset(keys)
