"""`hoist image` in Python: names of images and locations of models in, one thing done, everything closed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from hoist.config import Config, load_config
from hoist.errors import UsageError
from hoist.image.addresses import SCRATCH, ImageAddress, parse_image
from hoist.image.base import Base, read_base, scratch
from hoist.image.build import BuildOptions, Built, build_image
from hoist.image.compress import way_of
from hoist.image.copying import Copied, copy_image
from hoist.image.editing import Edits
from hoist.image.memo import Memo
from hoist.image.models import Model, opened_models
from hoist.image.places import Image, opened_image
from hoist.image.plan import ImagePlan, plan_build, plan_update
from hoist.image.update import draft_update, update_image
from hoist.progress import Progress
from hoist.storage.oci.index import check_tag


def build(
    models: Sequence[str],
    tag: str,
    *,
    base: str = SCRATCH,
    platforms: Sequence[str] = (),
    edits: Edits | None = None,
    modelpack: bool = False,
    compress: str = "none",
    progress: Progress | None = None,
    config: Config | None = None,
) -> Built:
    """Build the image `tag` from the image `base` and the versions at the locations `models`.

    `platforms` of a base that has several (default: all). `modelpack` also makes a ModelPack artifact, under the tag with
    `-modelpack` behind. `compress` is `none` or `zstd`. Running it again sends nothing that is there already.
    Raises InvalidReference, UsageError, NotFound, Conflict, and what storages may.
    """
    config = config or load_config()
    target = _target(tag)
    options = BuildOptions(edits or Edits(), modelpack, way_of(compress))
    with _opened(base, platforms, models, config) as found, opened_image(target, config) as image:
        return build_image(found.source, found.base, found.models, image, options, config, progress or Progress())


def update(
    target: str,
    models: Sequence[str],
    *,
    tag: str = "",
    compress: str = "none",
    progress: Progress | None = None,
    config: Config | None = None,
) -> Built:
    """Replace models in the image `target`, each by the version at its location; nothing but changed files is sent.

    The result is put under `tag` of the same repository (default: the one that `target` names). Raises as `build` does.
    """
    config = config or load_config()
    address = parse_image(target)
    new = _updated_tag(address, tag)
    how = way_of(compress)
    with opened_models(models, config) as found, opened_image(_writable(address), config) as image:
        base = read_base(image)
        draft = draft_update(image, base, found)
        new = new or image.address.reference
        return update_image(image, base, draft, new, how, config, progress or Progress(), found)


def plan(
    models: Sequence[str],
    *,
    base: str = SCRATCH,
    tag: str = "",
    update: str = "",
    platforms: Sequence[str] = (),
    compress: str = "none",
    config: Config | None = None,
) -> ImagePlan:
    """What `build` would do, or `update` of the image of that name, before any byte moves. Raises as they do."""
    config = config or load_config()
    how, memo = way_of(compress), Memo(config.cache_folder / "layers")
    if update:
        with opened_models(models, config) as found, opened_image(parse_image(update), config) as image:
            read = read_base(image)
            return plan_update(image, read, draft_update(image, read, found), how, memo)
    with ExitStack() as stack:
        opened = stack.enter_context(_opened(base, platforms, models, config))
        target = stack.enter_context(opened_image(_target(tag), config)) if tag else None
        return plan_build(opened.source, opened.base, opened.models, target, how, memo)


def copy(source: str, target: str, *, progress: Progress | None = None, config: Config | None = None) -> Copied:
    """Copy an image with all its platforms, signatures and attestations; every digest stays.

    Raises InvalidReference, NotFound, StorageUnsupported, Damaged, and what storages may.
    """
    config = config or load_config()
    where = _target(target)
    address = parse_image(source)
    if address.where == "scratch":
        raise UsageError("there is nothing to copy: 'scratch' is no image")
    with opened_image(address, config) as one, opened_image(where, config) as other:
        return copy_image(one, other, config, progress or Progress())


@dataclass(frozen=True, slots=True)
class _Opened:
    source: Image | None
    base: Base
    models: list[Model]


@contextmanager
def _opened(base: str, platforms: Sequence[str], models: Sequence[str], config: Config) -> Iterator[_Opened]:
    if not models:
        raise UsageError("an image is built of models: add --model STORAGE//NAME:VERSION")
    with ExitStack() as stack:
        found = stack.enter_context(opened_models(models, config))
        address = parse_image(base)
        if address.where == "scratch":
            yield _Opened(None, scratch(platforms), found)
        else:
            image = stack.enter_context(opened_image(address, config))
            yield _Opened(image, read_base(image, platforms), found)


def _target(text: str) -> ImageAddress:
    address = _writable(parse_image(text))
    if not address.reference:
        raise UsageError(f"{text} names no tag: write {text}:TAG")
    check_tag(address.reference)
    return address


def _writable(address: ImageAddress) -> ImageAddress:
    if address.where in ("scratch", "archive"):
        raise UsageError(
            f"{address} cannot be written to: name a registry's HOST/REPOSITORY:TAG, or oci-layout:///PATH:TAG (of which "
            "tar makes an archive)"
        )
    return address


def _updated_tag(address: ImageAddress, tag: str) -> str:
    if tag:
        return check_tag(tag)
    if address.reference.startswith("sha256:"):
        raise UsageError(f"{address} names a digest: say under which tag the update shall be, as in --tag v6")
    return address.reference
