"""How things are said on a terminal and in JSON: sizes, times, digests, tables."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from hoist.formatting import (
    printable,
    short_digest,
    show_count,
    show_rate,
    show_seconds,
    show_share,
    show_size,
)

__all__ = [
    "named_once",
    "print_json",
    "print_table",
    "printable",
    "short_digest",
    "show_count",
    "show_rate",
    "show_seconds",
    "show_share",
    "show_size",
    "table_width",
    "tell_error",
    "warn",
]
_GAP = "  "


def print_table(headings: Sequence[str], rows: Sequence[Sequence[str]], *, indent: str = "") -> None:
    """Aligned columns, two spaces apart; a heading that starts with `>` aligns its column to the right."""
    cells, widths = _laid_out(headings, rows)
    for row in cells:
        parts = [
            cell.rjust(width) if heading.startswith(">") else cell.ljust(width)
            for cell, width, heading in zip(row, widths, headings, strict=True)
        ]
        print((indent + _GAP.join(parts)).rstrip())


def table_width(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> int:
    """How many columns of a terminal `print_table` fills."""
    _, widths = _laid_out(headings, rows)
    return sum(widths) + len(_GAP) * (len(widths) - 1)


def _laid_out(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> tuple[list[list[str]], list[int]]:
    """The cells of a table, its headings first, and how wide each column is."""
    cells = [
        [heading.removeprefix(">") for heading in headings],
        *([printable(cell) for cell in row] for row in rows),
    ]
    return cells, [max(map(len, column)) for column in zip(*cells, strict=True)]


def print_json(document: object) -> None:
    """The one document on standard output."""
    import json

    print(json.dumps(document, indent=2))


def named_once(storage: str, problem: str) -> str:
    """What went wrong with a storage; many an error begins with its name already."""
    return problem if problem.startswith((f"{storage}:", f"{storage} ")) else f"{storage}: {problem}"


def tell_error(message: str) -> None:
    """A line that is a failure, on standard error."""
    print(f"hoist: error: {printable(message)}", file=sys.stderr)


def warn(message: str) -> None:
    """A line that is no failure, on standard error."""
    print(f"hoist: warning: {printable(message)}", file=sys.stderr)
