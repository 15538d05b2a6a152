"""Copies measured: object store to object store beside rclone, a version with one changed file, one source to three targets.

One radosgw with two buckets, which rclone is told of as two stores, so that it too moves the bytes through this machine.
Hoist verifies what it moves, rclone does not. What was copied is removed again, untimed.
"""

from __future__ import annotations

import os
import resource
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hoist.bench.image_files import write_bf16
from hoist.bench.records import Recorder
from hoist.bench.stage import bucket_table, isolated_config
from hoist.config import Config
from hoist.errors import HoistError
from hoist.testing.servers import RadosgwServer
from hoist.testing.servers.base import find_program
from hoist.transfer.copy import Copied
from hoist.verbs import collect, copy, publish, remove

Record = dict[str, Any]
_NAME = "hoist-bench/copy"
_FILES, _CHANGED_FILE = 50, "07.safetensors"
# The model of many files is this part of the large one, but none of its files is a small one.
_FILES_SHARE, _LEAST_FILE = 8, 4 << 20
# What Hoist does at once: parts of one file on their way out, of some files.
_AT_ONCE = 8
_SETTLE_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Options:
    """Bytes of the model, runs, whether rclone is measured, and where the temporary folder goes."""

    size: int = 2 << 30
    repeat: int = 3
    rclone: bool = True
    folder: Path | None = None


def run_copies(options: Options, note: Callable[[Record], None]) -> list[Record]:
    """The records, in turns. Raises LocalError where there is no radosgw."""
    recorder = Recorder(note)
    with TemporaryDirectory(prefix="hoist-bench-", dir=options.folder) as name, ExitStack() as stack:
        home = Path(name)
        server = stack.enter_context(RadosgwServer(size_bytes=6 * options.size + (1 << 30)))
        lines = []
        for bucket in ("here", "there"):
            server.create_bucket(bucket)
            lines.append(bucket_table(bucket, server, bucket))
        for folder in ("one", "two"):
            (home / folder).mkdir()
            lines.append(f'[storage.{folder}]\nurl = "{home / folder}"\n')
        _Bench(home, isolated_config(home, "\n".join(lines), server), server, options, recorder).run()
    return recorder.records


class _Bench:
    def __init__(self, home: Path, config: Config, server: RadosgwServer, options: Options, recorder: Recorder) -> None:
        self._home, self._config, self._server = home, config, server
        self._options, self._recorder = options, recorder

    def run(self) -> None:
        self._large()
        self._fan_out()
        self._update()

    def _large(self) -> None:
        source = write_bf16(self._home / "source" / "model.safetensors", self._options.size, 0)
        publish(source.parent, f"here//{_NAME}:v1", config=self._config)
        source.unlink()
        program = find_program("rclone") if self._options.rclone else None
        ways = ["hoist", *(["rclone"] if program else [])]
        for run in range(self._options.repeat):
            for way in ways if run % 2 == 0 else ways[::-1]:
                values = self._hoist(f"here//{_NAME}:v1", "there") if way == "hoist" else self._rclone(str(program))
                self._note(run, {"work": "bucket to bucket", "way": way, **values})

    def _fan_out(self) -> None:
        targets = ("there", "one", "two")
        values = self._hoist(f"here//{_NAME}:v1", *targets)
        self._note(0, {"work": "to three targets", "way": "hoist", "targets": targets, **values})
        remove(f"here//{_NAME}:v1", config=self._config)

    def _update(self) -> None:
        """One changed file of many."""
        folder, each = self._home / "many", max(_LEAST_FILE, self._options.size // _FILES_SHARE // _FILES)
        for number in range(_FILES):
            write_bf16(folder / f"{number:02}.safetensors", each, number)
        publish(folder, f"here//{_NAME}:many-1", config=self._config)
        copy(f"here//{_NAME}:many-1", "there", config=self._config)
        changed = write_bf16(folder / _CHANGED_FILE, each, 999).stat().st_size
        publish(folder, f"here//{_NAME}:many-2", config=self._config)
        values = self._hoist(f"here//{_NAME}:many-2", "there", keep=True)
        self._note(0, {"work": "one changed file", "way": "hoist", "files": _FILES, "changed": changed, **values})

    def _hoist(self, location: str, *targets: str, keep: bool = False) -> Record:
        before = _cpu(resource.RUSAGE_SELF)
        began = time.perf_counter()
        done = copy(location, targets, config=self._config)
        seconds = time.perf_counter() - began
        values = _figures(done) | {"seconds": seconds, "cpu_seconds": _cpu(resource.RUSAGE_SELF) - before}
        if not keep:
            for target in targets:
                remove(f"{target}//{location.partition('//')[2]}", config=self._config)
            self._settle()
        return values

    def _rclone(self, program: str) -> Record:
        """rclone between two remotes of one server: it would copy inside one."""
        environ = {"PATH": os.defpath, "HOME": str(self._home), "RCLONE_CONFIG": str(self._home / "none")}
        for remote in ("HERE", "THERE"):
            fields = {
                "TYPE": "s3",
                "PROVIDER": "Other",
                "ENDPOINT": self._server.endpoint,
                "REGION": self._server.region,
                "ACCESS_KEY_ID": self._server.access_key,
                "SECRET_ACCESS_KEY": self._server.secret_key,
            }
            environ |= {f"RCLONE_CONFIG_{remote}_{key}": value for key, value in fields.items()}
        files = f"{_NAME}/v1"
        order = [program, "copy", f"here:here/{files}", f"there:there/{files}", "--disable", "copy"]
        order += ["--transfers", "4", "--s3-chunk-size", "16M", "--s3-upload-concurrency", str(_AT_ONCE)]
        order += ["--multi-thread-streams", str(_AT_ONCE), "--multi-thread-cutoff", "64M"]
        before = _cpu(resource.RUSAGE_CHILDREN)
        began = time.perf_counter()
        ended = subprocess.run(order, env=environ, capture_output=True, text=True, check=False)
        seconds = time.perf_counter() - began
        if ended.returncode:
            raise HoistError(f"rclone failed: {ended.stderr.strip().splitlines()[-1:]}")
        cpu = _cpu(resource.RUSAGE_CHILDREN) - before
        subprocess.run([program, "purge", f"there:there/{files}"], env=environ, capture_output=True, check=True)
        self._settle()
        return {"seconds": seconds, "cpu_seconds": cpu, "size": self._options.size}

    def _settle(self) -> None:
        """The store clears away what was removed a few seconds later: the next turn should not pay for it."""
        collect("there", grace_seconds=0.0, delete=True, config=self._config)
        if self._options.size >= 256 << 20:
            time.sleep(_SETTLE_SECONDS)

    def _note(self, run: int, values: Mapping[str, Any]) -> None:
        self._recorder.note("copy", {"run": run, **values})


def _figures(done: Sequence[Copied]) -> Record:
    for each in done:
        if each.error is not None:
            raise each.error
    return {
        "size": done[0].size,
        "sent_bytes": sum(each.sent_bytes for each in done),
        "copied_bytes": sum(each.copied_bytes for each in done),
        "read_bytes": done[0].read_bytes,
    }


def _cpu(who: int) -> float:
    used = resource.getrusage(who)
    return used.ru_utime + used.ru_stime
