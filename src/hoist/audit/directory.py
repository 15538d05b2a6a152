"""Who else may change a directory: folders that everybody may write, above it and in it, files that are not read-only or
are somebody else's."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from hoist.audit.finding import Finding
from hoist.storage import layout

_SHOWN = 3
_TMP = layout.TMP.rstrip("/")


@dataclass(slots=True)
class _Tally:
    """How many, and the first few."""

    count: int = 0
    shown: list[str] = field(default_factory=list)

    def add(self, path: str) -> None:
        self.count += 1
        if len(self.shown) < _SHOWN:
            self.shown.append(path)

    def __str__(self) -> str:
        return ", ".join(self.shown) + (", ..." if self.count > len(self.shown) else "")


def check_directory(root: Path, address: str, *, read_only: bool) -> Iterator[Finding]:
    """What others than its owner may change of a storage in a directory; `read_only`: whether its files should be that.

    Raises OSError where it cannot be walked at all.
    """
    yield from _above(root.resolve(), address)
    yield from _below(root, address, read_only=read_only)


def _above(root: Path, address: str) -> Iterator[Finding]:
    """Who may write a folder may rename what is in it: those above count as the storage does."""
    mine = root.stat().st_uid
    for folder in (root, *root.parents):
        status = folder.stat()
        # In a sticky folder, as /tmp is, nobody renames what is another's; but anybody may add a model.
        if status.st_mode & stat.S_IWOTH and (folder == root or not status.st_mode & stat.S_ISVTX):
            what = "everybody may write it" if folder == root else "everybody may write it, and so replace the storage"
            yield _open(address, str(folder), f"{what} ({stat.filemode(status.st_mode)})", f"chmod o-w {folder}")
        elif folder != root and status.st_uid not in (0, mine, os.geteuid()):
            detail = f"it belongs to user {status.st_uid}, who may replace the storage"
            yield Finding(
                "unprotected",
                "warning",
                address,
                str(folder),
                detail,
                f"chown root {folder}, if that user is not trusted",
            )


def _below(root: Path, address: str, *, read_only: bool) -> Iterator[Finding]:
    folders, files, changeable, strangers = _Tally(), _Tally(), _Tally(), _Tally()
    top = root.stat()
    # A folder that a group may write is one that several users publish to.
    trusted = None if top.st_mode & stat.S_IWGRP else {0, top.st_uid, os.geteuid()}
    for path, status in _everything(root, ""):
        if stat.S_ISDIR(status.st_mode):
            if status.st_mode & stat.S_IWOTH:
                folders.add(path)
        elif stat.S_ISREG(status.st_mode):
            if status.st_mode & stat.S_IWOTH:
                files.add(path)
            elif status.st_mode & (stat.S_IWUSR | stat.S_IWGRP):
                changeable.add(path)
        if trusted is not None and status.st_uid not in trusted:
            strangers.add(path)
    if folders.count:
        detail = f"everybody may write {folders.count} of its folders: {folders}"
        yield _open(address, str(root), detail, f"find {root} -type d -perm -o+w -exec chmod o-w {{}} +")
    if files.count:
        detail = f"everybody may write {files.count} of its files: {files}"
        yield _open(address, str(root), detail, f"find {root} -type f -perm -o+w -exec chmod a-w {{}} +")
    if changeable.count and read_only:
        detail = f"{changeable.count} of its files are not read-only, and a published file never changes: {changeable}"
        mend = f"find {root} -type f -not -path '*/.hoist/tmp/*' -perm /u+w,g+w -exec chmod a-w {{}} +"
        yield Finding("unprotected", "warning", address, str(root), detail, mend)
    if strangers.count:
        what = "files or folders belong to other users than the storage, who may change them"
        mend = (
            f"chown them to user {top.st_uid}; or, if several users publish, give the folder a group that may write it"
        )
        yield Finding("unprotected", "warning", address, str(root), f"{strangers.count} {what}: {strangers}", mend)


def _everything(folder: Path, prefix: str) -> Iterator[tuple[str, os.stat_result]]:
    """All that is below a folder but half-written files, each by its path and as it is itself, not what it leads to."""
    with os.scandir(folder) as found:
        entries = sorted(found, key=lambda entry: entry.name)
    for entry in entries:
        path = prefix + entry.name
        try:
            status = entry.stat(follow_symlinks=False)
        except FileNotFoundError:
            continue
        yield path, status
        if stat.S_ISDIR(status.st_mode) and path != _TMP:
            with suppress(FileNotFoundError):
                yield from _everything(folder / entry.name, f"{path}/")


def _open(address: str, what: str, detail: str, mend: str) -> Finding:
    return Finding("unprotected", "error", address, what, detail, mend)
