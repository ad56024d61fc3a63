"""Zimbra's directory as policy asks for it: what an address means and which levels apply to it."""

from __future__ import annotations

import math
from functools import cached_property
from typing import TYPE_CHECKING, Any

from ldapmilter.directory.addresses import Addresses
from ldapmilter.directory.backend.store import Deadline
from ldapmilter.directory.cache.derived import Derived
from ldapmilter.directory.expansions import Expansions
from ldapmilter.directory.inheritance import Inheritance
from ldapmilter.directory.large import Large
from ldapmilter.directory.policy_groups import PolicyGroups
from ldapmilter.directory.sender_rights import SenderRights, canonical_address
from ldapmilter.directory.trace import Trace
from ldapmilter.directory.view import ReadRecord, View

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

    from ldapmilter.address import Address
    from ldapmilter.directory.backend.raw_entry import RawEntry
    from ldapmilter.directory.cache.loads import Loads
    from ldapmilter.directory.cache.progress import Progress
    from ldapmilter.directory.flush import CurrentEntries
    from ldapmilter.directory.groups import GroupLimits
    from ldapmilter.directory.interface import Directory, KeyT, RememberingDirectory, ValueT
    from ldapmilter.directory.model import Chain, Entry, Expansion, Resolution, SendRight
    from ldapmilter.directory.reader import Reader

_PATIENCE = 0.8
"""Share of ``lookup_deadline`` for one search in the background: callers that wait should hear that it failed."""


_FLUSH_SECONDS = 3.0
"""For which a flush asks: its caller waits for every worker."""


