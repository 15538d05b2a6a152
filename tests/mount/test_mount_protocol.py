"""The kernel's wire format: fields come out as they went in, and no request, however wrong, goes without its answer."""

from __future__ import annotations

import errno
import os
import random
import socket
import struct
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mounting import Inside, inside

from hoist.mount import protocol, replies
from hoist.mount.device import Device
from hoist.mount.protocol import Init, Malformed, Opcode
from hoist.mount.replies import Attributes, Entry, EntryList
from hoist.mount.session import Session
from makers import memory_storage, put_version

_HEADER = struct.Struct("=IIQQIIIHH")
_REPLY = struct.Struct("=IiQ")
U64 = st.integers(0, 2**64 - 1)
U32 = st.integers(0, 2**32 - 1)


def request(opcode: int, body: bytes = b"", unique: int = 2, node: int = 1) -> bytes:
    return _HEADER.pack(_HEADER.size + len(body), opcode, unique, node, 0, 0, 1, 0, 0) + body


@given(opcode=U32, unique=U64, node=U64, body=st.binary(max_size=200))
def test_a_request_comes_out_as_it_went_in(opcode: int, unique: int, node: int, body: bytes) -> None:
    found = protocol.parse_request(memoryview(request(opcode, body, unique, node)))
    assert (found.opcode, found.unique, found.node, bytes(found.body)) == (opcode, unique, node, body)


@given(st.binary(max_size=300))
def test_any_bytes_are_parsed_or_malformed(data: bytes) -> None:
    for parse in (
        protocol.parse_request,
        protocol.parse_init,
        protocol.parse_name,
        protocol.parse_read,
        protocol.parse_handle,
        protocol.parse_flags,
        protocol.parse_forget,
        protocol.parse_interrupt,
        lambda body: list(protocol.parse_batch_forget(body)),
    ):
        try:
            parse(memoryview(data))
        except Malformed:
            continue


@given(handle=U64, offset=U64, size=U32)
def test_a_read(handle: int, offset: int, size: int) -> None:
    found = protocol.parse_read(memoryview(struct.pack("=QQIIQII", handle, offset, size, 0, 0, 0, 0)))
    assert (found.handle, found.offset, found.size) == (handle, offset, size)


@given(st.lists(st.tuples(U64, U64), max_size=20))
def test_a_batch_of_forgets(nodes: list[tuple[int, int]]) -> None:
    body = struct.pack("=II", len(nodes), 0) + b"".join(struct.pack("=QQ", *each) for each in nodes)
    assert list(protocol.parse_batch_forget(memoryview(body))) == nodes


def test_sizes_are_the_kernels() -> None:
    attributes = Attributes(5, 0o100444, 1025, 1_500_000_001, 1, 7, 8)
    assert len(replies.pack_attributes(attributes, 1.5)) == 104
    packed = replies.pack_entry(Entry(9, attributes, 1.5, 60))
    assert len(packed) == len(replies.pack_absent(3)) == 128
    assert struct.unpack_from("=QQQQII", packed) == (9, 0, 1, 60, 500_000_000, 0)
    ino, size, blocks, *times = struct.unpack_from("=QQQQQQ", packed, 40)
    assert (ino, size, blocks, times) == (5, 1025, 3, [1, 1, 1])
    assert len(replies.pack_opened(1, 2)) == 16
    assert len(replies.pack_statfs(10**9, 5)) == 80
    init = Init(7, 45, 1 << 20, (1 << 64) - 1)
    assert len(replies.pack_init(init, background=64, passthrough=1)) == len(replies.pack_version()) == 64


@pytest.mark.parametrize("depth", [0, 1, 2])
def test_only_what_is_offered_is_taken(depth: int) -> None:
    offered = protocol.ASYNC_READ | protocol.BIG_REQUESTS | protocol.INIT_EXT | protocol.PASSTHROUGH
    packed = replies.pack_init(Init(7, 40, 4096, offered), background=64, passthrough=depth)
    major, minor, _, flags, _, _, _, _, pages, _, high, stack = struct.unpack_from("=IIIIHHIIHHII", packed)
    assert (major, minor, pages, stack) == (7, 40, 256, depth)
    taken = flags | high << 32
    assert taken & ~offered == 0
    assert bool(taken & protocol.PASSTHROUGH) is bool(depth)


