"""The command line: parse, call one function, show. Only this package prints, prompts or exits.

A verb group is a file; its modules import nothing heavy before a verb runs, so that `hoist --help` is quick.
"""

from __future__ import annotations

from hoist.cli.entry import main

__all__ = ["main"]
