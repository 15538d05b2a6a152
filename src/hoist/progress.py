"""How a verb tells how far it is. The base class is silent; the command line shows bars or lines."""

from __future__ import annotations


class Progress:
    """Told of phases and bytes, from any thread. Does nothing: subclass it to show something."""

    def begin(self, phase: str, total_bytes: int) -> None:
        """A phase starts: a few words, and the bytes it will handle."""

    def advance(self, count: int) -> None:
        """So many bytes more are done."""

    def end(self) -> None:
        """The phase is over."""
