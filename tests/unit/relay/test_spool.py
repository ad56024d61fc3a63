"""Messages in memory and in files, and how much of them there is."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

import pytest

from ldapmilter.relay.spool import IN_MEMORY, Room, Spooled

if TYPE_CHECKING:
    from pathlib import Path


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
