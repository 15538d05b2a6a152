"""A base image with this very Python in it: the interpreter, its library and what Hoist needs, and Hoist itself."""

from __future__ import annotations

import importlib.util
import io
import os
import re
import subprocess
import sys
import sysconfig
import tarfile
from collections.abc import Iterator
from pathlib import Path

from makers import SOURCE

PYTHON = "/usr/bin/python3"
HOIST = "/opt/hoist"
# What a container that verifies and loads needs of Hoist's dependencies: nothing of a bucket's.
_PACKAGES = ("blake3", "rich", "markdown_it", "mdurl", "pygments")
_LEFT_OUT = re.compile(
    "site-packages|dist-packages|tests?|idlelib|lib2to3|ensurepip|tkinter|turtledemo|pydoc_data|config-.*|__pycache__"
)


def python_layer() -> bytes:
    """The interpreter, its library and the libraries that they load, at the places where they are here."""
    library = Path(sysconfig.get_path("stdlib"))
    program = Path(sys.executable).resolve()
    paths = [program, *_files(library)]
    native = [path for path in paths if path.suffix == ".so" or path == program]
    native += [path for name in _PACKAGES for path in _files(_package(name)) if path.suffix == ".so"]
    paths += _libraries(native)
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        for path in dict.fromkeys(paths):
            archive.add(path.resolve(), str(path).lstrip("/"), recursive=False)
        for folder in ("tmp", "proc", "dev", "sys", "etc", "root"):
            info = tarfile.TarInfo(folder)
            info.type, info.mode = tarfile.DIRTYPE, 0o755
            archive.addfile(info)
        link = tarfile.TarInfo(PYTHON.lstrip("/"))
        link.type, link.linkname = tarfile.SYMTYPE, str(program)
        archive.addfile(link)
    return made.getvalue()


def hoist_layer() -> bytes:
    """Hoist's sources and the few packages that they need here."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        for name in ("hoist", *_PACKAGES):
            root = SOURCE / name if name == "hoist" else _package(name)
            for path in _files(root):
                archive.add(path, f"{HOIST}/{name}/{path.relative_to(root)}".lstrip("/"), recursive=False)
    return made.getvalue()


def _package(name: str) -> Path:
    found = importlib.util.find_spec(name)
    assert found is not None
    assert found.origin is not None
    return Path(found.origin).parent


def _files(folder: Path) -> Iterator[Path]:
    for where, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not _LEFT_OUT.fullmatch(name))
        yield from (Path(where, name) for name in sorted(names) if not name.endswith(".a"))


def _libraries(native: list[Path]) -> list[Path]:
    """All shared libraries that these load, and the loader."""
    # It fails where one of them needs none, and shows the others all the same.
    shown = subprocess.run(["ldd", *map(str, native)], capture_output=True, text=True, check=False).stdout
    return sorted({Path(each) for each in re.findall(r"(/[^\s()]+) \(0x", shown)})
