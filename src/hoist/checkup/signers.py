"""Whether those who have to have signed what a storage holds can be asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib.util import find_spec

from hoist.checkup.report import Finding, Group
from hoist.errors import HoistError
from hoist.signing.trust import is_identity, trusted


def check_signers(required: Sequence[Sequence[str]], group: Group) -> Iterator[Finding]:
    """One finding: who they are, or which of their keys cannot be read."""
    names = [name for those in required for name in those]
    try:
        for name in names:
            trusted([name])
    except HoistError as error:
        yield group.failed(
            "signatures", str(error), "until require_signature names keys that can be read, nothing is loaded"
        )
        return
    if any(map(is_identity, names)) and find_spec("model_signing") is None:
        yield group.missing(
            "signatures", "an identity is required, and there is no model-signing", "pip install 'hoist[sign]'"
        )
        return
    yield group.ok("signatures", f"required: by {' and '.join(' or '.join(those) for those in required)}")
