"""What the advisor says, in Chinese: from the same numbers as its English sentences. Pure."""

from __future__ import annotations

from collections.abc import Callable
from math import floor, inf

from hoist.advise import words
from hoist.advise.advice import Advice
from hoist.advise.rank import Ranked
from hoist.advise.scenario import Scenario
from hoist.advise.sizing import Judged
from hoist.advise.storages import PARTS

_PARTS = {
    "image": "函数之外无需其他组件",
    "oss": "一个 Bucket",
    "accl": "一个 Bucket 和一个加速器",
    "nas": "一个文件系统和 VPC",
}
_WHAT = {"storage": "存储", "accelerator": "加速器", "requests": "请求", "gpu": "加载期间的 GPU"}


def cells(advice: Advice) -> dict[str, dict[str, str]]:
    """The comparison table as `hoist.advise.table.comparison` has it: cells by row and storage."""
    makers: dict[str, Callable[[Judged, Scenario], str]] = {
        "size": _size,
        "throughput": _throughput,
        "compatibility": _compatibility,
        "management": _management,
        "zones": lambda judged, scenario: "不支持，每个可用区一份" if judged.kind == "nas" else "支持",
        "page cache": _page_cache,
        "cost": lambda judged, scenario: _cost(judged),
    }
    found = {
        row: {kind: make(judged, advice.scenario) for kind, judged in advice.judged.items()}
        for row, make in makers.items()
    }
    found["in time"] = {kind: _in_time(advice, kind) for kind in advice.judged}
    return found


def _size(judged: Judged, scenario: Scenario) -> str:
    most = judged.candidate.used.get("most size")
    if judged.kind == "image":
        base = "" if scenario.base_image else "，不含基础镜像"
        need = words.decimal_size(scenario.stored + scenario.base_image)
        if most is None:
            return f"{need}{base}"
        return f"过大：{need}，上限 {most.shown}" if judged.candidate.problem else f"{need}，上限 {most.shown}{base}"
    if judged.kind == "oss":
        return f"{words.size(scenario.stored)}，无上限"
    if judged.kind == "accl":
        return f"{words.size(scenario.stored)}，缓存 {words.decimal_size(judged.candidate.cache)}"
    grown = judged.candidate.held > scenario.stored
    limit = f"，上限 {most.shown}" if most else ""
    return f"{words.size(judged.candidate.held)}{limit}" + ("，为带宽而扩容" if grown else "")


def _throughput(judged: Judged, scenario: Scenario) -> str:
    performance = judged.candidate.performance
    own = min(scenario.link, performance.instance_rate, performance.origin_rate or inf)
    if performance.total_rate == inf:
        return f"单实例 {words.rate(own)}，总吞吐上限未公布"
    full = max(1, floor(performance.total_rate / own + 0.05))
    return f"{words.rate(performance.total_rate)}，{full:,} 个实例即可占满"


def _compatibility(judged: Judged, scenario: Scenario) -> str:
    if judged.kind == "image":
        return "本地文件"
    if judged.kind == "nas":
        return "NFS 上的 POSIX 接口，支持符号链接"
    if scenario.loader == "hoist":
        return "Hoist 按范围读取，或 Hoist 挂载"
    many = scenario.size / scenario.files < 1 << 20 and scenario.files > 100
    return "FUSE 上的 POSIX 接口：" + ("大量小文件，不适合" if many else "少量大文件，适合")


def _management(judged: Judged, scenario: Scenario) -> str:
    if judged.kind == "image":
        return f"每月重建镜像 {_number(judged.cost.upkeep)} 次"
    if judged.kind == "nas":
        where = "VPC 内挂载" if scenario.platform == "function-compute" else "挂载后使用"
        return f"{where}；每月复制 {_number(judged.cost.upkeep)} 次"
    return "API、控制台、工具" + ("，自动复制到各地域" if len(scenario.regions) > 1 else "")


def _page_cache(judged: Judged, scenario: Scenario) -> str:
    performance = judged.candidate.performance
    if performance.page_cache:
        return "是"
    if scenario.loader == "hoist":
        return "由 Hoist 主机缓存提供"
    return "否：需读两遍" if performance.reads > 1 else "否"


def _cost(judged: Judged) -> str:
    split = judged.cost
    fixed, gpu = words.money(split.fixed + split.requests, split.currency), words.money(split.gpu, split.currency)
    return f"每月 {fixed}，另有 GPU {gpu}"


def _in_time(advice: Advice, kind: str) -> str:
    most = advice.most_in_time.get(kind)
    if most is None:
        return "-"
    found = "一个也不行" if most == 0 else f"同时 {most:,} 个" if most < 1 << 17 else "不限"
    return f"{found}；当前规格 {advice.scenario.instances:,} 个" if advice.sizings[kind].grown else found


def _number(value: float) -> str:
    return words.count(value, "").split()[0]


def reason(advice: Advice, place: int) -> str:
    """Why a storage is in its place, from what decided it."""
    here, scenario = advice.ranked[place], advice.scenario
    if here.problem:
        return _problem(here, advice)
    if not [each for each in advice.ranked if not each.problem and each is not here]:
        return f"唯一可用的存储{_grown(here.judged)}。"
    rival = (advice.ranked[1] if place == 0 else advice.ranked[0]).judged
    return (_wins if place == 0 else _loses)(here, rival, scenario) + "。"


