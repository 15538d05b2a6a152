"""What the mount shall reach, beside what the records say of it. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from statistics import median

from hoist.bench.mount_table import Figures, mount_figures
from hoist.bench.table import Record, is_switch
from hoist.bench.target import Target

Works = Mapping[str, Mapping[str, Figures]]
_OWN = "hoist"
_NO_PEERS = ("hoist", "hoist-keep-cache", "hoist-no-cache", "memory", "native", "raw GETs")
_MEMORY = 512 << 20
_DIRECTORY = "nas"


def mount_targets(records: Sequence[Record]) -> list[Target]:
    """A row a target that the records say something of."""
    works = mount_figures(records)
    found: list[Target] = []
    for rows in (_first, _second, _load, _map, _small, _herd, _memory):
        found += rows(works)
    return found + list(_switch(records))


def _first(works: Works) -> Iterator[Target]:
    here = works.get("first read", {})
    own, least, raw = here.get(_OWN), here.get("memory"), here.get("raw GETs")
    if own is None:
        return
    work = f"mount: first read of {own.size / (1 << 30):.2f} GiB"
    limits = {item.name: item.rate for item in (least, raw) if item}
    if limits:
        name = min(limits, key=lambda each: limits[each])
        ratio = own.rate / limits[name]
        beside = ", ".join(f"{each} {rate / 1e6:,.0f} MB/s" for each, rate in limits.items())
        if len(limits) > 1:
            # A mount does both, and here client, server, daemon and reader share the cores.
            both = 1 / sum(1 / rate for rate in limits.values())
            beside += f"; one after the other {both / 1e6:,.0f}"
        target = "0.8 of the raw GETs or of a daemon in memory, the lower"
        yield Target(work, target, f"{ratio:.2f} ({own.rate / 1e6:,.0f} MB/s)", ratio >= 0.8, beside)
    yield from _against(work, here, own, 3)


def _second(works: Works) -> Iterator[Target]:
    for step in ("second read", "second mmap"):
        here = works.get(step, {})
        native = here.get("native")
        for name, least in ((_OWN, 0.95), ("hoist-keep-cache", 0.5)):
            own = here.get(name)
            if own is None or native is None:
                continue
            ratio = own.rate / native.rate
            work, beside = f"mount: {step}, {name}", f"{own.rate / 1e6:,.0f} of {native.rate / 1e6:,.0f} MB/s"
            yield Target(work, f"{least} of the native page cache", f"{ratio:.2f}", ratio >= least, beside)
            sent = int(own.storage_bytes or 0)
            yield Target(work, "0 bytes from the storage", f"{sent:,}", sent == 0)


def _load(works: Works) -> Iterator[Target]:
    own, read = works.get("load_file", {}).get(_OWN), works.get("first read", {}).get(_OWN)
    if own and read:
        ratio = own.whole_seconds / read.whole_seconds
        beside = f"{own.whole_seconds:.2f} s, read {read.whole_seconds:.2f} s"
        yield Target(
            "mount: safetensors load_file, first", "1.15 x the sequential read", f"{ratio:.2f} x", ratio <= 1.15, beside
        )


def _map(works: Works) -> Iterator[Target]:
    here = works.get("cold mmap", {})
    if _OWN in here:
        yield from _against("mount: cold mmap, page by page", here, here[_OWN], 3)


def _small(works: Works) -> Iterator[Target]:
    here = works.get("small files", {})
    own = here.get(_OWN)
    if own is None:
        return
    work = f"mount: {own.files:,.0f} small files, first read"
    for name, least in (("s3fs", 10.0), ("rclone", 3.0), ("rclone-full", 3.0)):
        if name in here:
            ratio = own.files_per_second / here[name].files_per_second
            beside = f"{own.files_per_second:,.0f} files/s, {name} {here[name].files_per_second:,.0f}"
            yield Target(work, f"{least:g} x {name}", f"{ratio:.1f} x", ratio >= least, beside)
    if own.requests:
        fewer = own.files / own.requests
        yield Target(
            work, "requests 20 x fewer than files", f"{fewer:.0f} x", fewer >= 20, f"{own.requests:,.0f} requests"
        )


def _herd(works: Works) -> Iterator[Target]:
    own = works.get("8 at once", {}).get(_OWN)
    if own and own.storage_bytes is not None:
        ratio = own.storage_bytes / (own.read_bytes / 8)
        beside = f"{own.rate / 1e6:,.0f} MB/s in all"
        yield Target(
            "mount: 8 processes read one model", "1.02 x the model sent", f"{ratio:.3f} x", ratio <= 1.02, beside
        )


def _memory(works: Works) -> Iterator[Target]:
    own = works.get("first read", {}).get(_OWN)
    if own and own.daemon_peak is not None:
        beside = f"{own.daemon_cpu or 0:.2f} CPU s"
        work = f"mount: daemon's memory, {own.size / (1 << 30):.2f} GiB cold"
        yield Target(work, "under 512 MiB", f"{own.daemon_peak >> 20} MiB", own.daemon_peak < _MEMORY, beside)


def _switch(records: Sequence[Record]) -> Iterator[Target]:
    """The second switch through the host cache beside a directory with a warm page cache."""
    second = [r for r in records if is_switch(r) and r["switch"] == "second"]
    for file in dict.fromkeys(r["file"] for r in second):
        here = [r for r in second if r["file"] == file]
        warm = [r["seconds"] for r in here if r["kind"] == _DIRECTORY and r["loader"] == _OWN]
        for loader in ("hoist-cached", "mounted"):
            cached = [r["seconds"] for r in here if r["kind"] != _DIRECTORY and r["loader"] == loader]
            if not warm or not cached:
                continue
            # Noise is what the runs of each differ by among themselves.
            noise = max(max(warm) - min(warm), max(cached) - min(cached))
            measured = f"{median(cached):.3f} s, nas {median(warm):.3f} s"
            met = median(cached) - median(warm) <= noise if len(warm) > 1 else None
            work = f"second switch through the host cache, {loader}: {file}"
            yield Target(work, "as a warm nas, within noise", measured, met, f"noise {noise:.3f} s")


def _against(work: str, here: Mapping[str, Figures], own: Figures, least: float) -> Iterator[Target]:
    peers = [item for item in here.values() if item.name not in _NO_PEERS]
    if peers:
        fastest = max(peers, key=lambda item: item.rate)
        ratio = own.rate / fastest.rate
        beside = ", ".join(f"{item.name} {item.rate / 1e6:,.0f}" for item in peers) + " MB/s"
        yield Target(work, f"{least:g} x the fastest peer", f"{ratio:.1f} x", ratio >= least, beside)
