"""`hoist advise` and `hoist facts` as a user runs them, and the verb in Python."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from advise_cases import GIB

import hoist
from hoist.config import Config, StorageConfig
from hoist.errors import InvalidConfig, UsageError
from zygote import User, Zygote

SOURCE = Path(__file__).parents[2] / "src"


@pytest.fixture
def user(tmp_path: Path, zygote: Zygote) -> User:
    return User(zygote, tmp_path, {"COLUMNS": "80"})


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A storage with two versions of a model that share most of their bytes, and another model."""
    folder = tmp_path_factory.mktemp("published")
    config = Config({"here": StorageConfig("here", str(folder / "storage"))})
    (folder / "storage").mkdir()
    for name, parts in {"sd/one:v1": "aab", "sd/one:v2": "aac", "sd/other:v1": "aaa"}.items():
        source = folder / name.replace("/", "-").replace(":", "-")
        source.mkdir()
        for index, part in enumerate(parts):
            # The same bytes for the same letter and place.
            (source / f"{index}.bin").write_bytes((part + str(index)).encode() * 150_000)
        hoist.publish(source, f"here//{name}", config=config)
    return folder / "storage"


def test_a_location_says_its_size_files_and_sharing(published: Path) -> None:
    config = Config({"here": StorageConfig("here", str(published))})
    found = hoist.advice("here//sd/one:v2", config=config)
    assert (found.scenario.size, found.scenario.files) == (900_000, 3)
    assert found.scenario.shared == pytest.approx(2 / 3)
    assert found.scenario.update_bytes == 300_000
    assert found.source == "here//sd/one:v2"
    # The other model shares all but that file too, and is none of its versions.
    assert hoist.advice("here//sd/other:v1", config=config).scenario.shared == 0
    # What is said wins.
    assert hoist.advice("here//sd/one:v2", shared="10%", config=config).scenario.shared == 0.1
    with pytest.raises(UsageError, match="the size is given twice"):
        hoist.advice("here//sd/one:v2", size="4GiB", config=config)


def test_the_command_says_it_too(user: User, published: Path) -> None:
    shown = user.run("advise", f"{published}//sd/one:v2").out
    assert "879 KiB in 3 files" in shown
    assert "An update brings 293 KiB: 67% is shared with a version that is there." in shown
    (user.home / "case.toml").write_text(f'model = "{published}//sd/one:v1"\ninstances = 5\n')
    found = json.loads(user.run("advise", "--scenario", "case.toml", "--instances", "6", "--json").out)
    assert (found["scenario"]["size_bytes"], found["scenario"]["instances"]) == (900_000, 6)


def test_the_page_has_everything_and_fits(user: User) -> None:
    shown = user.run("advise", "--size", "3.97GiB", "--models", "10", "--instances", "2", "--loader", "plain").out
    for part in (
        "Recommended: nas\n  1. nas    starts fastest: 26.",
        "STARTS     P50     P95     P99     ALL  LATE  PROVISION  NETWORK   FETCH  AFTER\n",
        "A MONTH  STORAGE  ACCELERATOR  GPU WHILE LOADING   TOTAL  UPKEEP ACTIONS\n",
        "COMPARED       IMAGE           NAS             OSS             ACCL\n",
        "  - below 3 instances at once nas starts faster; from there on oss and accl\n",
        "What it takes to meet 120 s\n  - nas: 16 at once",
        "So says the platform's guide: \"on-demand instances",
        "By Hoist, which reads once, p95: nas ",
        "Rests on unverified facts: ",
    ):
        assert part in shown
    assert max(map(len, shown.splitlines())) <= 80
    wide = user.with_env(COLUMNS="120").run("advise", "--size", "3.97GiB", "--loader", "plain").out
    assert "DESERIALIZE  TRANSFER" in wide
    assert max(map(len, wide.splitlines())) <= 120


@pytest.mark.parametrize("columns", ["80", "100", "120"])
def test_no_line_is_wider_than_the_terminal(user: User, columns: str) -> None:
    words = ("advise", "--size", "40GiB", "--mode", "provisioned", "--instances", "100", "--regions", "cn-chengdu")
    shown = user.with_env(COLUMNS=columns).run(*words, "--explain").out
    wide = [line for line in shown.splitlines() if len(line) > int(columns)]
    assert not wide


