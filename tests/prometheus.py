"""Reads what Prometheus reads, and refuses what it refuses."""

from __future__ import annotations

import re

_NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
_LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"')
_SAMPLE = re.compile(rf"({_NAME})(?:\{{(.*)\}})? (-?[0-9.e+-]+|[+-]Inf|NaN)")
Sample = tuple[str, tuple[tuple[str, str], ...]]


def samples(text: str) -> dict[Sample, float]:
    """The samples by name and labels. Every metric has HELP and TYPE once, before its samples, which stand together."""
    found: dict[Sample, float] = {}
    kinds: dict[str, str] = {}
    current = ""
    assert text.endswith("\n")
    for line in text.splitlines():
        if line.startswith("# HELP "):
            current = line.split()[2]
            assert current not in kinds, line
        elif line.startswith("# TYPE "):
            _, _, name, kind = line.split()
            assert name == current
            assert kind in ("counter", "gauge", "histogram")
            kinds[name] = kind
        else:
            parts = _SAMPLE.fullmatch(line)
            assert parts, line
            name, inside, value = parts.groups()
            base = re.sub("_(bucket|sum|count)$", "", name) if kinds.get(current) == "histogram" else name
            assert base == current, line
            key = name, _labels(inside or "")
            assert key not in found, line
            found[key] = float(value)
    return found


def _labels(text: str) -> tuple[tuple[str, str], ...]:
    pairs = _LABEL.findall(text)
    assert ",".join(f'{name}="{value}"' for name, value in pairs) == text, text
    escapes = {'\\"': '"', "\\\\": "\\", "\\n": "\n"}
    return tuple((name, re.sub(r'\\["\\n]', lambda found: escapes[found[0]], value)) for name, value in sorted(pairs))
