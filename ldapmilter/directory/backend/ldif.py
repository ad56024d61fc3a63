"""The embedded directory: an LDIF export held in memory and searched as slapd would.

For trying policy off line, for the demo and for tests. Reads what ``slapcat`` writes (RFC 2849
content records). The virtual ``member`` of dynamic groups is made as the dynlist overlay makes it:
by evaluating ``memberURL`` when the attribute is asked for.
"""

from __future__ import annotations

import base64
import binascii
from collections import defaultdict
from typing import TYPE_CHECKING
from urllib.parse import unquote

from ldapmilter.chunks import chunks
from ldapmilter.directory.backend import filters
from ldapmilter.directory.backend.dn import fold_dn, take_apart
from ldapmilter.directory.backend.filters import And, Equal, Filter, Or
from ldapmilter.directory.backend.raw_entry import RawEntry
from ldapmilter.directory.backend.store import PAGE_SIZE
from ldapmilter.errors import ConfigError, DirectoryUnavailable
from ldapmilter.files import read_regular, text_of, why
from ldapmilter.folding import fold_value

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator, Sequence
    from pathlib import Path

    from ldapmilter.directory.backend.store import Deadline, Numbers, Scope, ServerState

_MAX_FILE = 1 << 31
# The attributes that Zimbra's slapd indexes for equality and that searches here are keyed by.
_INDEXED = (
    "objectclass",
    "uid",
    "cn",
    "zimbraid",
    "zimbramaildeliveryaddress",
    "zimbramailalias",
    "zimbraoldmailaddress",
    "zimbramailcatchalladdress",
    "zimbramailforwardingaddress",
    "zimbramemberof",
    "zimbragroupid",
    "zimbradomainname",
)


class LdifStore:
    """An LDIF file as a searchable directory."""

    def __init__(self, entries: Iterable[RawEntry]) -> None:
        """Index entries for searching."""
        self._entries = {fold_dn(entry.dn): entry for entry in entries}
        self._index: dict[tuple[str, str], list[str]] = defaultdict(list)
        for dn, entry in self._entries.items():
            for attribute in _INDEXED:
                for value in entry.all_subtypes(attribute):
                    self._index[attribute, fold_value(value)].append(dn)

    @classmethod
    def load(cls, path: Path) -> LdifStore:
        """Read a file.

        Raises:
            ConfigError: the file cannot be read or is not an LDIF; the text names file and line.
        """
        try:
            octets = read_regular(path, _MAX_FILE)[0]
        except OSError as error:
            msg = f"[ldap] uri = ldif:{path}: cannot be read: {why(error)}"
            raise ConfigError(msg) from error
        try:
            return cls(parse(text_of(octets)))
        except ValueError as error:
            msg = f"{path}: {error}"
            raise ConfigError(msg) from error

    def search(
        self,
        base: str,
        scope: Scope,
        search_filter: Filter,
        attributes: Sequence[str],
        deadline: Deadline,  # noqa: ARG002 - memory answers at once
        *,
        next_server_first: bool = False,  # noqa: ARG002 - there is one
    ) -> list[RawEntry]:
        """Return the entries that match; see :class:`~ldapmilter.directory.backend.store.Store`."""
        wanted = {attribute.lower() for attribute in attributes}
        base_dn = fold_dn(base)
        if base_dn not in self._entries and not any(_in_scope(dn, base_dn, "sub") for dn in self._entries):
            message = f'the LDIF file holds no "{base}": look at [ldap] search_base, or at how it was exported'
            raise DirectoryUnavailable(message)
        candidates = self._candidates(search_filter)
        return [
            self._project(entry, wanted)
            for dn in dict.fromkeys(self._entries if candidates is None else candidates)
            if _in_scope(dn, base_dn, scope) and filters.matches(search_filter, entry := self._entries[dn])
        ]

    def pages(
        self,
        base: str,
        scope: Scope,
        search_filter: Filter,
        attributes: Sequence[str],
        deadline: Deadline,
    ) -> Generator[list[RawEntry], None, None]:
        """Return the entries that match, page by page; see :class:`~ldapmilter.directory.backend.store.Store`."""
        found = self.search(base, scope, search_filter, attributes, deadline)
        return (page for page in chunks(found, PAGE_SIZE))

    def problems(self) -> list[str]:
        """Return nothing: memory is never down."""
        return []

    def statistics(self) -> dict[str, Numbers]:
        """Return nothing: memory is not a server."""
        return {}

    def states(self) -> dict[str, ServerState]:
        """Return nothing: memory is not a server."""
        return {}

    def look_in(self, seconds: float) -> None:
        """Do nothing: memory is not a server."""

    def close(self) -> None:
        """Nothing to let go of."""

    def _candidates(self, search_filter: Filter) -> Sequence[str] | None:
        """Return the DNs that can match by the indexes, or ``None`` when no index narrows it."""
        if isinstance(search_filter, Equal) and search_filter.attribute.lower() in _INDEXED:
            return self._index.get((search_filter.attribute.lower(), fold_value(search_filter.value)), [])
        if isinstance(search_filter, And):
            narrowed = [found for part in search_filter.parts if (found := self._candidates(part)) is not None]
            return min(narrowed, key=len, default=None)
        if isinstance(search_filter, Or):
            branches = [self._candidates(part) for part in search_filter.parts]
            if all(branch is not None for branch in branches):
                return [dn for branch in branches if branch is not None for dn in branch]
        return None

    def _project(self, entry: RawEntry, wanted: set[str]) -> RawEntry:
        attributes = {name: values for name, values in entry.attributes.items() if name.partition(";")[0] in wanted}
        if "member" in wanted and entry.all("memberurl"):
            members = [dn for url in entry.all("memberurl") for dn in self._members(url)]
            if members:
                attributes["member"] = tuple(dict.fromkeys(members))
        return RawEntry(entry.dn, attributes)

    def _members(self, url: str) -> Iterator[str]:
        """Evaluate one ``memberURL`` (RFC 4516): ``ldap:///BASE??SCOPE?FILTER``."""
        base, _attributes, scope_text, filter_text = (url.removeprefix("ldap:///").split("?", 3) + [""] * 3)[:4]
        try:
            search_filter = filters.parse(unquote(filter_text)) if filter_text else filters.Present("objectClass")
        except ValueError:
            return  # dynlist too makes no members from a URL that it cannot evaluate
        scope: Scope = "sub" if scope_text == "sub" else "one" if scope_text == "one" else "base"
        base_dn = fold_dn(unquote(base))
        found = self._candidates(search_filter)
        for dn in dict.fromkeys(self._entries if found is None else found):
            entry = self._entries[dn]
            if _in_scope(dn, base_dn, scope) and filters.matches(search_filter, entry):
                yield entry.dn


