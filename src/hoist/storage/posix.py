"""Reading a local file into the caller's memory."""

from __future__ import annotations

import os


def fill(fd: int, offset: int, buffer: memoryview) -> int:
    """Read from `offset` until `buffer` is full or the file ends; return the bytes read. Raises OSError."""
    done = 0
    while done < len(buffer):
        got = os.preadv(fd, [buffer[done:]], offset + done)
        if not got:
            break
        done += got
    return done
