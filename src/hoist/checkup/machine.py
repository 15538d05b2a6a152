"""This machine: Python and torch, the GPU, processors, memory, limits, the page cache, Hoist's own cache folder."""

from __future__ import annotations

import mmap
import os
import platform
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from hoist import __version__
from hoist.checkup.limits import cpu_limit, memory_limit
from hoist.checkup.report import Finding, Group
from hoist.config import Config
from hoist.errors import LocalError
from hoist.pagecache import cached_fraction

_GROUP = Group("this machine")
_GIB = 1 << 30
_FEW_FILES = 512
_LITTLE_MEMORY = _GIB
_LITTLE_SPACE = _GIB
_THP = Path("/sys/kernel/mm/transparent_hugepage/enabled")
_GPU_SIGNS = ("/proc/driver/nvidia/version", "/dev/nvidiactl", "/dev/nvidia0", "/dev/dxg")
# A process of its own: a driver that hangs or a torch that crashes must not take the checkup along.
_ASK_TORCH = """
import torch
print(torch.version.cuda or "")
if torch.cuda.is_available():
    for n in range(torch.cuda.device_count()):
        free, total = torch.cuda.mem_get_info(n)
        print(torch.cuda.get_device_name(n), total, sep="\\t")
"""
_TORCH_SECONDS = 60


def check_machine(config: Config) -> Iterator[Finding]:
    """Look at this machine; writes nothing."""
    yield _python()
    yield _torch()
    yield _gpu(config.environ)
    yield _processors()
    yield _memory()
    yield _huge_pages()
    yield _open_files()
    yield from _page_cache()
    yield _cache_folder(config)


def _python() -> Finding:
    packages = ", ".join(f"{name} {_version(name) or '?'}" for name in ("obstore", "blake3"))
    detail = f"{platform.python_version()} on Linux {platform.release()}; hoist {__version__}, {packages}"
    return _GROUP.ok("Python", detail)


def _torch() -> Finding:
    found = _version("torch")
    if found is None:
        return _GROUP.missing("torch", "not installed: no loading to tensors", "pip install 'hoist[torch]'")
    return _GROUP.ok("torch", found)


