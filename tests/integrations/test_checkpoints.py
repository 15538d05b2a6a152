"""The list of checkpoints that web interfaces show, and the two interfaces that show it."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from integration_making import NAMES, configure, publish_files, weights
from safetensors.torch import load
from stand_ins import WebStandIn, put_modules

import hoist
from hoist.errors import FileNotFound, HoistWarning, InvalidFile
from hoist.integrations import automatic1111, comfyui
from hoist.integrations.automatic1111.hook import STAND_IN_BYTES, install
from hoist.integrations.checkpoints import Catalog, find_checkpoints
from makers import write_files

LARGE = weights(2, floats=1 << 17)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user with two storages and three versions that hold checkpoints."""
    configure(monkeypatch, tmp_path, nas=str(tmp_path / "nas"), oss=str(tmp_path / "oss"))
    monkeypatch.delenv("HOIST_CHECKPOINTS", raising=False)
    publish_files(tmp_path / "nas", "sd15/anything:v5", {"anything-v5.safetensors": LARGE, "README.md": b"text"})
    publish_files(tmp_path / "nas", "sd15/two:v1", {"a.safetensors": weights(3), "b.safetensors": weights(4)})
    publish_files(tmp_path / "nas", "llm/tiny:v1", {f"model-0000{n}-of-00002.safetensors": weights(n) for n in (1, 2)})
    publish_files(tmp_path / "nas", "flux/parts:v1", {"unet/model.safetensors": weights(5)})
    (tmp_path / "oss").mkdir()
    torch.save({"state_dict": {"x": torch.arange(5)}}, tmp_path / "old.ckpt")
    hoist.publish(tmp_path / "old.ckpt", "oss//sd15/old:v1")
    return tmp_path


