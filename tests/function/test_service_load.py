"""Many clients at once that want more models than there is room for: everybody is answered or refused."""

from __future__ import annotations

import random
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

from serving import Answer, Served, publish_models

from prometheus import samples
from zygote import Zygote

CLIENTS, EACH, ROOM = 200, 3, 2
TENSORS, ELEMENTS = 4, 50_000
SIZE = 4 * TENSORS * ELEMENTS
NAMES = ("a", "b", "c", "d", "e")


def needed_loads(served: Sequence[str], room: int) -> int:
    """How often a cache of so many models, the least recently used of which has to go, misses in this order."""
    kept: OrderedDict[str, None] = OrderedDict()
    missed = 0
    for name in served:
        missed += name not in kept
        kept[name] = None
        kept.move_to_end(name)
        if len(kept) > room:
            kept.popitem(last=False)
    return missed


def test_two_hundred_clients_and_five_models_with_room_for_two(zygote: Zygote, tmp_path: Path) -> None:
    models = publish_models(tmp_path, dict.fromkeys(NAMES, TENSORS), ELEMENTS)
    words = ["--models", *(f"{name}={place}" for name, place in models.items()), "--concurrency", "4"]
    words += ["--host-memory", str(ROOM * SIZE + SIZE // 2)]
    with Served(zygote, tmp_path, "Ordered", *words) as served:
        served.ready()
        dice = random.Random(7)
        orders = [[(dice.choice(NAMES), dice.random() < 0.1) for _ in range(EACH)] for _ in range(CLIENTS)]
        done, most = Event(), [0]

        def client(order: list[tuple[str, bool]]) -> list[tuple[str, Answer]]:
            return [
                (
                    name,
                    served.post(
                        "/invoke", {"do": "note"}, x_hoist_model=name, x_hoist_deadline="0.02" if soon else "25"
                    ),
                )
                for name, soon in order
            ]

        def watch() -> None:
            while not done.wait(0.05):
                most[0] = max(most[0], served.get("/models").json["usage"]["host_bytes"])

        with ThreadPoolExecutor(CLIENTS + 1) as pool:
            watching = pool.submit(watch)
            found = [pair for pairs in pool.map(client, orders) for pair in pairs]
            done.set()
            watching.result()
        answered = [answer for name, answer in found if answer.status == 200]
        assert all(answer.json == name for name, answer in found if answer.status == 200)
        assert {answer.status for _, answer in found} <= {200, 503, 504}
        assert {answer.code for _, answer in found if answer.status != 200} <= {"deadline"}
        assert len(answered) >= 0.85 * len(found)
        assert SIZE <= most[0] <= ROOM * SIZE + SIZE // 2
        order = (served.notes / "order").read_text().split()
        assert len(order) >= len(answered)
        values = samples(served.get("/metrics").body.decode())
        loads = sum(value for (name, _), value in values.items() if name == "hoist_function_loads_total")
        assert loads <= 1.1 * needed_loads(order, ROOM) + 1
        assert values["hoist_function_waiting", ()] == values["hoist_function_running", ()] == 0
        # What was raised keeps no model in memory once another one has come.
        assert {served.invoke("raise", model=name).status for name in NAMES} == {500}
        usage = served.get("/models").json["usage"]
        assert usage["leaked_host_bytes"] == 0
        assert usage["host_bytes"] <= ROOM * SIZE + SIZE // 2
        assert served.end().code == 0
