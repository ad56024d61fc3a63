"""Zimbra's directory as policy asks for it: what an address means and which levels apply to it."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

from ldapmilter.directory.addresses import Addresses
from ldapmilter.directory.derived import Derived
from ldapmilter.directory.expansions import Expansions
from ldapmilter.directory.inheritance import Inheritance
from ldapmilter.directory.sender_rights import SenderRights, canonical_address
from ldapmilter.directory.store import Deadline
from ldapmilter.directory.trace import Trace
from ldapmilter.directory.view import View

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

    from ldapmilter.address import Address
    from ldapmilter.directory.groups import GroupLimits
    from ldapmilter.directory.interface import KeyT, ValueT
    from ldapmilter.directory.model import Chain, Entry, Expansion, Resolution
    from ldapmilter.directory.raw_entry import RawEntry
    from ldapmilter.directory.reader import Reader


class ZimbraDirectory:
    """The directory behind all messages; :meth:`for_message` gives each message its own view."""

    def __init__(
        self,
        reader: Reader,
        limits: GroupLimits,
        *,
        lookup_deadline: float,
        clock: Callable[[], float],
    ) -> None:
        """Make a directory whose every message waits at most ``lookup_deadline`` seconds."""
        self._reader = reader
        self._derived = Derived(reader.cache, clock, is_shared=lambda key: not isinstance(key, str))
        self._limits = limits
        self._lookup_deadline = lookup_deadline
        self._clock = clock

    def for_message(self, *, lenient: bool = False, seconds: float | None = None) -> MessageDirectory:
        """Return the view of one message, whose deadline starts now.

        ``seconds`` is another deadline than ``lookup_deadline``, for work that no mail waits for.
        """
        trace = Trace(Deadline.after(seconds or self._lookup_deadline, self._clock), lenient=lenient)
        return MessageDirectory(View(self._reader, self._derived, trace), self._limits)

    def everybody(self, seconds: float) -> Iterator[list[RawEntry]]:
        """Return every account and group, page by page and past the cache; a page may take so many seconds.

        An entry may be in it that mail cannot be addressed to: :func:`read_entry` tells.

        Raises:
            DirectoryUnavailable: by the iteration, wherever it breaks off.
        """
        return self._reader.everybody(Deadline.after(seconds, self._clock))

    def count_everybody(self, seconds: float) -> int:
        """Return how many entries :meth:`everybody` is about to go through.

        Raises:
            DirectoryUnavailable: they could not be counted.
        """
        return self._reader.count_everybody(Deadline.after(seconds, self._clock))


class MessageDirectory:
    """One message's view: implements :class:`~ldapmilter.directory.interface.Directory`.

    Most messages find all that they need remembered: the parts are made when somebody asks.
    """

    def __init__(self, view: View, limits: GroupLimits) -> None:
        """Answer from a view, and expand within limits."""
        self._view = view
        self._limits = limits

    @cached_property
    def _addresses(self) -> Addresses:
        return Addresses(self._view)

    @cached_property
    def _expansions(self) -> Expansions:
        return Expansions(self._view, self._addresses, self._limits)

    @cached_property
    def _inheritance(self) -> Inheritance:
        return Inheritance(self._view, self._expansions)

    @cached_property
    def _rights(self) -> SenderRights:
        return SenderRights(self._view, self._addresses, self._expansions, self._inheritance)

    @property
    def searches(self) -> int:
        """See the interface."""
        return self._view.trace.searches

    @property
    def stale(self) -> bool:
        """See the interface."""
        return self._view.trace.stale

    @property
    def failures(self) -> tuple[str, ...]:
        """See the interface."""
        return tuple(dict.fromkeys(self._view.trace.failures))

    def warm_up(self) -> None:
        """Read what every message needs: the site, and who is in which policy group.

        Raises:
            DirectoryUnavailable: it could not be read.
        """
        if self._view.site.policy_groups:
            self._inheritance.policy_groups()

    def derived(
        self, keys: Collection[KeyT], work_out: Callable[[Collection[KeyT]], Mapping[KeyT, ValueT]]
    ) -> dict[KeyT, ValueT]:
        """See the interface."""
        return self._view.derived(keys, work_out)

    def recall(self, keys: Collection[KeyT]) -> dict[KeyT, Any]:
        """See the interface."""
        return self._view.recall(keys)

    def work_out(
        self,
        keys: Collection[KeyT],
        make: Callable[[Collection[KeyT]], Mapping[KeyT, ValueT]],
        *,
        worth_keeping: Callable[[ValueT], bool] = lambda _value: True,
    ) -> Mapping[KeyT, ValueT]:
        """See the interface."""
        return self._view.work_out(keys, make, worth_keeping=worth_keeping)

    def prefetch(self, login: str | None, addresses: Collection[Address]) -> None:
        """See the interface."""
        self._addresses.prefetch(login, addresses)

    def hosts(self, domain: str) -> bool:
        """See the interface."""
        return domain in self._view.site.domains

    def login(self, login: str) -> Resolution | None:
        """See the interface."""
        return self._addresses.login(login)

    def sender(self, address: Address) -> Resolution:
        """See the interface."""
        return self._addresses.sender(address)

    def resolve(self, addresses: Collection[Address]) -> dict[str, Resolution]:
        """See the interface."""
        return self._addresses.resolve(addresses)

    def chains(self, entries: Collection[Entry]) -> dict[str, Chain]:
        """See the interface."""
        return self._inheritance.chains(entries)

    def domain_chain(self, hosted_domain: str) -> Chain:
        """See the interface."""
        return self._inheritance.domain_chain(hosted_domain)

    def expand(self, entries: Collection[Entry]) -> dict[str, Expansion]:
        """See the interface."""
        return self._expansions.expand(entries)

    def own_mailbox(self, account: Entry) -> Address:
        """See the interface."""
        return canonical_address(account)

    def may_send_as(self, account: Entry, addresses: Collection[Address]) -> frozenset[str]:
        """See the interface."""
        return self._rights.may_send_as(account, addresses)

    def names_authenticated_user(self) -> bool:
        """See the interface."""
        config = self._view.site.config
        return config is not None and config.is_true("zimbrasmtpsendaddauthenticateduser")

    def is_mailbox_host(self, client: str) -> bool:
        """See the interface."""
        names = self._view.site.mailbox_host_names
        return bool(names) and client in self._view.reader.mailbox_addresses(names, self._view.trace)