def test_explanations_end_in_the_facts(user: User) -> None:
    shown = user.run("advise", "--size", "4GiB", "--explain").out
    assert "bandwidth = 600 MB/s + 0.58 MB/s/GiB x 4 GiB, at most 10 GB/s = 602 MB/s" in shown
    assert re.search(r"  nas\.setup +2 s  unverified  2026-11\n", shown)
    assert "--explain shows" not in shown


def test_the_document(user: User) -> None:
    found = json.loads(user.run("advise", "--size", "4GiB", "--instances", "50", "--json").out)
    assert found["recommended"] == found["storages"][0]["kind"]
    assert [each["place"] for each in found["storages"]] == [1, 2, 3, 4]
    assert {each["kind"] for each in found["storages"]} == {"image", "nas", "oss", "accl"}
    for each in found["storages"]:
        assert each["p50_seconds"] <= each["p95_seconds"] <= each["p99_seconds"]
        assert sum(each["phases"].values()) == pytest.approx(each["p50_seconds"])
        parts = [each["cost"][name] for name in ("storage", "accelerator", "requests", "gpu")]
        assert sum(parts) == pytest.approx(each["cost"]["total"])
        assert 0 <= each["late_share"] <= 1
        assert each["explanation"]
        assert each["sizing"]["least_bytes"] >= 4 * GIB
    assert set(found["comparison"]) >= {
        "size",
        "throughput",
        "compatibility",
        "management",
        "zones",
        "page cache",
        "cost",
    }
    assert all(fact["source"] and fact["read"] for fact in found["facts"])
    assert found["crossovers"]
    assert found["guide"]["agrees"] is False


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "how large is the model? Name a location (STORAGE//NAME:VERSION), or give --size 4GiB"),
        (("--size", "4"), "error: size = '4': the unit is missing; write 12GiB or 600MB"),
        (("--size", "-4GiB"), "expected one argument"),
        (("--size=-4GiB",), "it cannot be negative"),
        (("--size", "4GiB", "--mode", "idle", "--mode", "provisioned"), "--mode is given as idle and as provisioned"),
        (("--size", "4GiB", "--mode", "lazy"), "mode = 'lazy' is none of on-demand, idle, provisioned"),
        (("--size", "4GiB", "--fact", "gpu.cu-price"), "write ID=VALUE with its unit"),
        (("--size", "4GiB", "--fact", "gpu.cu-price=1"), "write it as 0.00002 USD/CU"),
        (("--size", "4GiB", "--resource", "a"), "a resource is one of an s.yaml"),
        (("not-a-location",), "is not a location"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(user: User, words: tuple[str, ...], said: str) -> None:
    ended = user.refused("advise", *words)
    assert ended.code == 2
    assert said in ended.error


def test_an_s_yaml_is_read_and_what_is_odd_about_it_is_said(user: User) -> None:
    (user.home / "s.yaml").write_text(
        "resources: {sd: {component: fc3, props: {region: cn-chengdu, nasConfg: {}, provisionConfig: {target: 3},"
        "ossMountConfig: {mountPoints: [{bucketName: m, mountDir: /mnt/m}]}}}}"
    )
    shown = user.run("advise", "--s-yaml", "s.yaml", "--size", "4GiB").out
    assert "  idle; 3 instances at once;" in shown
    assert "field nasConfg is not of FC 3.0 as it is known here (nasConfig?)." in " ".join(shown.split())
    assert "The function mounts oss now." in shown
    assert len(json.loads(user.run("advise", "--s-yaml", "s.yaml", "--size", "4GiB", "--json").out)["notes"]) == 2


def test_facts_are_listed_shown_and_learned(user: User) -> None:
    shown = user.run("facts").out
    assert "function-compute.\n" in shown
    assert "  nas.setup " in shown
    assert max(map(len, shown.splitlines())) <= 80
    some = user.run("facts", "list", "oss", "--unverified").out
    assert "oss.price" in some
    assert "oss.requests" not in some
    assert "accl.growth" not in some
    (fact,) = json.loads(user.run("facts", "list", "nas.setup", "--json").out)["facts"][:1]
    assert (fact["id"], fact["certainty"], fact["old"]) == ("function-compute.nas.setup", "unverified", False)
    one = user.run("facts", "show", "function-compute.link").out
    (user.home / "mine.toml").write_text(one.replace("value = 5", "value = 1"))
    assert "1 Gbit/s" in user.run("facts", "list", "function-compute.link", "--facts", "mine.toml").out
    assert "link 1 Gbit/s" in user.run("advise", "--size", "4GiB", "--facts", "mine.toml").out
    assert user.refused("facts", "show", "nas.stup").code == 3
    record = {"bench": "switch", "loader": "hoist", "switch": "first", "kind": "oss", "size": 10**9, "seconds": 1.0}
    base = {"schema": "hoist.bench/1", "date": "2026-11-20T10:00:00Z", "machine": {"cpu": "Test", "cores": 2}}
    (user.home / "records.jsonl").write_text(json.dumps(base | record) + "\n")
    told = user.run("facts", "learn", "records.jsonl", "-o", "learned.toml").out
    assert "function-compute.oss.client-rate  1,000 MB/s" in told
    found = json.loads(user.run("advise", "--size", "4GiB", "--facts", "learned.toml", "--json").out)
    assert "function-compute.oss.client-rate" in {fact["id"] for fact in found["facts"]}
    (user.home / "records.jsonl").write_text('{"schema": "hoist.bench/9"}\n')
    assert user.refused("facts", "learn", "records.jsonl").code == 8
    assert user.refused("advise", "--size", "4GiB", "--facts", "records.jsonl").code == 8


def test_the_users_configuration_counts(user: User) -> None:
    (user.home / "hoist.toml").write_text('[facts]\n"function-compute.nas.performance.rate" = "900MB/s"\n')
    assert "903 MB/s" in user.run("advise", "--size", "5GiB").out
    assert "given" in user.run("facts", "list", "nas.performance.rate").out
    (user.home / "hoist.toml").write_text('[facts]\n"function-compute.nas.performance.rate" = 900\n')
    assert user.refused("advise", "--size", "5GiB").code == 2


def test_facts_of_python() -> None:
    found = hoist.advice(size="4GiB", given={"function-compute.link": "1Gbit/s"}, config=Config())
    assert found.scenario.link == 125e6
    with pytest.raises(InvalidConfig):
        hoist.advice(size="4GiB", given={"function-compute.link": "1"}, config=Config())
    with pytest.raises(UsageError, match="unknown field 'sizes'; did you mean size"):
        hoist.advice(sizes="4GiB", config=Config())


def test_it_needs_neither_torch_nor_a_network() -> None:
    """One interpreter, as a user starts it: what it has imported at its end, and that it never opened a socket."""
    code = (
        "import sys\n"
        "def hook(event, args):\n"
        "    assert not event.startswith('socket.'), event\n"
        "sys.addaudithook(hook)\n"
        "from hoist.cli import main\n"
        "assert main(['advise', '--size', '4GiB', '--instances', '100', '--json']) == 0\n"
        "heavy = ('torch', 'numpy', 'obstore', 'botocore', 'rich', 'http.client', 'ruamel', 'blake3')\n"
        "print('HEAVY', [name for name in heavy if name in sys.modules])"
    )
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(SOURCE), "HOME": "/"}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("HEAVY []\n")


