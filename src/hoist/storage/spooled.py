"""Putting a file that lies on no disk of this machine into a storage that only takes those: by way of a temporary one."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from hoist.errors import LocalError
from hoist.model.manifest import FileEntry

if TYPE_CHECKING:
    from hoist.storage.base import Content, OnBytes, Publication

_SLICE_BYTES = 8 << 20


def put_spooled(publication: Publication, entry: FileEntry, content: Content, on_bytes: OnBytes) -> bool:
    """See Publication.put_content. Raises LocalError where TMPDIR has no room."""
    with spooled(entry.size, content) as source:
        return publication.put_file(entry, source, on_bytes)


@contextmanager
def spooled(size: int, content: Content) -> Iterator[Path]:
    """What `content` gives, in a temporary file, there during the body. Raises LocalError where TMPDIR has no room."""
    memory = memoryview(bytearray(min(_SLICE_BYTES, size)))
    try:
        with tempfile.NamedTemporaryFile(prefix="hoist-", buffering=0) as file:
            for begin in range(0, size, _SLICE_BYTES):
                view = memory[: min(_SLICE_BYTES, size - begin)]
                content(begin, view)
                while view:
                    view = view[file.write(view) :]
            yield Path(file.name)
    except OSError as error:
        raise LocalError(f"a temporary file: {error.strerror or error}; set TMPDIR to a folder with room") from None
