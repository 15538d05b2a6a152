"""moto: AWS in Python, for S3's semantics. It reads the whole object for each range: never time anything on it."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar

from hoist.testing.servers.base import S3Server, Traits
from hoist.testing.servers.children import Children
from hoist.testing.servers.ports import LOOPBACK


class MotoServer(S3Server):
    """moto's threaded server in a process of its own. Objects live in its memory; `folder` takes what spills."""

    name: ClassVar[str] = "moto"
    start_limit_s: ClassVar[float] = 60.0
    traits: ClassVar[Traits] = Traits(
        writable=True,
        ranges_with_206=True,
        honours_if_none_match=True,
        honours_if_match=True,
        if_match_takes_quotes=True,
        checks_signatures=False,
        refuses_anonymous=True,
        checks_checksums=False,
        keeps_versions=True,
    )

    @classmethod
    def unavailable(cls) -> str | None:
        """None when moto and the parts of its server can be imported; else the reason and the mend."""
        if all(find_spec(module) for module in ("moto", "flask", "flask_cors")):
            return None
        return "moto is not installed with its server: pip install 'moto[server]'"

    def _launch(self, children: Children, port: int, folder: Path) -> None:
        command = [sys.executable, "-m", "moto.server", "-H", LOOPBACK, "-p", str(port)]
        # The modules that this Python sees, wherever they are: moto needs not be installed beside it.
        env = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "TMPDIR": str(folder.resolve())}
        children.start("moto", command, env)
