"""One step of a comparison in a process of its own, so that nothing is warm but what shall be.

`python -m hoist.bench.child` reads one JSON task from its input, does it, and answers with one line: a load with its
figures, a check (a load and the fingerprint of its tensors, untimed), the making of a peer's own file, or a raw limit.
"""

from __future__ import annotations

import gc
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hoist.errors import HoistError, LocalError

if TYPE_CHECKING:
    from hoist.storage.wrap import Counting

# What is slower than this has hung: it is ended, and the others go on.
_LEAST_SECONDS, _LEAST_RATE = 90.0, 10e6
_ROOMY = 8 << 30


def run_child(task: Mapping[str, Any], environ: Mapping[str, str], before: Sequence[str] = ()) -> dict[str, Any]:
    """Do `task` in a fresh process, `before` being the words of a command that runs it; its answer.

    Raises HoistError with the task's own message if it fails.
    """
    size = task.get("subject", {}).get("size", _ROOMY)
    # A limit reads or writes the whole at each of its depths.
    limit = task.get("within") or _LEAST_SECONDS + (6 if task["do"] == "limit" else 1) * size / _LEAST_RATE
    # Ctrl-C is the benchmark's to handle: it kills its child.
    process = subprocess.Popen(
        [*before, sys.executable, "-m", "hoist.bench.child"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=dict(environ),
        text=True,
        start_new_session=True,
    )
    try:
        out, said = process.communicate(json.dumps(task), timeout=limit)
    except BaseException as error:
        # With whatever programs it runs: they are its session's. It may have ended this moment.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        if isinstance(error, subprocess.TimeoutExpired):
            raise LocalError(f"{task.get('loader', task['do'])} was not done after {limit:.0f} s") from None
        raise
    lines = out.splitlines()
    if not lines:
        raise LocalError(f"{task.get('loader', task['do'])} ended with {process.returncode}: {said.strip()[-300:]}")
    answer = json.loads(lines[-1])
    assert isinstance(answer, dict)
    if "error" in answer:
        raise HoistError(answer["error"])
    return answer


def main() -> None:
    """Do the task on standard input."""
    task = json.loads(sys.stdin.read())
    # Some loaders print: what they say must not stand between the answer's words.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    try:
        answer = _TASKS[task["do"]](task)
    except Exception as error:  # noqa: BLE001 a peer may raise anything: it is told, and the others go on
        answer = {"error": f"{type(error).__name__}: {error}" if not isinstance(error, HoistError) else str(error)}
    answers.write(json.dumps(answer) + "\n")
    answers.flush()
    # Peers leave threads and half-closed clients behind; what they need to end is no part of the measurement.
    os._exit(0)


def _load(task: Mapping[str, Any]) -> dict[str, Any]:
    from hoist.bench.measuring import measured

    load = _prepared(task)
    _ready(task)
    with _recorded(task.get("control")):
        loaded, figures = measured(load)
    return {**figures, "bytes_read": loaded.bytes_read}


def _profile(task: Mapping[str, Any]) -> dict[str, Any]:
    from hoist.bench.contents import touch
    from hoist.bench.stages import TOUCHING, Stages, watch

    load = _prepared(task)
    import_cpu = sum(os.times()[:2])
    stages = Stages()
    watch(stages)
    _ready(task)
    before, began = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    loaded = load()
    with stages.in_stage(TOUCHING):
        touch(loaded.value)
    seconds, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF)
    user, system = after.ru_utime - before.ru_utime, after.ru_stime - before.ru_stime
    return {
        "seconds": seconds,
        "cpu_seconds": user + system,
        "user": user,
        "system": system,
        "faults": after.ru_minflt - before.ru_minflt,
        "import_cpu_seconds": import_cpu,
        "stages": {name: asdict(spent) for name, spent in stages.spent.items()},
    }


def _ready(task: Mapping[str, Any]) -> None:
    """Memory for the tensors, and as much for the page cache."""
    from hoist.bench.measuring import ready_memory

    ready_memory(2 * int(task["subject"]["size"]))


def _ready_apart(task: Mapping[str, Any]) -> None:
    """The same for so many bytes as the task says, so that no figure of this process or its children has them."""
    code = f"from hoist.bench.measuring import ready_memory; ready_memory({int(task.get('ready', 0))})"
    # Behind a shell that is gone at once: the largest of this one's children is a figure. Its output ends when it does.
    words = ["/bin/sh", "-c", '"$0" -c "$1" &', sys.executable, code]
    subprocess.run(words, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, check=True)


