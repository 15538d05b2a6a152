"""Every document that Hoist writes is what the specifications' schemas allow: of real commands, and of any model."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from image_makers import MIB, image_at, model_folder, put_base, put_index, tar_of
from jsonschema import ValidationError
from oci_schemas import Schemas, need_schemas

from hoist.config import Config, StorageConfig
from hoist.image.addresses import SCRATCH
from hoist.image.editing import Edits
from hoist.image.verbs import build, copy, update
from hoist.storage import open_storage
from hoist.storage.base import Tag, Version
from hoist.testing.servers import Answer, DockerRegistry, FaultServer, ServerOrigin
from makers import noise, publish, write_files

V5 = {"unet.safetensors.bin": noise(5 * MIB), "vae.bin": noise(4 * MIB, 1), "config.json": b"{}", "README.md": b"a"}
LAYER = tar_of({"bin/sh": b"a shell"})
_CONFIGS = ("application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json")
_EMPTY = "application/vnd.oci.empty.v1+json"
_MODEL_CONFIG = "application/vnd.cncf.model.config.v1+json"


@pytest.fixture(scope="module")
def schemas() -> Schemas:
    return need_schemas()


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return Config(environ={"HOME": str(tmp_path / "home")})


def documents_of(folder: Path) -> Iterator[tuple[str, Any]]:
    """All JSON documents of a layout: what each is, by the descriptor that names it."""
    index = json.loads((folder / "index.json").read_text())
    waiting, seen = [index], {""}
    yield "manifest", index
    while waiting:
        document = waiting.pop()
        for each in (*document.get("manifests", ()), *([document["config"]] if "config" in document else ())):
            if each["digest"] in seen:
                continue
            seen.add(each["digest"])
            found = json.loads((folder / "blobs/sha256" / each["digest"][7:]).read_text())
            if each["mediaType"] in _CONFIGS:
                yield "config", found
            elif each["mediaType"] == _MODEL_CONFIG:
                yield "modelpack config", found
            elif each["mediaType"] == _EMPTY:
                # Of an artifact that is its manifest alone: the history of a tag.
                assert found == {}
            else:
                yield "manifest", found
                waiting.append(found)


def check_layout(schemas: Schemas, folder: Path) -> None:
    schemas.check("layout", json.loads((folder / "oci-layout").read_text()))
    for kind, document in documents_of(folder):
        if kind == "manifest":
            schemas.check_manifest(document)
        else:
            schemas.check(kind, document)


def test_the_schemas_refuse_what_is_wrong(schemas: Schemas) -> None:
    """Else they would prove nothing: references between their files are followed."""
    good = {"mediaType": "a/b", "size": 1, "digest": "sha256:" + 64 * "0"}
    schemas.check("descriptor", good)
    for wrong in ({"digest": "sha256"}, {"size": "1"}, {"mediaType": "a"}, {"annotations": {"a": 1}}):
        with pytest.raises(ValidationError):
            schemas.check("descriptor", good | wrong)
        with pytest.raises(ValidationError):
            schemas.check("manifest", {"schemaVersion": 2, "config": good | wrong, "layers": [good]})
    with pytest.raises(ValidationError):
        schemas.check("index", {"schemaVersion": 2, "manifests": [good | {"platform": {"os": "linux"}}]})


def test_documents_of_build_update_and_copy(tmp_path: Path, config: Config, schemas: Schemas) -> None:
    models = model_folder(
        tmp_path / "models", {"sd15/any:v5": V5, "sd15/any:v6": V5 | {"vae.bin": noise(4 * MIB, 2)}, "m:v1": V5}
    )
    base = f"oci-layout://{tmp_path}/base:base:1"
    with image_at(base) as image:
        children = [
            put_base(image, [LAYER], reference=one, architecture=one, docker=one == "arm64", squeezed=True)
            for one in ("amd64", "arm64")
        ]
        put_index(image, children)
    target = f"oci-layout://{tmp_path}/out:app:v5"
    edits = Edits(entrypoint=["/x"], cmd=["y"], env={"A": "é"}, labels={"l": "m"}, workdir="/", user="7")
    build([f"{models}//sd15/any:v5"], target, base=base, edits=edits, modelpack=True, config=config)
    build([f"{models}//m:v1", f"{models}//sd15/any:v5"], target.replace(":v5", ":two"), compress="zstd", config=config)
    build([f"{models}//m:v1"], target.replace(":v5", ":bare"), platforms=["linux/arm64/v8"], config=config)
    update(target, [f"{models}//sd15/any:v6"], tag="v6", config=config)
    copy(target, f"oci-layout://{tmp_path}/far:app:v5", config=config)
    for folder in ("out", "far"):
        check_layout(schemas, tmp_path / folder)
    assert min(count for count in schemas.checked.values()) >= 2


def test_documents_of_a_storage(tmp_path: Path, schemas: Schemas) -> None:
    source = write_files(tmp_path / "source", V5)
    (tmp_path / "images").mkdir()
    with open_storage(StorageConfig("images", f"oci-layout://{tmp_path}/images"), {"HOME": str(tmp_path)}) as storage:
        publish(source, storage, "sd15/any:v5", tags=["stable"])
        write_files(source, {"vae.bin": noise(4 * MIB, 3)})
        publish(source, storage, "sd15/any:v6")
        check_layout(schemas, tmp_path / "images")
        # The version's own documents, which are the same in every storage.
        manifest = json.loads(storage.read_manifest(Version("sd15/any", "v6")))
        schemas.check_manifest(manifest)
        blob = manifest["config"]
        found = storage.read_blob(Version("sd15/any", "v6"), blob["digest"], blob["size"])
        schemas.check("modelpack config", json.loads(found))
        storage.remove_tag("sd15/any", "stable")
        check_layout(schemas, tmp_path / "images")


class Manifests:
    """An origin that remembers the manifests that are put."""

    def __init__(self, origin: ServerOrigin) -> None:
        self._origin = origin
        self.put: list[dict[str, Any]] = []

    def answer(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> Answer:
        if method == "PUT" and "/manifests/" in target:
            self.put.append(json.loads(body))
        return self._origin.answer(method, target, headers, body)

    def close(self) -> None:
        self._origin.close()


def test_what_a_registry_is_sent(docker_registry: DockerRegistry, tmp_path: Path, schemas: Schemas) -> None:
    """Also what takes the place of a tag that a registry cannot remove."""
    noted = Manifests(ServerOrigin(docker_registry.endpoint))
    with FaultServer(noted) as between:
        url = f"oci://{between.endpoint.partition('//')[2]}/{uuid4().hex}"
        with open_storage(StorageConfig("there", url), {"HOME": str(tmp_path)}) as storage:
            done = publish(write_files(tmp_path / "source", V5), storage, "m:v1")
            storage.set_tag(Tag("m", "stable", "v1", done.digest))
            storage.remove_tag("m", "stable")
    assert len(noted.put) >= 4
    for document in noted.put:
        schemas.check_manifest(document)


NAMES = st.from_regex(r"[a-z0-9]{1,6}(/[a-z0-9]{1,6})?", fullmatch=True)
LABELS = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,20}", fullmatch=True)
PARTS = st.text(
    st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="/\\"), min_size=1, max_size=40
).filter(lambda part: part not in (".", "..") and not part.startswith((".wh.", ".hoist")) and len(part.encode()) < 200)
TEXTS = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=20)
KEYS = st.from_regex(r"[a-z][a-z0-9.]{0,10}", fullmatch=True)


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    NAMES,
    LABELS,
    st.dictionaries(PARTS, st.binary(max_size=40), min_size=1, max_size=5),
    st.builds(
        Edits,
        entrypoint=st.none() | st.lists(TEXTS, max_size=2),
        cmd=st.none() | st.lists(TEXTS, max_size=2),
        env=st.dictionaries(KEYS, TEXTS, max_size=2),
        labels=st.dictionaries(KEYS, TEXTS, max_size=2),
        workdir=st.sampled_from(["", "/", "/models/é"]),
        user=st.sampled_from(["", "0", "7:7"]),
    ),
)
def test_documents_of_any_model(
    tmp_path_factory: pytest.TempPathFactory,
    schemas: Schemas,
    name: str,
    label: str,
    files: dict[str, bytes],
    edits: Edits,
) -> None:
    folder = tmp_path_factory.mktemp("any")
    models = model_folder(folder / "models", {f"{name}:{label}": files})
    config = Config(environ={"HOME": str(folder)})
    target = f"oci-layout://{folder}/out:app:{label}"
    build([f"{models}//{name}:{label}"], target, base=SCRATCH, edits=edits, modelpack=True, config=config)
    check_layout(schemas, folder / "out")
