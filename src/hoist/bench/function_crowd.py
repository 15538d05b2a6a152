"""Many clients at once that ask for more models than there is memory for: who is answered or refused, what is loaded."""

from __future__ import annotations

import random
import re
import time
from collections import Counter, OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Event
from typing import Any

from hoist.bench.function_server import Server, ask
from hoist.bench.function_stage import BUCKET, Stage, locations
from hoist.bench.image_files import write_bf16

NAMES = ("crowd-1", "crowd-2", "crowd-3", "crowd-4", "crowd-5")
ROOM = 2
"""Models that there is memory for."""
_LOADS = re.compile(r"^hoist_function_loads_total\{(?P<labels>.*)\} (?P<value>\S+)$", re.MULTILINE)
_LEFT = re.compile(r"^hoist_function_(?:waiting|running) (\S+)$", re.MULTILINE)
_SOON, _SOON_PART, _LATE = 0.05, 0.1, 60.0
_REFUSED = "deadline"


@dataclass(frozen=True, slots=True)
class Outcome:
    """One request: when it was sent, for what, with which deadline; its answer's status, seconds, and what went wrong."""

    sent: float
    model: str
    deadline: float
    status: int
    seconds: float
    code: str = ""


def crowd(stage: Stage, clients: int, requests: int, size: int, seed: int) -> Iterator[dict[str, Any]]:
    """Every client sends its requests one after the other; one in ten has a deadline that is hardly to be kept."""
    for number, name in enumerate(NAMES):
        if name not in stage.files:
            stage.publish(name, write_bf16(stage.home / "files" / f"{name}.safetensors", size, number))
    budget = sum(stage.size(name) for name in NAMES[:ROOM])
    told: dict[str, Any] = {"host_bytes": budget, "concurrency": 4, "environ": stage.new_cache()}
    with stage.servers.function(locations(BUCKET, *NAMES), **told) as server:
        server.switched("/switch", NAMES[0])
        anonymous = server.memory("RssAnon") - stage.size(NAMES[0])
        began, done = time.perf_counter(), Event()
        with ThreadPoolExecutor(clients + 1) as pool:
            watching = pool.submit(_watch, server, done)
            try:
                asked = pool.map(lambda number: _client(server, requests, seed, number), range(clients))
                found = [each for own in asked for each in own]
            finally:
                done.set()
            most_bytes, most_anonymous = watching.result()
        seconds = time.perf_counter() - began
        after = server.switched("/invoke", NAMES[0])
        metrics = str(server.get("/metrics").document)
    yield {
        "storage": BUCKET,
        "size": stage.size(NAMES[0]),
        "models": len(NAMES),
        "clients": clients,
        "requests": len(found),
        "seconds": seconds,
        **counted(found),
        "left": sum(float(value) for value in _LEFT.findall(metrics)),
        "answered_after": after.status == 200,
        "budget_bytes": budget,
        "most_bytes": most_bytes,
        "most_anonymous_bytes": most_anonymous - anonymous,
        "loads": _loads(metrics),
        "needed_loads": dict(needed_loads([each.model for each in sorted(found, key=lambda each: each.sent)], ROOM)),
    }


def counted(found: Sequence[Outcome]) -> dict[str, Any]:
    """Who was answered, who was refused at the deadline and how long after it, and what else came."""
    refused = [each for each in found if each.code == _REFUSED]
    answered = [each for each in found if each.status == 200]
    return {
        "answered": len(answered),
        "refused": len(refused),
        "failed": len(found) - len(answered) - len(refused),
        "codes": dict(Counter(f"{each.status} {each.code}".rstrip() for each in found)),
        "early_refusals": sum(each.seconds < each.deadline for each in refused),
        "most_overrun_seconds": max((each.seconds - each.deadline for each in refused), default=0.0),
    }


def needed_loads(order: Iterable[str], room: int) -> Counter[str]:
    """How often each model has to be loaded for requests in that order, where the least recently used one goes."""
    kept: OrderedDict[str, None] = OrderedDict()
    missed: Counter[str] = Counter()
    for name in order:
        missed[name] += name not in kept
        kept[name] = None
        kept.move_to_end(name)
        if len(kept) > room:
            kept.popitem(last=False)
    return missed


def _client(server: Server, requests: int, seed: int, number: int) -> list[Outcome]:
    dice = random.Random(f"{seed} {number}")  # noqa: S311 the order must be the same in each run, not secret
    found = []
    connection = server.connect()
    # A connection that is refused at first, as many come at once, is tried again after a second: that is no request's.
    connection.connect()
    for _ in range(requests):
        name, deadline = dice.choice(NAMES), _SOON if dice.random() < _SOON_PART else _LATE
        headers = {"X-Hoist-Model": name, "X-Hoist-Deadline": str(deadline)}
        sent = time.perf_counter()
        answer = ask(connection, "POST", "/invoke", b"", headers)
        code = "" if answer.status == 200 else answer.document["error"]["code"]
        found.append(Outcome(sent, name, deadline, answer.status, answer.seconds, code))
    connection.close()
    return found


def _watch(server: Server, done: Event) -> tuple[int, int]:
    """The most that models took, as the function says, and the most anonymous memory that its process had."""
    most = anonymous = 0
    connection = server.connect()
    while not done.wait(0.02):
        usage = ask(connection, "GET", "/models", None, {}).document["usage"]
        most, anonymous = max(most, usage["host_bytes"]), max(anonymous, server.memory("RssAnon"))
    connection.close()
    return most, anonymous


def _loads(metrics: str) -> dict[str, int]:
    """Loads by model, whatever came of them."""
    found: Counter[str] = Counter()
    for line in _LOADS.finditer(metrics):
        name = re.search(r'model="([^"]*)"', line["labels"])
        if name:
            found[name[1]] += int(float(line["value"]))
    return dict(found)
