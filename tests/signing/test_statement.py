"""What is signed is what model-signing signs; and nothing else is taken for it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hoist.errors import Damaged, InvalidManifest
from hoist.model.manifest import FileEntry, Manifest, digest_of
from hoist.signing.package import hashed
from hoist.signing.statement import parse_statement, statement_of, subject_of
from signing_making import FILES, VERSION, make_pair, manifest_of, payload_of

NAMES = st.text("aB0.-_ é汉+", min_size=1, max_size=4).filter(lambda text: text not in (".", ".."))
PATHS = st.lists(NAMES, min_size=1, max_size=3).map("/".join)


def test_a_statement_is_of_one_version_and_all_its_files() -> None:
    manifest = manifest_of(FILES)
    said = statement_of(VERSION, manifest)
    assert said.subject == subject_of(VERSION, manifest.digest) == f"sd15/any:v1@{manifest.digest}"
    # Git's own files are left out, as model-signing leaves them out; the manifest's digest covers them.
    assert set(said.files) == {"config.json", "unet/weights.bin"}
    assert said.files["config.json"] == digest_of(b"{}").removeprefix("sha256:")


@given(st.dictionaries(PATHS, st.binary(max_size=4), min_size=1, max_size=8))
def test_model_signing_would_hash_the_same(files: dict[str, bytes]) -> None:
    from model_signing._signing.signing import Payload

    entries = [FileEntry(path, len(data), digest_of(data)) for path, data in files.items()]
    try:
        manifest, _ = Manifest.build(entries, b"table")
    except InvalidManifest:
        return
    made = hashed(VERSION, manifest)
    assert {str(item.identifier): item.digest.digest_hex for item in made.resource_descriptors()} == dict(
        statement_of(VERSION, manifest).files
    )
    from google.protobuf import json_format

    written = json_format.MessageToJson(Payload(made).statement.pb).encode()
    assert parse_statement(written) == statement_of(VERSION, manifest)


@pytest.fixture(scope="module")
def payload(tmp_path_factory: pytest.TempPathFactory) -> Any:
    pair = make_pair(tmp_path_factory.mktemp("keys"), "key")
    return payload_of(pair.signer().sign(VERSION, manifest_of(FILES)))


def test_the_statement_in_a_signature(payload: Any) -> None:
    assert parse_statement(json.dumps(payload).encode()) == statement_of(VERSION, manifest_of(FILES))
    assert payload["predicate"]["serialization"]["hash_type"] == "sha256"


def changed(payload: Any, *way: str | int, to: object) -> bytes:
    copied = json.loads(json.dumps(payload))
    inner = copied
    for step in way[:-1]:
        inner = inner[step]
    inner[way[-1]] = to
    return json.dumps(copied).encode()


@pytest.mark.parametrize(
    ("way", "to"),
    [
        (("_type",), "https://in-toto.io/Statement/v0.1"),
        (("predicateType",), "https://slsa.dev/provenance/v1"),
        (("predicateType",), "https://model_signing/Digests/v0.1"),
        (("subject",), []),
        (("subject",), None),
        (("subject", 0, "name"), 5),
        (("subject", 0, "digest", "sha256"), "0" * 64),
        (("subject", 0, "digest"), {}),
        (("predicate", "serialization", "method"), "shards"),
        (("predicate", "serialization", "hash_type"), "blake3"),
        (("predicate", "resources", 0, "algorithm"), "blake3"),
        (("predicate", "resources", 0, "digest"), "zz"),
        (("predicate", "resources", 0, "digest"), "00"),
        (("predicate", "resources", 0, "name"), "unet/weights.bin"),
        (("predicate", "resources", 0), None),
        (("predicate", "resources"), 7),
        (("predicate",), []),
    ],
)
def test_what_is_no_such_statement(payload: Any, way: tuple[str | int, ...], to: object) -> None:
    with pytest.raises(Damaged):
        parse_statement(changed(payload, *way, to=to))


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b"null", b"\xff", b"[" * 100_000, b'{"_type": 1}'])
def test_what_is_no_statement_at_all(data: bytes) -> None:
    with pytest.raises(Damaged):
        parse_statement(data)


def test_two_subjects_are_none(payload: Any, tmp_path: Path) -> None:
    with pytest.raises(Damaged):
        parse_statement(changed(payload, "subject", to=payload["subject"] * 2))
