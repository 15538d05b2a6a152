"""What the records mean for a fleet, as sections of the page: the advisor's table, phases, and cost against start time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from hoist.advise import words
from hoist.advise.advice import Advice, with_loader
from hoist.advise.crossover import Crossing
from hoist.advise.table import comparison
from hoist.function.trace import Trace
from hoist.function.waterfall import show_time
from hoist.function.waterfall_html import COLOURS
from hoist.report import chinese
from hoist.report.case import Case
from hoist.report.charts import Spot, scatter_chart
from hoist.report.drawing import WIDTHS
from hoist.report.sections import bullets, figure, folded, key, paragraph, section, table
from hoist.report.strings import Text, Writer, known, listed, safe, said
from hoist.report.waterfall import axis, phase_rows, piece, trace_section

_MOST_TRACES = 30
_SHOWN = 0.05
# Of what nobody said, what decides most.
_TOLD = ("mode", "models", "instances", "starts", "updates", "regions", "deadline", "link", "loader", "gpu", "nas")


def advice_section(case: Case, writer: Writer) -> str:
    """The guide's table, filled in for this case, with the order and its reasons."""
    found = case.advice
    body = (
        f"<p>{writer.html(_case(found))}</p>\n"
        + "".join(paragraph(writer.html(each)) for each in _assumed(case))
        + f"<h3>{writer.say('advice.ranking')}</h3>\n{_ranking(found, writer)}"
        + _compared(found, writer)
        + _starts(found, writer)
        + _crossings(found, writer)
        + folded(writer.say("advice.facts"), _facts(case, writer))
    )
    return section("advice.heading", body, writer, "advice")


def _case(found: Advice) -> Text:
    case = found.scenario
    starts = case.starts * 86400
    return said(
        "advice.case",
        size=words.size(case.size),
        models=case.models,
        mode=known("advice", f"mode_{case.mode}"),
        instances=case.instances,
        starts=f"{starts:,.0f}" if starts >= 10 else f"{starts:.2g}",
        regions=", ".join(case.regions),
        deadline=words.seconds(case.deadline),
        loader=known("advice", f"loader_{case.loader}"),
    )


def _assumed(case: Case) -> Iterator[Text]:
    if case.size_measured:
        yield said("advice.size_of")
    others = [kind for kind in case.advice.judged if kind not in case.measured]
    if case.measured and others:
        yield said("advice.some_measured", measured=listed(case.measured), others=listed(others))
    names = [name.replace("_", "-") for name in _TOLD if name in case.advice.scenario.assumed]
    if names:
        yield said("advice.assumed", fields=listed(names))


def _ranking(found: Advice, writer: Writer) -> str:
    lines = []
    for place, each in enumerate(found.ranked):
        why = writer.html(Text(found.reasons[each.kind], chinese.reason(found, place)))
        mark = "–" if each.problem else f"{place + 1}."
        lines.append(
            f'<li><span>{mark}</span><b style="--own:var(--{each.kind})">{each.kind}</b><span>{why}</span></li>'
        )
    return f'<ul class="ranking">{"".join(lines)}</ul>\n'


def _compared(found: Advice, writer: Writer) -> str:
    english, translated = comparison(found), chinese.cells(found)
    best = None if found.winner.problem else found.winner.kind
    kinds = list(found.judged)
    head = "".join(f"<th{_best(kind, best)}>{writer.html(known('kind', kind))}</th>" for kind in kinds)
    rows = ""
    for row, cells in english.items():
        shown = "".join(
            f'<td data-kind="{kind}"><span>{writer.html(Text(cells[kind], translated[row][kind]))}</span></td>'
            for kind in kinds
        )
        name = writer.say(f"row.{row.replace(' ', '_')}")
        rows += f'<tr><th scope="row">{name}</th>{shown}</tr>\n'
    return (
        f'<div class="scroll"><table class="compared"><thead><tr><th></th>{head}</tr></thead>'
        f"<tbody>\n{rows}</tbody></table></div>\n"
    )


def _best(kind: str, best: str | None) -> str:
    return ' class="best"' if kind == best else ""


def _starts(found: Advice, writer: Writer) -> str:
    heads = [("", writer.say("switch.storage"))]
    heads += [("n", writer.say(f"advice.{name}")) for name in ("p50", "p95", "late", "month")]
    rows = [
        [
            each.kind,
            *map(words.seconds, (each.judged.prediction.p50, each.judged.prediction.p95)),
            words.share(each.judged.prediction.late),
            words.money(each.judged.cost.total, each.judged.cost.currency),
        ]
        for each in found.ranked
        if not each.judged.candidate.problem
    ]
    return f"<h3>{writer.say('waterfall.predicted')}</h3>\n{_phases(found, writer)}{table(heads, rows)}" if rows else ""


