"""Making packs of small files again, of the files beside them: they hold nothing that those do not."""

from __future__ import annotations

from collections.abc import Sequence

from hoist.errors import Damaged, FileNotFound, InvalidManifest
from hoist.model.packs import PACK_BELOW, Pack, PackIndex, lay_out
from hoist.parallel import SMALL_AT_ONCE, for_each
from hoist.read.pack_index import read_index
from hoist.read.version import OpenedVersion

INDEX = "index"
"""What stands in a pack's digest's place where it is the index that is damaged."""


def restore_packs(opened: OpenedVersion, damaged: str) -> None:
    """Put the damaged pack of a version anew, or all of them and their index. Raises Damaged where that is read back wrong,
    DamagedBlock if a file is damaged too, and what a storage may."""
    try:
        index = read_index(opened)
    except (InvalidManifest, Damaged, FileNotFound):
        index = lay_out(opened.manifest, PACK_BELOW)
        _put(opened, index.packs)
        opened.storage.begin(opened.version, opened.manifest.digest).put_packs(index)
        if read_index(opened).to_bytes() != index.to_bytes():
            raise Damaged(f"the pack index of {opened.version} was written and read back wrong") from None
    else:
        _put(opened, _named(index, damaged))


def _named(index: PackIndex, digest: str) -> list[Pack]:
    return [pack for pack in index.packs if pack.digest == digest]


def _put(opened: OpenedVersion, packs: Sequence[Pack]) -> None:
    publication = opened.storage.begin(opened.version, opened.manifest.digest)
    for pack in packs:
        data = _assembled(opened, pack)
        publication.put_pack(pack, memoryview(data))
        again = bytearray(pack.size)
        opened.storage.read_pack_into(opened.version, pack.digest, 0, memoryview(again))
        if again != data:
            raise Damaged(f"a pack of {opened.version} was written and read back wrong")


def _assembled(opened: OpenedVersion, pack: Pack) -> bytearray:
    """The pack, of its files, each verified."""
    data = bytearray(pack.size)

    def fill(at: int) -> None:
        entry, begin = pack.files[at], pack.offsets[at]
        data[begin : begin + entry.size] = opened.reader(entry.path).read(0, entry.size)

    for_each(fill, range(len(pack.files)), SMALL_AT_ONCE)
    return data
