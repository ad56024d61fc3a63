"""What a compiled module may ask of the hosts that it is for."""

from __future__ import annotations

import pytest

from distribution.symbols import Demands, demands

DYNAMIC = """
Dynamic section at offset 0x2e00 contains 26 entries:
  Tag                Type                         Name/Value
 0x0000000000000001 (NEEDED)             Shared library: [libc.so.6]
 0x000000000000001e (FLAGS)              BIND_NOW
"""
SYMBOLS = """
Symbol table '.dynsym' contains 6 entries:
   Num:    Value          Size Type    Bind   Vis      Ndx Name
     0: 0000000000000000     0 NOTYPE  LOCAL  DEFAULT  UND
     1: 0000000000000000     0 NOTYPE  GLOBAL DEFAULT  UND PyErr_SetString
     2: 0000000000000000     0 NOTYPE  GLOBAL DEFAULT  UND _Py_NoneStruct
     3: 0000000000000000     0 FUNC    GLOBAL DEFAULT  UND memcpy@GLIBC_2.14 (2)
     4: 0000000000000000     0 FUNC    WEAK   DEFAULT  UND __cxa_finalize
     5: 00000000000011d0   120 FUNC    GLOBAL DEFAULT   12 PyInit_milter
"""


def asked(*symbols: str, libraries: tuple[str, ...] = ("libc.so.6",), weak: tuple[str, ...] = ()) -> Demands:
    return Demands(libraries=frozenset(libraries), symbols=frozenset(symbols), weak=frozenset(weak))


def test_what_readelf_prints_is_read() -> None:
    found = demands(DYNAMIC, SYMBOLS)
    assert found.libraries == {"libc.so.6"}
    assert found.symbols == {"PyErr_SetString", "_Py_NoneStruct", "memcpy@GLIBC_2.14", "__cxa_finalize"}
    assert found.weak == {"__cxa_finalize"}
    assert found.newest_glibc() == (2, 14)
    assert found.faults() == []


@pytest.mark.parametrize(
    ("found", "fault"),
    [
        (asked("fstat@GLIBC_2.33"), "needs fstat@GLIBC_2.33, newer than glibc 2.28"),
        # As text 2.4 would be newer than 2.28.
        (asked("fstat@GLIBC_2.4", "arc4random@GLIBC_2.36"), "needs arc4random@GLIBC_2.36, newer than glibc 2.28"),
        (asked("smfi_main"), "needs smfi_main, which no library of an older host defines"),
        (asked("__isoc23_strtol"), "needs __isoc23_strtol, which no library of an older host defines"),
        (asked(libraries=("libc.so.6", "libmilter.so.1.0.1")), "needs libmilter.so.1.0.1"),
    ],
)
def test_what_an_older_host_lacks_is_a_fault(found: Demands, fault: str) -> None:
    assert found.faults() == [fault]


def test_what_may_stay_undefined_and_the_interpreters_own_are_none() -> None:
    assert asked("__gmon_start__", "PyObject_Call", "_PyObject_New", weak=("__gmon_start__",)).faults() == []
