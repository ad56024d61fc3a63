"""MTAs that decide alike have the same hash, and no others."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from ldapmilter.config import parse
from ldapmilter.daemon.policy_hash import policy_hash

PLAIN: Final = "[ldap]\nuri = ldif:directory.ldif\n"


def hash_of(more: str) -> str:
    return policy_hash(parse(PLAIN + more, Path("config.ini")))


@pytest.mark.parametrize(
    "more",
    [
        "[policy]\nmode = apply\n",
        "[from]\nsender_attributes =   ldapMilterSenderFromRewrite\n",
        "[cache]\nttl = 10\n",
        "[identity]\nown_relays = 192.0.2.7\nreinjection_ports = 10025\n",
        "[control]\ntrace_messages = 7\n",
        "[metrics]\nlisten = 127.0.0.1:9\n",
    ],
)
def test_what_does_not_decide_and_what_is_written_out(more: str) -> None:
    assert hash_of(more) == hash_of("")


@pytest.mark.parametrize(
    "more",
    [
        "[policy]\nmode = observe\n",
        "[copy hr]\nsent_attributes = zimbraNotes\n",
        "[copy legal]\ninvalid_value = ignore\n",
        "[from]\nreply_to = author\n",
        "[groups]\nmax_depth = 3\n",
        "[identity]\nunknown_login = accept\n",
    ],
)
def test_what_decides(more: str) -> None:
    assert hash_of(more) != hash_of("")
