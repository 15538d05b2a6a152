"""Plans: every wanted byte once, in its place, in whole blocks."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hoist.errors import UsageError
from hoist.model.blocks import FileBlocks, file_blocks
from hoist.read.plan import PAGE, Plan, plan_file, plan_ranges

FILES = st.lists(st.integers(1, 9000), max_size=12).map(
    lambda lengths: file_blocks("sha256:" + "0" * 64, lengths, [bytes(32)] * len(lengths))
)
REQUESTS = st.sampled_from([1, 5000, 16_384, 1 << 20])


@st.composite
def wanted(draw: st.DrawFn) -> tuple[FileBlocks, list[tuple[int, int]]]:
    blocks = draw(FILES)
    points = st.integers(0, blocks.size)
    pairs = draw(st.lists(st.tuples(points, points), max_size=6))
    return blocks, [(min(pair), max(pair)) for pair in pairs]


def _destination(plan: Plan) -> dict[int, int]:
    """Which byte of the file each byte of the destination holds; fails where two requests overlap."""
    held: dict[int, int] = {}
    for request in plan.requests:
        for step in range(request.size):
            assert held.setdefault(request.at + step, request.begin + step) == request.begin + step
    assert len(held) == plan.bytes_read
    return held


@given(wanted(), REQUESTS)
def test_every_wanted_byte_is_there_once_and_located(
    given_: tuple[FileBlocks, list[tuple[int, int]]], step: int
) -> None:
    blocks, ranges = given_
    plan = plan_ranges(blocks, ranges, step)
    held = _destination(plan)
    assert max(held, default=-1) < plan.size
    for begin, end in ranges:
        if begin < end:
            at = plan.locate(begin, end)
            probes = {begin, end - 1, (begin + end) // 2}
            assert all(held[at + probe - begin] == probe for probe in probes)
    needed = {index for begin, end in ranges for index in blocks.covering(begin, end)}
    fetched = [index for request in plan.requests for index in range(request.first, request.last)]
    assert sorted(fetched) == sorted(needed)


@given(wanted(), REQUESTS)
def test_requests_are_whole_blocks_of_about_the_size_asked_for(
    given_: tuple[FileBlocks, list[tuple[int, int]]], step: int
) -> None:
    blocks, ranges = given_
    for request in plan_ranges(blocks, ranges, step).requests:
        assert request.first < request.last
        assert (request.begin, request.end) == (blocks.starts[request.first], blocks.starts[request.last])
        assert request.size <= step or request.last - request.first == 1


@given(wanted(), REQUESTS)
def test_runs_keep_their_place_within_a_page(given_: tuple[FileBlocks, list[tuple[int, int]]], step: int) -> None:
    blocks, ranges = given_
    plan = plan_ranges(blocks, ranges, step)
    assert all(run.at % PAGE == run.begin % PAGE for run in plan.runs)
    assert all(first.end < second.begin for first, second in zip(plan.runs, plan.runs[1:], strict=False))
    assert plan.size <= plan.bytes_read + PAGE * len(plan.runs)


@given(FILES, REQUESTS)
def test_a_whole_file_lies_as_in_the_file(blocks: FileBlocks, step: int) -> None:
    plan = plan_file(blocks, step)
    assert plan.size == plan.bytes_read == blocks.size
    assert all(request.at == request.begin for request in plan.requests)
    if blocks.size:
        assert plan.locate(0, blocks.size) == 0


@given(wanted(), st.integers(0, 200_000), st.integers(1, 200_000))
def test_what_is_not_planned_is_not_located(
    given_: tuple[FileBlocks, list[tuple[int, int]]], begin: int, size: int
) -> None:
    blocks, ranges = given_
    plan = plan_ranges(blocks, ranges, 5000)
    inside = any(run.begin <= begin and begin + size <= run.end for run in plan.runs)
    if inside:
        plan.locate(begin, begin + size)
    else:
        with pytest.raises(UsageError, match="not part of the plan"):
            plan.locate(begin, begin + size)


@pytest.mark.parametrize("pair", [(-1, 5), (0, 101), (60, 50), (101, 101)])
def test_ranges_outside_the_file_are_refused(pair: tuple[int, int]) -> None:
    blocks = file_blocks("", [60, 40], [])
    with pytest.raises(UsageError, match="lie outside the file"):
        plan_ranges(blocks, [pair], 10)
