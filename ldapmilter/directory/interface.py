"""What policy may ask of the directory, and the three outcomes it gets.

*Found* is a value, *absent* is an empty one, *unavailable* is raised
(:class:`~ldapmilter.errors.DirectoryUnavailable`) unless the caller asked to be lenient. Everything
is asked for in batches: the number of searches must not grow with the number of recipients.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Hashable, Mapping

    from ldapmilter.address import Address
    from ldapmilter.directory.model import Chain, Entry, Expansion, Resolution

KeyT = TypeVar("KeyT", bound="Hashable")
ValueT = TypeVar("ValueT")


class Directory(Protocol):
    """Zimbra's directory as one message sees it: one deadline, one count of searches.

    A lenient directory (``[policy] directory_failure = accept``) answers what it knows, marks the
    rest ``known=False`` and lists in :attr:`failures` what it could not ask; a strict one raises
    :class:`~ldapmilter.errors.DirectoryUnavailable`.
    """

    @property
    def searches(self) -> int:
        """Searches sent to the directory so far on behalf of this message."""

    @property
    def stale(self) -> bool:
        """Whether an answer past its time to live was used because the directory failed."""

    @property
    def failures(self) -> tuple[str, ...]:
        """What could not be asked; stays empty on a strict directory, which raises instead."""

    def derived(
        self, keys: Collection[KeyT], work_out: Callable[[Collection[KeyT]], Mapping[KeyT, ValueT]]
    ) -> Mapping[KeyT, ValueT]:
        """Return values that are worked out from this directory, remembered while what they read stands.

        Args:
            keys: what is asked for; they name the computation and everything it depends on besides
                the directory.
            work_out: makes the values of the keys that are not remembered, all in one call.
        """

    def recall(self, keys: Collection[KeyT]) -> dict[KeyT, Any]:
        """Return, of values that were worked out before, those that still stand.

        Whoever asks makes the others (:meth:`work_out`): some may be left out because it is time to
        make them anew, and nobody else is told.
        """

    def work_out(
        self,
        keys: Collection[KeyT],
        make: Callable[[Collection[KeyT]], Mapping[KeyT, ValueT]],
        *,
        worth_keeping: Callable[[ValueT], bool] = ...,
    ) -> Mapping[KeyT, ValueT]:
        """Return values that are made from this directory, and remember those that are worth keeping."""

    def prefetch(self, login: str | None, addresses: Collection[Address]) -> None:
        """Look a login and addresses up together, so that what follows finds them in memory."""

    def hosts(self, domain: str) -> bool:
        """Whether a domain (lower-case ACE) is hosted here, alias domains included."""

    def login(self, login: str) -> Resolution | None:
        """Return the account behind ``{auth_authen}`` as typed, or ``None`` when there is none.

        A miss is asked again past the negative cache. A catch-all is no login.

        Raises:
            AmbiguousEntry: two accounts answer.
        """

    def sender(self, address: Address) -> Resolution:
        """Resolve an envelope sender: as :meth:`resolve`, but never through a catch-all."""

    def resolve(self, addresses: Collection[Address]) -> Mapping[str, Resolution]:
        """Return what each address means, keyed by :attr:`Address.key`, as delivery would see it."""

    def chains(self, entries: Collection[Entry]) -> Mapping[str, Chain]:
        """Return the levels that apply to each entry, keyed by DN, most specific first."""

    def domain_chain(self, hosted_domain: str) -> Chain:
        """Return the levels for an address without entry in a hosted domain: domain, global."""

    def expand(self, entries: Collection[Entry]) -> Mapping[str, Expansion]:
        """Return who is behind each group, or an account's forwards, keyed by DN.

        Cycles end quietly; a group past ``[groups] max_members`` or ``max_depth`` is truncated.
        """

    def own_mailbox(self, account: Entry) -> Address:
        """Return the address that an account writes as by default: its canonical one, else its name."""

    def may_send_as(self, account: Entry, addresses: Collection[Address]) -> frozenset[str]:
        """Return the keys of those addresses that an account may use in From.

        Its own, what Zimbra allows it, and what the entries named there grant to it or to a group
        it is in. A catch-all never makes an address somebody's.
        """

    def names_authenticated_user(self) -> bool:
        """Whether mailbox servers write ``X-Authenticated-User`` (zimbraSmtpSendAddAuthenticatedUser)."""

    def is_mailbox_host(self, client: str) -> bool:
        """Whether a client address belongs to a server that runs the ``mailbox`` service."""
