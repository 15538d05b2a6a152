"""A directory: is it there, what does it lie on, what may this user do, do links, renames and locks work, how fast is it."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from hoist.checkup.disk import SAMPLE_BYTES, Speed, large_file, read_speed, write_sample
from hoist.checkup.report import Finding, Group
from hoist.storage import layout
from hoist.storage.mounts import mount_of

_LITTLE_SPACE = 2 << 30
_NETWORK = ("nfs", "cifs", "smb3", "9p", "ceph", "lustre", "gpfs", "virtiofs")


@dataclass(frozen=True, slots=True)
class DirectoryCheck:
    """The checks of one directory."""

    root: Path
    group: Group
    read_only: bool

    def run(self) -> Iterator[Finding]:
        """All findings. Writes under `.hoist/tmp` only and removes that again; nothing at all if read-only."""
        there = self._there()
        yield there
        if there.status == "failed":
            return
        yield self._file_system()
        space = self._space()
        yield space
        sample: Path | None = None
        if self.read_only:
            yield from self._speed(large_file(self.root))
            return
        try:
            with self._trial() as trial:
                yield from self._writing(trial)
                sample = large_file(self.root)
                if sample is None and space.status == "ok":
                    sample = trial.with_suffix(".sample")
                    written = write_sample(sample)
                    yield self.group.ok("write speed", _said(written), bytes_per_second=written.rate)
                yield from self._speed(sample)
        except OSError as error:
            yield self._refused(error)
            yield from self._speed(large_file(self.root))

    def _there(self) -> Finding:
        began = time.perf_counter()
        try:
            with os.scandir(self.root) as entries:
                next(entries, None)
        except FileNotFoundError:
            return self.group.failed("folder", f"{self.root} is not there", f"mount it, or mkdir -p {self.root}")
        except NotADirectoryError:
            return self.group.failed("folder", f"{self.root} is not a directory", "name the directory in its url")
        except OSError as error:
            mend = f"let this user read it: ls {self.root} must work"
            return self.group.failed("folder", f"{self.root}: {error.strerror}", mend)
        took = time.perf_counter() - began
        return self.group.ok("folder", f"{self.root}, listed in {took * 1000:.1f} ms", seconds=took)

    def _file_system(self) -> Finding:
        mount = mount_of(self.root.resolve())
        if mount is None:
            return self.group.missing("file system", "the kernel does not say which", "none needed")
        detail = f"{mount.kind} at {mount.point}" + (", read-only" if mount.read_only else "")
        if mount.kind.startswith(_NETWORK):
            return self.group.ok("file system", f"{detail}: a network's")
        if mount.kind == "tmpfs":
            mend = "fine for a trial; to keep models, name a folder on a disk"
            return self.group.warning("file system", f"{detail}: it is memory, and empty after a restart", mend)
        if mount.kind == "overlay":
            mend = "to keep models, mount a volume there"
            return self.group.warning("file system", f"{detail}: a container's own layer, which goes with it", mend)
        if mount.kind.startswith("fuse."):
            mend = "if a bucket is mounted there, name it by its own URL (s3://, oss://): that is quicker"
            return self.group.warning("file system", f"{detail}: each read goes through another program", mend)
        return self.group.ok("file system", detail)

    def _space(self) -> Finding:
        try:
            usage, nodes = shutil.disk_usage(self.root), os.statvfs(self.root)
        except OSError as error:
            return self.group.warning("free space", f"cannot be told: {error.strerror}", "look with: df -h")
        detail = f"{usage.free / (1 << 30):.1f} GiB of {usage.total / (1 << 30):.1f}"
        figures = {"free_bytes": float(usage.free), "total_bytes": float(usage.total)}
        if usage.free < _LITTLE_SPACE:
            return self.group.warning("free space", detail, "free some, or publish elsewhere", **figures)
        if nodes.f_files and not nodes.f_favail:
            return self.group.warning("free space", f"{detail}, and no inode", "remove small files", **figures)
        return self.group.ok("free space", detail, **figures)

    @contextmanager
    def _trial(self) -> Iterator[Path]:
        """A path in `.hoist/tmp` to write at, also with suffixes; all of it is gone again afterwards. Raises OSError."""
        folder = self.root / layout.TMP.rstrip("/")
        trial = folder / f"doctor-{uuid4().hex}"
        new = [each for each in (folder, folder.parent) if not each.exists()]
        try:
            folder.mkdir(parents=True, exist_ok=True)
            yield trial
        finally:
            with suppress(OSError):
                for left in folder.glob(f"{trial.name}*"):
                    left.unlink()
            for each in new:
                with suppress(OSError):
                    each.rmdir()

    def _writing(self, first: Path) -> Iterator[Finding]:
        """Write, link, rename and lock as a publish does. Raises OSError where nothing can be written at all."""
        second = first.with_suffix(".link")
        began = time.perf_counter()
        with first.open("xb") as file:
            file.write(b"hoist")
            file.flush()
            os.fsync(file.fileno())
        took = time.perf_counter() - began
        yield self.group.ok("write", f"a small file is written and synced in {took * 1000:.1f} ms", seconds=took)
        try:
            second.hardlink_to(first)
            same = second.stat().st_ino == first.stat().st_ino
            second.replace(first)
            second.unlink(missing_ok=True)
        except OSError as error:
            mend = "publish to a file system that has hard links; loading from here works"
            yield self.group.failed("links and renames", f"refused: {error.strerror}", mend)
        else:
            detail = "hard links and renames work"
            yield self.group.ok("links and renames", detail if same else f"{detail}, a link under a number of its own")
        yield self._locks(first)

    def _locks(self, path: Path) -> Finding:
        try:
            with path.open("a") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            mend = "for NFS, mount without nolock and let lockd run: tags are moved under a lock"
            return self.group.failed("locks", f"refused: {error.strerror}", mend)
        return self.group.ok("locks", "work")

    def _refused(self, error: OSError) -> Finding:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return self.group.failed("write", f"the disk is full: {error.strerror}", "free some space")
        detail = f"this user cannot write here: {error.strerror}"
        return self.group.warning("write", detail, "none needed to load; to publish, make it writable for this user")

    def _speed(self, sample: Path | None) -> Iterator[Finding]:
        if sample is None:
            mend = f"publish a file of {SAMPLE_BYTES >> 20} MiB or more first"
            yield self.group.missing("read speed", "not measured: no large file was found there", mend)
            return
        try:
            found = read_speed(sample)
        except OSError as error:
            yield self.group.warning(
                "read speed", f"a file cannot be read: {error.strerror}", "look at its permissions"
            )
            return
        how = "direct I/O" if found.direct else "perhaps from memory: no direct I/O here"
        yield self.group.ok("read speed", f"{_said(found)}, {how}", bytes_per_second=found.rate)


def _said(speed: Speed) -> str:
    return f"{speed.rate / 1e6:,.0f} MB/s over {speed.size >> 20} MiB"
