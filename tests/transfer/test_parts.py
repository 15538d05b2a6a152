"""Parts: they tile the file, none is too small, and what is copied lies side by side where it is copied from."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from hoist.storage.staging import Held, Part, PartLimits
from hoist.transfer.parts import Cutter

LIMITS = PartLimits(smallest=5, usual=16, copied=40)
# A block: its length, and in which object at which place of eight the storage holds it.
BLOCKS = st.lists(
    st.tuples(st.integers(1, 8), st.one_of(st.none(), st.tuples(st.sampled_from("xy"), st.integers(0, 60)))), min_size=1
)


def cut(blocks: list[tuple[int, Held | None]]) -> list[Part]:
    cutter = Cutter(LIMITS)
    parts = []
    for number, (length, held) in enumerate(blocks):
        if cutter.is_full(length):
            parts.append(cutter.cut())
        if cutter.ends_before(held):
            parts.append(cutter.cut())
        cutter.add(length, number.to_bytes(4), held)
    return [*parts, cutter.cut()]


def held_at(blocks: list[tuple[int, tuple[str, int] | None]]) -> list[tuple[int, Held | None]]:
    return [(length, place and Held(place[0], place[1], 1000)) for length, place in blocks]


@given(BLOCKS)
def test_parts_of_any_blocks(blocks: list[tuple[int, tuple[str, int] | None]]) -> None:
    found = held_at(blocks)
    parts = cut(found)
    assert [part.number for part in parts] == list(range(1, len(parts) + 1))
    assert [part.begin for part in parts] == [0, *(part.end for part in parts[:-1])]
    assert parts[-1].end == sum(length for length, _ in found)
    assert all(part.size >= LIMITS.smallest for part in parts[:-1])
    for part in parts:
        most = LIMITS.copied if part.held else LIMITS.usual
        assert part.size <= max(most, LIMITS.smallest - 1 + 8)
    places = {}
    at = 0
    for length, held in found:
        places[at] = (length, held)
        at += length
    for part in parts:
        if part.held:
            for begin in (offset for offset in places if part.begin <= offset < part.end):
                held = places[begin][1]
                assert held == Held(part.held.key, part.held.offset + begin - part.begin, 1000)


def test_a_run_that_the_storage_holds_is_a_part_of_its_own() -> None:
    blocks: list[tuple[int, Held | None]] = [(8, None), (8, None)]
    blocks += [(8, Held("x", 100 + 8 * n, 1000)) for n in range(3)]
    blocks += [(8, Held("x", 124, 1000)), (8, Held("x", 300, 1000)), (3, None)]
    parts = [(part.begin, part.end, part.held and part.held.offset) for part in cut(blocks)]
    assert parts == [(0, 16, None), (16, 48, 100), (48, 56, 300), (56, 59, None)]


def test_a_run_that_is_too_short_is_sent_with_its_neighbours() -> None:
    blocks: list[tuple[int, Held | None]] = [(6, None), (3, Held("x", 0, 1000)), (6, None)]
    assert [(part.begin, part.end, part.held) for part in cut(blocks)] == [(0, 6, None), (6, 15, None)]


def test_equal_bytes_cut_alike_have_equal_digests() -> None:
    blocks: list[tuple[int, Held | None]] = [(8, None)] * 6
    assert [part.digest for part in cut(blocks)] == [part.digest for part in cut(blocks)]
    assert len({part.digest for part in cut(blocks)}) == 3
