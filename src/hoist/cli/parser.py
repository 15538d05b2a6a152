"""The parser of the whole command line, and its help."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[Any]
    Run = Callable[[argparse.Namespace], int]

_WHERE = """\
a location is STORAGE//NAME:VERSION, as in nas//sd15/anything:v5 or s3://bucket/prefix//sd15/anything:v5;
a storage is a name from hoist.toml, a URL (s3:// oss:// gs:// az:// oci:// nfs:// file://) or a path (/srv/models).
"""
_EXIT_CODES = """\
exit codes
   0  done                              5  permission denied
   1  refused, or another failure       6  storage down, busy, or unable to do this
   2  wrong arguments or configuration  7  damaged bytes
   3  not found                         8  invalid or unsafe weight file
   4  somebody else's is in the way     9  this machine: disk, path, missing library
  10  a function's own code raised     11  not signed by whom it has to be
  70  a bug in Hoist                  130  cancelled by Ctrl-C (143: by SIGTERM)
"""
# What shtab calls the completion of paths in each shell; it is not imported only to be told.
_COMPLETE = {
    "file": {"bash": "_shtab_compgen_files", "zsh": "_files", "tcsh": "f"},
    "folder": {"bash": "_shtab_compgen_dirs", "zsh": "_files -/", "tcsh": "d"},
}


class _Help(argparse.RawDescriptionHelpFormatter):
    """Help as wide as the terminal, up to a width that is good to read."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=28, width=_help_width())

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        """Wrap paragraphs, and leave examples (which are indented) as they are."""
        import textwrap

        lines = [line if line.startswith(" ") else textwrap.fill(line, width) for line in _paragraphs(text)]
        return "\n".join(lines)


def _paragraphs(text: str) -> list[str]:
    """The lines, those of one paragraph joined; an indented or empty line, `:` or `;` at the end part them."""
    found: list[str] = []
    for line in text.splitlines():
        goes_on = found and found[-1] and not found[-1].startswith(" ") and found[-1][-1] not in ":;"
        if goes_on and line and not line.startswith(" "):
            found[-1] += f" {line}"
        else:
            found.append(line)
    return found


def _help_width() -> int:
    try:
        return min(100, os.get_terminal_size().columns - 2)
    except (OSError, ValueError):
        return 100


class Parser(argparse.ArgumentParser):
    """A parser that takes no abbreviations, so that a new option never changes an old script."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"formatter_class": _Help} | options, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        """One line, the mend, and exit code 2."""
        self.exit(2, f"hoist: error: {message}\nSee: {self.prog} --help\n")


class Root(Parser):
    """The parser of `hoist` itself; its help shows the verbs by group."""

    def __init__(self) -> None:
        super().__init__(prog="hoist", description="Store, deliver and load model weights for GPU functions.")
        self.add_argument("--version", action=_ShowVersion)
        self.commands: Commands = self.add_subparsers(dest="verb", metavar="VERB", parser_class=Parser)
        self.groups: dict[str, list[tuple[str, str]]] = {}

    def format_help(self) -> str:
        """The verbs by group, what a location is, the exit codes."""
        parts = [f"usage: hoist VERB ...\n\n{self.description}\n"]
        for title, verbs in self.groups.items():
            parts.append("\n".join([title, *(f"  {name:<17}{summary}" for name, summary in verbs)]) + "\n")
        parts.append("hoist VERB --help says more of a verb; hoist --version says which Hoist this is.\n")
        return "\n".join([*parts, _WHERE, _EXIT_CODES])

    def add_verb(self, group: str, name: str, run: Run | None, summary: str, **more: Any) -> Parser:
        """Add a verb under a heading of the help; `more` is what `add_command` takes."""
        shown = ", ".join([name, *more.get("aliases", ())])
        self.groups.setdefault(group, []).append((shown, summary))
        return add_command(self.commands, name, run, summary, **more)


class _ShowVersion(argparse.Action):
    def __init__(self, option_strings: Sequence[str], dest: str) -> None:
        super().__init__(option_strings, argparse.SUPPRESS, nargs=0, help="show Hoist's version")

    def __call__(self, parser: argparse.ArgumentParser, *rest: object) -> NoReturn:
        from hoist import __version__

        print(f"hoist {__version__}")
        parser.exit()


def add_command(
    commands: Commands,
    name: str,
    run: Run | None,
    summary: str,
    *,
    about: str = "",
    examples: Sequence[str] = (),
    aliases: Sequence[str] = (),
    resumable: bool = False,
) -> Parser:
    """A command with a summary for the list of commands, and a longer word and examples for its own help.

    `run` gets the parsed arguments and returns the exit code; `resumable` is whether a cancelled run can go on.
    """
    text = "examples:\n" + "\n".join(f"  {example}" for example in examples) if examples else None
    description = f"{summary}.\n\n{about}" if about else f"{summary}."
    made = commands.add_parser(name, help=summary, description=description, epilog=text, aliases=list(aliases))
    assert isinstance(made, Parser)
    if run is not None:
        made.set_defaults(run=run, resumable=resumable)
    return made


def add_location(parser: Parser, text: str = "the version, as STORAGE//NAME:VERSION") -> None:
    """The argument that most verbs share."""
    parser.add_argument("location", metavar="LOCATION", help=text)


def add_json(parser: Parser) -> None:
    """The option of every verb that prints data."""
    parser.add_argument("--json", action="store_true", help="print one JSON document, sizes in bytes, times in seconds")


def add_bandwidth(parser: Parser) -> None:
    """The option of every verb that moves weights."""
    text = "move at most so many bytes a second, as 50MiB"
    parser.add_argument("--max-bandwidth", dest="max_bandwidth", metavar="RATE", help=text)


def add_quiet(parser: Parser) -> None:
    """The option of every verb that takes long."""
    parser.add_argument("-q", "--quiet", action="store_true", help="show no progress")


def add_signed_by(parser: Parser) -> None:
    """The option of the verbs that look for a signature."""
    text = "want a signature by this public key, or by IDENTITY@ISSUER (may be repeated: one of them)"
    completes(parser.add_argument("--signed-by", action="append", default=[], metavar="KEY", help=text), "file")


def completes(action: argparse.Action, what: str) -> None:
    """Let shells complete this argument as a `file` or a `folder`."""
    action.complete = _COMPLETE[what]  # type: ignore[attr-defined]


# The files of this folder that add verbs, in the order in which help lists them.
_GROUPS = (
    *("bring", "sign", "copy", "load", "serve", "fleet", "mount", "accelerate", "image"),
    *("look", "trace", "cache", "change", "collect", "sync", "rollout"),
    *("status", "audit"),
    *("advise", "simulate", "facts", "report", "deploy", "bench", "doctor", "completion"),
)


def build_parser() -> Root:
    """The parser with all verbs."""
    root = Root()
    for group in _GROUPS:
        import_module(f"hoist.cli.{group}").add_to(root)
    return root


def check_verb(parser: Root, words: Sequence[str]) -> None:
    """End with the nearest verb for an unknown one, and with the help for none."""
    if not words:
        parser.exit(2, parser.format_help())
    verbs = list(parser.commands.choices)
    if words[0].startswith("-") or words[0] in verbs:
        return
    from difflib import get_close_matches

    near = get_close_matches(words[0], verbs, 1, 0.5)
    parser.error(f"there is no verb {words[0]!r}" + (f"; did you mean {near[0]}?" if near else ""))
