"""Which blocks a sample takes: repeatable, bounded, and each as likely as another."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hoist.audit.sample import MOST_BYTES, NO_BYTES, WHOLE, Chooser, Sample, parse_sample
from hoist.errors import UsageError
from hoist.model.blocks import FileBlocks, file_blocks
from hoist.model.cut import BLOCK_TARGET


def blocks(*lengths: int) -> FileBlocks:
    return file_blocks("sha256:" + "0" * 64, lengths, [b"d" * 32] * len(lengths))


versions = st.lists(
    st.lists(st.lists(st.integers(1, 16 << 20), max_size=8), min_size=1, max_size=4), min_size=1, max_size=12
)


@settings(max_examples=40, deadline=None)
@given(versions, st.floats(0.001, 1.0), st.integers(0, 1 << 32))
def test_bounded_and_repeatable(sizes: list[list[list[int]]], share: float, seed: int) -> None:
    files = {
        f"m:{number}": {f"f{place}": blocks(*lengths) for place, lengths in enumerate(each)}
        for number, each in enumerate(sizes)
    }

    def run() -> dict[str, dict[str, list[tuple[int, int]]]]:
        chooser = Chooser(share, seed)
        found = {}
        for name in chooser.order([*files]):
            if chooser.grant(sum(each.size for each in files[name].values())) > 0:
                found[name] = chooser.choose(name, files[name])
        return found

    chosen = run()
    assert run() == chosen
    total = sum(each.size for those in files.values() for each in those.values())
    taken = 0
    for name, paths in chosen.items():
        for path, spans in paths.items():
            whole = [files[name][path].span(index) for index in range(len(files[name][path]))]
            assert len(set(spans)) == len(spans)
            assert set(spans) <= set(whole)
            taken += sum(end - begin for begin, end in spans)
    largest = max((length for each in sizes for lengths in each for length in lengths), default=0)
    assert taken <= share * (total + BLOCK_TARGET) + largest + 1
    if share == 1.0:
        assert taken == total


def test_every_block_is_as_likely() -> None:
    files = {"a": blocks(*[BLOCK_TARGET] * 10), "b": blocks(*[BLOCK_TARGET] * 10)}
    counts = dict.fromkeys([(path, number) for path in files for number in range(10)], 0)
    runs = 2000
    for seed in range(runs):
        chooser = Chooser(0.1, seed)
        chooser.grant(20 * BLOCK_TARGET)
        for path, spans in chooser.choose("m:1", files).items():
            for begin, _ in spans:
                counts[path, begin // BLOCK_TARGET] += 1
    share = sum(counts.values()) / len(counts) / runs
    assert 0.09 < share < 0.16
    # Five standard deviations of what chance does.
    assert all(abs(count / runs - share) < 5 * (share / runs) ** 0.5 for count in counts.values())


def test_many_small_versions_take_turns() -> None:
    """None is looked at first in every audit, and together they are read as much as one large version would be."""
    names = [f"m:{number}" for number in range(200)]
    seen: set[str] = set()
    for seed in range(60):
        chooser = Chooser(0.05, seed)
        taken = 0
        for name in chooser.order(names):
            if chooser.grant(1000) > 0:
                found = chooser.choose(name, {"f": blocks(1000)})
                taken += 1000 * len(found)
                seen.update([name] * len(found))
        assert taken <= 0.05 * (200_000 + BLOCK_TARGET) + 1000
    assert seen == set(names)


def test_what_is_asked_for() -> None:
    assert parse_sample("5%") == Sample(0.05, MOST_BYTES)
    assert parse_sample("100%") == parse_sample("whole") == WHOLE
    assert parse_sample("2GiB") == Sample(1.0, 2 << 30)
    assert parse_sample("none") == NO_BYTES
    assert [str(parse_sample(text)) for text in ("5%", "0.25%", "10%", "whole", "none", "1KiB")] == [
        "5%", "0.25%", "10%", "whole", "none", "1024 bytes",
    ]  # fmt: skip
    assert parse_sample("2GiB").share_of(8 << 30) == 0.25
    assert parse_sample("2GiB").share_of(1 << 30) == 1.0
    assert parse_sample("50%").share_of(MOST_BYTES * 4) == 0.25


@pytest.mark.parametrize("text", ["", "%", "0%", "101%", "-1%", "five", "5 percent", "nan%"])
def test_nonsense(text: str) -> None:
    with pytest.raises(UsageError):
        parse_sample(text)
