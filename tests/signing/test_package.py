"""Hoist and the package model-signing: the same answers, by the package's own command too."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from hoist.model.reference import parse_reference
from hoist.progress import Progress
from hoist.signing.bundle import parse_bundle
from hoist.signing.keys import read_public_key
from hoist.signing.trust import find_signer, trusted
from hoist.transfer.pull import pull_version
from makers import memory_storage, opened, publish, write_files
from signing_making import VERSION, Pair, make_pair, manifest_of, model_signing, with_payload

FILES = {
    "config.json": b"{}",
    "unet/weights.bin": b"w" * 100_000,
    "a.b": b"1",
    "a/b": b"2",
    "a-b/c": b"3",
    "汉字 é.txt": b"4",
    ".gitattributes": b"*.bin lfs",
}


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return make_pair(tmp_path_factory.mktemp("keys"), "release", ec.SECP384R1())


def test_the_packages_command_takes_a_signature_for_a_pulled_folder(pair: Pair, tmp_path: Path) -> None:
    storage = memory_storage()
    publish(write_files(tmp_path / "model", FILES), storage, VERSION, signer=pair.signer())
    version = opened(storage, parse_reference(VERSION))
    pull_version(version, tmp_path / "out", Progress())
    (data,) = storage.signatures(version.version)
    (tmp_path / "model.sig").write_bytes(data)
    words = ("verify", "key", tmp_path / "out", "--signature", tmp_path / "model.sig", "--public_key", pair.public)
    done = model_signing(*words)
    assert done.returncode == 0, done.stderr + done.stdout
    (tmp_path / "out/config.json").chmod(0o644)
    (tmp_path / "out/config.json").write_bytes(b"[]")
    done = model_signing(*words)
    assert done.returncode == 1
    assert "config.json" in done.stderr


def test_both_check_keys_alike(pair: Pair, tmp_path: Path) -> None:
    from model_signing._signing.sign_ec_key import Verifier
    from model_signing._signing.sign_sigstore_pb import Signature

    other = make_pair(tmp_path, "other")
    data = pair.signer().sign(VERSION, manifest_of(FILES))
    forged = with_payload(data, {"_type": "https://in-toto.io/Statement/v1"})
    for bundle in (data, forged, other.signer().sign(VERSION, manifest_of(FILES))):
        (tmp_path / "model.sig").write_bytes(bundle)
        for key in (pair, other):
            mine = not read_public_key(key.public).why_not(parse_bundle(bundle))
            try:
                Verifier(key.public).verify(Signature.read(tmp_path / "model.sig"))
                theirs = True
            except Exception:
                theirs = False
            assert mine == theirs


def test_a_signature_that_the_package_made_of_a_folder_is_of_no_version(pair: Pair, tmp_path: Path) -> None:
    """It says nothing of a label, nor of the manifest: whoever has it could put any table of blocks beside the files."""
    from hoist.errors import Unsigned

    write_files(tmp_path / "model", FILES)
    sig = tmp_path / "model.sig"
    done = model_signing("sign", "key", tmp_path / "model", "--signature", sig, "--private_key", pair.private)
    assert done.returncode == 0, done.stderr + done.stdout
    with pytest.raises(Unsigned, match="it is of model"):
        find_signer(VERSION, "nas", manifest_of(FILES), [sig.read_bytes()], trusted([str(pair.public)]))


def test_keyless_without_a_network_says_so(tmp_path: Path) -> None:
    """Where Sigstore cannot be asked there is one plain error, and no secret in it."""
    from hoist.errors import HoistError
    from hoist.signing import keyless

    with pytest.MonkeyPatch.context() as patch:
        for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
            patch.setenv(name, "http://127.0.0.1:9")
        for name in ("XDG_DATA_HOME", "XDG_CACHE_HOME", "HOME"):
            patch.setenv(name, str(tmp_path))
        with pytest.raises(HoistError) as error:
            keyless.sign(VERSION, manifest_of(FILES), "token-secret")
    assert "token-secret" not in str(error.value)
    assert "Sigstore" in str(error.value)
