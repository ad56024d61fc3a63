"""Entries in the directory: finding, reading, changing and adding them, with Zimbra's errors."""

from __future__ import annotations

import os
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from ldap3 import ALL_ATTRIBUTES, BASE, MODIFY_ADD, MODIFY_DELETE, MODIFY_REPLACE, NONE, SUBTREE, Connection, Server
from ldap3.utils.conv import escape_filter_chars

from ldapmilter.directory.ldap.connection import drop
from tests.support.zmprov.errors import ServiceError, ldap_error

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from typing_extensions import Self

    from tests.support.record import Record

CONFIG_DN: Final = "cn=config,cn=zimbra"
Values = dict[str, list[str]]


class Entry:
    """One entry: its DN, the name Zimbra calls it by, and its values by attribute."""

    def __init__(self, dn: str, values: Values, name: str = "") -> None:
        self.dn, self.values, self.name = dn, values, name

    def get(self, attribute: str) -> list[str]:
        """Return the values of an attribute, its name compared without case."""
        return next((held for name, held in self.values.items() if name.lower() == attribute.lower()), [])

    def first(self, attribute: str) -> str:
        """Return the only value, or ""."""
        return next(iter(self.get(attribute)), "")

    def has_class(self, name: str) -> bool:
        """Tell whether an object class is among the entry's."""
        return name.lower() in {value.lower() for value in self.get("objectClass")}


class Store:
    """The directory, bound as Zimbra's own identity."""

    def __init__(self, home: Path) -> None:
        """Read `conf/localconfig.xml` and bind.

        Raises:
            ServiceError: the directory does not answer.
        """
        keys = _localconfig(home)
        url = keys["ldap_url"].split()[0]
        self._connection: Any = Connection(
            Server(url, get_info=NONE, connect_timeout=10),
            user=keys["zimbra_ldap_userdn"],
            password=keys["zimbra_ldap_password"],
            receive_timeout=20,
        )
        try:
            self._connection.bind()
        except Exception as error:
            drop(self._connection)
            raise ServiceError("service.FAILURE", f"system failure: ZimbraLdapContext ({error})") from error

    def __enter__(self) -> Self:
        """Return the store."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Let the connection go, whatever became of the server."""
        drop(self._connection)

    def read(self, dn: str, name: str = "") -> Entry | None:
        """Return the entry with that DN, or None."""
        found = self._search(dn, "(objectClass=*)", BASE)
        return Entry(dn, found[0].values, name) if found else None

    def config(self) -> Entry:
        """Return the global config."""
        entry = self.read(CONFIG_DN, "config")
        if entry is None:
            raise ServiceError("service.FAILURE", "system failure: cannot find the global config")
        return entry

    def find(self, condition: str, *values: str, base: str = "") -> list[Entry]:
        """Return the entries under `base` for a filter; each `{}` in it takes a value, escaped."""
        return self._search(base, condition.format(*(escape_filter_chars(value) for value in values)), SUBTREE)

    def modify(self, entry: Entry, changes: Mapping[str, list[str]]) -> None:
        """Carry out plain, `+` and `-` changes in one LDAP operation.

        A value to add that is there already, compared without case, or one to remove that is
        not, changes nothing and is no error.
        """
        wanted: dict[str, list[tuple[str, list[str]]]] = {}
        operation: str
        for key, values in changes.items():
            name = key.lstrip("+-")
            held = {value.lower(): value for value in entry.get(name)}
            if key.startswith("+"):
                operation, new = MODIFY_ADD, [value for value in values if value.lower() not in held]
            elif key.startswith("-"):
                operation, new = MODIFY_DELETE, [held[value.lower()] for value in values if value.lower() in held]
            else:
                operation, new = MODIFY_REPLACE, [value for value in values if value]
            if new or operation == MODIFY_REPLACE:
                wanted.setdefault(name, []).append((operation, new))
        if wanted:
            self._connection.modify(entry.dn, wanted)
            self._expect("modify attrs")

    def add(self, dn: str, values: Mapping[str, Iterable[str]]) -> None:
        """Add an entry."""
        held = {name: list(texts) for name, texts in values.items() if list(texts)}
        classes = held.pop("objectClass")
        self._connection.add(dn, classes, held)
        self._expect("create entry")

    def add_record(self, record: Record, extra: Mapping[str, list[str]] | None = None) -> None:
        """Add an entry that a builder made; `extra` replaces or adds attributes."""
        values: Values = {}
        for name, value in record.attributes:
            values.setdefault(name, []).append(value if isinstance(value, str) else value.decode())
        spelled = {name.lower(): name for name in values}
        for name, texts in (extra or {}).items():
            values[spelled.get(name.lower(), name)] = list(texts)
        self.add(record.dn, values)

    def delete(self, dn: str) -> None:
        """Delete an entry and what lies below it."""
        below = self._search(dn, "(objectClass=*)", SUBTREE)
        for entry in sorted(below, key=lambda found: found.dn.count(","), reverse=True):
            self._connection.delete(entry.dn)
            self._expect("delete entry")

    def _search(self, base: str, condition: str, scope: Any) -> list[Entry]:
        self._connection.search(base, condition, scope, attributes=[ALL_ATTRIBUTES])
        response = cast("list[dict[str, Any]]", self._connection.response or [])
        found = [item for item in response if item["type"] == "searchResEntry"]
        return [Entry(item["dn"], _texts(item["raw_attributes"])) for item in found]

    def _expect(self, doing: str) -> None:
        result = cast("dict[str, Any]", self._connection.result)
        if result["result"] != 0:
            message = str(result["message"] or result["description"])
            raise ldap_error(doing, int(result["result"]), message)


def _texts(raw: Mapping[str, list[bytes]]) -> Values:
    return {name: [value.decode(errors="replace") for value in values] for name, values in raw.items()}


def _localconfig(home: Path) -> dict[str, str]:
    tree = ET.parse(home / "conf" / "localconfig.xml")  # the file is the test's own
    return {str(key.get("name")): key.findtext("value") or "" for key in tree.getroot().iter("key")}


def open_store() -> Store:
    """Return the directory of the Zimbra in `$ZIMBRA_HOME`."""
    return Store(Path(os.environ["ZIMBRA_HOME"]))
