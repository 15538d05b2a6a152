"""Doing one thing for many items, a few at a time, ending early at the first error or Ctrl-C."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from threading import Event
from typing import TypeVar

# Files up to this size are one request each: several of them are handled at once.
SMALL_BYTES = 4 << 20
SMALL_AT_ONCE = 8
Item = TypeVar("Item")
Result = TypeVar("Result")


def for_each(
    function: Callable[[Item], Result], items: Iterable[Item], at_once: int, stop: Event | None = None
) -> list[Result]:
    """`function` of each item, in order of the items, at most `at_once` at a time.

    Raises the first item's error; then, and on Ctrl-C, `stop` is set so that running calls can end, and no more begin.
    """
    with ThreadPoolExecutor(at_once, "hoist-each") as pool:
        futures = [pool.submit(function, item) for item in items]
        try:
            wait(futures, return_when=FIRST_EXCEPTION)
            failed = next((future for future in futures if future.done() and future.exception()), None)
            if failed:
                failed.result()
            return [future.result() for future in futures]
        except BaseException:
            if stop:
                stop.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
