"""Hoist itself, by its public functions, and the reference that every loader's tensors are compared with."""

from __future__ import annotations

from hoist.bench.peers.base import CHECKPOINT, SAFETENSORS, Load, Loaded, Peer, Subject


def _hoist(subject: Subject) -> Load:
    from hoist.tensors.checkpoint import load_checkpoint
    from hoist.tensors.safetensors import load_file

    load = load_file if subject.format == SAFETENSORS else load_checkpoint
    return lambda: Loaded(load(subject.location, subject.file))


def _reference(subject: Subject) -> Load:
    """safetensors' or torch's own loader, over plain bytes from wherever the file is."""
    from hoist.bench.loaders import Switch, load_plainly

    def load() -> Loaded:
        loaded = load_plainly(Switch(subject.location, hashed=False))
        return Loaded(loaded.value, loaded.bytes_read)

    return load


HOIST = Peer(
    "hoist",
    "hoist.load_file and hoist.load_checkpoint, every block verified",
    _hoist,
    places=("file", "bucket"),
    formats=(SAFETENSORS, CHECKPOINT),
    verifies=True,
)
DIRECT = Peer(
    "hoist-direct",
    "the same with HOIST_DIRECT=1: a cold file is read past the page cache",
    _hoist,
    formats=(SAFETENSORS, CHECKPOINT),
    environ={"HOIST_DIRECT": "1"},
    verifies=True,
)
OWN = (HOIST, DIRECT)
REFERENCE = Peer(
    "reference",
    "what the loaders' tensors are compared with, untimed",
    _reference,
    places=("file", "bucket"),
    formats=(SAFETENSORS, CHECKPOINT),
    packages=("safetensors", "torch"),
)
