"""The members of a logical storage: who answers, how quickly, and what that means for reading and writing."""

from __future__ import annotations

from collections.abc import Iterator

from hoist.checkup.report import Finding, Group
from hoist.storage.any.storage import AnyStorage

_LOST = "see its own findings, as hoist doctor {name}; reads do without it meanwhile"
_LOST_FIRST = _LOST + ", publishing and tags do not"


def check_members(storage: AnyStorage, group: Group) -> Iterator[Finding]:
    """A finding for each member, in order of preference, and one for the whole."""
    answering = 0
    for place, (member, seconds) in enumerate(storage.check()):
        name = f"member {place + 1}: {member.name}"
        if seconds is None:
            mend = (_LOST if place else _LOST_FIRST).format(name=member.name)
            yield group.warning(name, member.problem or "does not answer", mend)
        else:
            answering += 1
            yield group.ok(name, f"kind {member.kind}, answers in {1000 * seconds:.0f} ms", answer_seconds=seconds)
    members = len(storage.health())
    if not answering:
        yield group.failed("members", "none answers", "see what each says, and mend one of them at least")
    elif members == 1:
        yield group.warning("members", "there is one only", "name another storage that holds the same versions")
    else:
        yield group.ok("members", f"{answering} of {members} answer")
