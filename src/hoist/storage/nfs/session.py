"""One connection to an NFS server: calls that end, one way or the other, within their time. For one thread at a time.

An answer comes to a callback, by the number of its call. What has been given up is struck off first: an answer that comes
late finds nobody, and writes into nobody's memory.
"""

from __future__ import annotations

import ctypes
import os
import select
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from hoist.storage.nfs.bulk import Bulk
from hoist.storage.nfs.errors import NfsBroken, NfsStatus, status_of
from hoist.storage.nfs.libnfs import Callback, Dirent, Stat, StatVfs, load
from hoist.storage.nfs.place import CONNECT_SECONDS, SILENT_SECONDS, Place, resolved

_READS_AT_ONCE = 2
_GONE = select.POLLERR | select.POLLHUP | select.POLLNVAL
Take = Callable[[int, int], Any]


@dataclass(frozen=True, slots=True)
class Entry:
    """One name of a folder. `type` is 1 for a file, 2 for a folder; `modified` in seconds since the epoch."""

    name: str
    type: int
    size: int
    modified: float


class Session:
    """A connection that has its place open. Raises NfsStatus and NfsBroken; after NfsBroken only `close` is left."""

    def __init__(self, place: Place, client: str) -> None:
        self._library = load()
        self._place = place
        self._pending: dict[int, Callable[[int, int | None], None]] = {}
        self._number = 0
        self._mounted = False
        self._bulk: Bulk | None = None
        self._callback = Callback(self._answered)
        self._poll = select.poll()
        self._polled: tuple[int, int] | None = None
        self._context: int | None = self._library.nfs_init_context()
        if not self._context:
            raise NfsBroken("no memory for a session")
        try:
            self._connect(client)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End the connection, whatever is under way."""
        self._pending.clear()
        if self._bulk:
            self._bulk.close()
        context, self._context = self._context, None
        if context:
            self._library.nfs_destroy_context(context)

    def stat(self, path: str) -> Stat:
        """What a path is; links are followed."""
        return self._call("nfs_stat64_async", _encoded(path), take=_take_stat)  # type: ignore[no-any-return]

    def space(self) -> tuple[int, int]:
        """Bytes that are free for this user, and bytes in all."""
        found = self._call(
            "nfs_statvfs_async", b"/", take=lambda _, data: StatVfs.from_buffer_copy(_raw(data, StatVfs))
        )
        return found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize

    def open(self, path: str, flags: int, mode: int = 0o644) -> int:
        """Open a file; with O_CREAT it must be new. `shut` it."""
        return self._call("nfs_open2_async", _encoded(path), flags, mode, take=lambda _, data: data)  # type: ignore[no-any-return]

    def shut(self, handle: int) -> None:
        """Close a file."""
        self._call("nfs_close_async", handle)

    def truncate(self, handle: int, size: int) -> None:
        """Make a file that long."""
        self._call("nfs_ftruncate_async", handle, size)

    def names(self, path: str) -> list[Entry]:
        """The names in a folder, in no order."""
        folder = self._call("nfs_opendir_async", _encoded(path), take=lambda _, data: data)
        try:
            return [entry for entry in self._entries(folder) if entry.name not in (".", "..")]
        finally:
            self._library.nfs_closedir(self._context, folder)

    def make_folder(self, path: str) -> None:
        """Make one folder."""
        self._call("nfs_mkdir2_async", _encoded(path), 0o755)

    def remove_folder(self, path: str) -> None:
        """Remove an empty folder."""
        self._call("nfs_rmdir_async", _encoded(path))

    def unlink(self, path: str) -> None:
        """Remove a name."""
        self._call("nfs_unlink_async", _encoded(path))

    def chmod(self, path: str, mode: int) -> None:
        """Set permissions."""
        self._call("nfs_chmod_async", _encoded(path), mode)

    def link(self, path: str, new: str) -> None:
        """Give a file another name, which must be new."""
        self._call("nfs_link_async", _encoded(path), _encoded(new))

    def rename(self, path: str, new: str) -> None:
        """Rename a file, in the place of what is there."""
        self._call("nfs_rename_async", _encoded(path), _encoded(new))

    def symlink(self, text: str, path: str) -> None:
        """Make a symbolic link with this text."""
        self._call("nfs_symlink_async", os.fsencode(text), _encoded(path))

    def read(self, handle: int, offset: int, buffer: memoryview) -> int:
        """Fill `buffer` from `offset`, two requests at once; the bytes read, fewer only at the file's end."""
        memory = (ctypes.c_char * len(buffer)).from_buffer(buffer)
        base, step = ctypes.addressof(memory), self._place.read_bytes
        wanted = [(at, min(at + step, len(buffer))) for at in range(0, len(buffer), step)][::-1]
        ends: list[int] = []

        def ask(begin: int, end: int) -> None:
            def take(status: int, data: int) -> None:
                ctypes.memmove(base + begin, data, status)
                if not status:
                    ends.append(begin)
                elif begin + status < end:
                    # A server with a smaller limit, or the last bytes.
                    wanted.append((begin + status, end))

            self._begin("nfs_pread_async", (handle, offset + begin, end - begin), take, failed)

        failed: list[NfsStatus | NfsBroken] = []
        self._pipeline(lambda: ask(*wanted.pop()) if wanted and not ends else None, _READS_AT_ONCE, failed)
        return min(ends, default=len(buffer))

    @property
    def bulk(self) -> Bulk:
        """What moves many bytes; connected at its first use, ended with the session."""
        if self._bulk is None:
            self._bulk = Bulk(self._place)
        return self._bulk

    def _pipeline(self, ask: Callable[[], None], at_once: int, failed: list[NfsStatus | NfsBroken]) -> None:
        """Keep up to `at_once` calls under way until `ask` begins no more of them."""
        while True:
            while len(self._pending) < at_once and not failed:
                before = self._number
                ask()
                if self._number == before:
                    break
            if not self._pending:
                break
            self._pump(time.monotonic() + SILENT_SECONDS, len(self._pending))
        if failed:
            raise failed[0]

    def _connect(self, client: str) -> None:
        library, place = self._library, self._place
        # Only by a URL can the port be told.
        url = library.nfs_parse_url_dir(self._context, f"nfs://server/path?version=4&nfsport={place.port}".encode())
        if not url:
            raise NfsBroken("libnfs refuses version 4 or the port")
        library.nfs_destroy_url(url)
        library.nfs_set_autoreconnect(self._context, 0)
        library.nfs_set_dircache(self._context, 0)
        if place.uid is not None:
            library.nfs_set_uid(self._context, place.uid)
        if place.gid is not None:
            library.nfs_set_gid(self._context, place.gid)
        # The same name with another verifier is to the server the same client after a restart: it lets the old state go.
        library.nfs4_set_client_name(self._context, client.encode())
        library.nfs4_set_verifier(self._context, os.urandom(8).hex()[:8].encode())
        server = str(resolved(place)[1][0])
        self._call("nfs_mount_async", server.encode(), _encoded(place.path), seconds=CONNECT_SECONDS)
        self._mounted = True
        if self.stat("/").nfs_mode & 0o170000 != 0o040000:
            raise NfsStatus("NOTDIR")

    def _entries(self, folder: int) -> Iterator[Entry]:
        while found := self._library.nfs_readdir(self._context, folder):
            item: Dirent = found.contents
            modified = item.mtime.seconds + item.mtime.microseconds / 1e6
            yield Entry(os.fsdecode(item.name), item.type, item.size, modified)

    def _call(
        self, function: str, *arguments: object, take: Take | None = None, seconds: float = SILENT_SECONDS
    ) -> Any:
        """One call, and what `take` makes of its answer while that is there."""
        result: list[Any] = []
        failed: list[NfsStatus | NfsBroken] = []
        self._begin(function, arguments, lambda status, data: result.append(take and take(status, data)), failed)
        deadline = time.monotonic() + seconds
        while self._pending:
            self._pump(deadline, 1)
        if failed:
            raise failed[0]
        return result[0]

    def _begin(
        self, function: str, arguments: tuple[object, ...], take: Take, failed: list[NfsStatus | NfsBroken]
    ) -> None:
        self._number += 1

        def answered(status: int, data: int | None) -> None:
            if status >= 0:
                take(status, data or 0)
            else:
                text = ctypes.string_at(data).decode(errors="replace") if data else os.strerror(-status)
                failed.append(status_of(text))

        self._pending[self._number] = answered
        if getattr(self._library, function)(self._context, *arguments, self._callback, self._number):
            self._pending.clear()
            raise NfsBroken(self._said())

    def _answered(self, status: int, context: int, data: int | None, number: int) -> None:
        answered = self._pending.pop(number, None)
        if answered:
            answered(status, data)

    def _pump(self, deadline: float, waiting: int) -> None:
        """Serve the connection until fewer than `waiting` calls are under way. Raises NfsBroken at the deadline."""
        library, context = self._library, self._context
        try:
            while len(self._pending) >= waiting:
                wanted = (library.nfs_get_fd(context), library.nfs_which_events(context))
                if wanted[0] < 0:
                    raise NfsBroken(self._said())
                if wanted != self._polled:
                    self._watch(wanted)
                left = deadline - time.monotonic()
                ready = self._poll.poll(max(0, int(left * 1000)) + 1)
                if not ready and left <= 0:
                    raise NfsBroken("it is silent")
                events = ready[0][1] if ready else 0
                if events & _GONE and self._mounted:
                    # As if it could be read: only then libnfs tells those who wait.
                    events = select.POLLIN
                if library.nfs_service(context, events) < 0 and self._pending:
                    raise NfsBroken(self._said())
        except BaseException:
            self._pending.clear()
            raise

    def _watch(self, wanted: tuple[int, int]) -> None:
        if self._polled and self._polled[0] != wanted[0]:
            self._poll = select.poll()
        self._poll.register(*wanted)
        self._polled = wanted

    def _said(self) -> str:
        text = self._library.nfs_get_error(self._context)
        return text.decode(errors="replace") if text else "the connection was closed"


def _take_stat(_: int, data: int) -> Stat:
    return Stat.from_buffer_copy(_raw(data, Stat))


def _raw(data: int, kind: type[ctypes.Structure]) -> bytes:
    return ctypes.string_at(data, ctypes.sizeof(kind))


def _encoded(path: str) -> bytes:
    encoded = os.fsencode(path)
    if b"\0" in encoded:
        raise NfsStatus("BADNAME")
    return encoded
