"""The tools that push and pull images beside Hoist, each as its own users would run it: as commands, start to end."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hoist.bench.peers.base import find
from hoist.errors import UsageError

MODEL, LABEL = "bench/four", "v1"
INSTALL = "scripts/install-servers.sh"
Commands = Sequence[Sequence[str]]


@dataclass(frozen=True, slots=True)
class Work:
    """What is to be moved: an image of the registry `host`, from the files in `source` or their OCI `layout`, to `target`.

    `layers` are the digests of the layers, in order, where the image is in the registry already; `podman` is the beginning
    of a podman's commands.
    """

    host: str
    source: Path
    layout: Path
    target: Path
    layers: Sequence[str] = ()
    prefix: str = "models"
    name: str = MODEL
    label: str = LABEL
    podman: Sequence[str] = ()

    @property
    def storage(self) -> str:
        """The registry as a storage."""
        return f"oci://{self.host}/{self.prefix}"

    @property
    def location(self) -> str:
        """The version's location for Hoist."""
        return f"{self.storage}//{self.name}:{self.label}"

    @property
    def repository(self) -> str:
        """The repository that the image lies in."""
        return f"{self.prefix}/{self.name}"

    @property
    def image(self) -> str:
        """`HOST/REPOSITORY:TAG`, as container tools want it said."""
        return f"{self.host}/{self.repository}:{self.label}"


@dataclass(frozen=True, slots=True)
class Tool:
    """One way of doing a work: the commands that do it."""

    name: str
    about: str
    commands: Callable[[Work], Commands]
    programs: Sequence[str] = ()

    def unavailable(self) -> str | None:
        """None when it is installed; else what is missing, and the mend."""
        missing = [name for name in self.programs if find(name) is None]
        return f"not installed ({', '.join(missing)}): {INSTALL}" if missing else None


def hoist(*words: str) -> Sequence[str]:
    """A command of Hoist, in this Python."""
    return [sys.executable, "-m", "hoist", *words]


def _skopeo_push(*options: str) -> Callable[[Work], Commands]:
    def commands(work: Work) -> Commands:
        source = f"oci:{work.layout}:{work.label}"
        return [[*_SKOPEO, "--dest-tls-verify=false", *options, source, f"docker://{work.image}"]]

    return commands


def _skopeo_pull(work: Work) -> Commands:
    copied, unpacked = work.target / "copied", work.target / "unpacked"
    copy = [*_SKOPEO, "--src-tls-verify=false", f"docker://{work.image}", f"dir:{copied}"]
    names = [digest.partition(":")[2] for digest in work.layers]
    untar = [["tar", "-xf", str(copied / name), "-C", str(unpacked), "--no-same-owner"] for name in names]
    return [copy, ["mkdir", str(unpacked)], *untar]


def _podman_pull(work: Work) -> Commands:
    return [[*work.podman, "pull", "--quiet", "--tls-verify=false", work.image]]


_SKOPEO = ("skopeo", "--insecure-policy", "copy", "--quiet")
HOIST_PUSH = Tool(
    "hoist",
    "hoist publish: each block and file digested, resumable",
    lambda work: [hoist("publish", str(work.source), work.location, "--quiet")],
)
HOIST_PULL = Tool(
    "hoist",
    "hoist pull: every block verified",
    lambda work: [hoist("pull", work.location, str(work.target / "unpacked"), "--quiet")],
)
PUSHERS: Mapping[str, Tool] = {
    tool.name: tool
    for tool in (
        Tool("skopeo", "skopeo copy --preserve-digests", _skopeo_push("--preserve-digests"), ("skopeo",)),
        Tool("skopeo-plain", "skopeo copy", _skopeo_push(), ("skopeo",)),
    )
}
PULLERS: Mapping[str, Tool] = {
    tool.name: tool
    for tool in (
        Tool("podman", "podman pull", _podman_pull, ("podman",)),
        Tool("skopeo", "skopeo copy to a folder, and tar -x of each layer", _skopeo_pull, ("skopeo", "tar")),
    )
}
NAMES = tuple(dict.fromkeys((*PUSHERS, *PULLERS)))


def choose_tools(names: Sequence[str]) -> Sequence[str]:
    """The names of the peers, or all for `all`. Raises UsageError with the names that there are."""
    unknown = [name for name in names if name not in NAMES and name != "all"]
    if unknown:
        raise UsageError(f"there is no tool {unknown[0]!r} to compare with; there are {', '.join(NAMES)}, and all")
    return [name for name in NAMES if "all" in names or name in names]


def layer_digests(manifest: bytes) -> list[tuple[str, int]]:
    """The digests and sizes of an image manifest's layers, in order."""
    return [(layer["digest"], layer["size"]) for layer in json.loads(manifest)["layers"]]
