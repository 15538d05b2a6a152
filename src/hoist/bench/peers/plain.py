"""The loaders that come with the formats: safetensors' `load_file`, and `torch.load` with and without mmap."""

from __future__ import annotations

from hoist.bench.peers.base import CHECKPOINT, Load, Loaded, Peer, Subject, import_weights, weights_from_file


def _load_file(subject: Subject) -> Load:
    import_weights(subject.file)
    return lambda: Loaded(weights_from_file(subject.local), subject.size)


def _torch_mmap(subject: Subject) -> Load:
    import torch

    return lambda: Loaded(torch.load(subject.local, weights_only=True, mmap=True), subject.size)


PLAIN = (
    Peer("safetensors", "safetensors.torch.load_file", _load_file, packages=("safetensors", "torch")),
    Peer("torch", "torch.load", _load_file, formats=(CHECKPOINT,), packages=("torch",)),
    Peer("torch-mmap", "torch.load(mmap=True)", _torch_mmap, formats=(CHECKPOINT,), packages=("torch",)),
)