@contextmanager
def _recorded(control: str | None) -> Iterator[None]:
    """Have perf, which waits at the other end of the pipe `control`, record only what happens here."""
    if control is None:
        yield
        return
    Path(control).write_text("enable\n")
    # perf says nothing when it has begun; a tenth of a second is enough.
    time.sleep(0.1)
    try:
        yield
    finally:
        Path(control).write_text("disable\n")
        time.sleep(0.1)


def _check(task: Mapping[str, Any]) -> dict[str, Any]:
    from hoist.bench.contents import fingerprint

    counted = _count_reads() if task["loader"] == "hoist" else []
    loaded = _prepared(task)()
    read = sum(sum(storage.bytes.values()) for storage in counted) if counted else loaded.bytes_read
    return {"fingerprint": fingerprint(loaded.value), "bytes_read": read}


def _count_reads() -> list[Counting]:
    """Have every storage that is opened from now on count what is read from it: the list of them, filled as they open."""
    from hoist.bench.stages import replace_everywhere
    from hoist.storage import open_storage
    from hoist.storage.wrap import Counting

    opened: list[Counting] = []

    def open_counted(*args: Any) -> Counting:
        opened.append(Counting(open_storage(*args)))
        return opened[-1]

    replace_everywhere(open_storage, open_counted)
    return opened


def _prepared(task: Mapping[str, Any]) -> Any:
    if task["do"] != "publish":
        # With torch, which every loader needs: importing is no part of any load.
        import hoist.bench.contents  # noqa: F401
    from hoist.bench.peers import LOADERS, PUBLISHERS, Subject

    known = PUBLISHERS if task["do"] == "publish" else LOADERS
    load = known[task["loader"]].prepare(Subject.from_json(task["subject"]))
    gc.collect()
    return load


def _make(task: Mapping[str, Any]) -> dict[str, Any]:
    from hoist.bench.peers import LOADERS, Subject

    make = LOADERS[task["loader"]].make
    assert make is not None, "this peer loads what it is given"
    make(Subject.from_json(task["subject"]), Path(task["target"]))
    return {}


def _limit(task: Mapping[str, Any]) -> dict[str, Any]:
    from hoist.bench.limits import raw_limit
    from hoist.bench.peers import Subject

    _ready(task)
    return raw_limit(Subject.from_json(task["subject"]), task["limit"])


def _verb(task: Mapping[str, Any]) -> dict[str, Any]:
    from hoist.bench.measuring import measured
    from hoist.bench.peers import Loaded
    from hoist.verbs import pull, verify

    def run() -> Loaded:
        if task["verb"] == "pull":
            return Loaded(None, pull(task["location"], task["folder"]).fetched_bytes)
        return Loaded(None, verify(task["location"]).bytes_read)

    done, figures = measured(run)
    return {**figures, "size": done.bytes_read}


def _reading(task: Mapping[str, Any]) -> dict[str, Any]:
    from hoist.bench.reading import run_reading

    return run_reading(task)


def _programs(task: Mapping[str, Any]) -> dict[str, Any]:
    """Commands one after the other, as their users run them: start and end count, memory is the largest one's."""
    from hoist.bench.measuring import measured
    from hoist.bench.peers.base import Loaded
    from hoist.bench.peers.copying import run_program

    def run() -> Loaded:
        for words in task["commands"]:
            run_program(words)
        return Loaded(None)

    _ready_apart(task)
    _, figures = measured(run)
    return {**figures, "peak_bytes": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024}


def _own(task: Mapping[str, Any]) -> dict[str, Any]:
    """One of Hoist's verbs; memory is that of the whole process, with what it imports."""
    from hoist.bench.measuring import measured, status_bytes
    from hoist.bench.peers.base import Loaded
    from hoist.image.verbs import update
    from hoist.verbs import publish, pull

    def run() -> Loaded:
        first, second = task["words"]
        if task["verb"] == "update":
            update(first, [second])
        elif task["verb"] == "publish":
            publish(first, second)
        else:
            pull(first, second)
        return Loaded(None)

    _ready_apart(task)
    _, figures = measured(run)
    return {**figures, "peak_bytes": status_bytes("VmHWM")}


def _image_limit(task: Mapping[str, Any]) -> dict[str, Any]:
    from hoist.bench.image_limits import run_limit

    _ready_apart(task)
    return run_limit(task)


def _scale(task: Mapping[str, Any]) -> dict[str, Any]:
    from hoist.bench.small import describe_terabyte

    return describe_terabyte()


_TASKS = {
    "load": _load,
    "publish": _load,
    "check": _check,
    "make": _make,
    "limit": _limit,
    "profile": _profile,
    "verb": _verb,
    "reading": _reading,
    "scale": _scale,
    "programs": _programs,
    "own": _own,
    "image-limit": _image_limit,
}

if __name__ == "__main__":
    main()
