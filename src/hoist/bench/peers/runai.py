"""Run:ai Model Streamer, in the modes that its documentation names."""

from __future__ import annotations

from hoist.bench.peers.base import Load, Loaded, Peer, Subject

_PACKAGES = ("runai-model-streamer",)


def _stream(subject: Subject) -> Load:
    import torch  # noqa: F401
    from runai_model_streamer import SafetensorsStreamer

    if subject.bucket:
        # What it would import in the middle of its first request otherwise.
        import runai_model_streamer_s3  # noqa: F401
    where = subject.bucket.url if subject.bucket else subject.local

    def load() -> Loaded:
        with SafetensorsStreamer() as streamer:
            streamer.stream_file(where)
            return Loaded(dict(streamer.get_tensors()))

    return load


def _peer(name: str, about: str, variable: str = "", value: str = "", *, bucket: bool = False) -> Peer:
    environ = {variable: value} if variable else {}
    places = ("file", "bucket") if bucket else ("file",)
    packages = (*_PACKAGES, "runai-model-streamer-s3") if bucket else _PACKAGES
    return Peer(name, about, _stream, places=places, packages=packages, environ=environ)  # type: ignore[arg-type]


RUNAI = (
    _peer("runai", "runai-model-streamer, defaults", bucket=True),
    _peer("runai-unlimited", "the same, memory unlimited", "RUNAI_STREAMER_MEMORY_LIMIT", "-1", bucket=True),
    _peer("runai-direct", "the same, io_uring and direct I/O", "RUNAI_STREAMER_FS_STRATEGY", "io_uring_direct"),
    _peer("runai-buffered", "the same, threads and plain reads", "RUNAI_STREAMER_FS_STRATEGY", "sync_buffered"),
)
