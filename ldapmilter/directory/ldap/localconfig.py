"""Which LDAP servers there are and how they are spoken to, from Zimbra's own configuration.

``localconfig.xml`` is read for URLs and TLS only, never for a password: the milter has an identity
of its own. (An administrator's command may ask for one value with :func:`local_value`.) It is read
again when it changes. ``zmlocalconfig`` replaces it by deleting and renaming, so for a moment there
may be none: what was known before goes on counting.
"""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final
from xml.etree import ElementTree as ET

from ldapmilter.directory.ldap.endpoints import Endpoints
from ldapmilter.errors import ConfigError
from ldapmilter.files import read_regular, version, why

if TYPE_CHECKING:
    from collections.abc import Mapping

_log = logging.getLogger(__name__)

ZIMBRAS_OWN: Final = Path("/opt/zimbra/conf/localconfig.xml")

_REFERENCE = re.compile(r"\$\{([A-Za-z0-9_]+)\}")
_MAX_REFERENCES = 20
"""Rounds of ``${key}`` expansion: a reference to itself ends here."""
_MAX_LENGTH = 4096
_MAX_FILE = 1 << 22
_URL = re.compile(r"(?:ldaps?://(?:\[[0-9A-Fa-f:.%\w]+\]|[^\s/:\[\]]+)(?::[0-9]+)?/?|ldapi://\S+)\Z")


class LocalConfig:
    """Zimbra's ``localconfig.xml``, as far as LDAP connections go."""

    def __init__(self, path: Path, fallback: Endpoints) -> None:
        """Follow a file.

        Args:
            path: ``/opt/zimbra/conf/localconfig.xml``.
            fallback: what counts while the file has never been readable; its CA file always counts.

        Raises:
            ConfigError: there is no fallback and the file cannot be used.
        """
        self._path = path
        self._fallback = fallback
        self._seen: tuple[int, ...] | None = None
        self._endpoints = fallback
        if not fallback.uris:
            self._seen = version(path)
            self._endpoints = read(path, fallback)

    def endpoints(self) -> Endpoints:
        """Return what counts now; a file that is gone or broken leaves it as it was."""
        seen = version(self._path)
        if seen is None or seen == self._seen:
            return self._endpoints
        self._seen = seen
        try:
            self._endpoints = read(self._path, self._fallback)
        except ConfigError as error:
            _log.error("%s; the servers stay %s", error, " ".join(self._endpoints.uris))
        return self._endpoints


def read(path: Path, fallback: Endpoints) -> Endpoints:
    """Read URLs and TLS settings.

    Zimbra's keys: ``ldap_url`` (else ``ldap_host`` and ``ldap_port``); StartTLS when
    ``ldap_starttls_supported`` is 1, ``ldap_starttls_required`` is true and
    ``zimbra_require_interprocess_security`` is 1; CA certificates in the directory ``ca`` beside the file.

    Raises:
        ConfigError: the file cannot be read, is not XML, or names no LDAP URL.
    """
    values = _values(path, f"[ldap] zimbra_localconfig = {path}")
    uris = tuple(values.get("ldap_url", "").split())
    if not uris and values.get("ldap_host"):
        uris = (f"ldap://{values['ldap_host']}:{values.get('ldap_port') or 389}",)
    if not uris:
        uris = fallback.uris
    if not uris or not all(_URL.match(uri) for uri in uris):
        message = f"[ldap] zimbra_localconfig = {path}: ldap_url = {' '.join(uris)}: names no LDAP URL"
        raise ConfigError(message)
    secure = (
        values.get("ldap_starttls_supported", "0") == "1"
        and values.get("ldap_starttls_required", "true").lower() == "true"
        and values.get("zimbra_require_interprocess_security", "1") == "1"
    )
    authorities = path.parent / "ca"
    return Endpoints(
        uris=uris,
        starttls=secure,
        ca_file=fallback.ca_file,
        ca_directory=authorities if fallback.ca_file is None and authorities.is_dir() else None,
    )


def local_value(path: Path, key: str) -> str:
    """Return one value of a ``localconfig.xml``, references expanded; empty when it is not there.

    Raises:
        ConfigError: the file cannot be read, or is not XML.
    """
    return _values(path, str(path)).get(key, "")


def _values(path: Path, what: str) -> dict[str, str]:
    try:
        root = ET.fromstring(read_regular(path, _MAX_FILE)[0])  # noqa: S314 - Zimbra's own configuration file
    except (OSError, ET.ParseError) as error:
        message = f"{what}: cannot be read: {why(error)}"
        raise ConfigError(message) from error
    texts = {key.get("name", ""): (key.findtext("value") or "").strip() for key in root.iter("key")}
    return {name: _expand(text, texts) for name, text in texts.items()}


def _expand(text: str, values: Mapping[str, str]) -> str:
    """Replace ``${key}`` by the key's value, nested references too; an unknown key by nothing."""
    for _round in range(_MAX_REFERENCES):
        if len(text) > _MAX_LENGTH or not _REFERENCE.search(text):
            break
        text = _REFERENCE.sub(lambda match: values.get(match.group(1), ""), text)
    return text