DOCS = Path(__file__).parents[2] / "docs"


def blocks(name: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", (DOCS / name).read_text(), re.MULTILINE | re.DOTALL)


def test_the_documents_example_is_what_is_printed(user: User) -> None:
    commands = blocks("advise.md", "sh")[0].splitlines()
    shown = user.with_env(COLUMNS="100").run(*commands[1].split()[1:]).out
    indented = "".join(f"    {line}" if line.strip() else line for line in shown.splitlines(keepends=True))
    assert indented in (DOCS / "advise.md").read_text()


def test_the_documents_files_and_snippets_work(user: User, published: Path) -> None:
    (text,) = blocks("advise.md", "toml")
    (user.home / "case.toml").write_text(text.replace("nas//sd15/anything:v5", f"{published}//sd/one:v2"))
    found = json.loads(user.run("advise", "--scenario", "case.toml", "--json").out)
    assert (found["scenario"]["models"], found["scenario"]["assumed"].count("deadline")) == (10, 0)
    configured, mine = blocks("facts.md", "toml")
    (user.home / "hoist.toml").write_text(configured)
    (user.home / "mine.toml").write_text(mine)
    shown = user.run("facts", "list", "--facts", "mine.toml").out
    assert re.search(r"oss\.rate\.cn-chengdu +20 Gbit/s +given", shown)
    assert re.search(r"nas\.performance\.rate +900 MB/s +given", shown)
    (snippet,) = blocks("advise.md", "python")
    names: dict[str, object] = {"hoist": hoist}
    exec(snippet, names)  # the document's own
    assert names["found"].winner.kind == "accl"  # type: ignore[attr-defined]
