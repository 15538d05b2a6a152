"""Mounts and their readers as forks of a Python with everything imported, for tests that kill very many of them."""

from __future__ import annotations

import mmap
import os
import random
import signal
from collections.abc import Mapping, Sequence
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path

FORKS = get_context("forkserver")
FORKS.set_forkserver_preload(["mount_forks", "hoist.cli", "hoist.cli.serving", "hoist.storage.open_bucket"])
GONE = 7
"""The exit code of a reader whose mount has gone."""
WRONG = 8
"""The exit code of a reader that got a wrong byte."""
_SIZES = (1, 4096, 70_000, 300_000)


def start_mount(words: Sequence[str], env: Mapping[str, str], home: Path) -> BaseProcess:
    """Begin a `hoist mount WORDS` in the foreground, of a user with that home and environment."""
    process = FORKS.Process(target=_mount, args=(list(words), dict(env), home))
    process.start()
    return process


def start_reader(folder: Path, truth: Path, seed: int, *, mapped: bool, rounds: int) -> BaseProcess:
    """Begin to read anywhere in the files of a version, by mmap or by read, each byte compared with the truth."""
    process = FORKS.Process(target=_read, args=(folder, truth, seed, mapped, rounds))
    process.start()
    return process


def kill(process: BaseProcess) -> None:
    """`kill -9`, and wait for its end."""
    process.kill()
    process.join(20)
    assert process.exitcode is not None


def _mount(words: Sequence[str], env: Mapping[str, str], home: Path) -> None:
    import hoist.cli

    log = os.open(home / "mount.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.chdir(home)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.clear()
    os.environ.update(env)
    os._exit(hoist.cli.main(["mount", *words]))


def _read(folder: Path, truth: Path, seed: int, mapped: bool, rounds: int) -> None:
    chance = random.Random(seed)
    names = sorted(path.name for path in truth.glob("*.bin"))
    try:
        for _ in range(rounds):
            name = chance.choice(names)
            right = (truth / name).read_bytes()
            fd = os.open(folder / name, os.O_RDONLY)
            memory = mmap.mmap(fd, 0, prot=mmap.PROT_READ) if mapped else None
            for _ in range(8):
                at, size = chance.randrange(len(right)), chance.choice(_SIZES)
                right_bytes = right[at : at + size]
                found = memory[at : at + size] if memory else _pread(fd, len(right_bytes), at)
                if found != right_bytes:
                    os._exit(WRONG)
            os.close(fd)
    except OSError:
        # Nobody answers any more; a mapping has SIGBUS instead.
        os._exit(GONE)
    os._exit(0)


def _pread(fd: int, size: int, at: int) -> bytes:
    """All of them: of a read that a dying mount has begun to answer, the kernel gives what was there, and no error."""
    found = b""
    while len(found) < size:
        piece = os.pread(fd, size - len(found), at + len(found))
        if not piece:
            break
        found += piece
    return found
