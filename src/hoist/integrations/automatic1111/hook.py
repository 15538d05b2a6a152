"""Checkpoints of a storage in AUTOMATIC1111's list, loaded by Hoist, with hashes from the manifest.

Its list is one of files, and much of it looks at them. So each checkpoint has a *stand-in* in the folder of checkpoints:
the first 1 MiB and a little of the file (its header and metadata, and what the short old hash is taken from), never the
whole, so that nothing but Hoist can load it by mistake. Where a stand-in is to be read, Hoist loads the checkpoint.

The first load of a checkpoint reads it a second time there, only to hash it: the manifest has that hash, and it is put
into the web interface's own cache of hashes, also for the files of a mount (`--ckpt-dir` on what `hoist mount` shows).
"""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hoist.errors import HoistError, HoistWarning
from hoist.integrations.checkpoints import Catalog, Checkpoint

FOLDER = "hoist"
# model_hash() takes the 64 KiB after the first MiB.
STAND_IN_BYTES = 0x100000 + 0x10000


@dataclass(frozen=True)
class WebInterface:
    """The modules of the web interface that are asked or changed."""

    sd_models: Any
    hashes: Any
    shared: Any
    devices: Any


@dataclass
class Hook:
    """The web interface's functions for listing and reading checkpoints, with Hoist's before them."""

    web: WebInterface
    catalog: Catalog = field(default_factory=Catalog)
    stand_ins: dict[str, Checkpoint] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._list_models = self.web.sd_models.list_models
        self._read_state_dict = self.web.sd_models.read_state_dict

    def list_models(self, *args: Any, **kwargs: Any) -> Any:
        """Lays the stand-ins and the hashes, then lists as before: what there is appears with its hash."""
        checkpoints = self.catalog.all(refresh=True)
        self._lay(checkpoints)
        self._tell_hashes(checkpoints)
        return self._list_models(*args, **kwargs)

    def read_state_dict(self, checkpoint_file: str, print_global_state: bool = False, map_location: Any = None) -> Any:
        """The tensors of a checkpoint: Hoist's where the file stands for one. Raises what `hoist.load_file` does."""
        chosen = self.stand_ins.get(str(Path(checkpoint_file).absolute()))
        if chosen is None:
            return self._read_state_dict(checkpoint_file, print_global_state, map_location)
        web = self.web
        device = map_location or web.shared.weight_load_location or web.devices.get_optimal_device_name()
        return web.sd_models.get_state_dict_from_checkpoint(dict(chosen.load(str(device))))

    @property
    def folder(self) -> Path:
        """Where the stand-ins lie."""
        return Path(self.web.sd_models.model_path) / FOLDER

    def _lay(self, checkpoints: list[Checkpoint]) -> None:
        wanted = {str((self.folder / _relative(each)).absolute()): each for each in checkpoints}
        known = self.web.hashes.cache("hashes")
        for place, each in list(wanted.items()):
            told = known.get(self._title(place)) or {}
            if told.get("sha256") == each.sha256 and Path(place).exists():
                continue
            try:
                _write_stand_in(Path(place), each)
            except HoistError as error:
                warnings.warn(HoistWarning(f"{each.title} is not listed: {error}"), stacklevel=2)
                del wanted[place]
        if self.folder.is_dir():
            for path in sorted(self.folder.rglob("*"), reverse=True):
                if path.is_dir():
                    _remove_if_empty(path)
                elif str(path.absolute()) not in wanted:
                    path.unlink()
        self.stand_ins = wanted

    def _title(self, place: str) -> str:
        """What the web interface calls a file of its folder of checkpoints in its caches."""
        return f"checkpoint/{Path(place).relative_to(Path(self.web.sd_models.model_path).absolute())}"

    def _tell_hashes(self, checkpoints: list[Checkpoint]) -> None:
        """Put the SHA-256 of every checkpoint where the web interface looks before it reads a file to hash it."""
        known = self.web.hashes.cache("hashes")
        for place, each in self.stand_ins.items():
            _tell(known, self._title(place), Path(place), each)
        given = getattr(self.web.shared.cmd_opts, "ckpt_dir", None)
        if given:
            self._tell_mounted(Path(given), checkpoints, known)
        self.web.hashes.dump_cache()

    @staticmethod
    def _tell_mounted(folder: Path, checkpoints: list[Checkpoint], known: Any) -> None:
        for each in checkpoints:
            name = f"{each.version.name}/{each.version.label}/{each.file}"
            path = folder / name
            if path.is_file() and path.stat().st_size == each.size:
                _tell(known, f"checkpoint/{name}", path, each)


def install(web: WebInterface) -> Hook:
    """Put Hoist's functions before the web interface's, and list once more: it listed before its extensions were run."""
    before = getattr(web.sd_models.list_models, "__self__", None)
    if isinstance(before, Hook):
        # Its interface was reloaded: the functions are in their places.
        before.list_models()
        return before
    hook = Hook(web)
    web.sd_models.list_models = hook.list_models
    web.sd_models.read_state_dict = hook.read_state_dict
    hook.list_models()
    return hook


def _relative(checkpoint: Checkpoint) -> str:
    """Where a checkpoint's stand-in lies in their folder: `nas/sd15/anything/v5/anything-v5.safetensors`."""
    storage = re.sub(r"[^A-Za-z0-9._-]+", "-", checkpoint.storage).strip("-.") or "storage"
    return f"{storage}/{checkpoint.version.name}/{checkpoint.version.label}/{checkpoint.file}"


def _write_stand_in(path: Path, checkpoint: Checkpoint) -> None:
    from hoist.read.connect import open_location

    with open_location(checkpoint.location) as opened:
        # One byte short of the whole where that is small: it must not load as if it were.
        data = opened.reader(checkpoint.file).read(0, min(STAND_IN_BYTES, checkpoint.size - 1))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def _tell(known: Any, title: str, path: Path, checkpoint: Checkpoint) -> None:
    """The entry that `hashes.sha256` would have made after reading the file."""
    known[title] = {"mtime": path.stat().st_mtime, "sha256": checkpoint.sha256}


def _remove_if_empty(folder: Path) -> None:
    if not any(folder.iterdir()):
        folder.rmdir()
