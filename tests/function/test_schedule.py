"""The schedule against a simple model of it: random steps, fairness, what is loaded how often, who is refused."""

from __future__ import annotations

import random
from collections import OrderedDict

import pytest
from schedule_world import World, random_step, run_out

from hoist.errors import StorageUnavailable
from hoist.function.actions import Load, Open, Reason, Refuse, Unload
from hoist.function.states import Budgets


def models(count: int, *, shared: int = 3, own: int = 7) -> dict[str, dict[bytes, int]]:
    """Models that share a part: `m0` and `m1`, `m2` and `m3`, ..."""
    return {f"m{n}": {b"shared%d" % (n // 2): shared, b"own%d" % n: own} for n in range(count)}


def world(count: int = 3, host: int = 1000, device: int = 1000, *, one_memory: bool = True) -> World:
    return World(models(count), Budgets(host, device), one_memory)


def ready(world: World, model: str) -> int:
    """Ask, and have it loaded: the ticket, which runs."""
    ticket = world.ask(model)
    while ticket in world.waiting:
        world.end_open(model) if model in world.opening else world.end_work()
    assert world.running[ticket] == model
    return ticket


def at_work(world: World) -> Load | Unload | None:
    return world.work


@pytest.mark.parametrize("one_memory", [True, False])
@pytest.mark.parametrize("budgets", [(20, 20), (36, 20), (17, 17), (60, 36), (9, 24)])
def test_random_steps_follow_the_rules(budgets: tuple[int, int], one_memory: bool) -> None:
    # Three lives of 1000 steps for each budget and kind of memory: 30,000 in all.
    for seed in range(3):
        rng = random.Random(f"{budgets} {one_memory} {seed}")
        world = World(models(5), Budgets(*budgets), one_memory)
        for _ in range(1000):
            random_step(world, rng)
        run_out(world)
        assert not (world.waiting or world.running or world.prefetches or world.drops)
        assert not world.schedule._holder


def test_one_load_answers_all_who_ask_for_a_model() -> None:
    it = world()
    tickets = [it.ask("m0") for _ in range(5)]
    assert it.opening == {"m0"}
    it.end_open("m0")
    assert at_work(it) == Load("m0", to_host=True, to_device=True)
    it.end_work()
    assert it.running == dict.fromkeys(tickets, "m0")
    assert it.loads == 1


def test_the_one_that_was_not_used_for_longest_goes() -> None:
    it = world(4, host=1000, device=30)
    for model in ("m0", "m2", "m3", "m0"):
        it.finish(ready(it, model))
    assert it.device == {"m0", "m2", "m3"}
    it.ask("m1")
    it.end_open("m1")
    assert at_work(it) == Load("m1", to_host=True, to_device=False), "nothing goes before the new one is here"
    it.end_work()
    assert at_work(it) == Unload("m2", "m1")
    it.end_work()
    assert at_work(it) == Load("m1", to_host=False, to_device=True)


def test_what_is_shared_counts_once() -> None:
    it = world(2, host=17, device=17)
    ready(it, "m0")
    ready(it, "m1")
    assert it.device == {"m0", "m1"}


def test_who_waits_longest_is_next_and_new_requests_wait_behind(one_memory: bool = True) -> None:
    it = world(3, host=10, device=10)
    first = ready(it, "m0")
    second = it.ask("m2")
    it.end_open("m2")
    late = it.ask("m0")
    assert late in it.waiting, "m0 has to go, so its new requests wait"
    it.finish(first)
    assert at_work(it) == Unload("m0", "m2")
    it.end_work()
    it.end_work()
    assert it.running == {second: "m2"}
    it.finish(second)
    it.end_work()
    it.end_work()
    assert it.running == {late: "m0"}


def test_a_request_whose_time_is_over_is_refused_and_one_that_runs_keeps_nobody_waiting() -> None:
    it = world(3, host=10, device=10)
    hung = ready(it, "m0")
    waiting = it.ask("m2")
    it.end_open("m2")
    it.expire(waiting)
    assert it.refused[waiting].reason is Reason.DEADLINE
    it.expire(hung)
    again = it.ask("m2")
    assert it.refused[again].reason is Reason.NO_ROOM
    assert "m0 (1 running, 1 of them beyond their deadline)" in it.refused[again].detail
    more = it.ask("m0")
    assert it.running[more] == "m0", "the model itself goes on serving"
    it.finish(hung)
    it.finish(more)
    assert ready(it, "m2") in it.running


def test_a_failed_load_is_told_to_its_waiters_and_what_went_for_it_comes_back() -> None:
    it = world(4, host=30, device=10)
    it.finish(ready(it, "m0"))
    ticket = it.ask("m2")
    it.end_open("m2")
    it.end_work()
    assert at_work(it) == Unload("m0", "m2")
    it.end_work()
    it.end_work(StorageUnavailable("lost"))
    assert it.refused[ticket].reason is Reason.FAILED
    assert at_work(it) == Load("m0", to_host=False, to_device=True)
    it.end_work()
    assert it.device == {"m0"}


def test_a_fetch_that_fails_takes_nothing_away() -> None:
    it = world(4, host=30, device=10)
    it.finish(ready(it, "m0"))
    it.ask("m2")
    it.end_open("m2")
    it.end_work(StorageUnavailable("lost"))
    assert it.device == {"m0"}
    assert at_work(it) is None
    assert "m2" not in it.known, "the next request looks again"


def test_the_last_who_gives_up_ends_the_load() -> None:
    it = world()
    one, two = it.ask("m0"), it.ask("m0")
    it.end_open("m0")
    it.cancel(one)
    assert not it.stopped
    it.cancel(two)
    assert it.stopped == {"m0"}
    again = it.ask("m0")
    it.end_work(StorageUnavailable("stopped"), stopped=True)
    assert again in it.waiting
    assert at_work(it) == Load("m0", to_host=True, to_device=True)


def test_a_prefetch_gives_way_and_takes_nothing_off_the_device() -> None:
    it = world(4, host=30, device=10)
    it.finish(ready(it, "m0"))
    wanted = it.prefetch("m2", to_device=True)
    it.end_open("m2")
    assert at_work(it) == Load("m2", to_host=True, to_device=False)
    it.end_work()
    assert wanted in it.ended
    assert it.device == {"m0"}
    it.prefetch("m3", to_device=False)
    it.end_open("m3")
    it.ask("m2")
    assert it.stopped == {"m3"}


def test_what_is_pinned_stays() -> None:
    it = world(3, host=20, device=10)
    it.finish(ready(it, "m0"))
    it.pin("m0", pinned=True)
    ticket = it.ask("m2")
    it.end_open("m2")
    assert it.refused[ticket].reason is Reason.NO_ROOM
    assert it.refused[ticket].detail == "m0 (pinned)"


def test_too_large_is_refused_at_once() -> None:
    it = world(3, host=9, device=9)
    ticket = it.ask("m0")
    it.end_open("m0")
    assert it.refused[ticket].reason is Reason.TOO_LARGE


def test_what_leaks_takes_room_until_it_does_not() -> None:
    it = world(3, host=20, device=20)
    it.leak(15)
    ticket = it.ask("m0")
    it.end_open("m0")
    assert it.refused[ticket].reason is Reason.NO_ROOM
    assert "30 bytes that the handler has not let go of" in it.refused[ticket].detail
    it.leak(0)
    assert ready(it, "m0") in it.running


def test_a_drop_waits_for_who_runs_and_forgets_the_version() -> None:
    it = world()
    ticket = ready(it, "m0")
    it.drop("m0")
    later = it.ask("m0")
    assert later in it.waiting
    it.finish(ticket)
    it.end_work()
    assert not it.drops
    assert it.opening == {"m0"}, "who asked meanwhile opens it anew"


def test_one_that_hangs_leaves_the_others_going() -> None:
    it = world(3, host=20, device=20)
    ticket = it.ask("m0")
    it.end_open("m0")
    it.abandon()
    assert it.refused[ticket].reason is Reason.STUCK
    assert ready(it, "m2") in it.running
    assert it.refused[it.ask("m0")].reason is Reason.STUCK
    it.come_back("m0")
    assert ready(it, "m0") in it.running


def test_a_model_larger_than_host_memory_goes_straight_to_a_gpu() -> None:
    it = world(3, host=5, device=20, one_memory=False)
    it.ask("m0")
    it.end_open("m0")
    assert at_work(it) == Load("m0", to_host=False, to_device=True)


def test_closing_refuses_who_waits_and_lets_who_runs_finish() -> None:
    it = world()
    ticket = ready(it, "m0")
    waiting = it.schedule.asked(100, "m1")
    assert waiting == [Open("m1")]
    assert it.schedule.close() == [Refuse(100, "m1", Reason.CLOSED)]
    assert it.schedule.asked(101, "m0") == [Refuse(101, "m0", Reason.CLOSED)]
    assert it.schedule.finished(ticket) == []


@pytest.mark.parametrize("seed", range(4))
def test_200_clients_and_5_models_with_memory_for_2_load_no_more_than_an_lru_of_two(seed: int) -> None:
    rng = random.Random(seed)
    it = world(10, host=20, device=20)
    names = ["m0", "m2", "m4", "m6", "m8"]
    asked: list[str] = []
    clients = dict.fromkeys(range(200), 10)
    by_ticket: dict[int, int] = {}

    def ask(client: int) -> None:
        asked.append(rng.choice(names))
        by_ticket[it.ask(asked[-1])] = client
        clients[client] -= 1

    for client in list(clients):
        ask(client)
    while it.waiting or it.running:
        if it.running and (rng.random() < 0.98 or not (it.work or it.opening)):
            ticket = rng.choice(list(it.running))
            it.finish(ticket)
            if clients[by_ticket[ticket]]:
                ask(by_ticket[ticket])
        elif it.opening:
            it.end_open(min(it.opening))
        else:
            it.end_work()
    assert len(asked) == 2000
    assert not it.refused
    assert it.loads <= 1.1 * misses_of_lru(asked, 2)


def misses_of_lru(asked: list[str], room: int) -> int:
    held: OrderedDict[str, None] = OrderedDict()
    misses = 0
    for name in asked:
        if name not in held:
            misses += 1
            if len(held) == room:
                held.popitem(last=False)
            held[name] = None
        held.move_to_end(name)
    return misses
