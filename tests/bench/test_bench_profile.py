"""The profile: stages count their own time only, samples are sorted by what they were, and a real load has both."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from hoist.bench.profile import profile_load, profile_markdown
from hoist.bench.samples import Frame, perf_unavailable, sort_samples, stacks
from hoist.bench.stage import isolated_config
from hoist.bench.stages import HASHING, MAIN, OPENING, RECEIVING, THREADS, Stages
from hoist.verbs import publish
from makers import Raw, noise, safetensors_bytes


def spin(seconds: float) -> None:
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        pass


def test_an_inner_stage_is_not_the_outer_s() -> None:
    stages = Stages()
    inner = stages.wrapped("inner", spin)
    with stages.in_stage("outer"):
        spin(0.02)
        inner(0.1)
        inner(0.1)
    outer, found = stages.spent["outer"], stages.spent["inner"]
    assert (outer.calls, found.calls) == (1, 2)
    # CPU clocks, not the time of day: a busy machine changes nothing.
    assert found.user + found.system >= 0.19
    assert outer.user + outer.system < 0.15


KERNEL, BLAKE = "[kernel.kallsyms]", "blake3.cpython-311-x86_64-linux-gnu.so"


@pytest.mark.parametrize(
    "stack, category",
    [
        ([("_raw_spin_lock", KERNEL), ("clear_page_erms", KERNEL), ("tcp_recvmsg", KERNEL)], "first touch of memory"),
        ([("rep_movs_alternative", KERNEL), ("tcp_recvmsg", KERNEL)], "receiving: copy out of the kernel"),
        ([("_raw_spin_lock", KERNEL), ("tcp_recvmsg", KERNEL)], "receiving: network in the kernel"),
        ([("xas_load", KERNEL), ("filemap_read", KERNEL)], "reading files in the kernel"),
        ([("_blake3_hash_many_avx512", BLAKE), ("PyEval", "libpython3.11.so")], "hashing"),
        ([("_PyEval_EvalFrameDefault", "libpython3.11.so")], "interpreter"),
        # What the kernel does for itself is not what the code below it is.
        ([("something", KERNEL), ("_blake3_hash", BLAKE)], "kernel, other"),
    ],
)
def test_samples_are_sorted(stack: list[tuple[str, str]], category: str) -> None:
    found = sort_samples([[Frame(*frame) for frame in stack]])
    assert dict(found.categories) == {category: 1}
    assert found.symbols[stack[0]] == 1


def test_stacks_of_perf_script_are_read() -> None:
    text = (
        "\n\t    7f1 clear_page_erms+0x7 ([kernel.kallsyms])\n\t    55 main (/usr/lib/a b/python3.11)\n\n"
        "\t    10 [unknown] (/usr/lib/libc.so.6)\n\n"
    )
    found = list(stacks(text.splitlines()))
    assert found == [
        [Frame("clear_page_erms", KERNEL), Frame("main", "python3.11")],
        [Frame("[unknown]", "libc.so.6")],
    ]


@pytest.mark.long
@pytest.mark.usefixtures("page_cache")
def test_a_load_is_profiled(tmp_path: Path) -> None:
    (tmp_path / "nas").mkdir()
    (tmp_path / "w.safetensors").write_bytes(safetensors_bytes([Raw("w", "U8", (30 << 20,), noise(30 << 20))]))
    config = isolated_config(tmp_path, f'[storage.nas]\nurl = "{tmp_path / "nas"}"\n', None)
    publish(tmp_path / "w.safetensors", "nas//m/one:v1", config=config)
    profile = profile_load("nas//m/one:v1", config)
    assert profile.size > 30 << 20 and profile.state == "cold"
    assert {OPENING, RECEIVING, HASHING, THREADS, MAIN} <= set(profile.stages)
    assert profile.stages[HASHING]["calls"] >= 4
    together = sum(stage["user"] + stage["system"] for stage in profile.stages.values())
    assert together == pytest.approx(profile.cpu_seconds, rel=0.1, abs=0.02)
    text = "\n".join(profile_markdown(profile))
    assert "| hashing |" in text
    assert (profile.sampled is None) == (perf_unavailable() is not None)
    assert ("Not sampled" in text) == (profile.sampled is None)
    if profile.sampled:
        assert profile.sampled.total > 0
