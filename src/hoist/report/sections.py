"""What was measured, as sections of the page: switches, herds, machines, raw data."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import inf

from hoist.advise.words import share
from hoist.bench.herd_figures import Herd, herds
from hoist.bench.herd_model import show_rate
from hoist.bench.records import SCHEMA
from hoist.formatting import show_size
from hoist.report.charts import digits, herd_chart, switch_chart
from hoist.report.drawing import WIDTHS, colours_of
from hoist.report.material import Material, Record
from hoist.report.strings import Said, Text, Writer, known, listed, safe, said
from hoist.report.switches import HOIST, Experiment, Store
from hoist.report.waterfall import ends

SWITCHES = ("first", "second")


def section(heading: str, body: str, writer: Writer, id: str) -> str:
    """A card of the page."""
    return f'<section><h2 id="{id}">{writer.say(heading)}</h2>\n{body}</section>\n'


def figure(draw: Mapping[str, str]) -> str:
    """A figure for desks and for phones."""
    return "<figure>" + "".join(f'<div class="{name}">{svg}</div>' for name, svg in draw.items()) + "</figure>\n"


def paragraph(text: str) -> str:
    """Small print."""
    return f'<p class="soft">{text}</p>\n'


def bullets(items: Iterable[str]) -> str:
    """A list; nothing where it is empty."""
    found = "".join(f"<li>{item}</li>" for item in items)
    return f"<ul>{found}</ul>\n" if found else ""


def key(items: Iterable[tuple[str, str, str]]) -> str:
    """A legend: of each item the colour's variable, the mark's class and what is said."""
    lines = ""
    for colour, mark, text in items:
        own = f' style="--own:var(--{colour})"' if colour else ""
        lines += f'<li><i class="{mark}"{own}></i>{text}</li>'
    return f'<ul class="key">{lines}</ul>\n'


def table(heads: Sequence[tuple[str, str]], rows: Iterable[Sequence[str]], *, total: bool = False) -> str:
    """A table that scrolls by itself where the screen is narrow; heads are (class, HTML), cells HTML."""
    body = list(rows)
    lines = "".join(
        f"<tr{' class=sum' if total and number == len(body) else ''}>"
        + "".join(f'<td class="{mark}">{cell}</td>' for (mark, _), cell in zip(heads, row, strict=True))
        + "</tr>\n"
        for number, row in enumerate(body, 1)
    )
    head = "".join(f'<th class="{mark}">{text}</th>' for mark, text in heads)
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>\n{lines}</tbody></table></div>\n'


def folded(title: str, body: str) -> str:
    """What is there for those who ask."""
    return f"<details><summary>{title}</summary>\n{body}</details>\n"


def experiment_section(found: Experiment, number: int, material: Material, writer: Writer) -> str:
    """Both charts of the experiment, their notes, and the figures."""
    colours = colours_of([(store.name, store.kind) for store in found.stores])
    parts = [paragraph(safe(", ".join(found.sources)))]
    for switch in SWITCHES:
        if not any(each[2] == switch for store in found.stores for each in store.measured):
            continue
        id = f"switch-{number}-{switch}"
        about = f"switch.about_{switch}"
        about = writer.say(about, runs=found.runs) if found.runs > 1 else writer.say(f"{about}_1")
        parts.append(f'<h3 id="{id}">{writer.say(f"switch.{switch}")}</h3>\n{paragraph(about)}')
        draw = {name: switch_chart(found, switch, width, colours, f"{id}-{name}", id) for name, width in WIDTHS.items()}
        parts.append(figure(draw) + key(_loader_key(found.stores, writer)))
    parts.append(bullets(map(writer.html, _switch_notes(found))))
    parts.append(folded(writer.say("page.figures"), _switch_table(found, writer)))
    parts.append(_skipped(found, material, writer))
    return section("switch.heading", "".join(parts), writer, f"switch-{number}")


def _loader_key(stores: Sequence[Store], writer: Writer) -> Iterator[tuple[str, str, str]]:
    yield "", "", writer.say("loader.hoist")
    for loader in dict.fromkeys(store.beside for store in stores if store.beside):
        own = [store.name for store in stores if store.beside == loader]
        where = f" ({safe(', '.join(own))})" if len(own) < len(stores) else ""
        yield "", "pale", writer.html(known("loader", loader)) + where


def _switch_notes(found: Experiment) -> Iterator[Text]:
    if found.scaled:
        measured, real = found.scaled
        yield said("switch.scaled", measured=show_size(measured), real=show_size(real))
    if found.access == "tensors":
        yield said("switch.access_tensors")
    if found.hashed:
        yield said("switch.plain_hashes")
    if found.cached is not None:
        yield said("switch.cold_no", share=share(found.cached)) if found.cached else said("switch.cold_yes")
    if found.limits:
        limits = [
            said(
                "switch.limit",
                storage=each["storage"],
                rate=show_rate(each["bytes_per_second"]),
                what=known("switch", f"limit_{each['limit']}"),
                depth=str(each.get("depth", "?")),
            )
            for each in found.limits
        ]
        yield said("switch.limits", limits=listed(limits, apart=True))


def _switch_table(found: Experiment, writer: Writer) -> str:
    heads = [
        *(("breaks", writer.say("switch.model")), ("n", writer.say("switch.size"))),
        *(("", writer.say("switch.storage")), ("", writer.say("switch.loader"))),
        *(("n", writer.say(f"switch.{name}")) for name in ("first_s", "second_s", "rate", "reads")),
    ]
    rows = []
    for file, size in found.sizes.items():
        for store in found.stores:
            for loader in store.loaders:
                first, second = (store.measured.get((file, loader, switch)) for switch in SWITCHES)
                if not first and not second:
                    continue
                rows.append(
                    [
                        *(safe(file), show_size(size), safe(store.name), writer.html(known("loader", loader))),
                        digits(first.median) if first else "-",
                        digits(second.median) if second else "-",
                        f"{size / 1e6 / first.median:,.0f}" if first and first.median else "-",
                        " / ".join(f"{each.reads:.2f}" if each else "-" for each in (first, second)),
                    ]
                )
    return table(heads, rows)


def _skipped(found: Experiment, material: Material, writer: Writer) -> str:
    reasons = dict.fromkeys(
        said(
            "switch.skip",
            storage=record["storage"],
            loader=known("loader", str(record.get("loader", "?"))),
            reason=str(record["skipped"]),
        )
        for file in found.sources
        for record in material.files[file]
        if record["bench"] == "switch" and "skipped" in record
    )
    return paragraph(writer.say("switch.skipped")) + bullets(map(writer.html, reasons)) if reasons else ""


def herd_sections(material: Material, writer: Writer) -> str:
    """The curves of each setting."""
    return "".join(
        _herd_section(herd, number, material, writer) for number, herd in enumerate(herds(material.records), 1)
    )


def _herd_section(herd: Herd, number: int, material: Material, writer: Writer) -> str:
    id = f"herd-{number}"
    colours = colours_of([(name, name) for name in herd.curves])
    draw = {name: herd_chart(herd, width, colours, f"{id}-{name}", id) for name, width in WIDTHS.items()}
    curves = [
        (colours[name], "", writer.say("herd.rate", storage=name, rate=_rate(curve.rates["storage"])))
        for name, curve in herd.curves.items()
    ]
    notes: list[Text] = [*(list(_crossings(herd)) or [said("herd.no_crossing")]), *_late(herd)]
    for name, limit in herd.deadlines.items():
        notes.append(said("herd.deadline", name=_deadline(name), seconds=f"{limit / herd.time_scale:.0f} s"))
    if herd.scale != 1 or herd.time_scale != 1:
        notes.append(said("herd.scaled", scale=f"{herd.scale:g}", time_scale=f"{herd.time_scale:.3g}"))
    notes.append(said(f"herd.{herd.how}") if herd.how in ("namespaces", "throttled") else Text(herd.how, herd.how))
    body = (
        paragraph(writer.say("herd.about", size=show_size(herd.model_size)))
        + paragraph(writer.say("herd.axis"))
        + figure(draw)
        + key(curves)
        + bullets(map(writer.html, notes))
        + folded(writer.say("page.figures"), _herd_table(herd, writer))
        + _ends(herd, material, colours, writer)
    )
    return section("herd.heading", body, writer, id)


def _crossings(herd: Herd) -> Iterator[Text]:
    """Those that a storage passes at the same number stand together."""
    passed: dict[tuple[str, int], list[str]] = {}
    for first, second, count in herd.crossovers():
        passed.setdefault((second, count), []).append(first)
    for (second, count), names in passed.items():
        yield said("herd.crossing", first=listed(names), second=second, count=count)


def _rate(rate: float | None) -> str:
    return show_rate(rate) if rate else "?"


def _deadline(name: str) -> Text:
    return known("herd", name.replace(" ", "_")) if name in ("port check", "initializer") else Text(name, name)


def _late(herd: Herd) -> Iterator[Text]:
    """At the largest number, who misses which deadline."""
    for name, curve in herd.curves.items():
        point = curve.points[max(curve.points)]
        for deadline, late in point.late.items():
            if late:
                seconds = f"{herd.deadlines[deadline] / herd.time_scale:.0f} s"
                values: dict[str, Said] = {
                    "storage": name,
                    "late": f"{late:g}",
                    "name": _deadline(deadline),
                    "seconds": seconds,
                }
                yield said("herd.late", count=point.instances, **values)


def _herd_table(herd: Herd, writer: Writer) -> str:
    counts = sorted({count for curve in herd.curves.values() for count in curve.points})
    heads = [("n", writer.say("herd.instances"))]
    heads += [("n", writer.say("herd.slowest", storage=name)) for name in herd.curves]
    rows = []
    for count in counts:
        row = [f"{count:,}"]
        for curve in herd.curves.values():
            point = curve.points.get(count)
            failed = f" ({writer.say('herd.failed', count=point.failed)})" if point and point.failed else ""
            row.append((digits(point.slowest / herd.time_scale) if point and point.slowest < inf else "-") + failed)
        rows.append(row)
    return table(heads, rows)


def _ends(herd: Herd, material: Material, colours: Mapping[str, str], writer: Writer) -> str:
    """Of the largest number from each storage, when each instance of its last run was loaded."""
    setting = (herd.how, herd.model_size, herd.scale, herd.time_scale, herd.size, herd.start_jitter)
    names = ("how", "model_size", "scale", "time_scale", "size", "start_jitter")
    measured = (record for record in material.records if record["bench"] == "herd" and "skipped" not in record)
    last: dict[str, Record] = {}
    for record in measured:
        same = tuple(record[name] for name in names) == setting
        if same and record["instances"] >= last.get(record["storage"], record)["instances"]:
            last[record["storage"]] = record
    several = [record for record in last.values() if len(record["seconds"]) > 1]
    if not several:
        return ""
    whole = max(max(record["seconds"]) for record in several) / herd.time_scale
    body = "".join(
        ends(
            writer.say("herd.ends_of", storage=record["storage"], count=int(record["instances"])),
            [each / herd.time_scale for each in record["seconds"]],
            whole,
            colours[record["storage"]],
        )
        for record in several
    )
    return f"<h3>{writer.say('herd.ends')}</h3>\n{body}"


def machine_section(material: Material, writer: Writer) -> str:
    """Each machine that something was measured on."""
    machines: dict[str, list[Record]] = {}
    for record in material.records:
        machines.setdefault(json.dumps(record["machine"], sort_keys=True), []).append(record)
    body = "".join(_machine(records, writer) for records in machines.values())
    return section("machine.heading", body, writer, "machines")


def _machine(records: Sequence[Record], writer: Writer) -> str:
    facts = records[0]["machine"]
    memory, packages = facts.get("memory_bytes"), facts.get("packages")
    software = packages if isinstance(packages, Mapping) else {}
    python = [f"Python {facts['python']}"] if facts.get("python") else []
    shown: dict[str, Said] = {
        "cpu": str(facts.get("cpu", "?")),
        "cores": str(facts.get("cores", "?")),
        "memory": show_size(memory) if isinstance(memory, int) else "?",
        "gpu": str(facts["gpu"]) if facts.get("gpu") else said("machine.no_gpu"),
        "kernel": str(facts.get("kernel", "?")),
        "packages": ", ".join([*python, *(f"{name} {version}" for name, version in software.items())]),
        "dates": dates(records),
        "records": len(records),
    }
    lines = "".join(
        f"<dt>{writer.say(f'machine.{name}')}</dt><dd>{writer.html(each)}</dd>" for name, each in shown.items()
    )
    return f'<dl class="machine">{lines}</dl>\n'


def dates(records: Iterable[Record]) -> str:
    """The day, or the first and the last."""
    days = sorted({str(record["date"])[:10] for record in records})
    return days[0] if len(days) == 1 else f"{days[0]} – {days[-1]}"


def data_section(material: Material, writer: Writer) -> str:
    """The records themselves, to be taken home."""
    count, kinds = len(material.records), Counter(str(record["bench"]) for record in material.records)
    body = (
        f"<p>{writer.say('data.about', count=count, schema=SCHEMA)}</p>\n"
        f"<p>{writer.say('data.kinds', kinds=listed([f'{name} {number:,}' for name, number in kinds.items()]))}</p>\n"
        f'<p><button id="download-2">{writer.say("page.download")}</button></p>\n'
    )
    return section("data.heading", body, writer, "data")


def totals(found: Experiment) -> Iterator[tuple[Store, str, float, float]]:
    """Where all models were switched to by Hoist and the loader beside it: store, switch, and both times."""
    for store in found.stores:
        for switch in SWITCHES:
            own, other = store.total(HOIST, switch), store.total(store.beside, switch)
            if own and other:
                yield store, switch, own, other
