"""Does a party match a WHEN? Parties are indexed once, so that a rule costs a look-up, not a scan."""

from __future__ import annotations

from typing import TYPE_CHECKING, Union

from msgspec import Struct, field

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from ldapmilter.directory.model import Resolution
    from ldapmilter.policy.when import When


class Seen(Struct, frozen=True):
    """Who matched: the address as written, and the groups on the way to it."""

    address: str
    path: tuple[str, ...] = ()


class Party(Struct):
    """Everything that one recipient (with its members), or the sender, can match by."""

    by_key: dict[str, Seen] = field(default_factory=dict)
    """Address keys, and ``dn:`` keys of entries."""
    by_domain: dict[str, Seen] = field(default_factory=dict)
    internal: Seen | None = None
    external: Seen | None = None

    def add(self, resolution: Resolution, path: tuple[str, ...] = ()) -> None:
        """Add an address: as it is written, and as the entries it resolves to."""
        seen = Seen(resolution.address.text, path)
        self.by_key.setdefault(resolution.address.key, seen)
        self.by_domain.setdefault(resolution.address.domain, seen)
        for entry in resolution.entries:
            self.by_key.setdefault(f"dn:{entry.dn}", seen)
            for key in entry.addresses:
                self.by_key.setdefault(key, seen)
            self.by_domain.setdefault(entry.name.domain, seen)
        if resolution.hosted_domain is not None:
            self.internal = self.internal or seen
        else:
            self.add_outsider(seen)

    def add_outsider(self, seen: Seen) -> None:
        """Add a party outside every hosted domain: also a text that is not an address, and the null sender."""
        self.external = self.external or seen

    def match(self, when: When, groups: Mapping[str, frozenset[str]]) -> Seen | None:
        """Return who matches, or ``None``.

        Args:
            when: the condition.
            groups: for each ``group:`` operand the keys of the group itself and of its members.
        """
        if when.kind == "any":
            return self.internal or self.external
        if when.kind in {"internal", "external"}:
            return self.internal if when.kind == "internal" else self.external
        if when.kind == "address":
            return self.by_key.get(when.operand)
        if when.kind == "domain":
            return self.by_domain.get(when.operand)
        if when.kind == "subdomains":
            suffix = f".{when.operand}"
            return next((seen for domain, seen in self.by_domain.items() if domain.endswith(suffix)), None)
        return self._match_group(groups.get(when.operand, frozenset()))

    def _match_group(self, group: frozenset[str]) -> Seen | None:
        if len(group) < len(self.by_key):
            found = [key for key in group if key in self.by_key]
            order = {key: position for position, key in enumerate(self.by_key)} if len(found) > 1 else {}
            return self.by_key[min(found, key=lambda key: order.get(key, 0))] if found else None
        return next((seen for key, seen in self.by_key.items() if key in group), None)


class Single(Struct, frozen=True):
    """One address, as a party of its own: nothing that an index would be worth."""

    text: str
    """As written: what is no address has nothing else."""
    resolution: Resolution | None

    def match(self, when: When, groups: Mapping[str, frozenset[str]]) -> Seen | None:
        """See :meth:`Party.match`."""
        one = self.resolution
        if one is None:
            # No address: outside every hosted domain, as the null sender is.
            return Seen(self.text) if when.kind in {"any", "external"} else None
        return Seen(one.address.text) if _is_meant(one, when, groups) else None


def _is_meant(one: Resolution, when: When, groups: Mapping[str, frozenset[str]]) -> bool:
    """Whether an address matches: as it is written, or as the entries it resolves to."""
    if when.kind == "any":
        return True
    if when.kind in {"internal", "external"}:
        return (one.hosted_domain is not None) == (when.kind == "internal")
    if when.kind == "domain":
        return when.operand in _domains(one)
    if when.kind == "subdomains":
        return any(domain.endswith(f".{when.operand}") for domain in _domains(one))
    keys = [one.address.key, *(key for entry in one.entries for key in (f"dn:{entry.dn}", *entry.own_keys))]
    if when.kind == "address":
        return when.operand in keys
    return not groups.get(when.operand, frozenset()).isdisjoint(keys)


def _domains(one: Resolution) -> list[str]:
    return [one.address.domain, *(entry.name.domain for entry in one.entries)]


One = Union[Single, "Party"]


class Addressee(Struct, frozen=True):
    """One recipient as rules see it: itself, and (for a group) its members."""

    direct: One
    members: tuple[Party, ...] = ()

    def match(self, when: When, groups: Mapping[str, frozenset[str]]) -> Seen | None:
        """Return who matches, the recipient itself first, or ``None``."""
        if (direct := self.direct.match(when, groups)) is not None or not self.members:
            return direct
        return next((seen for party in self.members if (seen := party.match(when, groups))), None)


def why_no_match(when: When, others: Sequence[One | Addressee], *, sender: bool) -> str:
    """Return in words why no party matches a condition.

    Args:
        when: the condition.
        others: who was held against it.
        sender: whether that is the sender, and not the recipients.
    """
    if not others or when.kind == "any":
        return "there is no recipient"
    domains = {domain for one in others for domain in _all_domains(one)}
    hint = ""
    below = min((domain for domain in domains if domain.endswith(f".{when.operand}")), default=None)
    if when.kind == "domain" and below is not None:
        hint = f" ({below} is a subdomain: .{when.operand} would match it)"
    if when.kind == "subdomains" and when.operand in domains:
        hint = f" ({when.operand} itself is none)"
    what = {
        "internal": "in a domain that this directory hosts",
        "external": "outside the domains that this directory hosts",
        "address": when.operand,
        "domain": f"in {when.operand}",
        "subdomains": f"in a subdomain of {when.operand}",
        "group": f"in the group {when.operand}",
    }[when.kind]
    return f"{'the sender is not' if sender else 'no recipient is'} {what}{hint}"


def _all_domains(one: One | Addressee) -> set[str]:
    if isinstance(one, Addressee):
        return {domain for party in (one.direct, *one.members) for domain in _all_domains(party)}
    if isinstance(one, Party):
        return {*one.by_domain}
    return set(_domains(one.resolution)) if one.resolution is not None else set()


def group_keys(own: Resolution, members: Iterable[Resolution]) -> frozenset[str]:
    """Return the keys by which a party is "in the group, or the group itself"."""
    keys = set(own.identity_keys)
    for member in members:
        keys |= member.identity_keys
    return frozenset(keys)
