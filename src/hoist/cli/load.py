"""`hoist load`: load weights once or a few times, and show where the time went."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hoist.cli.parser import Root, add_bandwidth, add_json, add_quiet, completes
from hoist.cli.text import print_json, print_table, printable, show_count, show_rate, show_size

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Sequence

    from hoist.tensors.timing import Loaded, Timed

_PHASES = (
    ("import", "import_seconds", "torch, and the device made ready (once a process)"),
    ("network", "network_seconds", "open: manifest, block table, the files' headers"),
    ("fetch+verify", "fetch_verify_seconds", "streamed together: each block is checked as it arrives"),
    ("transfer", "transfer_seconds", "memory on the device, and the copies that fetching did not hide"),
    ("deserialize", "deserialize_seconds", "tensors made over the bytes"),
)


def add_to(root: Root) -> None:
    """Add the verb."""
    parser = root.add_verb(
        "load",
        "load",
        run_load,
        "Load weights to a device and show where the time goes",
        about=(
            "Loads safetensors files, shards and zip checkpoints; code in a checkpoint is never run. Bytes from a "
            "location are verified; a local path has no manifest to verify them against."
        ),
        examples=(
            "hoist load nas//sd15/anything:v5 --device cuda",
            "hoist load ./model.safetensors --dtype float16 --repeat 3",
            "hoist load nas//sd15/pipeline:v1 unet/model.safetensors vae/model.safetensors",
        ),
    )
    place = parser.add_argument("place", metavar="LOCATION_OR_PATH", help="STORAGE//NAME:VERSION, or a local path")
    completes(place, "file")
    add = parser.add_argument
    add("files", metavar="FILE", nargs="*", help="which files of it, where there are several; safetensors are merged")
    add("--device", default="cpu", help="cpu, cuda or cuda:N (default: cpu)")
    add("--dtype", help="cast floating tensors, as to float16 or bfloat16")
    add("--prefix", help="only tensors whose names start so (safetensors)")
    add("--repeat", type=int, default=1, metavar="N", help="load so many times (default: 1)")
    completes(add("--trace", metavar="FILE", help="append a trace of each load to this file, for hoist trace"), "file")
    add_bandwidth(parser)
    add_quiet(parser)
    add_json(parser)


def run_load(args: Namespace) -> int:
    """Load and time it."""
    from hoist.errors import UsageError

    if args.repeat < 1:
        raise UsageError("--repeat is 1 or more")
    from hoist.cli.progress import make_reporter
    from hoist.tensors.counted import Wanted
    from hoist.tensors.timing import import_torch, load_timed, peak_memory_bytes

    wanted = Wanted(args.place, tuple(args.files), args.device, args.dtype, args.prefix)
    with make_reporter(args.quiet) as progress:
        import_seconds = import_torch(args.device)
        runs = [load_timed(wanted, progress) for _ in range(args.repeat)]
    if args.trace:
        _write_traces(args, import_seconds, runs)
    document = _document(args, import_seconds, runs, peak_memory_bytes())
    if args.json:
        print_json(document)
    else:
        _print(args, import_seconds, runs, peak_memory_bytes())
    return 0


def _write_traces(args: Namespace, import_seconds: float, runs: Sequence[Loaded]) -> None:
    from pathlib import Path

    from hoist.function.trace_file import append_traces
    from hoist.function.traced import trace_of_load

    imports = [import_seconds, *[0.0] * (len(runs) - 1)]
    traces = [trace_of_load(args.place, args.device, run, each) for run, each in zip(runs, imports, strict=True)]
    append_traces(Path(args.trace), traces)


def _document(args: Namespace, import_seconds: float, runs: Sequence[Loaded], peak: int) -> dict[str, object]:
    last = runs[-1]
    return {
        "place": args.place,
        "files": last.files,
        "format": last.format,
        "device": args.device,
        "verified": last.verified,
        "tensors": last.tensors,
        "size_bytes": last.size,
        "import_seconds": import_seconds,
        "runs": [_run(run) for run in runs],
        "peak_memory_bytes": peak,
    }


def _run(run: Loaded) -> dict[str, object]:
    timed: Timed = run.timed
    return {
        "network_seconds": timed.network_seconds,
        "fetch_verify_seconds": timed.fetch_verify_seconds,
        "transfer_seconds": timed.transfer_seconds,
        "deserialize_seconds": timed.deserialize_seconds,
        "seconds": timed.seconds,
        "bytes_per_second": run.size / timed.seconds if timed.seconds else None,
        "read_bytes": run.read_bytes,
        "requests": run.requests,
        "cpu_seconds": timed.cpu_seconds,
    }


def _print(args: Namespace, import_seconds: float, runs: Sequence[Loaded], peak: int) -> None:
    last = runs[-1]
    print(printable(f"loaded {args.place} to {args.device}"))
    print(printable(f"  {', '.join(last.files)}: {show_count(last.tensors, 'tensor')}, {show_size(last.size)}"))
    if not last.verified:
        print("  a local path: there is no manifest, so the bytes were not verified")
    print()
    _print_phases(import_seconds, runs)
    print()
    headings = (">LOAD", ">RATE", ">READ", ">REQUESTS", ">CPU")
    rows = [
        (
            str(number),
            show_rate(run.size, run.timed.seconds),
            show_size(run.read_bytes),
            str(run.requests),
            f"{run.timed.cpu_seconds:.2f} s",
        )
        for number, run in enumerate(runs, 1)
    ]
    print_table(headings, rows, indent="  ")
    print(f"\n  peak memory of the process: {show_size(peak)}")


def _print_phases(import_seconds: float, runs: Sequence[Loaded]) -> None:
    numbers = [f">LOAD {number}" for number in range(1, len(runs) + 1)] if len(runs) > 1 else [">TIME"]
    rows = []
    for name, field, what in _PHASES:
        if field == "import_seconds":
            times = [f"{import_seconds:.3f} s", *[""] * (len(runs) - 1)]
        else:
            times = [f"{getattr(run.timed, field):.3f} s" for run in runs]
        if field == "fetch_verify_seconds" and not runs[0].verified:
            rows.append(["fetch", *times, "from the file to memory"])
        else:
            rows.append([name, *times, what])
    rows.append(["total", *(f"{run.timed.seconds:.3f} s" for run in runs), "without import"])
    print_table(["PHASE", *numbers, ""], rows, indent="  ")
