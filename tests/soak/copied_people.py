"""The people of the soak of the copies: each is copied in one of several ways."""

from __future__ import annotations

from typing import Any, Final

from tests.support.builders import account, domain, global_config
from tests.support.record import merge, to_ldif
from tests.support.zimbra_base import base_records

PEOPLE: Final = 20


def people() -> str:
    """Return a directory of people whose mail is copied, each in their way."""
    ways: tuple[dict[str, Any], ...] = (
        {"amavisArchiveQuarantineTo": "vault@tracked.example"},
        {"zimbraInterceptAddress": "court@journal.example"},
        {"amavisArchiveQuarantineTo": "vault@tracked.example", "zimbraInterceptAddress": "court@journal.example"},
        {"zimbraArchiveAccount": "direct@example.test"},
    )
    accounts = (account(f"user{number}@example.test", **ways[number % len(ways)]) for number in range(PEOPLE))
    direct = account("direct@example.test")
    site = [*base_records(), *global_config(zimbraDefaultDomainName="example.test"), *domain("example.test")]
    return to_ldif(merge([*site, *direct, *(record for one in accounts for record in one)]))
