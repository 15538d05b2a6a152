"""The loaders of a switch that pull an image whole, once, and then load its file plainly; and all the others."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from hoist.bench import loaders
from hoist.bench.loaders import Loaded, Switch, plain_file
from hoist.bench.peers.copying import run_program
from hoist.bench.switch_image import PODMAN, PULLED
from hoist.errors import LocalError
from hoist.tensors.index import CHECKPOINT_SUFFIXES
from hoist.verbs import pull

_WEIGHTS = (".safetensors", *CHECKPOINT_SUFFIXES)


def load_pulled(switch: Switch) -> Loaded:
    """`hoist pull` to a folder, unless it is there, then a plain load of the file in it."""
    folder, read = _folder(switch) / "version", 0
    if not folder.exists():
        read = pull(switch.location, folder).fetched_bytes
    found = [path for path in folder.rglob("*") if path.name.endswith(_WEIGHTS)]
    return Loaded(plain_file(found[0], switch).value, read)


def load_podman(switch: Switch) -> Loaded:
    """`podman pull`, unless the image is there, then a plain load of the file in the mounted image."""
    noted = _folder(switch) / "mounted"
    first = not noted.exists()
    if first:
        noted.parent.mkdir(parents=True, exist_ok=True)
        verify = [] if switch.tls else ["--tls-verify=false"]
        run_program([*switch.podman, "pull", "--quiet", *verify, switch.image])
        noted.write_text(run_program([*switch.podman, "image", "mount", switch.image]).strip())
    path = Path(noted.read_text()) / switch.member
    if not path.is_file():
        raise LocalError(f"podman's image {switch.image} has no file {switch.member}")
    # How much podman has fetched it does not say: all of the image, which is little more than the file.
    return Loaded(plain_file(path, switch).value, path.stat().st_size if first else 0)


LOADERS: Mapping[str, Callable[[Switch], Loaded]] = {**loaders.LOADERS, PULLED: load_pulled, PODMAN: load_podman}


def _folder(switch: Switch) -> Path:
    assert switch.folder is not None, "a load that pulls was given no folder"
    return Path(switch.folder)
