"""Samples of `perf record`, sorted by what the processor was doing: which code, and in the kernel on whose behalf."""

from __future__ import annotations

import re
import subprocess
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from hoist.errors import LocalError
from hoist.testing.servers.base import find_program

FREQUENCY = 1999
_FRAME = re.compile(r"\s+[0-9a-f]+ (.*) \(([^)]*)\)$")
_OFFSET = re.compile(r"\+0x[0-9a-f]+$")
# The first frame that matches, from the innermost outwards, says what a sample is.
_KERNEL = (
    (
        "first touch of memory",
        re.compile(r"exc_page_fault|handle_mm_fault|faultin_page|clear_(huge_)?page|populate_vma"),
    ),
    ("receiving: copy out of the kernel", re.compile(r"copy_to_user|copy_to_iter|rep_movs|copy_user|copyout")),
    ("receiving: network in the kernel", re.compile(r"tcp_|sock_|inet_|net_rx|skb_|ip_|__sys_(recv|send)")),
    (
        "reading files in the kernel",
        re.compile(r"filemap|ext4|xfs|page_cache|blk_|bio_|madvise|vfs_read|fadvise"),
    ),
    ("giving memory back", re.compile(r"munmap|unmap_vmas|exit_mmap|zap_p|release_pages|free_unref|tlb_")),
    ("waiting and waking", re.compile(r"futex|schedule|poll|epoll|nanosleep|wake_up|hrtimer")),
)
_USER = (
    ("hashing", re.compile(r"blake3")),
    ("copying in user space", re.compile(r"mem(cpy|move|set)")),
    ("interpreter", re.compile(r"python|libc\.so|ld-linux|_json|_socket|_struct|pthread")),
    ("torch", re.compile(r"torch|libc10|numpy")),
    ("object store library", re.compile(r"obstore")),
    ("TLS", re.compile(r"libssl|libcrypto|_ssl")),
)
OTHER_KERNEL, OTHER = "kernel, other", "other"


@dataclass(frozen=True, slots=True)
class Frame:
    """One function of a stack, and the file it is in."""

    symbol: str
    file: str

    @property
    def kernel(self) -> bool:
        """Whether it is the kernel's."""
        return self.file.startswith(("[kernel", "[guest.kernel"))


@dataclass(frozen=True)
class Sampled:
    """How many samples fell in each category and on each function, and how many in all."""

    categories: Counter[str]
    symbols: Counter[tuple[str, str]]
    total: int


def perf_unavailable() -> str | None:
    """None when perf can record here; else the reason and the mend."""
    perf = find_program("perf")
    if perf is None:
        return "perf is not installed: sudo apt-get install -y --no-install-recommends linux-perf"
    tried = subprocess.run([perf, "record", "-q", "-o", "-", "true"], check=False, capture_output=True)
    return None if tried.returncode == 0 else "perf may not record here: see /proc/sys/kernel/perf_event_paranoid"


def record_words(data: Path, control: Path) -> list[str]:
    """The command before a command that records it to `data`; off until `enable` comes through the pipe `control`."""
    perf = find_program("perf")
    if perf is None:
        raise LocalError("perf is not installed")
    return [perf, "record", "-q", "-o", str(data), "-F", str(FREQUENCY), "-e", "cpu-clock", "-g", "-D", "-1",
            f"--control=fifo:{control}", "--"]  # fmt: skip


def read_samples(data: Path) -> Sampled:
    """Sort the samples of a recording. Raises LocalError if perf cannot read it."""
    perf = find_program("perf")
    assert perf is not None, "it has recorded"
    done = subprocess.run(
        [perf, "script", "-i", str(data), "-F", "ip,sym,dso"], check=False, capture_output=True, text=True
    )
    if done.returncode:
        raise LocalError(f"perf cannot read its recording: {done.stderr.strip()[-200:]}")
    return sort_samples(stacks(done.stdout.splitlines()))


def stacks(lines: Iterable[str]) -> Iterator[list[Frame]]:
    """The stacks of `perf script -F ip,sym,dso`, innermost frame first."""
    stack: list[Frame] = []
    for line in lines:
        found = _FRAME.match(line)
        if found:
            stack.append(Frame(_OFFSET.sub("", found[1]), Path(found[2]).name))
        elif not line.strip() and stack:
            yield stack
            stack = []
    if stack:
        yield stack


def sort_samples(found: Iterable[list[Frame]]) -> Sampled:
    """Count stacks by category and by innermost function."""
    categories: Counter[str] = Counter()
    symbols: Counter[tuple[str, str]] = Counter()
    for stack in found:
        categories[_category(stack)] += 1
        leaf = stack[0]
        symbols[(leaf.symbol if leaf.symbol != "[unknown]" else "-", leaf.file)] += 1
    return Sampled(categories, symbols, sum(categories.values()))


def _category(stack: list[Frame]) -> str:
    if stack[0].kernel:
        for frame in stack:
            if not frame.kernel:
                break
            for name, pattern in _KERNEL:
                if pattern.search(frame.symbol):
                    return name
        return OTHER_KERNEL
    leaf = stack[0]
    return next((name for name, pattern in _USER if pattern.search(f"{leaf.symbol} {leaf.file}")), OTHER)
