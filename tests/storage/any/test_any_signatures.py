"""Signatures behind a logical storage: kept by each member, found while one is lost, and required by each that says so."""

from __future__ import annotations

from pathlib import Path

import pytest
from any_members import DOWN, ONE, V1, Losable, any_of, member

from hoist.config import load_config
from hoist.errors import HoistWarning, StorageUnavailable, Unsigned, VersionNotFound
from hoist.model.reference import parse_reference
from hoist.read.version import open_version
from hoist.storage import open_storage
from hoist.storage.any.storage import AnyStorage
from hoist.testing.conformance.signing import ONE as KEY
from hoist.testing.conformance.signing import TWO as OTHER_KEY
from hoist.testing.conformance.signing import bundle
from hoist.transfer.sign import sign_version
from makers import directory_storage, publish, write_files
from signing_making import make_pair


def several(folder: Path, *, lacking: bool = False) -> tuple[AnyStorage, list[Losable]]:
    contents = [[("m/one:v1", ONE)], [("m/one:v1", ONE)], [] if lacking else [("m/one:v1", ONE)]]
    members = [member(name, *held, folder=folder) for name, held in zip("abc", contents, strict=True)]
    return any_of(members), members


def test_all_members_that_have_the_version_get_it(tmp_path: Path) -> None:
    storage, members = several(tmp_path, lacking=True)
    storage.add_signature(V1, ONE.digest, bundle(KEY))
    assert [list(each.inner.signatures(V1)) for each in members] == [[bundle(KEY)], [bundle(KEY)], []]
    assert list(storage.signatures(V1)) == [bundle(KEY)]
    with pytest.raises(VersionNotFound):
        storage.add_signature(V1.__class__("m/one", "v2"), ONE.digest, bundle(KEY))


def test_it_is_found_where_the_first_is_lost_or_has_none(tmp_path: Path) -> None:
    storage, members = several(tmp_path)
    members[1].inner.add_signature(V1, ONE.digest, bundle(KEY))
    members[2].inner.add_signature(V1, ONE.digest, bundle(OTHER_KEY))
    assert list(storage.signatures(V1, [KEY])) == [bundle(KEY)]
    assert list(storage.signatures(V1, ["f" * 64])) == []
    assert list(storage.signatures(V1)) == [bundle(KEY), bundle(OTHER_KEY)]
    members[0].error = DOWN
    assert list(storage.signatures(V1, [KEY])) == [bundle(KEY)]
    with pytest.warns(HoistWarning, match="not signed everywhere: a"):
        storage.add_signature(V1, ONE.digest, bundle(OTHER_KEY))
    # Where nobody can say whether there is one, that is no answer.
    members[1].error = members[2].error = DOWN
    with pytest.raises(StorageUnavailable):
        storage.signatures(V1, [KEY])


def test_what_each_member_requires_is_required(tmp_path: Path) -> None:
    pairs = [make_pair(tmp_path, name) for name in ("eu", "all")]
    for name in ("eu", "us"):
        publish(write_files(tmp_path / "source", {"a": b"a"}), directory_storage(tmp_path / name))
    (tmp_path / "hoist.toml").write_text(
        '[storage.eu]\nurl = "eu"\nrequire_signature = "eu.pub"\n[storage.us]\nurl = "us"\n'
        '[storage.models]\nkind = "any"\nmembers = ["us", "eu"]\nrequire_signature = "all.pub"\n'
    )
    config = load_config({"HOME": str(tmp_path)}, tmp_path)
    v1 = parse_reference("m/one:v1")
    with open_storage(config.storage("models"), config.environ) as storage:
        assert storage.required_signers == ((f"{tmp_path}/eu.pub",), (f"{tmp_path}/all.pub",))
        for pair in pairs:
            with pytest.raises(Unsigned, match=pair.public.name):
                open_version(storage, v1)
            found = open_version(storage, v1, check=False)
            sign_version(storage, found.version, found.manifest, pair.signer())
        assert open_version(storage, v1).read("a") == b"a"