class ZimbraDirectory:
    """The directory that all messages share; :meth:`for_message` gives each message its own view."""

    def __init__(
        self,
        reader: Reader,
        limits: GroupLimits,
        *,
        lookup_deadline: float,
        clock: Callable[[], float],
        loads: Loads | None = None,
    ) -> None:
        """Make a directory whose every message waits at most ``lookup_deadline`` seconds.

        Args:
            reader: reads entries.
            limits: bounds of groups.
            lookup_deadline: seconds.
            clock: monotonic seconds.
            loads: what is read in the background; without it every message reads everything itself.
        """
        self._reader = reader
        self._loads = loads
        self._derived = Derived(reader.cache, clock, is_shared=lambda key: not isinstance(key, str))
        self._limits = limits
        self._lookup_deadline = lookup_deadline
        self._clock = clock

    def for_message(
        self,
        *,
        lenient: bool = False,
        seconds: float | None = None,
        whole: Callable[[RememberingDirectory], object] | None = None,
        memory_only: bool = False,
    ) -> MessageDirectory:
        """Return the view of one message, whose deadline starts now.

        Args:
            lenient: whether to go on without what could not be asked (``[policy] directory_failure = accept``).
            seconds: another deadline than ``lookup_deadline``, for work that no mail waits for.
            whole: everything that the message is going to need: what has to be read for long is followed by the
                rest, so that a message that could not wait waits once only.
            memory_only: whether what is not in memory counts as what could not be asked: nothing waits for a server.
        """
        deadline = Deadline.after(seconds or self._lookup_deadline, self._clock)
        trace = Trace(deadline, lenient=lenient, memory_only=memory_only)
        return self._directory(trace, whole)

    def _directory(
        self, trace: Trace, whole: Callable[[RememberingDirectory], object] | None = None
    ) -> MessageDirectory:
        view = View(self._reader, self._derived, trace)
        return MessageDirectory(view, self._limits, self._loads, self._in_background, whole)

    def _in_background(self, progress: Progress) -> MessageDirectory:
        """Return a view that no message waits for, of what is going to be read at some length."""
        patience = _PATIENCE * self._lookup_deadline
        trace = Trace(
            Deadline(math.inf, self._clock), background=progress, count=progress.count, search_seconds=patience
        )
        return self._directory(trace)

    def present(self, addresses: Collection[Address]) -> CurrentEntries:
        """Return what the directory says now about some addresses, past the cache: for a flush, which waits briefly.

        Raises:
            DirectoryUnavailable: it does not say in time.
        """
        return self._reader.present(addresses, Deadline.after(_FLUSH_SECONDS, self._clock))

    def changed(self, entries: Iterable[RawEntry]) -> int:
        """Take over how entries are now: what depends on one that differs is asked for again.

        Args:
            entries: with all that any search asks for (:attr:`~ldapmilter.directory.searches.SearchedAttributes.all`).

        Returns:
            how many answers that were.
        """
        return self._reader.changed(entries)

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
    """One message's view: implements :class:`~ldapmilter.directory.interface.RememberingDirectory`.

    Most messages find all that they need in memory: the parts are made when they are asked for.
    """

    def __init__(
        self,
        view: View,
        limits: GroupLimits,
        loads: Loads | None,
        in_background: Callable[[Progress], MessageDirectory],
        whole: Callable[[RememberingDirectory], object] | None = None,
    ) -> None:
        """Answer from a view, and expand within limits."""
        self._view = view
        self._limits = limits
        self._loads = loads
        self._in_background = in_background
        self._whole = whole

    @cached_property
    def larger(self) -> Large:
        """What takes more than a message may read."""
        return Large(self, self._view, self._loads, self._in_background, self._whole)

    @cached_property
    def _addresses(self) -> Addresses:
        return Addresses(self._view)

    @cached_property
    def expansions(self) -> Expansions:
        """The expansions."""
        return Expansions(self._view, self._addresses, self._limits, self.larger)

    @cached_property
    def inheritance(self) -> Inheritance:
        """Who has which levels."""
        return Inheritance(self._view, self.policy_groups)

    @cached_property
    def policy_groups(self) -> PolicyGroups:
        """Whose level a policy group is."""
        return PolicyGroups(self._view, self.expansions, self.larger, self._limits)

    @cached_property
    def _rights(self) -> SenderRights:
        return SenderRights(self._view, self._addresses, self.expansions, self.inheritance)

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

    @property
    def still_reading(self) -> bool:
        """See the interface."""
        return self._view.trace.still_reading

    def go_on_from(self, earlier: RememberingDirectory) -> None:
        """See the interface."""
        if isinstance(earlier, MessageDirectory):
            self._view.go_on_from(earlier._view)  # noqa: SLF001 - of its own kind

    def warm_up(self) -> None:
        """Read what every message needs: the site, and who is in which policy group.

        Raises:
            DirectoryUnavailable: it could not be read.
        """
        if self._view.site.policy_groups:
            self.policy_groups.warm_up()

    def recall(self, keys: Collection[KeyT]) -> dict[KeyT, Any]:
        """See the interface."""
        return self._view.recall(keys)

    def record(self) -> ReadRecord:
        """See the interface."""
        return self._view.record()

    def large(
        self,
        keys: Collection[KeyT],
        work_out: Callable[[Directory, Collection[KeyT]], Mapping[KeyT, ValueT]],
        about: Callable[[KeyT], str],
    ) -> Mapping[KeyT, ValueT]:
        """See the interface."""
        return self.larger.get(keys, work_out, about)

    def prefetch(self, login: str | None, addresses: Collection[Address]) -> None:
        """See the interface."""
        self._addresses.prefetch(login, addresses)

    def prefetch_levels(self, entries: Collection[Entry]) -> None:
        """See the interface."""
        self.inheritance.prefetch(entries)

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
        return self.inheritance.chains(entries)

    def groups_around(self, account: Entry) -> dict[Entry, tuple[str, ...]]:
        """See the interface."""
        return self.policy_groups.around(account)

    def domain_chain(self, hosted_domain: str) -> Chain:
        """See the interface."""
        return self.inheritance.domain_chain(hosted_domain)

    def expand(self, entries: Collection[Entry], *, wait: bool = True) -> dict[str, Expansion]:
        """See the interface."""
        return self.expansions.expand(entries, wait=wait)

    def own_mailbox(self, account: Entry) -> Address:
        """See the interface."""
        return canonical_address(account)

    def may_send_as(self, account: Entry, addresses: Collection[Address]) -> dict[str, SendRight]:
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
