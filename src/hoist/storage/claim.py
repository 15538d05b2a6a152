"""Who may publish a label of a tree of keys: claiming it, going on with a claim, taking one over."""

from __future__ import annotations

import json
import platform
import time
from dataclasses import dataclass

from hoist.errors import Conflict, FileNotFound, StorageUnavailable
from hoist.model.manifest import digest_of
from hoist.storage import layout
from hoist.storage.base import Version
from hoist.storage.objects import Objects, exists

# Between its last look at the claim and its manifest a publisher makes two requests.
_SEAL_SECONDS = 60
_DROP_WAITS = (0.05, 0.2, 0.8)


@dataclass(frozen=True, slots=True)
class Held:
    """A claim as it is stored. `clearing`: files of something else may still lie under the label.

    `sealed`: when its holder went on to commit (seconds since the epoch), 0 before that. `removing`: the sign of whoever
    removes the version, empty if nobody does.
    """

    digest: str
    clearing: bool
    started: int
    host: str
    sealed: int
    stamp: str | None
    removing: str


class Claimant:
    """One publisher's way to a label."""

    def __init__(self, objects: Objects, version: Version, digest: str) -> None:
        self._objects = objects
        self._where = objects.address
        self._version = version
        self._digest = digest
        self._key = layout.claim_key(version)

    def begin(self, *, replace: bool) -> bool:
        """Hold the claim; True if an earlier run of the same content left its files here. Raises Conflict."""
        # In this order: a publish that ends while we look has its manifest there before its claim is gone.
        held = self.held()
        leftovers = held is None and any(True for _ in self._objects.list(self._folder))
        if self.is_committed():
            return True
        self._refuse_nesting()
        if held is None:
            if leftovers and not replace:
                raise self._strangers()
            if self._objects.create(self._key, _encoded(self._document(clearing=leftovers))):
                return self._settle(mine=True, resumed=False, clearing=leftovers)
            held = self.held()
        return self._go_on(held, replace)

    def occupied(self, *, replace: bool) -> bool:
        """Whether a version or a claim has the label; Conflict where `begin` would refuse any content."""
        held = self.held()
        leftovers = held is None and any(True for _ in self._objects.list(self._folder))
        if exists(self._objects, layout.manifest_key(self._version)):
            return True
        self._refuse_nesting()
        if leftovers and not replace:
            raise self._strangers()
        return held is not None

    def seal(self) -> None:
        """Say that the commit comes now: from here on nobody takes the claim over. Raises Conflict if somebody has."""
        for _ in range(3):
            held = self.held()
            if held is None and self.is_committed():
                return
            if held is None or held.digest != self._digest or held.clearing:
                break
            document = self._document(clearing=False) | {"started": held.started, "sealed": int(time.time())}
            if self._objects.swap(self._key, _encoded(document), held.stamp):
                return
        raise Conflict(f"another publish took over {self._version} in {self._where}")

    def seize(self, older_than: float) -> bool:
        """Hold the label so that what lies under it can be deleted; False if somebody publishes it.

        Whoever held a claim that nothing has touched since `older_than` loses it.
        """
        held = self.held()
        if held is None:
            return self._objects.create(self._key, _encoded(self._document(clearing=True)))
        if self._objects.head(self._key).modified >= older_than:
            return False
        return self._objects.swap(self._key, _encoded(self._document(clearing=True)), held.stamp)

    def announce_removal(self, sign: str) -> bool:
        """Hold the label of a version that is there, so that everybody sees that it is being removed; False if that was
        somebody else's just now. An earlier removal, or the end of a publish of this content, gives way."""
        held = self.held()
        document = _encoded(self._document(clearing=True) | {"removing": sign})
        if held is None:
            return self._objects.create(self._key, document)
        if not held.removing and held.digest != self._digest:
            return False
        return self._objects.swap(self._key, document, held.stamp)

    def held(self) -> Held | None:
        """The claim that is there."""
        try:
            found = self._objects.get(self._key)
        except FileNotFound:
            return None
        document = parse_document(found.data)
        started, sealed, removing = (document.get(key) for key in ("started", "sealed", "removing"))
        return Held(
            digest=str(document.get("digest", "")),
            clearing=document.get("clearing") is True,
            started=started if isinstance(started, int) else 0,
            host=str(document.get("host", "an unknown host")),
            sealed=sealed if isinstance(sealed, int) else 0,
            stamp=found.stamp,
            removing=removing if isinstance(removing, str) else "",
        )

    def is_committed(self) -> bool:
        """Whether the version exists with this content. Raises Conflict if it exists with another."""
        try:
            found = digest_of(self._objects.get(layout.manifest_key(self._version)).data)
        except FileNotFound:
            return False
        if found != self._digest:
            raise Conflict(
                f"{self._where} has {self._version} with other content ({found}): a version never changes; publish "
                "under another label, or remove it first"
            )
        return True

    def check(self) -> None:
        """Raise Conflict unless the claim still is this content's, or the version exists with it."""
        held = self.held()
        if held is None and self.is_committed():
            return
        if held is None or held.digest != self._digest:
            raise Conflict(f"another publish took over {self._version} in {self._where}")

    def drop(self) -> None:
        """Let the claim go."""
        for wait in (*_DROP_WAITS, None):
            try:
                self._objects.delete([self._key])
                return
            except StorageUnavailable:
                # radosgw fails to delete what another publisher of the same content is writing at that moment.
                if wait is None:
                    raise
                time.sleep(wait)

    @property
    def _folder(self) -> str:
        return layout.file_key(self._version, "")

    def _go_on(self, held: Held | None, replace: bool) -> bool:
        if held is None:
            raise Conflict(f"another publish of {self._version} ended just now: run this one again")
        if held.digest == self._digest:
            return self._settle(mine=False, resumed=not held.clearing, clearing=held.clearing)
        if not replace:
            began = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(held.started))
            raise Conflict(
                f"an unfinished publish of {self._version} with other content holds {self._where} (begun {began} on "
                f"{held.host}): wait for it, or, if it is dead, --replace-unfinished"
            )
        if abs(time.time() - held.sealed) < _SEAL_SECONDS:
            raise Conflict(
                f"another publish of {self._version} is about to end in {self._where}: look again in a minute"
            )
        if not self._objects.swap(self._key, _encoded(self._document(clearing=True)), held.stamp):
            raise Conflict(f"somebody else took over the publish of {self._version} just now")
        return self._settle(mine=True, resumed=False, clearing=True)

    def _settle(self, *, mine: bool, resumed: bool, clearing: bool) -> bool:
        """Look again now that the claim is held: whoever held it before, or a nested name, may have committed."""
        try:
            self._refuse_nesting()
            committed = self.is_committed()
        except Conflict:
            if mine:
                self.drop()
            raise
        if committed:
            self.drop()
            return True
        if clearing:
            self._clear()
        return resumed

    def _clear(self) -> None:
        """Delete what is not this content's. Only then does the claim say that the files under it can be kept."""
        documents = layout.blob_key(self._version, "")
        # No manifest is there, so the documents are another content's too.
        stale = [info.key for info in self._objects.list(documents) if "/" not in info.key.removeprefix(documents)]
        self._objects.delete([*(info.key for info in self._objects.list(self._folder)), *stale])
        held = self.held()
        if (
            held is None
            or held.digest != self._digest
            or (
                held.clearing
                and not self._objects.swap(self._key, _encoded(self._document(clearing=False)), held.stamp)
            )
        ):
            raise Conflict(f"somebody else took over the publish of {self._version} just now")

    def _refuse_nesting(self) -> None:
        for outer in layout.enclosing_versions(self._version):
            for key in (layout.manifest_key(outer), layout.claim_key(outer)):
                if exists(self._objects, key):
                    raise Conflict(f"{self._version} would lie inside the folder of {outer}: choose another name")
        inside = f"{self._version.name}/{self._version.label}/"
        for info in self._objects.list(layout.VERSIONS + inside):
            inner = layout.version_of_manifest(info.key)
            if inner and inner != self._version:
                raise Conflict(f"the folder of {self._version} would hold {inner}: choose another label")
        for info in self._objects.list(layout.CLAIMS + inside):
            inner = layout.version_of_tail(info.key.removeprefix(layout.CLAIMS))
            raise Conflict(f"the folder of {self._version} would hold {inner}, which is being published")

    def _strangers(self) -> Conflict:
        return Conflict(
            f"{self._where} has files under {self._folder} that belong to no version: move them away, or give "
            "--replace-unfinished to delete them"
        )

    def _document(self, *, clearing: bool) -> dict[str, object]:
        document: dict[str, object] = {"digest": self._digest, "started": int(time.time()), "host": platform.node()}
        return document | ({"clearing": True} if clearing else {})


def _encoded(document: dict[str, object]) -> bytes:
    return json.dumps(document).encode()


def parse_document(data: bytes) -> dict[str, object]:
    """A small JSON document of ours; empty for anything else."""
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}
