"""Loaders with readers of their own: fastsafetensors without GPUDirect, and tensorizer with its own file format."""

from __future__ import annotations

from pathlib import Path

from hoist.bench.peers.base import Load, Loaded, Peer, Subject


def _fastsafetensors(subject: Subject) -> Load:
    import torch  # noqa: F401
    from fastsafetensors import fastsafe_open

    def load() -> Loaded:
        with fastsafe_open(subject.local, framework="pt", device="cpu", nogds=True) as opened:
            return Loaded({name: opened.get_tensor(name) for name in opened.keys()})  # noqa: SIM118 no mapping

    return load


def _tensorizer(subject: Subject) -> Load:
    import torch  # noqa: F401
    from tensorizer import TensorDeserializer

    assert subject.made is not None, "tensorizer needs its own file"
    made = subject.made

    def load() -> Loaded:
        with TensorDeserializer(made, device="cpu", num_readers=4) as deserializer:
            return Loaded({name: deserializer[name] for name in deserializer.keys()})  # noqa: SIM118 loads at a look

    return load


def _serialize(subject: Subject, target: Path) -> None:
    from safetensors.torch import load_file
    from tensorizer import TensorSerializer

    serializer = TensorSerializer(str(target))
    serializer.write_state_dict(load_file(subject.local))
    serializer.close()


STREAMING = (
    Peer("fastsafetensors", "fastsafetensors, nogds", _fastsafetensors, packages=("fastsafetensors",)),
    Peer("tensorizer", "tensorizer, 4 readers, its own file", _tensorizer, packages=("tensorizer",), make=_serialize),
)
