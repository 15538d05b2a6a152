"""`hoist completion`: what a shell needs to complete hoist's verbs and options."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hoist.cli.parser import Root

if TYPE_CHECKING:
    from argparse import Namespace

SHELLS = ("bash", "zsh", "tcsh")


def add_to(root: Root) -> None:
    """Add the verb."""
    parser = root.add_verb(
        "help",
        "completion",
        run_completion,
        "Print the completion script for a shell",
        about="Completes verbs, options and paths.",
        examples=(
            "hoist completion bash > ~/.local/share/bash-completion/completions/hoist",
            "hoist completion zsh > ~/.zfunc/_hoist",
        ),
    )
    parser.add_argument("shell", metavar="SHELL", choices=SHELLS, help="bash, zsh or tcsh")


def run_completion(args: Namespace) -> int:
    """Print the script."""
    import shtab

    from hoist.cli.parser import build_parser

    print(shtab.complete(build_parser(), args.shell))
    return 0
