"""What nobody may read in a text that is shown: users in URLs, signed queries, values of secret variables."""

from __future__ import annotations

import re
from collections.abc import Mapping

from hoist.formatting import without_logins
from hoist.storage.translate import redact

_QUERY = re.compile(r"(https?://[^\s?\"']*)\?[^\s\"']+")
_SECRET_NAME = re.compile(r"KEY|SECRET|TOKEN|PASSWORD|PASSWD|CREDENTIAL|SIGNATURE", re.I)
# Shorter values are words that can stand in any message.
_SHORTEST_SECRET = 8


class Discretion:
    """Takes out of texts what nobody may read; `environ` is where secrets may stand."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        found = {value for name, value in environ.items() if _SECRET_NAME.search(name)}
        # The longest first, so that one that is a part of another leaves no rest of it.
        self._secrets = sorted((v for v in found if len(v) >= _SHORTEST_SECRET), key=len, reverse=True)

    def text(self, text: str) -> str:
        """`text` without secrets."""
        shown = redact(_QUERY.sub(r"\1?***", without_logins(text)))
        for secret in self._secrets:
            shown = shown.replace(secret, "***")
        return shown
