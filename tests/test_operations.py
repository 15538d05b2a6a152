"""The drills of docs/operations.md, run as they stand there: with directories as regions, and with buckets."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from hoist.testing.servers import RadosgwServer

DOCUMENT = Path(__file__).parent.parent / "docs/operations.md"
# What only a directory can be done to, without the means of another program.
ON_DISK = {"a region is rebuilt from the vault", "a disk rots"}


def drills() -> dict[str, str]:
    """The shell blocks by the title of their drill; those before the first one are of `Drills` itself."""
    text = DOCUMENT.read_text().partition("\n## Drills\n")[2].partition("\n## ")[0]
    parts = re.split(r"^### Drill: (.*)$", text, flags=re.MULTILINE)
    titled = {"": parts[0]} | dict(zip(parts[1::2], parts[2::2], strict=True))
    return {title: "\n".join(re.findall(r"^```sh\n(.*?)^```$", body, re.M | re.S)) for title, body in titled.items()}


def run(script: str, folder: Path, variables: Mapping[str, str]) -> None:
    """Run a drill as a reader would who stops at the first command that fails."""
    programs = folder / ".bin"
    programs.mkdir(exist_ok=True)
    hoist = programs / "hoist"
    hoist.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m hoist "$@"\n')
    hoist.chmod(0o755)
    environ = dict(os.environ) | {"PATH": f"{programs}:{os.environ['PATH']}", "HOME": str(folder)} | dict(variables)
    done = subprocess.run(
        ["bash", "-eux", "-c", script], cwd=folder, env=environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_the_drills_are_found() -> None:
    found = drills()
    assert len(found) == 7
    assert all(found.values())
    assert set(found) >= ON_DISK


def test_the_drills_do_what_they_say(tmp_path: Path) -> None:
    for script in drills().values():
        run(script, tmp_path, {})


@pytest.mark.long
def test_the_drills_do_it_with_buckets_too(tmp_path: Path, radosgw_server: RadosgwServer) -> None:
    variables = {
        "AWS_ACCESS_KEY_ID": radosgw_server.access_key,
        "AWS_SECRET_ACCESS_KEY": radosgw_server.secret_key,
    }
    for name in ("eu", "us"):
        bucket = f"drill-{name}-{os.getpid()}"
        radosgw_server.create_bucket(bucket)
        variables |= {f"HOIST_STORAGE_{name.upper()}_URL": f"s3://{bucket}"}
        variables |= {f"HOIST_STORAGE_{name.upper()}_ENDPOINT": radosgw_server.endpoint}
    for title, script in drills().items():
        if title not in ON_DISK:
            run(script, tmp_path, variables)
