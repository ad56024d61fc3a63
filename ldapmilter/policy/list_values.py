"""What the values on a list say of its posts: their grammar, and which of them count."""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Generic, Literal, NamedTuple, TypeVar

from msgspec import Struct

from ldapmilter.address import parse_address
from ldapmilter.directory.groups import has_members
from ldapmilter.errors import InvalidValue
from ldapmilter.policy.levels import effective, is_none, reason_of
from ldapmilter.policy.model import Notice
from ldapmilter.postfix.address import late_refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ldapmilter.address import Address
    from ldapmilter.directory.interface import Directory
    from ldapmilter.directory.model import Chain, Entry
    from ldapmilter.policy.effect import Reason
    from ldapmilter.policy.levels import PassedOver
    from ldapmilter.policy.settings import ListsPolicy

ValueT = TypeVar("ValueT")
WordT = TypeVar("WordT", bound=str)

FromWhen = Literal["keep", "foreign", "always"]
ReplyTo = Literal["author", "list", "keep"]

_FROM: Final[tuple[FromWhen, ...]] = ("keep", "foreign", "always")
_REPLY_TO: Final[tuple[ReplyTo, ...]] = ("author", "list", "keep")
FIELD_NAMES: Final = ("List-Help", "List-Unsubscribe", "List-Subscribe", "List-Owner", "List-Archive")
"""What ``ldapMilterListHeaderField`` may set (RFC 2369)."""
# Text, not compiled here: few sites have lists with fields, and whoever starts a verb would wait for it.
_FIELD = r"\s*([A-Za-z-]+)\s*:\s*(.*?)\s*\Z"
_URI = r"<[A-Za-z][A-Za-z0-9+.\-]*:[!#-;=?-~]+>"
_URIS = rf"{_URI}(?:\s*,\s*{_URI})*\Z"
_MOST_FIELD = 900
_MOST_TAG = 100


SettingCause = Literal["exempt", "no-match", "outranked", "off", "already", "invalid"]


class UnusedSetting(NamedTuple):
    """Why a setting of the list that decides changes nothing in a post."""

    cause: SettingCause
    text: str
    reason: Reason


class ListField(NamedTuple):
    """One field of RFC 2369."""

    name: str
    """As the RFC spells it."""
    value: str
    """URIs in angle brackets, separated by commas."""


def read_from_when(text: str) -> FromWhen:
    """Parse a value of ``ldapMilterListFrom``.

    Raises:
        InvalidValue: it is none of the words.
    """
    return _one_of(_FROM, text)


def read_reply_to(text: str) -> ReplyTo:
    """Parse a value of ``ldapMilterListReplyTo``.

    Raises:
        InvalidValue: it is none of the words.
    """
    return _one_of(_REPLY_TO, text)


def _one_of(words: tuple[WordT, ...], text: str) -> WordT:
    for word in words:
        if text.strip().lower() == word:
            return word
    raise InvalidValue(f"{text!r} is none of {', '.join(words)}")


def read_headers(text: str) -> bool:
    """Parse a value of ``ldapMilterListHeaders``.

    Raises:
        InvalidValue: it is neither TRUE nor FALSE.
    """
    word = text.strip().upper()
    if word not in {"TRUE", "FALSE"}:
        raise InvalidValue(f"{text!r} is neither TRUE nor FALSE")
    return word == "TRUE"


def read_field(text: str) -> ListField:
    """Parse a value of ``ldapMilterListHeaderField``: ``Name: <uri>``, or several URIs separated by commas.

    Raises:
        InvalidValue: another name, or anything but URIs.
    """
    found = re.match(_FIELD, text, re.DOTALL)
    name = next((one for one in FIELD_NAMES if found is not None and found[1].lower() == one.lower()), None)
    if found is None or name is None:
        raise InvalidValue(f"{text!r} is no Name: <uri> with one of {', '.join(FIELD_NAMES)}")
    value = found[2]
    if not value.isascii() or not value.isprintable() or not re.match(_URIS, value) or len(value) > _MOST_FIELD:
        raise InvalidValue(f"{text!r}: the value of {name} has to be <uri>, or several separated by commas, in ASCII")
    return ListField(name, value)


def read_tag(text: str) -> str:
    """Parse a value of ``ldapMilterListTag``.

    Raises:
        InvalidValue: nothing, too much, or what cannot stand in a Subject.
    """
    tag = text.strip()
    if not tag or not tag.isprintable() or len(tag) > _MOST_TAG or "=?" in tag:
        raise InvalidValue(f"{text!r} is no tag: up to {_MOST_TAG} printable characters on one line, without =?")
    return tag


def read_bounces(text: str) -> Address:
    """Parse a value of ``ldapMilterListBounces``.

    Raises:
        InvalidValue: it is no address that Postfix takes.
    """
    address = parse_address(text)
    if address is None or not address.text.isascii():
        raise InvalidValue(f"{text!r} is no valid ASCII address")
    if (problem := late_refusal(address)) is not None:
        raise InvalidValue(f"{text!r}: {problem}")
    return address