def _gpu(environ: Mapping[str, str]) -> Finding:
    seen = any(Path(sign).exists() for sign in _GPU_SIGNS) or shutil.which("nvidia-smi", path=environ.get("PATH"))
    if not seen:
        return _GROUP.missing("GPU", "no NVIDIA driver is seen", "none is needed to load to the CPU")
    if _version("torch") is None:
        return _GROUP.missing("GPU", "a driver is seen, and no torch to use it", "pip install 'hoist[torch]'")
    mend = "run python -c 'import torch; torch.cuda.init()' for torch's own words"
    try:
        asked = subprocess.run(
            [sys.executable, "-c", _ASK_TORCH], capture_output=True, text=True, timeout=_TORCH_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return _GROUP.failed("GPU", f"torch does not answer within {_TORCH_SECONDS} s", mend)
    lines = asked.stdout.splitlines()
    if asked.returncode or not lines:
        return _GROUP.failed("GPU", "torch cannot be imported", mend)
    if not lines[0]:
        return _GROUP.warning("GPU", "a driver is seen, and this torch is a CPU build", "install a CUDA build of torch")
    if len(lines) == 1:
        return _GROUP.warning("GPU", f"a driver is seen, and torch (CUDA {lines[0]}) finds no device", mend)
    devices = [line.split("\t") for line in lines[1:]]
    shown = ", ".join(f"{name} ({int(total) / _GIB:.0f} GiB)" for name, total in devices)
    total = float(sum(int(total) for _, total in devices))
    return _GROUP.ok("GPU", f"{shown}, CUDA {lines[0]}", devices=len(devices), memory_bytes=total)


def _processors() -> Finding:
    usable = len(os.sched_getaffinity(0))
    quota = cpu_limit()
    if quota is None or quota >= usable:
        return _GROUP.ok("processors", f"{usable}", cores=usable)
    detail = f"{usable}, and a cgroup lets {quota:g} of them be used at a time"
    if quota < 1:
        return _GROUP.warning("processors", detail, "give the container one processor at least", cores=quota)
    return _GROUP.ok("processors", detail, cores=quota)


def _memory() -> Finding:
    known = _meminfo()
    total, available = known.get("MemTotal", 0), known.get("MemAvailable", 0)
    limit, used = memory_limit()
    detail = f"{available / _GIB:.1f} GiB available of {total / _GIB:.1f}"
    if limit is not None and limit < total:
        available = min(available, max(0, limit - used))
        detail += f"; a cgroup allows {limit / _GIB:.1f} GiB, page cache included, and has {used / _GIB:.1f} in use"
    figures = {"total_bytes": float(total), "available_bytes": float(available)}
    if available < _LITTLE_MEMORY:
        mend = "a load takes the model and 256 MiB (less with HOIST_MEMORY): free memory, or raise the limit"
        return _GROUP.warning("memory", detail, mend, **figures)
    return _GROUP.ok("memory", detail, **figures)


def _huge_pages() -> Finding:
    try:
        chosen = _THP.read_text().partition("[")[2].partition("]")[0]
    except OSError:
        chosen = "not there"
    if chosen in ("always", "madvise"):
        return _GROUP.ok("huge pages", f"transparent huge pages: {chosen}")
    return _GROUP.missing("huge pages", f"transparent huge pages: {chosen}", f"as root: echo madvise > {_THP}")


def _open_files() -> Finding:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    shown = ["unlimited" if limit == resource.RLIM_INFINITY else str(limit) for limit in (soft, hard)]
    detail = f"{shown[0]} (up to {shown[1]})"
    if soft != resource.RLIM_INFINITY and soft < _FEW_FILES:
        return _GROUP.warning("open files", detail, f"ulimit -n {_FEW_FILES * 2}", limit=soft)
    return _GROUP.ok("open files", detail)


def _page_cache() -> Iterator[Finding]:
    # A file that is certainly there and can be read, and larger than a page.
    sample = Path(sys.executable)
    try:
        cached_fraction(sample)
        yield _GROUP.ok("page cache", "the kernel says what it holds")
    except (OSError, LocalError):
        mend = "run on Linux 6.5 or newer, or allow mincore; files are then mapped without asking"
        yield _GROUP.missing("page cache", "the kernel does not say what it holds", mend)
    if _direct(sample):
        yield _GROUP.ok("direct I/O", "O_DIRECT works on the file system of Python itself")
    else:
        mend = "none needed: files are read through the page cache"
        yield _GROUP.missing("direct I/O", "O_DIRECT is refused on the file system of Python itself", mend)


def _direct(path: Path) -> bool:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECT)
    except OSError:
        return False
    try:
        with mmap.mmap(-1, mmap.PAGESIZE) as page:
            return os.preadv(fd, [page], 0) > 0
    except OSError:
        return False
    finally:
        os.close(fd)


def _cache_folder(config: Config) -> Finding:
    folder = config.cache_folder
    there = folder
    while not there.exists() and there != there.parent:
        there = there.parent
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        mend = "make it writable, or set XDG_CACHE_HOME; without it local files are verified at each load"
        return _GROUP.warning("cache folder", f"{folder} cannot be written", mend)
    free = shutil.disk_usage(there).free
    detail = f"{folder}, {free / _GIB:.1f} GiB free"
    if free < _LITTLE_SPACE:
        return _GROUP.warning("cache folder", detail, "free space there, or set XDG_CACHE_HOME", free_bytes=free)
    return _GROUP.ok("cache folder", detail, free_bytes=free)


def _meminfo() -> dict[str, int]:
    found: dict[str, int] = {}
    with suppress(OSError, ValueError, IndexError):
        for line in Path("/proc/meminfo").read_text().splitlines():
            name, _, rest = line.partition(":")
            found[name] = int(rest.split()[0]) * 1024
    return found


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
