"""A certificate authority of one's own and a certificate for 127.0.0.1, made by openssl.

The extensions are those that OpenSSL's strict verification (Python 3.13's default) asks for.
"""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

from tests.support.ports import HANG

if TYPE_CHECKING:
    from pathlib import Path

_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


def make_certificates(directory: Path) -> Path:
    """Write ca.pem, ca.key, server.pem and server.key into `directory`; return ca.pem."""
    ca, ca_key = directory / "ca.pem", directory / "ca.key"
    request, extensions = directory / "server.csr", directory / "server.ext"
    _openssl(
        *("req", "-x509", "-days", "2", "-subj", "/CN=ldapmilter test CA", *_KEY),
        *("-addext", "keyUsage=critical,keyCertSign,cRLSign"),
        *("-keyout", str(ca_key), "-out", str(ca)),
    )
    _openssl(
        *("req", "-subj", "/CN=localhost", *_KEY),
        *("-keyout", str(directory / "server.key"), "-out", str(request)),
    )
    extensions.write_text(
        "basicConstraints=critical,CA:FALSE\n"
        "keyUsage=critical,digitalSignature\n"
        "extendedKeyUsage=serverAuth\n"
        "subjectAltName=IP:127.0.0.1,DNS:localhost\n"
        "subjectKeyIdentifier=hash\n"
        "authorityKeyIdentifier=keyid\n",
        encoding="ascii",
    )
    _openssl(
        *("x509", "-req", "-days", "2", "-in", str(request), "-CA", str(ca)),
        *("-CAkey", str(ca_key), "-CAcreateserial", "-extfile", str(extensions)),
        *("-out", str(directory / "server.pem")),
    )
    return ca


def expire(directory: Path) -> str:
    """Replace server.pem by one that expired; return the time, as it is told."""
    config = directory / "ca.cnf"
    (directory / "index.txt").write_text("", encoding="ascii")
    config.write_text(
        "[ca]\ndefault_ca = own\n[own]\npolicy = any\n[any]\ncommonName = supplied\n"
        f"[own]\ndatabase = {directory}/index.txt\nnew_certs_dir = {directory}\nrand_serial = yes\n"
        "default_md = sha256\npreserve = no\nemail_in_dn = no\n",
        encoding="ascii",
    )
    _openssl(
        *("ca", "-batch", "-notext", "-config", str(config), "-in", str(directory / "server.csr")),
        *("-cert", str(directory / "ca.pem"), "-keyfile", str(directory / "ca.key")),
        *("-extfile", str(directory / "server.ext"), "-out", str(directory / "server.pem")),
        *("-startdate", "20260101000000Z", "-enddate", "20260102030405Z"),
    )
    return "2026-01-02 03:04 UTC"


def _openssl(*arguments: str) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True, timeout=HANG)
