"""Messages in memory and in files, and how much of them there is."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path

import pytest

from ldapmilter.relay.spool import IN_MEMORY, Room, Spooled
from tests.support.ports import HANG


def test_a_small_message_stays_in_memory(tmp_path: Path) -> None:
    room = Room()
    message = Spooled(room, tmp_path / "is-not-there")
    message.write(b"one\r\n")
    message.write(b"two\r\n")
    assert b"".join(message.chunks()) == b"one\r\ntwo\r\n"
    assert (room.in_memory, room.in_files, message.size, message.eight_bit) == (10, 0, 10, False)
    message.close()
    assert (room.in_memory, room.in_files) == (0, 0)


def test_a_large_message_lies_in_a_file_without_a_name(tmp_path: Path) -> None:
    room = Room()
    message = Spooled(room, tmp_path)
    piece = bytes(range(256)) * 1024
    for _ in range(9):
        message.write(piece)
    assert message.size == 9 * len(piece) > IN_MEMORY
    assert (room.in_memory, room.in_files) == (0, message.size)
    assert list(tmp_path.iterdir()) == []
    assert b"".join(message.chunks()) == piece * 9 == b"".join(message.chunks())
    assert message.eight_bit
    message.close()
    assert (room.in_memory, room.in_files) == (0, 0)


@pytest.mark.parametrize("memory", [0, 1 << 30])
def test_the_beginning_of_a_large_message_is_read_without_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, memory: int
) -> None:
    """Every copy is looked at when it is presented, and all others wait meanwhile."""
    message = Spooled(Room(memory=memory), tmp_path)
    whole = b"".join(b"%07d\n" % number for number in range(200_000))
    for at in range(0, len(whole), 50_000):
        message.write(whole[at : at + 50_000])
    assert message.on_disk
    assert b"".join(message.chunks()) == whole
    monkeypatch.delattr(os, "pread")
    assert next(message.chunks()) == whole[: 64 * 1024]
    message.close()


def test_without_memory_left_a_small_message_goes_to_a_file(tmp_path: Path) -> None:
    room = Room(memory=10)
    messages = [Spooled(room, tmp_path) for _ in range(3)]
    for message in messages:
        message.write(b"x" * 10)
    assert (room.in_memory, room.in_files) == (10, 20)
    assert [b"".join(message.chunks()) for message in messages] == [b"x" * 10] * 3
    for message in messages:
        message.close()
    assert (room.in_memory, room.in_files) == (0, 0)


def test_a_full_house_lets_nobody_in_and_whoever_is_in_goes_on(tmp_path: Path) -> None:
    room = Room(in_all=5)
    message = Spooled(room, tmp_path)
    assert room.lets_in()
    message.write(b"123456")
    assert not room.lets_in()
    message.write(b"789")
    message.close()
    assert room.lets_in()


def test_a_disk_that_takes_nothing(tmp_path: Path) -> None:
    room = Room(memory=0)
    message = Spooled(room, tmp_path / "is-not-there")
    with pytest.raises(OSError, match="No such file") as caught:
        message.write(b"x")
    assert caught.value.errno == errno.ENOENT
    message.close()
    assert (room.in_memory, room.in_files) == (0, 0)


@pytest.mark.parametrize("size", [100_000, IN_MEMORY + 100_000])
def test_a_message_that_is_let_go_of_while_it_is_read_does_not_end_early(tmp_path: Path, size: int) -> None:
    """Whoever reads it would hand on, or keep, its beginning as the whole."""
    message = Spooled(Room(), tmp_path)
    message.write(b"x" * size)
    begun = message.chunks()
    not_begun = message.chunks()
    taken = len(next(begun))
    message.close()
    for rest in (begun, not_begun):
        with pytest.raises(OSError, match="let go of"):
            taken += sum(map(len, rest))
    with pytest.raises(OSError, match="let go of"):
        next(message.chunks())


def open_files() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


@pytest.mark.parametrize("begun", [False, True])
def test_a_message_that_is_let_go_of_while_it_is_written_writes_into_no_other_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, begun: bool
) -> None:
    """The disk is slow and the client has gone: the next file that is opened would have its descriptor."""
    room = Room(memory=0)
    message = Spooled(room, tmp_path)
    if begun:
        message.write(b"begun")
    at_work, may_go_on = threading.Event(), threading.Event()
    write = os.write

    def slow(descriptor: int, octets: memoryview) -> int:
        written = write(descriptor, octets[:1])
        at_work.set()
        assert may_go_on.wait(HANG)
        return written

    monkeypatch.setattr(os, "write", slow)
    writing = threading.Thread(target=message.write, args=(b"text",))
    writing.start()
    assert at_work.wait(HANG)
    message.close()
    opened = [(tmp_path / f"{number}").open("wb") for number in range(5)]
    descriptors = open_files()
    may_go_on.set()
    writing.join(HANG)
    for file in opened:
        file.close()
    assert [(tmp_path / f"{number}").read_bytes() for number in range(5)] == [b""] * 5
    assert (room.in_memory, room.in_files) == (0, 0)
    assert open_files() == descriptors - 1 - len(opened)
    with pytest.raises(OSError, match="let go of"):
        message.write(b"more")
    assert (room.in_memory, room.in_files) == (0, 0)
