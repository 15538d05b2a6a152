"""The entry point: from the arguments to an exit code. No traceback reaches a user who did not ask for one."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

from hoist.cli.parser import build_parser, check_verb
from hoist.cli.text import printable, tell_error, warn
from hoist.errors import HoistError, HoistWarning

if TYPE_CHECKING:
    from argparse import Namespace

    from hoist.cli.interrupt import Interruptible

INTERNAL = 70
# What a shell reports of a program that died of a closed pipe.
BROKEN_PIPE = 141
# Verbs that start servers and mounts of their own, which are not to be left behind.
_ORDERLY = ("bench", "demo")
_EXTRAS = {
    "torch": "torch",
    "numpy": "torch",
    "ray": "ray",
    "matplotlib": "plot",
    "ruamel": "deploy",
    "starlette": "serve",
    "uvicorn": "serve",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; argparse itself exits for --help, --version and wrong arguments."""
    for stream in (sys.stdout, sys.stderr):
        # A name that this terminal cannot show is shown escaped: it is no reason to fail.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    words = list(sys.argv[1:] if arguments is None else arguments)
    parser = build_parser()
    check_verb(parser, words)
    parsed = parser.parse_args(words)
    farewell = "cancelled; run it again to resume" if parsed.resumable else "cancelled"
    # Threads and signals are needed only from here on: --help is quick without.
    from hoist.cli.interrupt import Interruptible

    with Interruptible(f"hoist: {farewell}", orderly=parsed.verb in _ORDERLY) as interruptible, _warnings_as_lines():
        return _guarded(lambda: _run(parsed), interruptible)


@contextmanager
def _warnings_as_lines() -> Iterator[None]:
    """Hoist's own warnings in the command line's form; others as Python shows them."""
    shown = warnings.showwarning

    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        if issubclass(category, HoistWarning):
            warn(str(message))
        else:
            shown(message, category, filename, lineno, file, line)

    with warnings.catch_warnings():
        warnings.simplefilter("always", HoistWarning)
        warnings.showwarning = show
        yield


def _run(parsed: Namespace) -> int:
    if getattr(parsed, "max_bandwidth", None) is not None:
        from hoist.config import say

        say("max_bandwidth", parsed.max_bandwidth)
    return int(parsed.run(parsed))


def _guarded(run: Callable[[], int], interruptible: Interruptible) -> int:
    try:
        code = run()
        sys.stdout.flush()
    except KeyboardInterrupt as interrupt:
        return interruptible.cancelled(interrupt)
    except BrokenPipeError:
        # The reader has gone (`hoist list | head`): say nothing, not at the end of Python either.
        sys.stdout = None
        return BROKEN_PIPE
    except HoistError as error:
        return _tell(str(error), error.exit_code)
    except ModuleNotFoundError as error:
        extra = _EXTRAS.get(error.name or "")
        if extra:
            return _tell(f"this verb needs {error.name}: pip install 'hoist[{extra}]'", 9)
        return _tell_internal(error)
    except Exception as error:  # noqa: BLE001 the last one to hear of it
        return _tell_internal(error)
    return code


def _tell(message: str, code: int) -> int:
    _show_traceback()
    tell_error(message)
    return code


def _tell_internal(error: Exception) -> int:
    what = f"{type(error).__name__}: {error}".rstrip(": ")
    if not _show_traceback():
        what += ": please report; HOIST_DEBUG=1 shows the traceback"
    print(f"hoist: internal error: {printable(what)}", file=sys.stderr)
    return INTERNAL


def _show_traceback() -> bool:
    from hoist.config import debug

    if debug():
        import traceback

        traceback.print_exc()
        return True
    return False
