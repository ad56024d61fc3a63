"""From headers as mail programs write them and as people write who want to be taken for others.

Each form says whose addresses are in it, how the first of them is called, and whether there is any
doubt about what it says.  Where there is, the addresses are those that can be read all the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Form:
    """One From header and what it means."""

    value: str
    addresses: tuple[str, ...]
    """Folded as they are compared, in the order of the header."""
    name: str
    """Display name of the first mailbox."""
    readable: bool


def good(value: str, *addresses: str, name: str = "") -> Form:
    return Form(value, addresses, name, readable=True)


def bad(value: str, *addresses: str, name: str = "") -> Form:
    return Form(value, addresses, name, readable=False)


A: Final = "ann@example.com"
B: Final = "bob@example.com"
BOSS: Final = "boss@example.com"

MAIL_PROGRAMS: Final = (
    # people, plainly
    good("ann@example.com", A),
    good("<ann@example.com>", A),
    good(" ann@example.com ", A),
    good("Ann Able <ann@example.com>", A, name="Ann Able"),
    good('"Ann Able" <ann@example.com>', A, name="Ann Able"),
    good("'Ann Able' <ann@example.com>", A, name="'Ann Able'"),
    good("\"'Ann Able'\" <ann@example.com>", A, name="'Ann Able'"),
    good('"ann@example.com" <ann@example.com>', A, name="ann@example.com"),
    good("ann@example.com <ann@example.com>", A, name="ann@example.com"),
    good("'ann@example.com' <ann@example.com>", A, name="'ann@example.com'"),
    good('"Able, Ann" <ann@example.com>', A, name="Able, Ann"),
    good('"Able, Ann (IT)" <ann@example.com>', A, name="Able, Ann (IT)"),
    good('"Ann \\"Annie\\" Able" <ann@example.com>', A, name='Ann "Annie" Able'),
    good("Ann B. Able <ann@example.com>", A, name="Ann B. Able"),
    good("Dr. Ann Able Jr. <ann@example.com>", A, name="Dr. Ann Able Jr."),
    good("Ann O'Able <ann@example.com>", A, name="Ann O'Able"),
    good("Ann Able-Baker <ann@example.com>", A, name="Ann Able-Baker"),
    good("Ann Able | Sales <ann@example.com>", A, name="Ann Able | Sales"),
    good("Ann & Bob <ann@example.com>", A, name="Ann & Bob"),
    good("Ann/Sales/Example <ann@example.com>", A, name="Ann/Sales/Example"),
    good("Ann! <ann@example.com>", A, name="Ann!"),
    good("*** Ann *** <ann@example.com>", A, name="*** Ann ***"),
    good("Ann [Sales] <ann@example.com>", A, name="Ann [Sales]"),
    good("ANN ABLE<ANN@EXAMPLE.COM>", A, name="ANN ABLE"),
    good("Ann Able\t<ann@example.com>", A, name="Ann Able"),
    good("Ann  \t Able <ann@example.com>", A, name="Ann Able"),
    good('"" <ann@example.com>', A),
    good('" " <ann@example.com>', A),
    good('"Ann Able"<ann@example.com>', A, name="Ann Able"),
    good('"Ann" Able <ann@example.com>', A, name="Ann Able"),
    # comments, from the time before there were names
    good("ann@example.com (Ann Able)", A, name="Ann Able"),
    good("ann@example.com(Ann Able)", A, name="Ann Able"),
    good("ann@example.com (Ann Able (Sales))", A, name="Ann Able (Sales)"),
    good("Ann Able <ann@example.com> (Sales)", A, name="Ann Able"),
    good("Ann Able (Sales) <ann@example.com>", A, name="Ann Able"),
    good("root@host.example.com (Cron Daemon)", "root@host.example.com", name="Cron Daemon"),
    good('"(Cron Daemon)" <root@host.example.com>', "root@host.example.com", name="(Cron Daemon)"),
    good("ann@example.com ()", A),
    # folded
    good("Ann Able\r\n <ann@example.com>", A, name="Ann Able"),
    good("\r\n Ann Able <ann@example.com>", A, name="Ann Able"),
    good("Ann\n\tAble\n\t<ann@example.com>", A, name="Ann Able"),
    good('"Able,\r\n Ann" <ann@example.com>', A, name="Able, Ann"),
    good("=?utf-8?q?Ann?=\r\n =?utf-8?q?_Able?=\r\n <ann@example.com>", A, name="Ann Able"),
    # encoded names
    good("=?UTF-8?Q?Ann_=C3=84ble?= <ann@example.com>", A, name="Ann \u00c4ble"),
    good("=?utf-8?B?QW5uIMOEYmxl?= <ann@example.com>", A, name="Ann \u00c4ble"),
    good("=?iso-8859-1?Q?Ann_=C4ble?= <ann@example.com>", A, name="Ann \u00c4ble"),
    good("=?ISO-8859-15?Q?=A4?= <ann@example.com>", A, name="\u20ac"),
    good("=?windows-1252?Q?Ann=92s?= <ann@example.com>", A, name="Ann\u2019s"),
    good("=?windows-1251?B?wO3t4A==?= <ann@example.com>", A, name="\u0410\u043d\u043d\u0430"),
    good("=?koi8-r?B?4c7OwQ==?= <ann@example.com>", A, name="\u0410\u043d\u043d\u0430"),
    good("=?gb2312?B?0KHD9w==?= <ann@example.com>", A, name="\u5c0f\u660e"),
    good("=?big5?B?pKSk5Q==?= <ann@example.com>", A, name="\u4e2d\u6587"),
    good("=?ISO-2022-JP?B?GyRCRnxLXBsoQg==?= <ann@example.com>", A, name="\u65e5\u672c"),
    good("=?Shift_JIS?B?k/qWew==?= <ann@example.com>", A, name="\u65e5\u672c"),
    good("=?euc-kr?B?x9GxuQ==?= <ann@example.com>", A, name="\ud55c\uad6d"),
    good("=?utf-8?Q?Able=2C_Ann?= <ann@example.com>", A, name="Able, Ann"),
    good("=?us-ascii?Q?Ann?= <ann@example.com>", A, name="Ann"),
    good('"=?UTF-8?Q?Ann_=C3=84ble?=" <ann@example.com>', A, name="Ann \u00c4ble"),
    good("=?utf-8*en?Q?Ann?= <ann@example.com>", A, name="Ann"),
    good("=?utf-8?Q?Ann?= Able <ann@example.com>", A, name="Ann Able"),
    good("ann@example.com (=?utf-8?Q?=C3=84nn?=)", A, name="\u00c4nn"),
    good("=?UTF-8?Q?=F0=9F=98=80_Ann?= <ann@example.com>", A, name="\U0001f600 Ann"),
    good("=?utf-8?Q??= <ann@example.com>", A),
    # raw octets
    good("Ann \u00c4ble <ann@example.com>", A, name="Ann \u00c4ble"),
    good("Ann \udcc4ble <ann@example.com>", A, name="Ann \u00c4ble"),
    good('"Ann \udcc4ble" <ann@example.com>', A, name="Ann \u00c4ble"),
    good("\u65e5\u672c\u3000\u592a\u90ce <ann@example.com>", A, name="\u65e5\u672c \u592a\u90ce"),
    # odd addresses that exist
    good("Ann <ann+news@example.com>", "ann+news@example.com", name="Ann"),
    good("Ann <ann.able@example.com>", "ann.able@example.com", name="Ann"),
    good("Ann <ann_able-x=y/z@example.com>", "ann_able-x=y/z@example.com", name="Ann"),
    good("Ann <a@b.c.d.example.com>", "a@b.c.d.example.com", name="Ann"),
    good("o'able@example.com", "o'able@example.com"),
    good("bounce-1=ann=example.com@lists.example.com", "bounce-1=ann=example.com@lists.example.com"),
    good('"ann able"@example.com', "ann able@example.com"),
    good('Ann <"ann"@example.com>', A, name="Ann"),
    good('"ann@other.example"@example.com', "ann@other.example@example.com"),
    good("Ann <ann@[192.0.2.7]>", "ann@[192.0.2.7]", name="Ann"),
    good("ann@xn--bcher-kva.example", "ann@xn--bcher-kva.example"),
    good("ann@b\u00fccher.example", "ann@xn--bcher-kva.example"),
    good("Ann <ann@example.com.>", A, name="Ann"),
    good("ann..able@example.com", "ann..able@example.com"),
    good("ann.@example.com", "ann.@example.com"),
    good("ann@localhost", "ann@localhost"),
    good("Ann < ann@example.com >", A, name="Ann"),
    good("Ann <ann @ example.com>", A, name="Ann"),
    good("Ann <@relay.example:ann@example.com>", A, name="Ann"),
    # several, and groups
    good("ann@example.com, bob@example.com", A, B),
    good("Ann <ann@example.com>, Bob <bob@example.com>", A, B, name="Ann"),
    good("Ann <ann@example.com>,Bob <bob@example.com>", A, B, name="Ann"),
    good("Ann <ann@example.com>,\r\n\tBob <bob@example.com>", A, B, name="Ann"),
    good("ann@example.com,,bob@example.com", A, B),
    good("ann@example.com,", A),
    good(", ann@example.com", A),
    good('"Able, Ann" <ann@example.com>, "Baker, Bob" <bob@example.com>', A, B, name="Able, Ann"),
    good("Staff: ann@example.com, bob@example.com;", A, B),
    good("Staff: Ann <ann@example.com>;", A, name="Ann"),
    good('"Staff: all": ann@example.com;', A),
    good("Us: ann@example.com;, Them: bob@example.com;", A, B),
)

# Who shows one address and means another, and what says nothing for certain.
TRICKS: Final = (
    # the name looks like an address
    good("boss@example.com <ann@example.com>", A, name=BOSS),
    good('"boss@example.com" <ann@example.com>', A, name=BOSS),
    good('"Boss <boss@example.com>" <ann@example.com>', A, name="Boss <boss@example.com>"),
    good('"Boss <boss@example.com>," <ann@example.com>', A, name="Boss <boss@example.com>,"),
    good("=?utf-8?Q?boss=40example=2Ecom?= <ann@example.com>", A, name=BOSS),
    good("=?utf-8?Q?Boss_=3Cboss=40example=2Ecom=3E?= <ann@example.com>", A, name="Boss <boss@example.com>"),
    good("=?utf-8?B?Ym9zc0BleGFtcGxlLmNvbQ==?= <ann@example.com>", A, name=BOSS),
    good("=?utf-8?Q?Boss=00?= <ann@example.com>", A, name="Boss"),
    good("=?utf-8?Q?Boss=0D=0ABcc=3A_x=40y=2Ez?= <ann@example.com>", A, name="Boss Bcc: x@y.z"),
    good("=?utf-8?Q?=22=2C_=3Cboss=40example=2Ecom=3E?= <ann@example.com>", A, name='", <boss@example.com>'),
    good("\u202emoc.elpmaxe@ssob\u202c <ann@example.com>", A, name="moc.elpmaxe@ssob"),
    good("Bo\u200bss <ann@example.com>", A, name="Bo ss"),
    good("Boss" + "\u00a0" * 50 + "<ann@example.com>", A, name="Boss"),
    # the comment does
    good("(boss@example.com) ann@example.com", A, name=BOSS),
    good("ann@example.com (boss@example.com)", A, name=BOSS),
    good("ann(boss@example.com)@example.com", A, name=BOSS),
    good("ann@(boss@)example.com", A, name="boss@"),
    good("<ann@example.com> (,boss@example.com)", A, name=",boss@example.com"),
    good("(<boss@example.com>) <ann@example.com>", A, name="<boss@example.com>"),
    good("ann@example.com (\\) boss@example.com)", A, name=") boss@example.com"),
    # the local part does
    good('"boss@example.com, "@other.example', "boss@example.com, @other.example"),
    good('<"boss@example.com>"@other.example>', "boss@example.com>@other.example"),
    good("<boss%example.com@other.example>", "boss%example.com@other.example"),
    good("<other.example!boss@example.com>", "other.example!boss@example.com"),
    # the route does
    good("<@boss.example,@other.example:ann@example.com>", A),
    bad("<boss@example.com:ann@example.com>"),
    bad("<boss@example.com,@other.example:ann@example.com>"),
    # the group name does
    bad("boss@example.com: ann@example.com;", A),
    bad("Boss <boss@example.com>: ann@example.com;", A),
    bad("boss@example.com:;"),
    # two addresses without a comma
    bad("<ann@example.com> <boss@example.com>", A),
    bad("<ann@example.com><boss@example.com>", A),
    bad("Ann <ann@example.com> Boss <boss@example.com>", A, name="Ann"),
    bad("ann@example.com boss@example.com"),
    bad("ann@example.com <boss@example.com> <bob@example.com>", BOSS, name=A),
    bad("<ann@example.com> boss@example.com", A),
    bad('<ann@example.com> "boss@example.com"', A),
    bad("<ann@example.com <boss@example.com>>"),
    bad("<<ann@example.com>>", A),
    bad("<ann@example.com"),
    bad("ann@example.com>", A),
    bad("Ann ann@example.com>"),
    bad("ann@example.com;boss@example.com", A, BOSS),
    bad("ann@example.com; boss@example.com;", A, BOSS),
    bad("ann@example.com@boss.example"),
    bad("ann@boss@example.com"),
    bad("<ann@example.com,boss@example.com>"),
    bad("ann@example.com\\, boss@example.com", BOSS),
    # what has no end
    bad('"Boss <ann@example.com>'),
    bad('Boss" <ann@example.com>'),
    bad('"Boss\\" <ann@example.com>'),
    bad('ann@example.com "boss@example.com', A),
    bad("(ann@example.com"),
    bad("ann@example.com (Boss <boss@example.com>", A),
    bad("ann@example.com (Boss \\)", A),
    bad("Staff: ann@example.com", A),
    bad("Staff: ann@example.com, boss@example.com", A, BOSS),
    bad("Staff: Inner: ann@example.com;;", A),
    bad(": ann@example.com;", A),
    # nobody
    bad(""),
    bad("   "),
    bad("\r\n "),
    bad(",,,"),
    bad(";"),
    bad(":"),
    bad("<>"),
    bad("()"),
    bad('""'),
    bad("@"),
    bad("Boss"),
    bad("Boss <>"),
    bad('"Boss" <>'),
    bad("Boss, Big <boss@example.com>", BOSS, name="Big"),
    bad("Dr. Ann Able, Jr. <ann@example.com>", A, name="Jr."),
    bad("undisclosed-recipients:;"),
    bad("(no sender)"),
    bad("ann@"),
    bad("@example.com"),
    bad("ann"),
    bad("Ann <ann>"),
    bad("Ann <ann at example.com>"),
    bad("Ann <ann@example..com>"),
    bad("Ann <ann@.example.com>"),
    bad("Ann <ann@-example.com>"),
    bad("Ann <ann@exam ple.com>"),
    bad("Ann <an n@example.com>"),
    bad("Ann <ann@example.com/x>"),
    bad("mailto:ann@example.com", A),
    bad("<mailto:ann@example.com>"),
    bad("=?utf-8?Q?ann=40example=2Ecom?="),
    bad("=?utf-8?Q?Boss_=3Cboss=40example=2Ecom=3E?="),
    # octets
    bad("ann\x00@example.com"),
    bad("ann@example.com\x00"),
    bad("ann@example.com\x00, boss@example.com", BOSS),
    bad("Ann <ann@example.com\x01>"),
    bad("Ann <\udce4nn@example.com>"),
    bad("Ann <ann@ex\udce4mple.com>"),
    bad("ann@example.com\rboss@example.com"),
    bad("ann@example.com\x0bboss@example.com"),
    bad("ann@example.com\u2028boss@example.com"),
    bad("ann\uff20example.com"),
    bad("\u200bann@example\u3000.com"),
    bad(f"{'a' * 250}@example.com"),
    bad(f"ann@{'a' * 64}.example"),
    bad('"' * 1001),
    bad("(" * 1000),
    bad("<" * 1000),
    bad("," * 1000),
)

FORMS: Final = (*MAIL_PROGRAMS, *TRICKS)
