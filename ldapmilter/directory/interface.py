"""What policy may ask of the directory, and the three outcomes it gets.

*Found* is a value, *absent* is an empty one, *unavailable* is raised
(:class:`~ldapmilter.errors.DirectoryUnavailable`) unless the caller asked to be lenient. Everything
is asked for in batches: the number of searches must not grow with the number of recipients.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Hashable, Mapping
    from types import TracebackType

    from ldapmilter.address import Address
    from ldapmilter.directory.model import Chain, Entry, Expansion, Resolution, SendRight

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

    @property
    def still_reading(self) -> bool:
        """Whether a group that the message needs could not be read in time, and is read on in the background."""

    def prefetch(self, login: str | None, addresses: Collection[Address]) -> None:
        """Look a login and addresses up together, so that what follows finds them in memory.

        What could not be asked matters where it is needed.
        """

    def prefetch_levels(self, entries: Collection[Entry]) -> None:
        """Read what the chains of entries need together, as :meth:`prefetch` does for addresses."""

    def hosts(self, domain: str) -> bool:
        """Whether a domain (lower-case ACE) is hosted here, alias domains included."""

    def login(self, login: str) -> Resolution | None:
        """Return the account behind ``{auth_authen}`` as typed, or ``None`` when there is none.

        A miss is asked again past the negative cache. A catch-all is not a login.

        Raises:
            AmbiguousEntry: two accounts answer.
        """

    def sender(self, address: Address) -> Resolution:
        """Resolve an envelope sender: as :meth:`resolve`, but never through a catch-all.

        With an extension it means what the name of its account means.
        """

    def resolve(self, addresses: Collection[Address]) -> Mapping[str, Resolution]:
        """Return what each address means, keyed by :attr:`Address.key`, as delivery would see it."""

    def chains(self, entries: Collection[Entry]) -> Mapping[str, Chain]:
        """Return the levels that apply to each entry, keyed by DN, most specific first."""

    def groups_around(self, account: Entry) -> Mapping[Entry, tuple[str, ...]]:
        """Return every group that an account is in, and the groups that lead there: for ``explain`` alone.

        Asked from below, a search a level; policy groups are among them. Members of a group
        with a memberURL of its own are not found.
        """

    def domain_chain(self, hosted_domain: str) -> Chain:
        """Return the levels for an address without entry in a hosted domain: domain, global."""

    def expand(self, entries: Collection[Entry], *, wait: bool = True) -> Mapping[str, Expansion]:
        """Return the expansion of each group, or of an account's forwards, keyed by DN.

        Cycles end quietly; a group past ``[groups] max_members`` or ``max_depth`` is truncated.

        Raises:
            StillReading: a group is large, and read in the background; without ``wait`` at once.
        """

    def own_mailbox(self, account: Entry) -> Address:
        """Return the address that an account writes as by default: its canonical one, else its name."""

    def may_send_as(self, account: Entry, addresses: Collection[Address]) -> Mapping[str, SendRight]:
        """Return the keys of those addresses that an account may use in From, and by what it may.

        Its own (also with an extension that delivery cuts off), what Zimbra allows it, those of its external
        accounts outside the hosted domains, and what the entries named there, or what these inherit from, grant to
        it or to a group it is in. A catch-all never makes an address an account's own.
        """

    def names_authenticated_user(self) -> bool:
        """Whether mailbox servers write ``X-Authenticated-User`` (zimbraSmtpSendAddAuthenticatedUser)."""

    def is_mailbox_host(self, client: str) -> bool:
        """Whether a client address belongs to a server that runs the ``mailbox`` service."""


class Record(Protocol):
    """What one value is made from: every answer that is read while the record is open.

    It may be opened several times: the values of a batch are made in turns.
    """

    def __enter__(self) -> object:
        """Let the value depend on what is read from now on."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop."""

    def keep(self, key: Hashable, value: object) -> None:
        """Remember the value for as long as the answers stand, unless any of them was stale or failed."""


class RememberingDirectory(Directory, Protocol):
    """A directory that also keeps values that were made from it, each for as long as its answers stand."""

    def go_on_from(self, earlier: RememberingDirectory) -> None:
        """See hosted domains and global config as the same message saw them before, under an earlier deadline."""

    def recall(self, keys: Collection[KeyT]) -> dict[KeyT, Any]:
        """Return, of the values that were kept, those that still stand.

        The caller makes the others: some may be left out because it is time to make them anew, and
        no other caller is told.
        """

    def record(self) -> Record:
        """Return an empty record: of what a value that is about to be made is made from."""

    def large(
        self,
        keys: Collection[KeyT],
        work_out: Callable[[Directory, Collection[KeyT]], Mapping[KeyT, ValueT]],
        about: Callable[[KeyT], str],
    ) -> Mapping[KeyT, ValueT]:
        """Return values that as many entries go into as a group has members: in any time that it takes.

        What takes more than a message has is worked out in the background, once for all callers;
        a message that cannot wait for it finds it done when it comes back.

        Args:
            keys: what is asked for, they name the computation and all that it depends on besides the directory.
            work_out: makes values from the directory that it is given, and on whatever thread.
            about: the name of the group that a key is about.

        Raises:
            StillReading: it is under way; the text says how far.
        """
