"""What scripts/install tells a host without a fit Python to install."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from tests.support.ports import HANG

SCRIPTS: Final = Path(__file__).resolve().parents[3] / "scripts"


def advice(kind: str, release: Path) -> str:
    script = f'. {SCRIPTS}/python.bash; python_advice "$@"'
    command = ["bash", "-euc", script, "bash", kind, str(release)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=HANG)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.strip()


def os_release(directory: Path, **values: str) -> Path:
    path = directory / "os-release"
    path.write_text("".join(f'{name}="{value}"\n' for name, value in values.items()), encoding="ascii")
    return path


@pytest.mark.parametrize(
    ("values", "wheels", "source"),
    [
        ({"ID": "ubuntu", "ID_LIKE": "debian", "VERSION_ID": "22.04"}, "apt-get install python3", "python3-venv"),
        ({"ID": "ubuntu", "ID_LIKE": "debian", "VERSION_ID": "24.04"}, "apt-get install python3", "libmilter-dev"),
        ({"ID": "ubuntu", "ID_LIKE": "debian", "VERSION_ID": "20.04"}, "Ubuntu 22.04 is the first", "--python"),
        ({"ID": "debian", "VERSION_ID": "12"}, "apt-get install python3", "python3-dev"),
        ({"ID": "debian"}, "apt-get install python3", "python3-dev"),
        ({"ID": "debian", "VERSION_ID": "11"}, "Debian 12 is the first", "Debian 12 is the first"),
        ({"ID": "rhel", "ID_LIKE": "fedora", "VERSION_ID": "8.10"}, "dnf install python3.11", "sendmail-milter-devel"),
        (
            {"ID": "rocky", "ID_LIKE": "rhel centos fedora", "VERSION_ID": "9.4"},
            "dnf install python3.11",
            "python3.11-devel",
        ),
        (
            {"ID": "almalinux", "ID_LIKE": "rhel centos fedora", "VERSION_ID": "10.0"},
            "dnf install python3",
            "python3-devel",
        ),
        ({"ID": "fedora", "VERSION_ID": "41"}, "dnf install python3", "python3-devel"),
        ({"ID": "centos", "ID_LIKE": "rhel fedora", "VERSION_ID": "7"}, "RHEL 8 is the first", "RHEL 8 is the first"),
        ({"ID": "void"}, "CPython 3.10, 3.11, 3.12 or 3.13", "a C compiler"),
    ],
    ids=lambda values: (
        "-".join(filter(None, (values["ID"], values.get("VERSION_ID")))) if isinstance(values, dict) else ""
    ),
)
def test_each_distribution_has_its_words(tmp_path: Path, values: dict[str, str], wheels: str, source: str) -> None:
    release = os_release(tmp_path, **values, PRETTY_NAME="Some Linux (of ours)")
    assert wheels in advice("wheels", release)
    assert source in advice("source", release)
    assert advice("wheels", release).startswith("Some Linux (of ours)")


def test_of_rhel_the_name_of_the_package_is_exact(tmp_path: Path) -> None:
    release = os_release(tmp_path, ID="almalinux", ID_LIKE="rhel", VERSION_ID="10.0", PRETTY_NAME="Alma")
    assert advice("wheels", release) == "Alma: dnf install python3"


def test_a_host_that_does_not_say_what_it_is(tmp_path: Path) -> None:
    assert "install CPython" in advice("wheels", os_release(tmp_path))


def chosen(directory: Path, versions: dict[str, str], fit: str) -> subprocess.CompletedProcess[str]:
    """Have a Python chosen on a host that has those, each under its name, one of which is fit."""
    for name in ("python3.13", "python3.12", "python3.11", "python3.10", "python3"):
        text = f"#!/bin/sh\necho {versions[name]}\n" if name in versions else "#!/bin/sh\nexit 127\n"
        (directory / name).write_text(text, encoding="ascii")
        (directory / name).chmod(0o755)
    script = f"""
        fail() {{ echo "$1" >&2; exit "$2"; }}
        . {SCRIPTS}/python.bash
        version_of() {{ if [[ $1 != /* ]]; then "$1"; else return 1; fi; }}
        can_run() {{ [ "$1" = "{fit}" ]; }}
        lacks() {{ :; }}
        can_take_wheels() {{ :; }}
        others_can_run() {{ :; }}
        made_of=wheels python="" root="" USER_NAME=ldapmilter
        choose_python
        echo "$python"
    """
    environment = {"PATH": f"{directory}:/usr/bin:/bin"}
    return subprocess.run(
        ["bash", "-euc", script], check=False, capture_output=True, text=True, timeout=HANG, env=environment
    )


def test_rhels_python_beside_its_own_is_found(tmp_path: Path) -> None:
    done = chosen(tmp_path, {"python3.11": "3.11.9", "python3": "3.6.8"}, "python3.11")
    assert (done.returncode, done.stdout, done.stderr) == (0, "python3.11\n", "")


def test_where_none_is_fit_it_says_what_was_found_and_what_to_install(tmp_path: Path) -> None:
    done = chosen(tmp_path, {"python3": "3.6.8"}, "none of them")
    assert (done.returncode, done.stdout) == (2, "")
    found, _, _ = done.stderr.partition(". ")
    fit = "CPython 3.10 to 3.13 with venv, and with bz2 ctypes lzma sqlite3 ssl zlib"
    assert found == f"no {fit} found; python3 (3.6.8) is not"
    assert "install" in done.stderr


def lacking(directory: Path, *modules: str) -> Path:
    """Return a Python as one is that was built where the headers for some of its modules were missing."""
    for name in modules:
        (directory / f"{name}.py").write_text(f"raise ModuleNotFoundError('no {name}')\n", encoding="ascii")
    python = directory / "python"
    python.write_text(f'#!/bin/sh\nPYTHONPATH={directory} exec {sys.executable} "$@"\n', encoding="ascii")
    python.chmod(0o755)
    return python


@pytest.mark.parametrize("kind", ["wheels", "source"])
def test_a_python_without_a_module_that_the_program_needs_is_refused_and_the_module_named(
    tmp_path: Path, kind: str
) -> None:
    script = f"""
        fail() {{ echo "$1" >&2; exit "$2"; }}
        . {SCRIPTS}/python.bash
        can_take_wheels() {{ :; }}
        made_of={kind} python={lacking(tmp_path, "bz2", "lzma")} root=/somewhere USER_NAME=ldapmilter
        choose_python
    """
    done = subprocess.run(["bash", "-euc", script], check=False, capture_output=True, text=True, timeout=HANG)
    assert done.returncode == 2
    assert "it lacks bz2, lzma" in done.stderr


def test_what_cpython_may_be_built_without_and_the_program_imports_is_looked_for() -> None:
    # Each needs headers of a library that a host may not have had (Modules/Setup.stdlib.in of CPython).
    optional = {"bz2", "ctypes", "curses", "dbm", "lzma", "readline", "sqlite3", "ssl", "tkinter", "zlib"}
    imported = re.compile(r"^\s*(?:import|from) (\w+)", re.MULTILINE)
    modules = (SCRIPTS.parent / "ldapmilter").rglob("*.py")
    needed = {name for path in modules for name in imported.findall(path.read_text(encoding="utf-8"))} & optional
    (looked_for,) = re.findall(
        r"^readonly MODULES=\((.+)\)$", (SCRIPTS / "python.bash").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert set(looked_for.split()) == needed
    chooser = (SCRIPTS.parent / "distribution/rpm/use-python").read_text(encoding="utf-8")
    (looked_for,) = re.findall(r"import (.+), sys;", chooser)
    assert set(looked_for.split(", ")) == needed
