"""Where files are cut: sums, limits, boundaries on tensors, and blocks shared between files."""

from __future__ import annotations

from itertools import accumulate
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from hoist.model.cut import BLOCK_TARGET, Piece, cut
from hoist.transfer.scan import ScannedFile, find_files, scan_file
from makers import Raw, noise, safetensors_bytes

TARGETS = st.sampled_from([16, 100, 4096, 8192])
PIECES = st.lists(
    st.builds(
        lambda begin, size, part: Piece(begin, begin + size, part),
        st.integers(-5, 40_000), st.integers(-5, 20_000), st.sampled_from(["", "a", "b"]),
    ),
    max_size=12,
)  # fmt: skip


@given(st.integers(0, 50_000), PIECES, TARGETS)
def test_lengths_sum_to_the_size_and_none_is_over_the_target(size: int, pieces: list[Piece], target: int) -> None:
    lengths = cut(size, pieces, target)
    assert sum(lengths) == size
    assert all(0 < length <= target for length in lengths)


@given(st.integers(0, 50_000), PIECES, TARGETS, st.randoms())
def test_the_order_of_pieces_of_one_part_does_not_matter(
    size: int, pieces: list[Piece], target: int, rng: object
) -> None:
    plain = [Piece(piece.begin, piece.end) for piece in pieces]
    assert cut(size, reversed(plain), target) == cut(size, plain, target)


@given(st.lists(st.tuples(st.integers(1, 30_000), st.sampled_from("ab")), max_size=10), TARGETS)
def test_big_tensors_begin_and_end_blocks(sizes: list[tuple[int, str]], target: int) -> None:
    ends = list(accumulate(size for size, _ in sizes))
    pieces = [Piece(end - size, end, part) for end, (size, part) in zip(ends, sizes, strict=True)]
    total = ends[-1] if ends else 0
    cuts = {0, *accumulate(cut(total, pieces, target))}
    for piece in pieces:
        if piece.end - piece.begin > target:
            assert {piece.begin, piece.end} <= cuts


@given(st.integers(0, 200_000), TARGETS)
def test_without_pieces_the_steps_are_even(size: int, target: int) -> None:
    lengths = cut(size, target=target)
    assert len(lengths) <= -(-size // target) if size else lengths == []
    assert len(set(lengths[:-1])) <= 1
    if target % 4096 == 0:
        assert all(length % 4096 == 0 for length in lengths[:-1])


def test_small_neighbours_are_grouped_until_the_target() -> None:
    pieces = [Piece(n * 10, n * 10 + 10) for n in range(10)]
    assert cut(100, pieces, 35) == [30, 30, 30, 10]


def test_a_new_part_begins_a_block_once_the_last_is_not_tiny() -> None:
    assert cut(60, [Piece(0, 30, "unet"), Piece(30, 60, "vae")], 64) == [30, 30]
    assert cut(60, [Piece(0, 4, "unet"), Piece(4, 60, "vae")], 64) == [60]


def test_an_index_shares_its_block_with_nothing() -> None:
    pieces = [Piece(0, 10), Piece(10, 14, "header", index=True), Piece(14, 30), Piece(30, 50)]
    assert cut(50, pieces, 64) == [10, 4, 36]


def test_a_big_tensor_is_split_evenly() -> None:
    target = 8192
    lengths = cut(100 + 20_000 + 50, [Piece(100, 20_100)], target)
    assert lengths == [100, 8192, 8192, 3616, 50]


def _scan(folder: Path, name: str, data: bytes) -> ScannedFile:
    path = folder / name
    path.write_bytes(data)
    (file,) = find_files(path)
    return scan_file(file, lambda _: None)


def _digests(scanned: ScannedFile) -> list[bytes]:
    return [scanned.blocks.digest(index) for index in range(len(scanned.blocks))]


def test_a_shared_tensor_gives_the_same_blocks_wherever_it_lies(tmp_path: Path) -> None:
    big = noise(2 * BLOCK_TARGET + 12_345, 1)
    shared = Raw("vae.w", "U8", [len(big)], big)
    first = [Raw("unet.a", "U8", [70_000], noise(70_000, 2)), shared, Raw("z.b", "U8", [999], noise(999, 3))]
    second = [
        Raw("te.c", "U8", [BLOCK_TARGET - 5], noise(BLOCK_TARGET - 5, 4)),
        Raw("te.d", "U8", [4001], noise(4001, 5)),
        shared,
    ]
    one = _scan(tmp_path, "one.safetensors", safetensors_bytes(first, {"format": "pt"}))
    two = _scan(tmp_path, "two.safetensors", safetensors_bytes(second))
    common = set(_digests(one)) & set(_digests(two))
    spans = [one.blocks.span(n) for n in range(len(one.blocks)) if one.blocks.digest(n) in common]
    assert sum(end - begin for begin, end in spans) == len(big)
    assert len(common) == 3


def test_an_unknown_format_is_cut_at_fixed_steps(tmp_path: Path) -> None:
    scanned = _scan(tmp_path, "model.gguf", b"GGUF" + noise(2 * BLOCK_TARGET))
    lengths = [end - begin for begin, end in (scanned.blocks.span(n) for n in range(len(scanned.blocks)))]
    assert lengths == cut(2 * BLOCK_TARGET + 4)
    assert len(lengths) == 3


def test_an_empty_file_has_no_blocks(tmp_path: Path) -> None:
    assert len(_scan(tmp_path, "empty.txt", b"").blocks) == 0
