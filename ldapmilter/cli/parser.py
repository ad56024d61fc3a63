"""The command line's parser: a misspelt verb or option is told with the one that was probably meant.

What stands before the verb may stand after it as well.
"""

from __future__ import annotations

import argparse
import re

from ldapmilter.similar import did_you_mean, similar

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any, NoReturn


_NEEDS_VALUE = re.compile(r"^argument (\S+): expected (?:at least )?one argument$")
_MISSING = re.compile(r"^the following arguments are required: (.+)$")
_ABOUT = re.compile(r"^argument (\S+): ")
_TOO_MUCH = re.compile(r"^unrecognized arguments: (.+)$", re.DOTALL)
_PART = 4
"""Characters of an option, its dashes included, with more than which it may be meant for a part of another one."""


class _Once(argparse.Action):
    """What is done with an option unless it says otherwise: kept, and refused when it comes again.

    argparse takes the last value and says nothing, so half of a question would be answered as the whole of it.
    """

    def __call__(
        self,
        parser: argparse.ArgumentParser,  # noqa: ARG002 - as in argparse
        namespace: argparse.Namespace,
        values: Any,  # noqa: ANN401 - as in argparse
        option_string: str | None = None,  # noqa: ARG002 - as in argparse
    ) -> None:
        """Keep the value."""
        setattr(namespace, self.dest, values)


class Parser(argparse.ArgumentParser):
    """A parser of the program, of a verb or of an action."""

    _choosing: Any = None
    """The argument that names a verb or an action; ``None``: there is none."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self.register("action", None, _Once)

    def add_subparsers(self, **keywords: Any) -> Any:  # noqa: ANN401 - as in argparse
        """See the base class."""
        self._choosing = super().add_subparsers(**keywords)
        return self._choosing

    @property
    def below(self) -> dict[str, Parser]:
        """The parsers of the verbs, or actions, that this one chooses from."""
        return {} if self._choosing is None else dict(self._choosing.choices)

    def take_everywhere(self, *names: str, **keywords: Any) -> None:
        """Take an option before the verb, and after it: where it stands on both sides, the one behind counts."""
        self.add_argument(*names, **keywords)
        for parser in self.below.values():
            parser.take_everywhere(*names, **{**keywords, "default": argparse.SUPPRESS, "help": argparse.SUPPRESS})

    def takes(self, name: str) -> bool:
        """Tell whether there is an option of this name."""
        return name in self._option_string_actions

    def parse_known_args(  # type: ignore[override]  # of three overloads this is the one that is called
        self, args: Sequence[str], namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """Refuse what is not an option before anything else is missed: "``--rcpt`` is required" would not help."""
        value_follows = False
        given: set[str] = set()
        for text in args:
            if text == "--" or (self.below and not text.startswith("-") and not value_follows):
                break  # the verb, or what was meant to be one
            name, value_is_there, _ = text.partition("=")
            if text.startswith("--") and " " not in text:
                self._check_option(name)
            action = self._option_string_actions.get(name)
            if isinstance(action, _Once):
                if name in given:
                    self.error(f"{name} is given twice, and takes one value")
                given.add(name)
            value_follows = action is not None and action.nargs != 0 and not value_is_there
        return super().parse_known_args(args, namespace)

    def _check_option(self, name: str) -> None:
        if self.takes(name):
            return
        if any(parser.takes(name) for parser in self.below.values()):
            self.error(f"{name} goes after the {self._chosen}")
        # Without the dashes, which make any two options look alike.
        known = [option[2:] for option in self._option_string_actions if option.startswith("--")]
        near = similar(name[2:], known) or next((one for one in known if len(name) > _PART and name[2:] in one), None)
        others = _all_of(sorted(f"--{one}" for one in known))
        self.error(f"unknown option {name}{did_you_mean(near and f'--{near}') or others}")

    def error(self, message: str) -> NoReturn:
        """Say in one line what is wrong, and end: at length ``--help`` says what there is."""
        message = _NEEDS_VALUE.sub(r"\1 needs a value", message)
        message = _MISSING.sub(r"\1 has to be given", message)
        message = _ABOUT.sub(r"\1: ", message)
        message = _TOO_MUCH.sub(r"nothing is expected here any more: \1", message)
        self.exit(2, f"{self.prog}: {message} ({self.prog} --help tells what it takes)\n")

    @property
    def _chosen(self) -> str:
        """What is chosen here: a verb, or an action."""
        return str(self._choosing.metavar).lower()

    def _check_value(self, action: argparse.Action, value: Any) -> None:  # noqa: ANN401 - as in argparse
        if action is self._choosing and value not in self.below:
            self.error(
                f"unknown {self._chosen} {value!r}{did_you_mean(similar(value, self.below)) or _all_of(self.below)}"
            )
        super()._check_value(action, value)


def _all_of(names: Iterable[str]) -> str:
    return f"; there is {', '.join(names)}"