def _in_scope(dn: str, base: str, scope: Scope) -> bool:
    if scope == "base":
        return dn == base
    if scope == "one":
        return take_apart(dn).parent == base
    return not base or dn == base or dn.endswith(f",{base}")


def parse(text: str) -> list[RawEntry]:
    """Parse LDIF content records.

    Raises:
        ValueError: what is not LDIF, or holds changes instead of entries; the text names the line.
    """
    return list(_records(text))


def _records(text: str) -> Iterator[RawEntry]:
    dn: str | None = None
    attributes: dict[str, list[str]] = {}
    for number, line in _logical_lines(text):
        if not line:
            if dn is not None:
                yield _entry(dn, attributes)
            dn, attributes = None, {}
            continue
        name, value = _attribute(number, line)
        if dn is None:
            if name == "version":
                continue
            if name != "dn":
                msg = f"line {number}: an entry starts with dn:, not with {name}:"
                raise ValueError(msg)
            dn = value
        elif name == "changetype":
            msg = f"line {number}: this LDIF holds changes; an export of entries (slapcat, ldapsearch) is needed"
            raise ValueError(msg)
        else:
            attributes.setdefault(name, []).append(value)
    if dn is not None:
        yield _entry(dn, attributes)


def _entry(dn: str, attributes: dict[str, list[str]]) -> RawEntry:
    return RawEntry(dn, {name: tuple(values) for name, values in attributes.items()})


def _logical_lines(text: str) -> Iterator[tuple[int, str]]:
    """Yield unfolded lines with their number; comments are dropped, an empty line ends a record."""
    pending: str | None = None
    start = 0
    for number, line in enumerate([*text.replace("\r\n", "\n").split("\n"), ""], 1):
        if line.startswith(" ") and pending is not None:
            pending += line[1:]
            continue
        if pending is not None and not pending.startswith("#"):
            yield start, pending
        pending, start = line, number
    yield start, ""


def _attribute(number: int, line: str) -> tuple[str, str]:
    name, colon, value = line.partition(":")
    if not colon or not name:
        msg = f"line {number}: not an attribute: {line[:60]!r}; write NAME: VALUE"
        raise ValueError(msg)
    if value.startswith("<"):
        msg = f"line {number}: values from URLs are not read"
        raise ValueError(msg)
    if not value.startswith(":"):
        return name.lower(), value.lstrip(" ")
    try:
        return name.lower(), base64.b64decode(value[1:].strip(), validate=True).decode(errors="surrogateescape")
    except binascii.Error as error:
        msg = f"line {number}: broken base64: {error}"
        raise ValueError(msg) from error
