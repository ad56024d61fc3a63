"""Every list and what becomes of posts to it; which lists with members outside say nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

from msgspec import Struct

from ldapmilter.checks.mailing_lists import lists_in_use

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from ldapmilter.checks.mailing_lists import ListInUse
    from ldapmilter.directory.zimbra import ZimbraDirectory
    from ldapmilter.policy.effect import Reason
    from ldapmilter.policy.settings import Policy


class SettingDocument(TypedDict):
    """One value that counts for a list, and where it stands."""

    attribute: str
    value: str
    level: str
    dn: str


class ListCoverage(TypedDict):
    """One list."""

    address: str
    dn: str
    members_outside: bool
    lacks_settings: bool
    """Whether it has members outside, and its posts leave as they came."""
    settings: list[SettingDocument]
    invalid: list[str]


class ListPage(Struct, frozen=True):
    """The lists of one page of the directory."""

    read: int
    """Entries that were read."""
    lists: tuple[ListCoverage, ...]


def survey_lists(
    directory: ZimbraDirectory, policy: Policy, domains: Collection[str] = (), *, seconds: float
) -> Iterator[ListPage]:
    """Yield every list and dynamic group, page by page.

    Args:
        directory: asked anew for each page.
        policy: the ``[lists]`` section.
        domains: only lists whose primary address is in one of these; empty: all.
        seconds: how long one page may take.

    Raises:
        DirectoryUnavailable: wherever something could not be asked; what came before is not the whole.
    """
    for raws in directory.everybody(seconds):
        found = lists_in_use(raws, directory.for_message(seconds=seconds), policy, without_settings=True)
        wanted = (_covered(one) for one in found if not domains or one.entry.name.domain in domains)
        yield ListPage(len(raws), tuple(wanted))


def _covered(one: ListInUse) -> ListCoverage:
    settings = one.settings
    return {
        "address": one.entry.name.text,
        "dn": one.entry.dn,
        "members_outside": one.outside,
        "lacks_settings": one.outside and (settings is None or not settings.acts),
        "settings": [_setting(one.reason) for one in settings.each()] if settings is not None else [],
        "invalid": [notice.text for notice in settings.notices] if settings is not None else [],
    }


def _setting(reason: Reason) -> SettingDocument:
    return {"attribute": reason.attribute, "value": reason.value, "level": reason.level, "dn": reason.dn}
