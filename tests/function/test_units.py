"""Units: whole blocks, each tensor in one, known by content. Bytes in a pool, counted once."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hoist.errors import UsageError
from hoist.function.pool import Pool
from hoist.function.units import cut_units, find_unit
from makers import blocks_of, noise

PIECES = st.tuples(st.integers(0, 3000), st.integers(0, 900))
MODELS = st.lists(st.dictionaries(st.integers(0, 9), st.just(0), max_size=6), min_size=1, max_size=5)


@given(
    st.integers(1, 3000),
    st.integers(20, 400),
    st.lists(st.tuples(st.integers(0, 3000), st.integers(0, 900)), max_size=12),
)
def test_each_piece_lies_in_one_unit_of_whole_blocks(size: int, target: int, raw: list[tuple[int, int]]) -> None:
    data = noise(size, 1)
    blocks = blocks_of(data, target)
    pieces = [(begin, min(begin + length, size)) for begin, length in raw if begin <= size]
    units = cut_units(blocks, pieces)
    for begin, end in pieces:
        if end > begin:
            unit = find_unit(units, begin, end)
            assert unit.begin <= begin < end <= unit.end
    wanted = {index for begin, end in pieces for index in blocks.covering(begin, end)}
    covered = [index for unit in units for index in blocks.covering(unit.begin, unit.end)]
    assert sorted(wanted) == covered, "no block twice, none for nothing"
    assert all(unit.begin in blocks.starts and unit.end in blocks.starts for unit in units)


def test_equal_bytes_have_equal_keys_wherever_they_lie() -> None:
    part, first, second = noise(1000, 5), noise(300, 6), noise(200, 7)
    # Cut at steps of 100: the same part behind others of other lengths.
    here, there = blocks_of(first + part, 100), blocks_of(second + part, 100)
    one = cut_units(here, [(300, 1300)])
    other = cut_units(there, [(200, 1200)])
    assert [unit.key for unit in one] == [unit.key for unit in other]
    assert (one[0].size, other[0].begin) == (1000, 200)
    assert cut_units(here, [(0, 300)])[0].key != cut_units(there, [(0, 200)])[0].key
    with pytest.raises(UsageError, match="in no unit"):
        find_unit(one, 0, 10)


@settings(deadline=None, max_examples=60)
@given(MODELS, st.data())
def test_a_pool_counts_what_is_shared_once(raw: list[dict[int, int]], data: st.DataObject) -> None:
    models = [{bytes([key]): key + 1 for key in keys} for keys in raw]
    pool = Pool(30)
    here: list[int] = []
    for _ in range(12):
        index = data.draw(st.integers(0, len(models) - 1))
        if index in here:
            pool.remove(models[index])
            here.remove(index)
        else:
            pool.add(models[index])
            here.append(index)
        assert pool.total == _bytes([models[each] for each in here])
        coming = data.draw(st.sampled_from(models))
        going = data.draw(st.lists(st.sampled_from(here), unique=True)) if here else []
        staying = [models[each] for each in here if each not in going]
        short = pool.short(coming, [models[each] for each in going])
        assert short == _bytes([*staying, coming]) - 30
        alone = {key for key in coming if sum(key in models[each] for each in here) == 1}
        assert pool.own(coming) == sum(coming[key] for key in alone)
    assert Pool(None).short(models[0]) <= 0


def _bytes(models: list[dict[bytes, int]]) -> int:
    return sum({key: size for model in models for key, size in model.items()}.values())
