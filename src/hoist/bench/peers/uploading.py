"""The ways of putting one large file into a bucket that a publish is compared with. Each writes one object."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from hoist.bench.peers.base import CHECKPOINT, SAFETENSORS, Bucket, Load, Loaded, Peer, Subject
from hoist.bench.peers.clients import boto_client
from hoist.bench.peers.copying import rclone_address, run_program
from hoist.errors import UsageError


def _hoist(subject: Subject) -> Load:
    from hoist.verbs import publish

    def load() -> Loaded:
        done = publish(subject.local, subject.location)
        if done.sent_bytes != subject.size:
            raise UsageError("this storage has the file already: give a prefix that is empty, as s3://BUCKET/bench")
        return Loaded(None, done.sent_bytes)

    return load


def _boto3(subject: Subject) -> Load:
    bucket = subject.remote
    client = boto_client(bucket)

    def load() -> Loaded:
        client.upload_file(subject.local, bucket.name, bucket.key)
        return Loaded(None, subject.size)

    return load


def _program(words: Callable[[str, Bucket], Sequence[str]]) -> Callable[[Subject], Load]:
    def prepare(subject: Subject) -> Load:
        command = words(subject.local, subject.remote)

        def load() -> Loaded:
            run_program(command)
            return Loaded(None, subject.size)

        return load

    return prepare


def _peer(
    name: str,
    about: str,
    prepare: Callable[[Subject], Load],
    *,
    package: str = "",
    program: str = "",
    own: bool = False,
) -> Peer:
    return Peer(
        name,
        about,
        prepare,
        places=("bucket",),
        formats=(SAFETENSORS, CHECKPOINT),
        packages=(package,) if package else (),
        programs=(program,) if program else (),
        verifies=own,
    )


PUBLISH = _peer("hoist", "hoist publish: hashed, atomic, with a digest for each block", _hoist, own=True)
UPLOADERS = {
    peer.name: peer
    for peer in (
        _peer("s5cmd", "s5cmd cp", _program(lambda path, to: ["s5cmd", "cp", path, to.url]), program="s5cmd"),
        _peer(
            "rclone",
            "rclone copyto",
            _program(lambda path, to: ["rclone", "--config=", "copyto", path, rclone_address(to)]),
            program="rclone",
        ),
        _peer(
            "aws",
            "aws s3 cp",
            _program(lambda path, to: ["aws", "s3", "cp", "--only-show-errors", path, to.url]),
            program="aws",
        ),
        _peer("boto3", "boto3 upload_file", _boto3, package="boto3"),
    )
}