@given(names=st.lists(st.binary(min_size=1, max_size=300), max_size=30), size=st.integers(0, 4096), plus=st.booleans())
def test_a_folder_never_takes_more_room_than_it_has(names: list[bytes], size: int, plus: bool) -> None:
    entries, count = EntryList(size), 0
    entry = Entry(3, Attributes(3, 0o100444, 1, 0, 1, 0, 0), 1, 1)
    for at, name in enumerate(names):
        if not entries.add(name, 3, 8, at + 1, entry if plus else None):
            break
        count += 1
    packed, at, found = entries.packed(), 0, []
    assert len(packed) <= size
    while at < len(packed):
        at += 128 if plus else 0
        _, following, length, _ = struct.unpack_from("=QQII", packed, at)
        found.append(packed[at + 24 : at + 24 + length])
        at += (24 + length + 7) // 8 * 8
        assert following == len(found)
    assert found == names[:count]


class Wire:
    """A session whose kernel is a socket of ours."""

    def __init__(self, within: Inside) -> None:
        self.ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.theirs = theirs
        self.ours.settimeout(10)
        self.session = Session(Device(theirs.fileno(), None), within.files, within.metrics, stack_depth=0)
        self.session.start(1)

    def ask(self, data: bytes) -> tuple[int, int, bytes]:
        """The errno, unique and payload of the answer."""
        self.ours.send(data)
        answer = self.ours.recv(2 << 20)
        length, error, unique = _REPLY.unpack_from(answer)
        assert length == len(answer)
        return -error, unique, answer[_REPLY.size :]

    def close(self) -> None:
        self.ours.close()
        self.session.ended.wait(10)
        self.theirs.close()


@pytest.fixture
def wire() -> Iterator[Wire]:
    storage = memory_storage()
    put_version(storage, {"a.txt": b"hello", "sub/b.bin": bytes(100_000)}, 4096)
    found = Wire(inside(storage))
    init = struct.pack("=IIIII", 7, 45, 1 << 20, 0x7FFFFFFF, 0)
    assert found.ask(request(Opcode.INIT, init))[0] == 0
    yield found
    found.close()


def test_a_walk_by_hand(wire: Wire) -> None:
    node = 1
    for name in ("m", "one", "v1", "a.txt"):
        error, _, payload = wire.ask(request(Opcode.LOOKUP, name.encode() + b"\0", node=node))
        assert error == 0
        (node,) = struct.unpack_from("=Q", payload)
    error, _, payload = wire.ask(request(Opcode.OPEN, struct.pack("=II", os.O_RDONLY, 0), node=node))
    handle, flags, _ = struct.unpack("=QIi", payload)
    assert (error, flags & protocol.OPEN_KEEP_CACHE) == (0, protocol.OPEN_KEEP_CACHE)
    read = struct.pack("=QQIIQII", handle, 1, 100, 0, 0, 0, 0)
    assert wire.ask(request(Opcode.READ, read, 77, node)) == (0, 77, b"ello")
    assert wire.ask(request(Opcode.RELEASE, struct.pack("=QIIQ", handle, 0, 0, 0), node=node))[0] == 0
    assert wire.ask(request(Opcode.READ, read, 78, node))[0] == errno.EBADF
    assert wire.ask(request(Opcode.OPEN, struct.pack("=II", os.O_RDWR, 0), node=node))[0] == errno.EROFS
    assert wire.ask(request(Opcode.LOOKUP, b"no\0"))[2][:8] == bytes(8)
    assert wire.ask(request(Opcode.GETATTR, node=12345))[0] == errno.ESTALE


@pytest.mark.parametrize("opcode", sorted(protocol.CHANGES))
def test_what_would_change_something_is_refused(wire: Wire, opcode: int) -> None:
    assert wire.ask(request(opcode, bytes(64)))[0] == errno.EROFS


def test_random_requests_get_one_answer_each(wire: Wire) -> None:
    chance = random.Random(4)
    opcodes = [int(each) for each in Opcode if each not in protocol.UNANSWERED] + [19, 37, 99, 4096]
    for unique in range(2, 1500, 2):
        body = chance.randbytes(chance.choice((0, 3, 8, 16, 40, 41, 200)))
        node = chance.choice((0, 1, 2, chance.getrandbits(64)))
        error, told, _ = wire.ask(request(chance.choice(opcodes), body, unique, node))
        assert told == unique
        assert 0 <= error < 200
        wire.ours.send(request(chance.choice((2, 42)), body, unique, node))
        wire.ours.send(chance.randbytes(chance.randrange(1, 60)))
    # It is sound after all that.
    assert wire.ask(request(Opcode.LOOKUP, b"m\0", 9999))[:2] == (0, 9999)
