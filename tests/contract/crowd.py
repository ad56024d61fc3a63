"""A crowd that takes several pages to read, and the list and the dynamic group that hold all of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tests.support.builders import account, domain, dynamic_group, static_list
from tests.support.names import zimbra_id

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.record import Record

BULK: Final = 1100
EVERYBODY: Final = "everybody@bulk.test"


def crowd() -> Iterator[Record]:
    """Yield the domain bulk.test, with ``BULK`` accounts in one list and one dynamic group."""
    yield from domain("bulk.test")
    group = zimbra_id("group", "crowd@bulk.test")
    for number in range(BULK):
        yield from account(f"user{number}@bulk.test", zimbraMemberOf=group)
    yield from static_list(EVERYBODY, [f"user{number}@bulk.test" for number in range(BULK)])
    yield from dynamic_group("crowd@bulk.test")
