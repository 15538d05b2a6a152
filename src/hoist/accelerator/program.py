"""nginx on this machine: where it is, and whether it has what an accelerator needs."""

from __future__ import annotations

import re
import shutil
import subprocess

from hoist.errors import LocalError

# Folders that an ordinary user's PATH lacks on Debian.
_FOLDERS = (None, "/usr/local/sbin:/usr/sbin:/sbin")
_MODULES = ("http_slice_module", "http_auth_request_module", "http_ssl_module", "http_stub_status_module")
_LEAST = (1, 19, 1)
_LIMIT_SECONDS = 20.0
_MEND = "sudo apt-get install -y --no-install-recommends nginx-light"


def find_nginx() -> str:
    """Its path. Raises LocalError, with the mend, if it is missing, too old, or built without a module."""
    path = find("nginx")
    if path is None:
        raise LocalError(f"an accelerator is nginx, which is not installed: {_MEND}")
    said = run(path, "-V")
    found = re.search(r"nginx/(\d+)\.(\d+)\.(\d+)", said)
    if not found or tuple(map(int, found.groups())) < _LEAST:
        raise LocalError(f"{path} is older than nginx {'.'.join(map(str, _LEAST))}, which an accelerator needs")
    missing = [module for module in _MODULES if f"--with-{module}" not in said]
    if missing:
        raise LocalError(f"{path} was built without {', '.join(missing)}: {_MEND}")
    return path


def find(name: str) -> str | None:
    """A program on PATH or in a system folder."""
    return next((found for folder in _FOLDERS if (found := shutil.which(name, path=folder))), None)


def run(*command: str) -> str:
    """What a program says, on both streams. Raises LocalError with that if it fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_LIMIT_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise LocalError(f"{command[0]} does not run: {error}") from None
    if done.returncode:
        raise LocalError(f"{command[0]} refuses its configuration: {(done.stderr or done.stdout).strip()[-800:]}")
    return done.stdout + done.stderr
