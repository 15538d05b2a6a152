"""What a tag named before, as a stack: who goes back does not return to what was gone back from. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from hoist.storage.base import Tag
from hoist.storage.moves import TagMove

Named = tuple[str, str]
"""A version's label and its manifest's digest."""


def stack_of(moves: Sequence[TagMove], now: Tag) -> list[Named]:
    """What stood there, each before the next; what stands there now is the last.

    A move to something deeper in the stack is a way back: what lay above it is gone, and not returned to.
    """
    stack: list[Named] = []
    for move in moves:
        if move.before_label:
            _go(stack, (move.before_label, move.before_digest))
        _go(stack, (move.label, move.digest))
    _go(stack, (now.label, now.digest))
    return stack


def stood_before(moves: Sequence[TagMove], now: Tag) -> Tag | None:
    """What a rollback goes to; None where nothing stood there before."""
    stack = stack_of(moves, now)
    return Tag(now.name, now.tag, *stack[-2]) if len(stack) > 1 else None


def went_back_from(moves: Sequence[TagMove], now: Tag) -> Named | None:
    """What the last move went back from; None if it was no way back."""
    if not moves or (moves[-1].label, moves[-1].digest) != (now.label, now.digest) or not moves[-1].before_label:
        return None
    last = moves[-1]
    before = Tag(now.name, now.tag, last.before_label, last.before_digest)
    stack = stack_of(moves[:-1], before)
    return stack[-1] if (now.label, now.digest) in stack[:-1] else None


def _go(stack: list[Named], to: Named) -> None:
    if to in stack:
        del stack[stack.index(to) + 1 :]
    else:
        stack.append(to)
