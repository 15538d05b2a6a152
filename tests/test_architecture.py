"""The house stands: imports point down, only `cli` prints, only `config` reads the environment."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import hoist

HOUSE = Path(hoist.__file__).parent
LAYERS = (
    (
        "errors",
        "config",
        "settings",
        "progress",
        "parallel",
        "memory",
        "pace",
        "pagecache",
        "retry",
        "afresh",
        "expose",
        "formatting",
    ),
    ("model",),
    ("signing",),
    ("storage",),
    ("read",),
    ("tensors", "transfer", "mount", "accelerator"),
    ("sync",),
    ("rollout",),
    ("image",),
    ("fleet",),
    ("function",),
    ("status",),
    ("verbs",),
    ("testing",),
    ("bench", "checkup", "integrations"),
    ("advise", "audit"),
    ("report", "deploy"),
    ("cli",),
)
HEIGHT = {room: height for height, rooms in enumerate(LAYERS) for room in rooms}
MODULES = sorted(path for path in HOUSE.rglob("*.py") if path.relative_to(HOUSE).parts[0].removesuffix(".py") in HEIGHT)


def room_of(path: Path) -> str:
    return path.relative_to(HOUSE).parts[0].removesuffix(".py")


def imported_rooms(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        for name in names:
            parts = name.split(".")
            if parts[0] == "hoist" and len(parts) > 1:
                yield parts[1]


def test_every_room_has_a_place() -> None:
    rooms = {room_of(path) for path in HOUSE.rglob("*.py")} - {"__init__", "__main__"}
    assert rooms == set(HEIGHT)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(HOUSE)))
def test_imports_point_down(path: Path) -> None:
    room = room_of(path)
    for other in imported_rooms(ast.parse(path.read_text())):
        ground = HEIGHT[room] == 0
        assert other == room or HEIGHT[other] < HEIGHT[room] or (ground and HEIGHT[other] == 0), f"imports {other}"


def test_only_the_command_line_prints_and_only_the_configuration_reads_the_environment() -> None:
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("print", "input"):
                assert room_of(path) == "cli", f"{path} prints"
            if isinstance(node, ast.Attribute) and node.attr == "environ" and isinstance(node.value, ast.Name):
                outside = node.value.id == "os" and room_of(path) not in ("config", "testing")
                assert not outside, f"{path} reads the environment"