def _problem(here: Ranked, advice: Advice) -> str:
    each, scenario = here.judged, advice.scenario
    if each.candidate.problem:
        most = each.candidate.used.get("most size")
        need = words.decimal_size(scenario.stored + (scenario.base_image if each.kind == "image" else 0))
        return f"{need} 超过了{'镜像' if each.kind == 'image' else '文件系统'}的上限" + (
            f" {most.shown}。" if most else "。"
        )
    if not each.in_time:
        late, all = (
            words.share(each.prediction.late),
            f"{scenario.instances:,} 个实例中" if scenario.instances > 1 else "",
        )
        return f"{all}有 {late} 错过 {words.seconds(scenario.deadline)} 的时限。"
    assert scenario.budget is not None, "nothing else is a problem"
    budget = advice.facts.convert(scenario.budget.amount, scenario.budget.currency, scenario.currency)
    return f"每月 {_money(each)}，超出预算 {words.money(budget, scenario.currency)}。"


def _wins(here: Ranked, other: Judged, scenario: Scenario) -> str:
    one, name = here.judged, here.decided_by.name if here.decided_by else ""
    if name == "start":
        return f"启动最快：p95 为 {_starts(one)}{_grown(one)}；{other.kind} 为 {_starts(other)}"
    if name == "cost":
        fast = "启动不慢于其他存储，而且更便宜" if scenario.mode == "on-demand" else "满足时限，而且最便宜"
        return f"{fast}：每月 {_money(one)}{_grown(one)}；{other.kind} 为 {_money(other)}"
    if name == "upkeep":
        return f"发布即完成更新{_grown(one)}；{other.kind} 每月需要 {_number(other.cost.upkeep)} 次操作（{_upkeep(other)}）"
    if name == "parts":
        return f"与 {other.kind} 一样快、一样便宜，但需要维护的更少：{_PARTS[one.kind]}{_grown(one)}"
    return f"在本场景关心的各方面都不差于 {other.kind}{_grown(one)}"


def _loses(place: Ranked, rival: Judged, scenario: Scenario) -> str:
    here, name = place.judged, place.decided_by.name if place.decided_by else ""
    if name == "start":
        return (
            f"启动耗时 p95 为 {_starts(here)}{_grown(here)}，{rival.kind} 为 {_starts(rival)}：{_cause(here, scenario)}"
        )
    if name == "cost":
        what = max(here.cost.parts, key=lambda part: here.cost.parts[part] - rival.cost.parts[part])
        more = words.money(here.cost.parts[what] - rival.cost.parts[what], scenario.currency)
        return f"每月 {_money(here)}{_grown(here)}；{rival.kind} 为 {_money(rival)}：{_WHAT[what]}费用多 {more}"
    if name == "upkeep":
        return f"为保持更新，每月需要 {_number(here.cost.upkeep)} 次操作（{_upkeep(here)}）{_grown(here)}"
    if name == "parts":
        more = "更多" if PARTS[here.kind] > PARTS[rival.kind] else "不更少"
        return f"与 {rival.kind} 一样快、一样便宜，但需要维护的{more}：{_PARTS[here.kind]}{_grown(here)}"
    return f"与 {rival.kind} 接近：启动耗时 p95 为 {_starts(here)}，每月 {_money(here)}{_grown(here)}"


def _cause(each: Judged, scenario: Scenario) -> str:
    performance, prediction = each.candidate.performance, each.prediction
    twice = "没有 PageCache，每个字节要读两遍，且" if performance.medium_reads > 1 else ""
    fetch, network = prediction.phases["fetch"], prediction.phases["network"]
    if network > fetch:
        return f"其中 {words.seconds(network)} 用于接通网络"
    also = f"，此前还要 {words.seconds(network)} 接通网络" if network >= 0.5 else ""
    if prediction.bound == "the storage's bandwidth" and scenario.instances > 1:
        return f"{twice}{scenario.instances:,} 个实例共享 {words.rate(performance.total_rate)}{also}"
    bound = {
        "the storage's bandwidth": f"存储只提供 {words.rate(performance.total_rate)}",
        "the loader": f"单个实例只能从中读到 {words.rate(performance.instance_rate)}",
        "the origin": f"冷缓存以 {words.rate(performance.origin_rate or 0.0)} 填充",
    }.get(prediction.bound, f"实例的链路只有 {words.rate(scenario.link)}")
    return f"{twice}{bound}{also}"


def _starts(each: Judged) -> str:
    return words.seconds(each.prediction.p95)


def _money(each: Judged) -> str:
    return words.money(each.cost.total, each.cost.currency)


def _upkeep(each: Judged) -> str:
    return "向每个地域的文件系统复制一份" if each.kind == "nas" else "构建并预处理一次镜像"


def _grown(each: Judged) -> str:
    if each.kind == "accl" and each.cost.resized:
        return f"（每次启动的那一小时使用 {words.decimal_size(each.candidate.cache)} 的加速器）"
    return ""
