"""Object store clients into memory, then a load from bytes: boto3's transfers, obstore's ranges."""

from __future__ import annotations

from io import BytesIO
from typing import Any

from hoist.bench.peers.base import (
    CHECKPOINT,
    SAFETENSORS,
    Bucket,
    Load,
    Loaded,
    Peer,
    Subject,
    import_weights,
    weights_from_bytes,
)

_RANGE_BYTES = 16 << 20


def boto_client(bucket: Bucket) -> Any:
    """boto3's client for the bucket; endpoint and keys by the environment."""
    import boto3
    from botocore import UNSIGNED
    from botocore.config import Config

    style = {"addressing_style": "path"} if bucket.endpoint else {}
    options = Config(s3=style, signature_version=UNSIGNED) if bucket.anonymous else Config(s3=style)
    return boto3.client("s3", endpoint_url=bucket.endpoint, region_name=bucket.region, config=options)


def _boto3(subject: Subject) -> Load:
    import_weights(subject.file)
    bucket = subject.remote
    client = boto_client(bucket)

    def load() -> Loaded:
        memory = BytesIO()
        client.download_fileobj(bucket.name, bucket.key, memory)
        return Loaded(weights_from_bytes(memory.getvalue(), subject.file), subject.size)

    return load


def _obstore(subject: Subject) -> Load:
    import_weights(subject.file)
    import obstore
    from obstore.store import S3Store

    bucket = subject.remote
    plain = bool(bucket.endpoint and bucket.endpoint.startswith("http://"))
    store = S3Store(
        bucket.name,
        endpoint=bucket.endpoint,
        region=bucket.region,
        skip_signature=bucket.anonymous,
        client_options={"allow_http": plain},
    )
    starts = range(0, subject.size, _RANGE_BYTES)
    ends = [min(start + _RANGE_BYTES, subject.size) for start in starts]

    def load() -> Loaded:
        parts = obstore.get_ranges(store, bucket.key, starts=list(starts), ends=ends)
        data = b"".join(memoryview(part) for part in parts)
        del parts
        return Loaded(weights_from_bytes(data, subject.file), subject.size)

    return load


CLIENTS = tuple(
    Peer(name, about, prepare, places=("bucket",), formats=(SAFETENSORS, CHECKPOINT), packages=(name, "torch"))
    for name, about, prepare in (
        ("boto3", "boto3 download_fileobj, then safetensors.torch.load", _boto3),
        ("obstore", "obstore get_ranges of 16 MiB, then safetensors.torch.load", _obstore),
    )
)
