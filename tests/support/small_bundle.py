"""A bundle that is small: real scripts and a real pip, with wheels of a few lines in place of the program's."""

from __future__ import annotations

import base64
import ensurepip
import hashlib
import shutil
import zipfile
from pathlib import Path
from typing import Final

from distribution import bundle, wheelhouse
from distribution.archive import sums, write_tar

ROOT: Final = Path(__file__).resolve().parents[2]
# CPython's own, and Debian's.
_PIPS: Final = (Path(ensurepip.__file__).parent / "_bundled", Path("/usr/share/python-wheels"))
_PROGRAM: Final = "def entry_point():\n    print('ldapmilter {version}')\n"
EPOCH: Final = 1_795_867_200


def make(directory: Path, version: str) -> Path:
    """Write the bundle of a version into a directory, with its SHA256SUMS, and return it."""
    name = f"ldapmilter-{version}"
    inside = directory / name
    bundle.lay_out(ROOT, inside)
    wheels = [_wheel(directory, version), next(pip for place in _PIPS for pip in place.glob("pip-*.whl"))]
    wheelhouse.fill(inside, wheels)
    made = directory / f"{name}-linux-x86_64.tar.gz"
    write_tar(inside, name, made, EPOCH)
    shutil.rmtree(inside)
    (directory / "SHA256SUMS").write_text(sums(directory.glob("*.tar.gz")), encoding="ascii")
    return made


def _wheel(directory: Path, version: str) -> Path:
    """Write a wheel (PEP 427) that has a command and nothing else."""
    info = f"ldapmilter-{version}.dist-info"
    files = {
        "ldapmilter/__init__.py": _PROGRAM.format(version=version),
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: ldapmilter\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": "[console_scripts]\nldapmilter = ldapmilter:entry_point\n",
    }
    record = "".join(f"{name},sha256={_digest(text)},{len(text)}\n" for name, text in files.items())
    files[f"{info}/RECORD"] = f"{record}{info}/RECORD,,\n"
    path = directory / f"ldapmilter-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return path


def _digest(text: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode("ascii")).digest()).rstrip(b"=").decode("ascii")
