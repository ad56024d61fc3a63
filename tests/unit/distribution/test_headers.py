"""Where the headers of each CPython are found."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from distribution import headers
from distribution.errors import CannotPackage

if TYPE_CHECKING:
    from pathlib import Path


def interpreter(prefix: Path, version: str) -> Path:
    directory = prefix / "include" / f"python{version.rpartition('.')[0]}"
    directory.mkdir(parents=True)
    (directory / "patchlevel.h").write_text(f'#define PY_VERSION              "{version}"\n', encoding="ascii")
    (directory / "Python.h").touch()
    (directory / "pyconfig.h").touch()
    return directory


def test_each_version_is_taken_from_where_it_is_found_first(tmp_path: Path) -> None:
    named = interpreter(tmp_path / "own", "3.12.1")
    system = [interpreter(tmp_path / "usr", version) for version in ("3.10.1", "3.11.2", "3.12.9")]
    # Of several releases the last, and 3.9 is not before 3.13 for its letters.
    for version in ("3.9.18", "3.13.2", "3.13.10"):
        interpreter(tmp_path / "versions" / version, version)
    found = headers.find([tmp_path / "own"], [str(tmp_path / "usr"), f"{tmp_path}/versions/*"])
    assert found == {
        "3.10": system[0],
        "3.11": system[1],
        "3.12": named,
        "3.13": tmp_path / "versions/3.13.10/include/python3.13",
    }


def test_what_is_missing_is_named_with_the_way_out(tmp_path: Path) -> None:
    interpreter(tmp_path, "3.11.2")
    (interpreter(tmp_path, "3.12.2") / "Python.h").unlink()
    with pytest.raises(CannotPackage, match=r"CPython 3\.10, 3\.12, 3\.13; found: 3\.11 in .*--python"):
        headers.find([tmp_path], [])


def test_debians_second_directory_comes_along(tmp_path: Path) -> None:
    directory = interpreter(tmp_path / "usr", "3.11.2")
    text = "# include <x86_64-linux-gnu/python3.11/pyconfig.h>\n# include <aarch64-linux-gnu/python3.11/pyconfig.h>\n"
    (directory / "pyconfig.h").write_text(text, encoding="ascii")
    inner = tmp_path / "usr/include/x86_64-linux-gnu/python3.11"
    inner.mkdir(parents=True)
    (inner / "pyconfig.h").write_text("#define HERE 1\n", encoding="ascii")
    own = headers.copy(directory, tmp_path / "copy")
    assert (own / "x86_64-linux-gnu/python3.11/pyconfig.h").read_text(encoding="ascii") == "#define HERE 1\n"
    assert (own / "Python.h").exists()
