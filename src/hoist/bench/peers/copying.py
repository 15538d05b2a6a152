"""Copy programs, then a plain load: what most start scripts do. The copy goes to a fresh local file; all of it counts."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from uuid import uuid4

from hoist.bench.peers.base import (
    CHECKPOINT,
    SAFETENSORS,
    Bucket,
    Load,
    Loaded,
    Peer,
    Subject,
    find,
    import_weights,
    weights_from_file,
)
from hoist.errors import HoistError

_SHOWN = 300
Words = Callable[[Bucket], Sequence[str]]
"""The command that copies an object, all but its target."""


def run_program(words: Sequence[str]) -> str:
    """Run a program to its end; what it printed. Raises HoistError with what it said if it fails."""
    path = find(words[0])
    assert path is not None, "unavailable() was asked"
    done = subprocess.run([path, *words[1:]], check=False, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode:
        said = (done.stderr or done.stdout).strip()[-_SHOWN:]
        raise HoistError(f"{words[0]} ended with {done.returncode}: {said}")
    return done.stdout


def rclone_address(bucket: Bucket) -> str:
    """A bucket as rclone takes it without a configuration file; the keys stand in the environment."""
    fields = ["provider=Other", f"env_auth={'false' if bucket.anonymous else 'true'}", f"region={bucket.region}"]
    if bucket.endpoint:
        fields += [f'endpoint="{bucket.endpoint}"', "force_path_style=true"]
    return f":s3,{','.join(fields)}:{bucket.name}/{bucket.key}"


def _unsigned(bucket: Bucket) -> list[str]:
    return ["--no-sign-request"] if bucket.anonymous else []


def _s5cmd(bucket: Bucket) -> list[str]:
    return ["s5cmd", *_unsigned(bucket), "cp", bucket.url]


def _rclone(bucket: Bucket) -> list[str]:
    return ["rclone", "--config=", "copyto", rclone_address(bucket)]


def _aws(bucket: Bucket) -> list[str]:
    return ["aws", "s3", "cp", "--only-show-errors", *_unsigned(bucket), bucket.url]


def _copier(words: Words) -> Callable[[Subject], Load]:
    def prepare(subject: Subject) -> Load:
        import_weights(subject.file)
        command = words(subject.remote)
        target = Path(subject.scratch) / f"{uuid4().hex}{Path(subject.file).suffix}"

        def load() -> Loaded:
            run_program([*command, str(target)])
            return Loaded(weights_from_file(str(target)), target.stat().st_size)

        return load

    return prepare


def _peer(name: str, about: str, program: str, words: Words) -> Peer:
    return Peer(
        name,
        about,
        _copier(words),
        places=("bucket",),
        formats=(SAFETENSORS, CHECKPOINT),
        packages=("safetensors", "torch"),
        programs=(program,),
    )


COPYING = (
    _peer("s5cmd", "s5cmd cp, then load_file", "s5cmd", _s5cmd),
    _peer("rclone", "rclone copyto, then load_file", "rclone", _rclone),
    _peer("aws", "aws s3 cp, then load_file", "aws", _aws),
)
