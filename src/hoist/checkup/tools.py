"""What else is installed that Hoist or its users may want, and the proxies on the way out. All of it is optional."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from urllib.parse import urlsplit

from hoist.checkup.report import Finding, Group

_GROUP = Group("optional tools")
# Where Debian keeps servers that an ordinary user's PATH lacks.
_MORE_FOLDERS = ("/usr/local/sbin", "/usr/sbin", "/sbin")
_CONTAINERS = ("docker", "podman", "nerdctl")
_REGISTRIES = ("skopeo", "crane", "oras", "buildah")
_PROXIES = ("https_proxy", "http_proxy", "all_proxy")


def check_tools(environ: Mapping[str, str]) -> Iterator[Finding]:
    """nginx, what runs containers and what speaks to registries, by being there; nothing is started."""
    yield _program(environ, "nginx", ("nginx",), "a read cache beside a bucket needs it", "nginx")
    yield _program(environ, "containers", _CONTAINERS, "images cannot be run here", "podman")
    yield _program(environ, "registry client", _REGISTRIES, "images cannot be looked into here", "skopeo")
    yield _proxies(environ)


def _program(environ: Mapping[str, str], name: str, programs: tuple[str, ...], loss: str, package: str) -> Finding:
    found = [path for path in (_find(environ, program) for program in programs) if path]
    if found:
        return _GROUP.ok(name, ", ".join(found))
    return _GROUP.missing(name, f"no {' or '.join(programs)}: {loss}", f"apt-get install {package}")


def _find(environ: Mapping[str, str], program: str) -> str | None:
    folders = environ.get("PATH", "")
    # An empty PATH means that nothing is to be found; shutil would take it as the default one.
    return shutil.which(program, path=os.pathsep.join((folders, *_MORE_FOLDERS))) if folders else None


def _proxies(environ: Mapping[str, str]) -> Finding:
    found = []
    for name in _PROXIES:
        value = environ.get(name) or environ.get(name.upper())
        if value:
            found.append(f"{name}: {_host(value)}")
    if not found:
        return _GROUP.ok("proxies", "none are set")
    around = environ.get("no_proxy") or environ.get("NO_PROXY") or ""
    return _GROUP.ok("proxies", ", ".join(found) + (f"; not for {around}" if around else ""))


def _host(proxy: str) -> str:
    """A proxy's host name and port; its user and password are nobody's business."""
    try:
        parts = urlsplit(proxy if "://" in proxy else f"//{proxy}")
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return "not a URL"
    return f"{parts.hostname or '?'}{port}"