def test_the_weight_files_at_the_top_of_every_version(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = find_checkpoints()
    assert [each.title for each in found] == [
        "nas//sd15/anything:v5",
        "nas//sd15/two:v1/a.safetensors",
        "nas//sd15/two:v1/b.safetensors",
        "oss//sd15/old:v1",
    ]
    assert found[0].sha256 == hashlib.sha256(LARGE).hexdigest()
    assert found[0].metadata() == {"made_by": "seed 2"}
    assert set(found[0].load()) == set(NAMES)
    assert torch.equal(found[3].load()["x"], torch.arange(5))
    monkeypatch.setenv("HOIST_CHECKPOINTS", "oss")
    assert [each.location for each in find_checkpoints()] == ["oss//sd15/old:v1"]


def test_a_storage_that_cannot_be_read_is_left_out(home: Path) -> None:
    with pytest.warns(HoistWarning, match=r"the checkpoints of .*nowhere are not listed"):
        assert find_checkpoints([str(home / "nowhere"), "oss"]) == find_checkpoints(["oss"])


def test_a_catalog_looks_again_for_what_it_does_not_know(home: Path) -> None:
    catalog = Catalog()
    assert len(catalog.all()) == 4
    publish_files(home / "oss", "sd15/new:v1", {"new.safetensors": weights(9)})
    assert len(catalog.all()) == 4
    assert catalog.find("oss//sd15/new:v1").file == "new.safetensors"
    with pytest.raises(FileNotFound, match="no checkpoint 'oss//sd15/none:v1'"):
        catalog.find("oss//sd15/none:v1")


@pytest.fixture
def nodes(home: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The custom node as ComfyUI imports it: a folder by its path, under a name of ComfyUI's own."""
    asked: dict[str, Any] = {}
    sd, folders = ModuleType("comfy.sd"), ModuleType("folder_paths")

    def load_state_dict_guess_config(
        sd: Any,
        output_vae: bool = True,
        output_clip: bool = True,
        output_clipvision: bool = False,
        embedding_directory: Any = None,
        output_model: bool = True,
        model_options: Any = None,
        te_model_options: Any = None,
        metadata: Any = None,
    ) -> Any:
        asked.update(sd=sd, embeddings=embedding_directory, metadata=metadata)
        return ("model", "clip", "vae", None) if NAMES[0] in sd else None

    sd.load_state_dict_guess_config = load_state_dict_guess_config  # type: ignore[attr-defined]
    folders.get_folder_paths = lambda name: [f"/models/{name}"]  # type: ignore[attr-defined]
    put_modules(monkeypatch, comfy__sd=sd, folder_paths=folders)
    monkeypatch.setattr("hoist.integrations.comfyui.nodes.CATALOG", Catalog())
    place = Path(comfyui.__file__).parent
    spec = importlib.util.spec_from_file_location("custom_nodes.hoist", place / "__init__.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "custom_nodes.hoist", module)
    spec.loader.exec_module(module)
    module.asked = asked  # type: ignore[attr-defined]
    return module


def test_the_node_lists_and_loads(nodes: Any) -> None:
    assert set(nodes.NODE_CLASS_MAPPINGS) == set(nodes.NODE_DISPLAY_NAME_MAPPINGS)
    node = nodes.NODE_CLASS_MAPPINGS["HoistCheckpointLoader"]
    choices, _ = node.INPUT_TYPES()["required"]["checkpoint"]
    assert choices[0] == "nas//sd15/anything:v5"
    assert len(choices) == 4
    found = getattr(node(), node.FUNCTION)(checkpoint=choices[0])
    assert found == ("model", "clip", "vae")
    assert len(found) == len(node.RETURN_TYPES)
    assert nodes.asked["metadata"] == {"made_by": "seed 2"}
    assert nodes.asked["embeddings"] == ["/models/embeddings"]
    expected = load(LARGE)
    assert all(torch.equal(tensor, expected[name]) for name, tensor in nodes.asked["sd"].items())
    assert node.IS_CHANGED(choices[0]) != node.IS_CHANGED(choices[1])
    with pytest.raises(InvalidFile, match="no checkpoint that this ComfyUI knows"):
        node().load_checkpoint("oss//sd15/old:v1")


def test_the_web_interface_lists_with_hashes_from_the_manifest(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = write_files(home / "models", {"mine.safetensors": weights(7)})
    web = WebStandIn(own)
    interface = web.interface
    put_modules(monkeypatch, modules__sd_models=web.sd_models, modules__hashes=web.hashes)  # type: ignore[arg-type]
    put_modules(monkeypatch, modules__shared=web.shared, modules__devices=web.devices)  # type: ignore[arg-type]
    script = Path(automatic1111.__file__).parent / "scripts/hoist_checkpoints.py"
    exec(compile(script.read_text(), str(script), "exec"), {"__name__": "hoist_checkpoints"})
    short = hashlib.sha256(LARGE).hexdigest()[:10]
    assert f"hoist/nas/sd15/anything/v5/anything-v5.safetensors [{short}]" in web.titles
    assert len(web.titles) == 5
    assert web.hashed == ["checkpoint/mine.safetensors"]
    assert web.dumped == 1
    # What there is to look at: the header, and what the old hash is taken from; never the whole.
    path = own / "hoist/nas/sd15/anything/v5/anything-v5.safetensors"
    assert path.read_bytes() == LARGE[:STAND_IN_BYTES]
    small = own / "hoist/nas/sd15/two/v1/a.safetensors"
    assert small.read_bytes() == weights(3)[:-1]
    with pytest.raises(Exception, match=r"[Ii]ncomplete|[Ii]nvalid"):
        web._read_state_dict(str(path))
    found = web.sd_models.read_state_dict(str(path))
    assert all(torch.equal(found[name], tensor) for name, tensor in load(LARGE).items())
    assert set(web.sd_models.read_state_dict(str(own / "mine.safetensors"))) == set(NAMES)
    old = web.sd_models.read_state_dict(str(own / "hoist/oss/sd15/old/v1/old.ckpt"), map_location="cpu")
    assert torch.equal(old["x"], torch.arange(5))
    # Versions go and come; the interface may run its scripts again.
    hoist.remove("nas//sd15/two:v1")
    assert install(interface) is install(interface)
    assert len(web.titles) == 3
    assert not (own / "hoist/nas/sd15/two").exists()


def test_the_files_of_a_mount_have_their_hashes(home: Path) -> None:
    mount = write_files(
        home / "mount", {"sd15/anything/v5/anything-v5.safetensors": LARGE, "other.safetensors": weights(1)}
    )
    web = WebStandIn(home / "models", mount)
    install(web.interface)
    assert web.hashed == ["checkpoint/other.safetensors"]
    assert f"sd15/anything/v5/anything-v5.safetensors [{hashlib.sha256(LARGE).hexdigest()[:10]}]" in web.titles
