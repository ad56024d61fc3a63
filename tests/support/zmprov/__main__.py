"""`zmprov [-l] [-m] COMMAND ARGUMENTS`."""

from __future__ import annotations

import sys
from typing import Final

from tests.support.zmprov.commands import BY_SOAP_ALONE, COMMANDS
from tests.support.zmprov.errors import ServiceError, Usage, invalid_request
from tests.support.zmprov.store import open_store

_USAGE: Final = 1
_FAILED: Final = 2


def main(arguments: list[str]) -> int:
    """Run one command; return zmprov's exit status."""
    options: set[str] = set()
    while arguments and arguments[0] in {"-l", "--ldap", "-m", "--master"}:
        options.add(arguments.pop(0).lstrip("-")[0])
    name = arguments.pop(0) if arguments else ""
    try:
        _run(name, arguments, by_ldap="l" in options)
    except Usage:
        print("zmprov [args] [cmd] [cmd-args ...]")
        return _USAGE
    except ServiceError as error:
        print(f"ERROR: {error}", file=sys.stderr)
        return _FAILED
    return 0


def _run(name: str, arguments: list[str], *, by_ldap: bool) -> None:
    if name not in COMMANDS:
        raise Usage
    if name in BY_SOAP_ALONE and by_ldap:
        raise invalid_request("command is only supported via SOAP")
    with open_store() as store:
        COMMANDS[name](store, arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
