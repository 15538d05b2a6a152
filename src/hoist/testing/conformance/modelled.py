"""Random histories: after each step the storage must agree with a plain model of two dicts."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hoist.errors import Conflict, VersionNotFound
from hoist.model.reference import Reference
from hoist.storage.base import Storage, Tag, Version
from hoist.testing.conformance.base import Conformance, Content, assert_holds, publish, ref, sample

_NAMES = ("a", "a/b", "a/b-c")
_LABELS = ("v1", "v2", "b")
_CONTENTS = tuple(Content({"w.bin": sample(seed, 50), "deep/er/x": sample(seed * 2, 9)}) for seed in "pqr")
_STEPS = st.lists(
    st.tuples(
        st.sampled_from(("publish", "publish", "tag", "remove", "remove_tag")),
        st.sampled_from(_NAMES),
        st.sampled_from(_LABELS),
        st.sampled_from(_LABELS),
        st.sampled_from(_CONTENTS),
    ),
    min_size=1,
    max_size=12,
)


@dataclass
class _Model:
    """What should be there."""

    nests: bool
    loose_tags: bool
    versions: dict[Version, Content] = field(default_factory=dict)
    tags: dict[tuple[str, str], Tag] = field(default_factory=dict)

    def refuses(self, version: Version, content: Content) -> bool:
        """Whether publishing it must be a Conflict."""
        folder = f"{version.name}/{version.label}/"
        nested = not self.nests and any(
            f"{other.name}/{other.label}/" != folder
            and (f"{other.name}/{other.label}/".startswith(folder) or folder.startswith(f"{other.name}/{other.label}/"))
            for other in self.versions
        )
        other_content = version in self.versions and self.versions[version].digest != content.digest
        return nested or other_content or (version.name, version.label) in self.tags

    def forget(self, version: Version) -> bool:
        """Remove a version, and its tags where they go with it; False if it is not there."""
        if not self.versions.pop(version, None):
            return False
        if not self.loose_tags:
            self.tags = {key: tag for key, tag in self.tags.items() if Version(tag.name, tag.label) != version}
        return True

    def is_loose(self, tag: Tag) -> bool:
        """Whether it names a version that is not there."""
        held = self.versions.get(Version(tag.name, tag.label))
        return held is None or held.digest != tag.digest


class ModelledConformance(Conformance):
    """Sequences of operations that nobody thought of."""

    def test_history_agrees_with_a_plain_model(self, storage: Storage, tmp_path: Path) -> None:
        @settings(max_examples=self.examples, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        @given(_STEPS)
        def check(steps: list[tuple[str, str, str, str, Content]]) -> None:
            _empty(storage)
            model = _Model(self.nests, self.loose_tags)
            for action, name, label, other, content in steps:
                _step(storage, model, action, Version(name, label), other, content, tmp_path)
            _compare(storage, model)

        check()


def _step(
    storage: Storage, model: _Model, action: str, version: Version, other: str, content: Content, folder: Path
) -> None:
    key = (version.name, other)
    if action == "publish":
        if model.refuses(version, content):
            with pytest.raises(Conflict):
                publish(storage, str(version), content, folder)
        else:
            publish(storage, str(version), content, folder)
            model.versions[version] = content
    elif action == "tag":
        tag = Tag(version.name, other, version.label, content.digest)
        if Version(version.name, other) in model.versions:
            with pytest.raises((Conflict, VersionNotFound)):
                storage.set_tag(tag)
        elif model.is_loose(tag):
            with pytest.raises(VersionNotFound):
                storage.set_tag(tag)
        else:
            storage.set_tag(tag)
            model.tags[key] = tag
    elif action == "remove":
        if model.forget(version):
            storage.remove(version)
        else:
            with pytest.raises(VersionNotFound):
                storage.remove(version)
    elif model.tags.pop(key, None):
        storage.remove_tag(*key)
    else:
        with pytest.raises(VersionNotFound):
            storage.remove_tag(*key)


def _compare(storage: Storage, model: _Model) -> None:
    assert list(storage.versions()) == sorted(model.versions)
    assert list(storage.tags()) == [model.tags[key] for key in sorted(model.tags)]
    for version, content in model.versions.items():
        assert_holds(storage, str(version), content)
        found, _ = storage.resolve(Reference(version.name, digest=content.digest))
        same = (each for each, held in model.versions.items() if each.name == version.name and held is content)
        assert found == min(same)
    for (name, tag), held in model.tags.items():
        target = Version(name, held.label)
        if target in model.versions and model.versions[target].digest == held.digest:
            assert storage.resolve(ref(f"{name}:{tag}"))[0] == target
        else:
            with pytest.raises(VersionNotFound):
                storage.resolve(ref(f"{name}:{tag}"))


def _empty(storage: Storage) -> None:
    for tag in list(storage.tags()):
        storage.remove_tag(tag.name, tag.tag)
    for version in list(storage.versions()):
        storage.remove(version)
