"""The page: one file that needs nothing else. No network, no library; what comes out of records is text, never markup."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Sequence
from importlib.resources import files

from hoist.bench.herd_figures import herds
from hoist.function.trace import Trace
from hoist.report.case import Case
from hoist.report.drawing import drawing
from hoist.report.judgement import advice_section, scatter_section, trace_section_of
from hoist.report.material import Material
from hoist.report.sections import (
    data_section,
    dates,
    experiment_section,
    herd_sections,
    machine_section,
    paragraph,
    section,
    totals,
)
from hoist.report.strings import LANGUAGES, Said, Writer, known, listed, safe, said
from hoist.report.switches import Experiment, experiments

_MOST_TILES = 6
# Closer than this nobody calls one of them faster.
_ALIKE = 1.05


def make_page(material: Material, case: Case | None, traces: Sequence[Trace], languages: Sequence[str]) -> str:
    """All of it. `languages` are one or both of `LANGUAGES`, the first the one shown without a script."""
    writer = Writer(tuple(languages))
    measured = experiments(material)
    with drawing():
        parts = [experiment_section(found, number, material, writer) for number, found in enumerate(measured, 1)]
        parts.append(herd_sections(material, writer))
        parts.append(trace_section_of(traces, writer))
        if case:
            parts += [advice_section(case, writer), scatter_section(case, writer)]
        else:
            parts.append(section("advice.heading", paragraph(writer.say("advice.missing")), writer, "advice"))
    parts += [machine_section(material, writer), data_section(material, writer)]
    body = _header(material, writer) + _tiles(measured, material, case, writer) + "".join(parts)
    return _whole(body, material, writer)


def _header(material: Material, writer: Writer) -> str:
    records = material.records
    about = writer.say("page.made_of", records=len(records), files=listed(list(material.files)), dates=dates(records))
    switch = f'<button id="language">{writer.say("page.language")}</button>' if len(writer.languages) > 1 else ""
    return (
        f'<header><h1>{writer.say("page.title")}</h1>\n<div class="buttons">{switch}'
        f'<button id="theme">{writer.say("page.theme")}</button>'
        f'<button id="download">{writer.say("page.download")}</button></div>\n{paragraph(about)}</header>\n'
    )


def _tiles(measured: Sequence[Experiment], material: Material, case: Case | None, writer: Writer) -> str:
    found = [*_advised(case), *_compared(measured, "first"), *_herded(material), *_compared(measured, "second")]
    lines = "".join(
        f"<div><b>{writer.html(big)}</b><span>{writer.html(small)}</span></div>\n" for big, small in found[:_MOST_TILES]
    )
    return f'<div class="tiles">{lines}</div>\n' if found else ""


def _advised(case: Case | None) -> Iterator[tuple[Said, Said]]:
    if case and case.advice.winner.problem:
        yield said("tile.none_fits"), said("tile.no_storage")
    elif case:
        kind = case.advice.winner.kind
        doubtful = case.measured and kind not in case.measured
        why = said("tile.recommended_unmeasured", kind=kind) if doubtful else said("tile.recommended")
        yield known("kind", kind), why


def _compared(measured: Sequence[Experiment], switch: str) -> Iterator[tuple[Said, Said]]:
    for store, _, own, other in (each for found in measured[:1] for each in totals(found) if each[1] == switch):
        beside = known("loader", store.beside or "")
        key, factor = ("shorter", other / own) if own <= other else ("longer", own / other)
        told = said("tile.factor_same") if factor < _ALIKE else said(f"tile.factor_{key}", factor=f"{factor:.1f}")
        yield told, said(f"tile.{switch}", storage=store.name, loader=beside)


def _herded(material: Material) -> Iterator[tuple[Said, Said]]:
    for herd in herds(material.records)[:1]:
        for name, curve in herd.curves.items():
            point = curve.points[max(curve.points)]
            if point.instances > 1 and point.slowest < float("inf"):
                seconds = f"{point.slowest / herd.time_scale:.1f} s"
                yield seconds, said("tile.herd", storage=name, count=point.instances)


def _whole(body: str, material: Material, writer: Writer) -> str:
    style, script = (files(__package__).joinpath(name).read_text("utf-8") for name in ("style.css", "script.js"))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    # Only this script runs, and nothing is fetched: whatever else might stand in the page.
    policy = f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; img-src data:"
    first = writer.languages[0]
    title = said("page.title")
    titles = "".join(f' data-{language}="{safe(title.of(language))}"' for language in writer.languages)
    shown = f'data-show="{first}" data-languages="{" ".join(writer.languages)}"'
    return (
        f'<!doctype html>\n<html lang="{LANGUAGES[first]}" {shown}>\n'
        f'<head>\n<meta charset="utf-8">\n<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n<link rel="icon" href="data:,">\n'
        f"<title{titles}>{safe(title.of(first))}</title>\n<style>\n{style}</style>\n</head>\n"
        f"<body>\n<main>\n{body}</main>\n"
        f'<script type="application/x-ndjson" id="records">\n{_embedded(material)}</script>\n'
        f"<script>{script}</script>\n</body>\n</html>\n"
    )


def _embedded(material: Material) -> str:
    """JSON lines that no HTML parser finds an end in: JSON may write `<` by its number, and says the same."""
    return material.lines().replace("<", "\\u003c")