class ListSetting(Struct, Generic[ValueT], frozen=True):
    """One value that counts, and where it stands."""

    value: ValueT
    reason: Reason


class MailingList(Struct, frozen=True, eq=False):
    """A list with settings."""

    entry: Entry
    from_when: ListSetting[FromWhen] | None = None
    reply_to: ListSetting[ReplyTo] | None = None
    headers: ListSetting[bool] | None = None
    fields: tuple[ListSetting[ListField], ...] = ()
    tag: ListSetting[str] | None = None
    bounces: ListSetting[Address] | None = None
    notices: tuple[Notice, ...] = ()
    """What is wrong with its values."""

    @property
    def acts(self) -> bool:
        """Whether anything of a post may change."""
        return bool(
            (self.from_when is not None and self.from_when.value != "keep")
            or (self.reply_to is not None and self.reply_to.value != "keep")
            or (self.headers is not None and self.headers.value)
            or self.fields
            or self.tag is not None
            or self.bounces is not None
        )

    def each(self) -> Iterator[ListSetting[Any]]:
        """Yield every value that counts."""
        for one in (self.from_when, self.reply_to, self.headers, *self.fields, self.tag, self.bounces):
            if one is not None:
                yield one


def mailing_list(
    group: Entry, chain: Chain, policy: ListsPolicy, directory: Directory, passed_over: list[PassedOver] | None = None
) -> MailingList | None:
    """Return what the chain of a group says of posts to it; ``None``: nothing.

    Args:
        group: the list.
        chain: list, domain, global config.
        policy: the ``[lists]`` section.
        directory: where an address for bounces is looked up.
        passed_over: takes the values that do not count; ``None``: they are dropped.

    Raises:
        DirectoryUnavailable: an address for bounces could not be looked up.
    """
    notices: dict[str, Notice] = {}

    def read(attributes: Sequence[str], reader: Callable[[str], ValueT]) -> list[ListSetting[ValueT]]:
        found = effective(
            chain,
            attributes,
            policy.inherit,
            lambda _holder, text: reader(text),
            ends=is_none,
            passed_over=passed_over,
        )
        for bad in found.unusable:
            notices[str(bad)] = Notice(text=str(bad), invalid_value_of="lists", error=True)
        for holder in found.none_beside_values:
            text = f"none beside values of {attributes[0]} at {holder.dn}: the values count"
            notices[text] = Notice(text=text)
        notices.update((text, Notice(text=text)) for text in found.with_options)
        return [ListSetting(one.value, reason_of(one, group.name.text)) for one in found.found]

    def one(attributes: Sequence[str], reader: Callable[[str], ValueT]) -> ListSetting[ValueT] | None:
        found = read(attributes, reader)
        for other in found[1:]:
            if other.value != found[0].value and other.reason.dn == found[0].reason.dn:
                lost, won = other.reason, found[0].reason
                text = f"{lost.attribute}: {lost.value!r} at {lost.dn} lost to {won.value!r}"
                notices[text] = Notice(text=text)
        return found[0] if found else None

    settings = MailingList(
        entry=group,
        from_when=one(policy.from_attributes, read_from_when),
        reply_to=one(policy.reply_to_attributes, read_reply_to),
        headers=one(policy.headers_attributes, read_headers),
        fields=_each_once(read(policy.header_field_attributes, read_field)),
        tag=one(policy.tag_attributes, read_tag),
        bounces=one(policy.bounces_attributes, partial(_bounces, group=group, directory=directory)),
        notices=tuple(notices.values()),
    )
    return settings if settings.acts or settings.notices else None


def _each_once(fields: Sequence[ListSetting[ListField]]) -> tuple[ListSetting[ListField], ...]:
    """Return one field of each name, in the order of the RFC's names: the nearest value."""
    by_name: dict[str, ListSetting[ListField]] = {}
    for one in fields:
        by_name.setdefault(one.value.name, one)
    return tuple(by_name[name] for name in FIELD_NAMES if name in by_name)


def _bounces(text: str, *, group: Entry, directory: Directory) -> Address:
    address = read_bounces(text)
    meant = directory.resolve([address])[address.key]
    if group in meant.entries:
        raise InvalidValue(f"{address} is the list itself: each bounce would be a post")
    if meant.known and meant.hosted_domain is not None and not meant.entries:
        raise InvalidValue(f"{address} does not exist, although this directory hosts {address.domain}")
    behind = [entry for entry in meant.entries if has_members(entry)]
    for expansion in directory.expand(behind).values() if behind else ():
        if any(group in member.resolution.entries for member in expansion.members):
            raise InvalidValue(f"{address} reaches the list itself: each bounce would be a post")
    return address
