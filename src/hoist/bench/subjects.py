"""From a location to what the loaders are given: the file's path, or its bucket, key and endpoint, and the environment."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from hoist.bench.peers.base import Bucket, Subject
from hoist.config import Config, StorageConfig
from hoist.errors import UsageError
from hoist.model.reference import parse_location
from hoist.read.version import open_version
from hoist.storage import layout
from hoist.tensors.index import CHECKPOINT_SUFFIXES

_WEIGHTS = (".safetensors", *CHECKPOINT_SUFFIXES)


def find_subject(location: str, config: Config, scratch: Path) -> Subject:
    """The one weight file of a version. Raises UsageError for none or several, and what a storage may."""
    from hoist.read.connect import connect
    from hoist.storage.bucket import BucketObjects
    from hoist.storage.directory import DirectoryObjects
    from hoist.storage.tree import TreeStorage

    where = parse_location(location)
    storage, engine = connect(where.storage, config)
    with storage:
        opened = open_version(storage, where.reference, engine)
        found = [entry for entry in opened.files.values() if entry.path.endswith(_WEIGHTS)]
        if len(found) != 1:
            raise UsageError(f"{location} has {len(found)} weight files: loads are compared on versions of one")
        key = layout.file_key(opened.version, found[0].path)
        objects = storage.objects if isinstance(storage, TreeStorage) else None
        subject = Subject(location, found[0].path, found[0].size, str(scratch))
        if isinstance(objects, DirectoryObjects):
            return _replace(subject, path=str(objects.root / key))
        if isinstance(objects, BucketObjects):
            return _replace(subject, bucket=bucket_of(config.storage(where.storage), key, config.environ))
    raise UsageError(f"{location} is neither in a directory nor in a bucket: its peers cannot read it")


def peers_environ(environ: Mapping[str, str], bucket: Bucket | None) -> dict[str, str]:
    """The environment in which S3 clients find the bucket: what their users set for a store that is not Amazon's."""
    if bucket is None:
        return dict(environ)
    found = {**environ, "AWS_REGION": bucket.region, "AWS_DEFAULT_REGION": bucket.region}
    if bucket.endpoint:
        found |= {
            "AWS_ENDPOINT_URL": bucket.endpoint,
            "S3_ENDPOINT_URL": bucket.endpoint,
            "AWS_EC2_METADATA_DISABLED": "true",
            "RUNAI_STREAMER_S3_USE_VIRTUAL_ADDRESSING": "0",
            # Many stores do not know Amazon's newer checksums.
            "AWS_REQUEST_CHECKSUM_CALCULATION": "when_required",
            "AWS_RESPONSE_CHECKSUM_VALIDATION": "when_required",
        }
    if bucket.anonymous:
        found["RUNAI_STREAMER_S3_UNSIGNED"] = "1"
    return found


def _replace(subject: Subject, path: str | None = None, bucket: Bucket | None = None) -> Subject:
    return Subject(subject.location, subject.file, subject.size, subject.scratch, path, bucket)


def bucket_of(storage: StorageConfig, key: str, environ: Mapping[str, str]) -> Bucket:
    """Where the key of a storage lies, as S3 clients want it said. Raises UsageError for a bucket of another kind."""
    parts = urlsplit(storage.url)
    if parts.scheme != "s3":
        raise UsageError(
            f"the peers speak S3: {storage.address!r} is {parts.scheme}://, give it as s3:// with an endpoint"
        )
    prefix = parts.path.strip("/")
    return Bucket(
        name=parts.netloc,
        key=f"{prefix}/{key}" if prefix else key,
        endpoint=storage.endpoint or environ.get("AWS_ENDPOINT_URL_S3") or environ.get("AWS_ENDPOINT_URL"),
        region=storage.region or environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION") or "us-east-1",
        anonymous=storage.anonymous,
    )
