"""YAML: documents with comments from plain data, and files of users changed with every other line left as it is."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from typing import TYPE_CHECKING, Any

from hoist.errors import LocalError, UsageError

if TYPE_CHECKING:
    from ruamel.yaml import YAML

Path = tuple[str | int, ...]
_WIDTH = 10_000
# Of a table in a table, of what a list holds, of the dash before it.
_INDENTS = (
    (2, 4, 2),
    (2, 2, 0),
    (4, 4, 0),
    (4, 6, 4),
    (4, 2, 0),
    (4, 4, 2),
    (2, 4, 0),
    (3, 3, 0),
    (8, 8, 0),
    (8, 10, 8),
)
# What is a text in YAML 1.2 and something else in 1.1, which readers in Go and Python still speak.
_MISTAKEN = re.compile(r"(?i:y|n|yes|no|on|off|true|false|null|~|<<|=)|[-+.]?[0-9][0-9:._eExXoO+-]*")
_MOST_BYTES = 1 << 20


@dataclass(frozen=True)
class Document:
    """Plain data (tables, lists, texts, numbers) and comments: `notes` by the path of the field that they stand above."""

    data: Mapping[str, Any]
    title: str = ""
    notes: Mapping[Path, str] = field(default_factory=dict)


def render(documents: Sequence[Document]) -> str:
    """One YAML text, its documents divided by `---`. The same documents give the same bytes. Raises LocalError."""
    return "---\n".join(_render(document) for document in documents)


def _render(document: Document) -> str:
    missing = [path for path in document.notes if not _there(document.data, path)]
    assert not missing, f"comments on nothing: {missing}"
    stream = io.StringIO()
    _yaml().dump(_commented(document.data, document.notes, ()), stream)
    title = "".join(f"# {line}".rstrip() + "\n" for line in document.title.splitlines())
    return title + stream.getvalue()


def _there(data: Any, path: Path) -> bool:
    for step in path:
        try:
            data = data[step]
        except (KeyError, IndexError, TypeError):
            return False
    return True


def _yaml() -> YAML:
    try:
        from ruamel.yaml import YAML
    except ModuleNotFoundError:
        raise LocalError("writing YAML needs ruamel.yaml: pip install 'hoist[deploy]'") from None
    made = YAML(typ="rt", pure=True)
    made.width = _WIDTH
    made.preserve_quotes = True
    made.indent(mapping=2, sequence=4, offset=2)
    return made


def _commented(value: Any, notes: Mapping[Path, str], path: Path) -> Any:
    """The data as ruamel's own tables, which carry comments."""
    from ruamel.yaml.comments import CommentedMap, CommentedSeq

    if isinstance(value, Mapping):
        made = CommentedMap()
        for key, item in value.items():
            name = _text(key)
            made[name] = _commented(item, notes, (*path, key))
            if (*path, key) in notes:
                made.yaml_set_comment_before_after_key(name, before=notes[(*path, key)], indent=2 * len(path))
        return made
    if isinstance(value, list | tuple):
        return CommentedSeq(_commented(item, notes, (*path, at)) for at, item in enumerate(value))
    return _text(value)


def _text(value: Any) -> Any:
    """A text that some reader would take for something else is quoted."""
    from ruamel.yaml.scalarstring import SingleQuotedScalarString

    return SingleQuotedScalarString(value) if isinstance(value, str) and _MISTAKEN.fullmatch(value) else value


def load(text: str, where: str) -> tuple[Any, YAML]:
    """A user's file, with its comments, and what writes it again. Raises UsageError, naming the line; LocalError."""
    made = _yaml()
    from ruamel.yaml.error import YAMLError

    if len(text) > _MOST_BYTES:
        raise UsageError(f"{where}: larger than 1 MiB")
    try:
        data = made.load(text)
        _indent_as(made, data, text)
    except (YAMLError, ValueError, RecursionError) as error:
        raise UsageError(f"{where}: not YAML: {' '.join(str(error).split())[:300]}") from None
    return data, made


def _indent_as(made: YAML, data: Any, text: str) -> None:
    """Let the writer indent as the file does: of the usual ways the one that gives most of its lines."""
    lines = {line.rstrip() for line in text.splitlines()}
    best, most = _INDENTS[0], -1
    for way in _INDENTS:
        made.indent(*way)
        written = dump(data, made).splitlines()
        alike = sum(line.rstrip() in lines for line in written)
        if alike > most:
            best, most = way, alike
        if alike == len(written):
            break
    made.indent(*best)


def dump(data: Any, made: YAML) -> str:
    """The text of loaded data."""
    stream = io.StringIO()
    made.dump(data, stream)
    return stream.getvalue()


def transplant(original: str, before: str, after: str) -> str:
    """`original` with the lines changed that differ between `before` and `after`, which are the same data as a library
    writes it, before and after a change: so a user's indentation, quotes and blank lines stay. Where that is not
    possible, since `original` is laid out too differently there, the result has the library's layout of those lines."""
    old, plain, new = (text.splitlines(keepends=True) for text in (original, before, after))
    begins, ends = _spans(plain, old)
    found: list[str] = []
    done = 0
    for tag, i1, i2, j1, j2 in SequenceMatcher(None, plain, new, autojunk=False).get_opcodes():
        if tag == "equal":
            continue
        start, stop = (begins[i1], ends[i2]) if i2 > i1 else (begins[i1], begins[i1])
        start = max(start, done)
        found += [*old[done:start], *new[j1:j2]]
        done = max(stop, start)
    return "".join(found + old[done:])


def _spans(plain: Sequence[str], old: Sequence[str]) -> tuple[list[int], list[int]]:
    """For each line of `plain`, where in `old` it begins, and for each end of one, where in `old` that is."""
    begins, ends = [0] * (len(plain) + 1), [0] * (len(plain) + 1)
    stripped = [line.strip() for line in plain], [line.strip() for line in old]
    for tag, i1, i2, j1, j2 in SequenceMatcher(None, *stripped, autojunk=False).get_opcodes():
        for at in range(i1, i2):
            linear = tag == "equal" or i2 - i1 == j2 - j1
            begins[at] = j1 + at - i1 if linear else j1
            ends[at + 1] = j1 + at - i1 + 1 if linear else j2
    begins[len(plain)] = len(old)
    return begins, ends
