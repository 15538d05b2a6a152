"""`hoist inspect`: a version's files, tensors, tags, and the versions that share its blocks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hoist.cli.text import print_json, print_table, printable, show_count, show_size

if TYPE_CHECKING:
    from hoist.read.signed import Signature
    from hoist.tensors.inspect import FileSummary, Inspection


def show_version(location: str, *, tensors: bool, shared: bool, as_json: bool) -> int:
    """Inspect a version and print what was found; `tensors` with each tensor, `shared` with who shares blocks."""
    from hoist.verbs import inspect

    found = inspect(location, shared=shared)
    if as_json:
        print_json(_document(location, found, tensors, shared))
    else:
        _print(location, found, tensors, shared)
    return 0


def _document(location: str, found: Inspection, tensors: bool, shared: bool) -> dict[str, object]:
    return {
        "location": location,
        "name": found.version.name,
        "version": found.version.label,
        "digest": found.manifest.digest,
        "size_bytes": found.manifest.size,
        "tags": found.tags,
        "signatures": [
            {"key": item.key or None, "trusted": item.trusted or None, "problem": item.problem or None}
            for item in found.signatures
        ],
        "files": [_file(item, tensors) for item in found.files],
        "shared": [
            {"name": item.version.name, "version": item.version.label, "shared_bytes": item.shared_bytes}
            for item in found.shared
        ]
        if shared
        else None,
    }


def _file(item: FileSummary, tensors: bool) -> dict[str, object]:
    fields: dict[str, object] = {
        "path": item.entry.path,
        "size_bytes": item.entry.size,
        "digest": item.entry.digest,
        "blocks": item.blocks,
        "format": item.format or None,
        "tensor_count": len(item.tensors),
        "problem": item.problem or None,
    }
    if tensors:
        fields["tensors"] = [
            {"name": each.name, "dtype": each.dtype, "shape": each.shape, "size_bytes": each.size}
            for each in item.tensors
        ]
    return fields


def _print(location: str, found: Inspection, tensors: bool, shared: bool) -> None:
    print(printable(location))
    print(f"  version  {found.version}")
    print(f"  digest   {found.manifest.digest}")
    print(f"  size     {show_size(found.manifest.size)} in {show_count(len(found.files), 'file')}")
    print(f"  tags     {', '.join(found.tags) or '-'}")
    for signature in found.signatures:
        print(printable(f"  signed   {_signed(signature)}"))
    print()
    _print_files(found.files)
    if tensors:
        for item in found.files:
            _print_tensors(item)
    if shared:
        _print_shared(found)


def _signed(item: Signature) -> str:
    by = f"by the key {item.key[:12]}" if item.key else "by a certificate"
    if item.problem:
        return f"{by}, but {item.problem}"
    return (
        f"{by}, which is {item.trusted}" if item.trusted else f"{by}, as it says itself: verify --signed-by checks it"
    )


def _print_files(files: tuple[FileSummary, ...]) -> None:
    rows = [
        (
            item.entry.path,
            show_size(item.entry.size),
            str(item.blocks),
            str(len(item.tensors)) if item.tensors else "-",
            item.format or "-",
            item.entry.digest,
        )
        for item in files
    ]
    print_table(("FILE", ">SIZE", ">BLOCKS", ">TENSORS", "FORMAT", "DIGEST"), rows)
    for item in files:
        if item.problem:
            print(printable(f"{item.entry.path} cannot be loaded: {item.problem}"))


def _print_tensors(item: FileSummary) -> None:
    if not item.tensors:
        return
    print()
    print(printable(item.entry.path))
    rows = [
        (each.name, each.dtype, "x".join(map(str, each.shape)) or "scalar", show_size(each.size))
        for each in item.tensors
    ]
    print_table(("TENSOR", "DTYPE", "SHAPE", ">SIZE"), rows, indent="  ")


def _print_shared(found: Inspection) -> None:
    print()
    if not found.shared:
        print("no other version of this storage shares its blocks")
        return
    whole = max(1, found.manifest.size)
    rows = [
        (str(item.version), show_size(item.shared_bytes), f"{100 * item.shared_bytes / whole:.0f} %")
        for item in found.shared
    ]
    print_table(("SHARES BLOCKS WITH", ">SHARED", ">OF THIS"), rows)