def _phases(found: Advice, writer: Writer) -> str:
    """The median start from each storage under one time scale, its phases after one another."""
    able = [each for each in found.ranked if not each.judged.candidate.problem]
    whole = max(each.judged.prediction.p50 for each in able)
    used: dict[str, str] = {}
    lines = f"<span></span>{axis(whole)}<span></span>"
    for each in able:
        prediction = each.judged.prediction
        bars = ""
        for row in phase_rows(prediction.phases.items()):
            if row.phase.seconds >= _SHOWN:
                colour = COLOURS.get(row.phase.name, "wait")
                used.setdefault(row.phase.name, colour)
                bars += "".join(piece(begin, end, whole, colour) for begin, end in row.pieces)
        lines += (
            f'<span>{each.kind}</span><div class="bars">{bars}</div><span class="n">{show_time(prediction.p50)}</span>'
        )
    names = [(colour, "", writer.html(known("phase", name))) for name, colour in used.items()]
    return f'<div class="phases">{lines}</div>\n{key(names)}'


def _crossings(found: Advice, writer: Writer) -> str:
    lines = [writer.html(_crossing(each)) for each in found.crossings]
    return f"<h3>{writer.say('advice.crossings')}</h3>\n{bullets(lines)}" if lines else ""


def _crossing(each: Crossing) -> Text:
    at = words.size(each.at) if each.axis == "size" else f"{each.at:,.0f}" if each.at >= 10 else f"{each.at:.1f}"
    if each.axis == "instances":
        at = f"{each.at:,.0f}"
    return said(f"advice.cross_{each.axis}", at=at, below=each.below, above=each.above)


def _facts(case: Case, writer: Writer) -> str:
    learned = {fact.id for fact in case.learned}
    used = case.advice.used
    count = sum(fact.id in learned and fact.certainty == "measured" for fact in used)
    heads = [(mark, writer.say(f"advice.{name}")) for mark, name in (("breaks", "fact"), ("n", "value"))]
    heads += [(mark, writer.say(f"advice.{name}")) for mark, name in (("", "certainty"), ("breaks", "source"))]
    rows = [
        [
            safe(fact.id),
            safe(fact.shown),
            writer.html(known("advice", fact.certainty)),
            safe(f"{fact.source}, {fact.read}"),
        ]
        for fact in used
    ]
    return (paragraph(writer.say("advice.learned", count=count)) if count else "") + table(heads, rows)


def scatter_section(case: Case, writer: Writer) -> str:
    """Cost a month against the p95 of a start, each storage in each size, and by the other loader."""
    found, scenario = case.advice, case.advice.scenario
    spots = list(_spots(found))
    if not spots:
        return ""
    draw = {
        name: scatter_chart(spots, scenario.deadline, scenario.currency, width, f"cost-{name}", "cost")
        for name, width in WIDTHS.items()
    }
    own, other = (known("loader", name) for name in _loaders(found))
    marks = [
        ("", "dot", writer.say("scatter.best", loader=own)),
        ("", "ring", writer.say("scatter.least")),
        ("", "cross", writer.say("scatter.other", loader=other)),
    ]
    kinds = [(kind, "dot", kind) for kind in dict.fromkeys(spot.kind for spot in spots)]
    body = paragraph(writer.say("scatter.about")) + paragraph(writer.say("scatter.axis", currency=scenario.currency))
    body += figure(draw) + key(kinds) + key(marks)
    body += paragraph(writer.say("scatter.deadline", seconds=words.seconds(scenario.deadline)))
    return section("scatter.heading", body, writer, "cost")


def _loaders(found: Advice) -> tuple[str, str]:
    return ("hoist", "plain") if found.scenario.loader == "hoist" else ("plain", "hoist")


def _spots(found: Advice) -> Iterator[Spot]:
    others = with_loader(found, _loaders(found)[1])
    for kind, sizing in found.sizings.items():
        if sizing.least.candidate.problem:
            continue
        ways = {"other": others[kind], **({"least": sizing.least} if sizing.grown else {}), "best": sizing.best}
        for way, each in ways.items():
            yield Spot(kind, way, each.prediction.p95, each.cost.total)


def trace_section_of(traces: Sequence[Trace], writer: Writer) -> str:
    """The traces, the last first, each under its own time scale."""
    if not traces:
        return ""
    shown = traces[-_MOST_TRACES:][::-1]
    body = "".join(trace_section(trace, trace.seconds, writer, opened=not number) for number, trace in enumerate(shown))
    more = len(traces) - len(shown)
    body += paragraph(writer.say("waterfall.more", count=more)) if more else ""
    return section("waterfall.heading", paragraph(writer.say("waterfall.traced")) + body, writer, "traces")
