"""The identities of a Zimbra directory, each with its password: an administrator, Postfix, and the milter."""

from __future__ import annotations

from typing import Final

ADMIN_DN: Final = "uid=zimbra,cn=admins,cn=zimbra"
ADMIN_PASSWORD: Final = "admin-secret"
POSTFIX_DN: Final = "uid=zmpostfix,cn=appaccts,cn=zimbra"
POSTFIX_PASSWORD: Final = "postfix-secret"
MILTER_DN: Final = "uid=ldapmilter,cn=appaccts,cn=zimbra"
MILTER_PASSWORD: Final = "milter-secret"
