"""What the instances of the tests do. Imported by instances only: `fleet_functions:NAME`."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch

from hoist.fleet.model import Model


def prepare(model: Model) -> Any:
    """Loads, and leaves a word of where."""
    tensors = model.load()
    Path(os.environ["NOTES"], str(model.number)).write_text(str(Path("/proc/thread-self/ns/net").readlink()))
    return tensors


def first_hangs(model: Model) -> Any:
    """Number 0 never comes back, and lets no other thread of its process run; it has a child of its own too."""
    if model.number == 0:
        child = subprocess.Popen(["sleep", "1000"])
        Path(os.environ["NOTES"], "hanging").write_text(f"{os.getpid()} {child.pid}")
        ctypes.PyDLL(None).sleep(1000)
    return model.load()


def each_fails_otherwise(model: Model) -> Any:
    """0 is killed, 1 raises, 2 exits, 3 says why and exits in C's way, 4 gives the key away, 5 loads."""
    if model.number == 0:
        os.kill(os.getpid(), signal.SIGSEGV)
    if model.number == 1:
        raise RuntimeError("no such prompt")
    if model.number == 2:
        sys.exit(3)
    if model.number == 3:
        os.write(2, b"the driver is gone\n")
        os._exit(9)
    if model.number == 4:
        raise RuntimeError("GET http://host/key?X-Amz-Signature=abcdef failed")
    return model.load()


def starts_a_child(model: Model) -> Any:
    """Loads, and keeps a child of its own."""
    child = subprocess.Popen(["sleep", "1000"])
    Path(os.environ["NOTES"], str(model.number)).write_text(str(child.pid))
    return model.load(), child


def reads_twice(model: Model) -> Any:
    """Loads some files by name, and reads another of the version."""
    with model.open() as opened:
        text = opened.read("config.json")
    return text, model.load("a.safetensors"), model.load_each("a.safetensors", "b.safetensors")


def waits_between(model: Model) -> Any:
    """Loads one file, says so, and loads the other once it is told to."""
    notes = Path(os.environ["NOTES"])
    first = model.load("a.safetensors")
    (notes / f"waiting-{model.number}-{os.getpid()}").touch()
    while not (notes / "go").exists():
        time.sleep(0.05)
    return first, model.load("b.safetensors")


def touches(model: Model) -> Any:
    """Loads, and reads every page of what it has, as computing with it does."""
    parts = model.load_each()
    for tensors in parts.values():
        for tensor in tensors.values():
            assert tensor.view(-1).view(torch.uint8)[::4096].sum() >= 0
    return parts
