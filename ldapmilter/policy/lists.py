"""What becomes of a post to a list: From, Reply-To, List fields, tag, signature, envelope sender.

A message has one header for all its recipients, so one list decides, or (of several) one decides on the From
alone. Enforcement comes first, then the sender's rules and the recipient's wish: a list changes a From that none of
these has put. The recipients stay what they are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from msgspec import Struct, field

from ldapmilter.address import parse_address, parse_addresses
from ldapmilter.errors import InvalidValue
from ldapmilter.mailbox.reading import is_blank, read_from
from ldapmilter.mailbox.writing import Mailbox, header_value
from ldapmilter.policy import list_answers, list_fields, list_names
from ldapmilter.policy.effect import FromChange, HeaderChange, SenderChange
from ldapmilter.policy.from_kept import CONTENT_FIELDS, is_automatic, why_calendar
from ldapmilter.policy.list_choice import choose
from ldapmilter.policy.list_values import UnusedSetting
from ldapmilter.policy.model import ListPost, Notice

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ldapmilter.message import Headers
    from ldapmilter.policy.facts import Facts
    from ldapmilter.policy.list_choice import Choice
    from ldapmilter.policy.list_values import FromWhen, ListSetting, MailingList, SettingCause

FIELDS = frozenset({"from", "to", "auto-submitted"}) | CONTENT_FIELDS | list_fields.FIELDS
"""The header fields that have to be read of a post to a list."""

_AUTOMATIC = "an automatic message (Auto-Submitted)"
_ANSWERED = "Reply-To has an address already"


class Before(NamedTuple):
    """What comes before the list."""

    change: FromChange | None
    fields: Sequence[HeaderChange]


class PostOutcome(Struct):
    """What becomes of a post, and what an administrator should know of it."""

    post: ListPost | None = None
    notices: list[Notice] = field(default_factory=list)
    unused: list[UnusedSetting] = field(default_factory=list)
    """Settings of the list that decides which change nothing, and why."""


def invalid_values(facts: Facts) -> list[Notice]:
    """Return what is wrong with the settings of the lists that are addressed."""
    return list(dict.fromkeys(notice for posts in facts.lists for notice in posts.notices))


def post(lists: Sequence[MailingList], facts: Facts, headers: Headers, before: Before) -> PostOutcome:
    """Return what becomes of a message to lists with settings.

    Args:
        lists: those that are addressed (:func:`~.list_choice.addressed`), at least one.
        facts: the parties of the message.
        headers: its fields of :data:`FIELDS`.
        before: what enforcement, a rule or a wish changes.

    Raises:
        DirectoryUnavailable: an address in To or Cc could not be looked up.
    """
    outcome = PostOutcome()
    choice = choose(lists, facts, headers, outcome.notices)
    if choice is None:
        return outcome
    entry = choice.chosen.entry
    if list_fields.carries(entry, headers):
        outcome.post = ListPost(address=entry.name, left_alone="it carries this list's List-Id or List-Post already")
        return outcome
    outcome.post = _Post(choice, facts, headers, before, outcome).result()
    return outcome


class _Post:
    """One post, and the list that decides."""

    def __init__(self, choice: Choice, facts: Facts, headers: Headers, before: Before, outcome: PostOutcome) -> None:
        self.choice = choice
        self.list = choice.chosen
        self.entry = choice.chosen.entry
        self.facts = facts
        self.headers = headers
        self.mode = facts.policy.lists.mode
        # What is only told of does not happen to mail that the list changes.
        is_told = before.change is not None and before.change.mode != "apply" and self.mode == "apply"
        self.before = None if is_told else before.change
        self.answered = any(one.name == "Reply-To" and one.value and one.mode == "apply" for one in before.fields)
        """Whether Reply-To names the author already."""
        self.notices = outcome.notices
        self.unused = outcome.unused
        self.author = self._author()

    def result(self) -> ListPost:
        """Put the parts together."""
        outcome = self._from_change()
        change = outcome if isinstance(outcome, FromChange) else None
        rewritten = change is not None
        changes: list[HeaderChange] = []
        if change is not None:
            changes += list_fields.original(self.headers, self._delivered_from(), self.author, change)
        answers, answered = self._reply_to(change)
        changes += answers
        tag: list[HeaderChange] = []
        if self.choice.only:
            changes += list_fields.list_headers(self.list, self.headers, self.mode)
            self._skip_headers()
            tag = self._tag()
        else:
            others = (self.list.reply_to, self.list.headers, *self.list.fields, self.list.tag)
            self._skip("outranked", "several lists are addressed: the first decides on From alone", *others)
        changes += tag
        changes += list_fields.signatures(self.headers, change, changes)
        self._warn(rewritten=rewritten, breaks=bool(tag or answered))
        return ListPost(
            address=self.entry.name,
            from_change=change,
            header_changes=tuple(changes),
            sender_change=self._sender_change(rewritten=rewritten),
            from_stays=outcome if isinstance(outcome, str) else None,
        )

    def _delivered_from(self) -> tuple[str, ...]:
        """Return the From fields that the list finds: as they came, or what enforcement or a rule made of them."""
        if self.before is not None:
            return (self.before.value,)
        return self.headers.values("from")

    def _author(self) -> Mailbox | None:
        """Return who wrote: the one From that is not blank, else the envelope sender; ``None``: no address."""
        read = read_from([value for value in self._delivered_from() if not is_blank(value)])
        if len(read.mailboxes) == 1 and not read.unreadable:
            return read.mailboxes[0]
        sender = parse_address(self.facts.envelope.sender)
        return Mailbox(display_name="", address=sender) if sender is not None else None

    def _from_change(self) -> FromChange | str | None:
        """Return the From that the list puts, or why it puts none in words; ``None``: it is not asked to."""
        when, before, author = self.list.from_when, self.before, self.author
        if when is None or when.value == "keep":
            self._skip("off", "keep: a post keeps its From", when)
            return None
        if (why := self._why_kept(when.value)) is not None:
            self._skip(*why, when)
            return why[1]
        if author is None:
            nobody = "it names nobody, and the envelope sender is empty"
            self.notices.append(Notice(text=f"From of a post to {self.entry.name} stays: {nobody}"))
            self._skip("exempt", nobody, when)
            return nobody
        try:
            value = header_value(f"{list_names.shown(author)} via {list_names.name_of(self.entry)}", self.entry.name)
        except InvalidValue as error:
            self.notices.append(Notice(text=f"From of a post to {self.entry.name} stays: {error}", error=True))
            self._skip("invalid", str(error), when)
            return str(error)
        reasons = (when.reason, *(before.reasons if before is not None else ()))
        return FromChange(value=value, cause="list", reasons=reasons, mode=self.mode)

    def _why_kept(self, when: FromWhen) -> tuple[SettingCause, str] | None:
        """Return why the list leaves the From alone, of a message that names an author; ``None``: it does not."""
        before, author = self.before, self.author
        if before is not None and before.cause != "enforce":
            return "outranked", f"a {before.cause} value comes first"
        if author is not None and author.address.key in self.entry.own_keys:
            return "exempt", "the list is the author"
        if when == "foreign" and author is not None and not self._is_foreign:
            return "no-match", f"the author's domain {author.address.domain} is hosted here"
        if when == "foreign" and author is not None and not self._reaches_outside():
            return "no-match", "the list reaches no address outside"
        why = why_calendar(self.headers) if self.facts.author.resolution is not None else None
        return None if why is None else ("exempt", why)

    def _skip(self, cause: SettingCause, text: str, *settings: ListSetting[Any] | None) -> None:
        """Note why some settings change nothing."""
        self.unused.extend(UnusedSetting(cause, text, one.reason) for one in settings if one is not None)

    def _skip_headers(self) -> None:
        on = self.list.headers
        if on is not None and not on.value:
            self._skip("off", "FALSE: no List fields are added", on)

    def _tag(self) -> list[HeaderChange]:
        tag = self.list.tag
        if tag is None:
            return []
        if is_automatic(self.headers):
            self._skip("exempt", _AUTOMATIC, tag)
            return []
        found = list_fields.subject(self.headers, tag.value, tag.reason, self.mode)
        if not found:
            self._skip("already", "the Subject has it already, or is too long for it", tag)
        return found

    @property
    def _is_foreign(self) -> bool:
        return self.author is not None and not self.facts.directory.hosts(self.author.address.domain)

    def _reaches_outside(self) -> bool:
        expansion = self.facts.expansions.get(self.entry.dn)
        return expansion is not None and any(one.resolution.hosted_domain is None for one in expansion.members)

    def _reply_to(self, change: FromChange | None) -> tuple[list[HeaderChange], bool]:
        """Return what says where answers go, and whether Reply-To is among it."""
        wish = self.list.reply_to if self.choice.only else None
        where = wish.value if wish is not None else "author" if change is not None else "keep"
        if where == "keep":
            self._skip("off", "keep: answers go where the author wants them", wish)
            return [], False
        if is_automatic(self.headers):
            self._skip("exempt", _AUTOMATIC, wish)
            return [], False
        if where == "author" and self.answered:
            self._skip("already", _ANSWERED, wish)
            return [], False
        by = (wish.reason,) if wish is not None else change.reasons if change is not None else ()
        try:
            if where == "author":
                found = list_answers.to_author(self.headers, self.author, by, self.mode)
            else:
                found = list_answers.to_list(self.headers, self.entry.name, self.author, by, self.mode)
        except InvalidValue as error:
            self.notices.append(Notice(text=f"Reply-To of a post to {self.entry.name} stays: {error}"))
            self._skip("exempt", str(error), wish)
            return [], False
        if not found:
            self._skip("already", _ANSWERED, wish)
        return found, bool(found)

    def _sender_change(self, *, rewritten: bool) -> SenderChange | None:
        """Return the envelope sender to put: never in place of the null one, which asks for no bounces."""
        bounces, sender = self.list.bounces, self.facts.envelope.sender
        if bounces is None:
            return None
        if not sender:
            self._skip("exempt", "the envelope sender is empty: it asks for no bounces", bounces)
            return None
        if not (rewritten or (self.choice.only and self.choice.everybody)):
            self._skip("no-match", "the From stays, and there are recipients beside the list", bounces)
            return None
        if bounces.value in parse_addresses([sender]):
            self._skip("already", "it is the envelope sender already", bounces)
            return None
        return SenderChange(address=bounces.value, reasons=(bounces.reason,), mode=self.mode)

    def _warn(self, *, rewritten: bool, breaks: bool) -> None:
        name = self.entry.name
        if rewritten and self.facts.author.resolution is None and (why := self._why_unaligned()) is not None:
            text = (
                f"unaligned: the From of {name} on mail from outside has no signature of {name.domain} unless it is"
                f" routed to a signing hop, and {why}"
            )
            self.notices.append(Notice(text=text))
        if rewritten and not self.choice.everybody:
            self.notices.append(Notice(text=f"recipients beside {name} see the list's From, too"))
        if not rewritten and breaks and self._is_foreign and self.before is None:
            text = (
                f"the tag or Reply-To of {name} breaks the signature of {self._author_domain} (DMARC), whose From stays"
            )
            self.notices.append(Notice(text=text))

    def _why_unaligned(self) -> str | None:
        """Return why the envelope sender does not agree with the list's From; ``None``: it does."""
        bounces = self.list.bounces
        if bounces is None:
            return "there is no ldapMilterListBounces"
        if not self.facts.envelope.sender:
            return "the envelope sender is empty"
        if not list_names.aligned(bounces.value, self.entry.name):
            return f"{bounces.value} is in another domain"
        return None

    @property
    def _author_domain(self) -> str:
        return self.author.address.domain if self.author is not None else ""


def merged(changes: Sequence[HeaderChange], posts: ListPost | None) -> tuple[HeaderChange, ...]:
    """Return all changes of header fields: where a list changes what others change, too, the list's counts."""
    if posts is None:
        return tuple(changes)
    names = {change.name.lower() for change in posts.header_changes if not change.beside and change.mode == "apply"}
    return (*(change for change in changes if change.name.lower() not in names), *posts.header_changes)
