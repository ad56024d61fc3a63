"""What zmprov reports when a service refuses: one line, `ERROR: code (message)`."""

from __future__ import annotations

from typing import Final

_CODES: Final = {
    "NO_SUCH_ACCOUNT": "no such account",
    "NO_SUCH_COS": "no such cos",
    "NO_SUCH_DOMAIN": "no such domain",
    "NO_SUCH_SERVER": "no such server",
    "NO_SUCH_DISTRIBUTION_LIST": "no such distribution list",
    "NO_SUCH_MEMBER": "no such member",
    "ACCOUNT_EXISTS": "email address already exists",
    "COS_EXISTS": "cos already exists",
    "DOMAIN_EXISTS": "domain already exists",
    "DISTRIBUTION_LIST_EXISTS": "email address already exists",
    "INVALID_ATTR_NAME": "invalid attr name",
    "INVALID_ATTR_VALUE": "invalid attr value",
}
# LDAP result codes that Zimbra tells apart (RFC 4511, appendix A).
_UNDEFINED_TYPE: Final = 17
_CONSTRAINT: Final = 19
_INVALID_SYNTAX: Final = 21
_CLASS_VIOLATION: Final = 65


class Usage(Exception):
    """Wrong arguments: zmprov prints its usage and exits with 1."""


class ServiceError(Exception):
    """A refusal: exit status 2."""

    def __init__(self, code: str, message: str) -> None:
        """Keep Zimbra's code (`account.NO_SUCH_ACCOUNT`) and its message."""
        super().__init__(f"{code} ({message})")


def account_error(name: str, about: str) -> ServiceError:
    """Return an error of the account service; `name` is one of those it has."""
    return ServiceError(f"account.{name}", f"{_CODES[name]}: {about}")


def invalid_request(message: str) -> ServiceError:
    """Return the error for a request that makes no sense."""
    return ServiceError("service.INVALID_REQUEST", f"invalid request: {message}")


def ldap_error(doing: str, result: int, message: str) -> ServiceError:
    """Return the error that Zimbra makes of an LDAP result code."""
    if result == _UNDEFINED_TYPE:
        return account_error("INVALID_ATTR_NAME", message)
    if result in {_CONSTRAINT, _INVALID_SYNTAX}:
        return account_error("INVALID_ATTR_VALUE", message)
    what = f"object class violation: {message}" if result == _CLASS_VIOLATION else f"{message} ({result})"
    return ServiceError("service.FAILURE", f"system failure: unable to {doing}: {what}")
