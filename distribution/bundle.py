"""The off-line bundle: what `scripts/install` lays out, with the wheels beside it in place of the source."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Final

from distribution import wheelhouse
from distribution.archive import write_tar

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from distribution.commit import Commit

TAKEN: Final = ("CHANGELOG.md", "LICENSE", "README.md", "config.ini.example", "contrib", "docs", "man", "schema")
"""Of the commit's files: what an administrator reads, and what is installed."""

SCRIPTS: Final = (
    "bundle.bash",
    "install",
    "install-schema",
    "milter_list.bash",
    "options.bash",
    "python.bash",
    "register",
    "registration.bash",
    "relay_route.bash",
    "still_asked.bash",
    "uninstall",
    "unregister",
)


def make(commit: Commit, wheels: Iterable[Path], scratch: Path, target: Path) -> Path:
    """Write the bundle into a directory, and return it."""
    name = f"ldapmilter-{commit.version}"
    directory = scratch / name
    lay_out(commit.tree, directory)
    wheelhouse.fill(directory, wheels)
    made = target / f"{name}-linux-x86_64.tar.gz"
    write_tar(directory, name, made, commit.epoch)
    return made


def lay_out(tree: Path, directory: Path) -> None:
    """Copy what a bundle has beside its wheels."""
    (directory / "scripts").mkdir(parents=True)
    for name in TAKEN:
        source = tree / name
        if source.is_dir():
            shutil.copytree(source, directory / name)
        else:
            shutil.copy(source, directory / name)
    for name in SCRIPTS:
        shutil.copy(tree / "scripts" / name, directory / "scripts" / name)
