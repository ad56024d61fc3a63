"""``ldapmilter config``: every option with the value that counts, and where that differs from the default.

The text is a ``config.ini`` again: what an option means here (``auto``, Zimbra's own servers) is a comment.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ldapmilter.cli import asking, exit_status
from ldapmilter.config import load, parse
from ldapmilter.config_options import OTHER_COPY_CLASS, SECTIONS
from ldapmilter.config_text import digest, sections
from ldapmilter.daemon import control_client
from ldapmilter.daemon.channel import RequestRefused
from ldapmilter.errors import ConfigError, DaemonUnreachable
from ldapmilter.opening import current_endpoints
from ldapmilter.plain import plain, plain_json

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Sequence

    from ldapmilter.config import Config
    from ldapmilter.options import Option

_CREDENTIALS = re.compile(r"(?<=://)[^/@\s]*@")
"""A user and a password in a URI: they do not belong there."""


class Setting(NamedTuple):
    """One option as it counts."""

    section: str
    name: str
    value: str
    default: str | None
    """``None``: it has none."""
    is_default: bool
    here: str | None
    """What the value comes to on this host, where it does not say so itself."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments to its parser."""
    parser.description = (
        "Prints every option of the configuration with its value, defaults included, and what differs from the default."
    )
    parser.add_argument("--non-default", action="store_true", help="only what differs from the default")
    parser.add_argument("--live", action="store_true", help="what the running daemon has in force, not the file")
    parser.add_argument("--json", action="store_true", help="for programs")


def run(options: argparse.Namespace) -> int:
    """Run the verb; return its exit status."""
    if options.live:
        answer = asking.ask(options.config, {"verb": "config"})
        config, state = parse(answer["text"], Path(answer["file"])), "in force in the running daemon"
    else:
        config = load(options.config)
        state = _state(config)
    shown = [one for one in settings(config) if not (options.non_default and one.is_default)]
    if options.json:
        print(plain_json(_as_json(config, state, shown), indent=1))
    else:
        print("\n".join(map(plain, _lines(config, state, shown))))
    return exit_status.FINE


def settings(config: Config) -> Iterator[Setting]:
    """Yield every option of a configuration, section by section."""
    given = sections(config.text, config.file)
    tables = {**SECTIONS, **{name: OTHER_COPY_CLASS for name in given if name not in SECTIONS}}
    for section, table in tables.items():
        for name, option in table.items():
            text = given.get(section, {}).get(name)
            value = _one_line(option.default or "" if text is None else text)
            yield Setting(
                section=section,
                name=name,
                value=value,
                default=option.default,
                is_default=text is None or _is_default(option, text),
                here=_here(config, section, name, value),
            )


def _is_default(option: Option, text: str) -> bool:
    """Tell whether a value means what the default means, however it is spelt."""
    return option.default is not None and option.read(text) == option.read(option.default)


def _one_line(text: str) -> str:
    return _CREDENTIALS.sub("***@", " ".join(text.split()))


def _here(config: Config, section: str, name: str, value: str) -> str | None:
    """Return what a value comes to on this host; ``None``: what it says."""
    if name == "mode" and not value:
        return f"{config.policy.mode}, as [policy] mode says"
    if (section, name) == ("milter", "workers") and value == "auto":
        return str(config.milter.workers)
    if (section, name) == ("ldap", "bind_password_file") and value not in {"", str(config.ldap.bind_password_file)}:
        return str(config.ldap.bind_password_file)
    if config.ldap.zimbra_localconfig is None or section != "ldap" or name not in {"uri", "starttls"}:
        return None
    try:
        endpoints = current_endpoints(config)
    except ConfigError as error:
        return f"not known: {error}"
    found = " ".join(endpoints.uris) if name == "uri" else "yes" if endpoints.starttls else "no"
    return None if found == value else f"{_one_line(found)}, as {config.ldap.zimbra_localconfig} says"


def _state(config: Config) -> str:
    """Tell whether the running daemon has the file in force, as far as this user may ask."""
    if config.control is None:
        return "whether it is in force is not known: [control] socket is empty"
    try:
        running = control_client.ask(str(config.control), {"verb": "config"})["configuration"]
    except (DaemonUnreachable, RequestRefused) as error:
        return f"whether it is in force is not known: {error}"
    if running["file"] != str(config.file.absolute()):
        return f"not in force: the running daemon has {running['file']}"
    if running["digest"] == digest(config.text):
        return "in force in the running daemon"
    return "changed since the running daemon read it: --live prints what is in force, status tells what a reload does"


def _lines(config: Config, state: str, shown: Sequence[Setting]) -> Iterator[str]:
    yield f"; {config.file}: {state}"
    section = None
    for one in shown:
        if one.section != section:
            section = one.section
            yield f"[{section}]"
        line = f"{one.name} = {one.value}".rstrip()
        comments = []
        if not one.is_default:
            comments.append("default: " + ("none" if one.default is None else one.default or "(empty)"))
        if one.here is not None:
            comments.append(f"here: {one.here}")
        yield f"{line}  ; {'; '.join(comments)}" if comments else line


def _as_json(config: Config, state: str, shown: Sequence[Setting]) -> dict[str, object]:
    found: dict[str, dict[str, object]] = {}
    for one in shown:
        options = found.setdefault(one.section, {})
        options[one.name] = {
            "value": one.value,
            "default": one.default,
            "is_default": one.is_default,
            "here": one.here,
        }
    return {"file": str(config.file), "state": state, "sections": found}
