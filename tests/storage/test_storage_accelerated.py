"""Reading through accelerators: which is asked, and what happens when they fail, lie or refuse."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from hoist.afresh import afresh
from hoist.config import StorageConfig
from hoist.errors import FileNotFound, HoistWarning, InvalidConfig, StorageUnavailable
from hoist.settings import parse_storage
from hoist.storage import accelerated, layout, open_storage
from hoist.storage.accelerated import Accelerated, preferred
from hoist.storage.base import Version
from hoist.storage.ranges import RangeClient
from hoist.testing.servers import FaultServer, FolderOrigin, Rule, ServerOrigin
from hoist.testing.servers.fault_kinds import Flip, Refusal, Reset, Short

NODES = [f"http://10.0.0.{n}:8080" for n in range(1, 6)]
DATA = bytes(range(256)) * 40


class Herd:
    """A public origin and two servers that stand before it as accelerators do, each with a plan of faults."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        (folder / "bucket").mkdir()
        (folder / "bucket" / "key").write_bytes(DATA)
        self.origin = stack.enter_context(FaultServer(FolderOrigin(folder)))
        self.nodes = [stack.enter_context(FaultServer(ServerOrigin(self.origin.endpoint))) for _ in range(2)]
        self.url = f"{self.origin.endpoint}/bucket/key"
        client = RangeClient()
        stack.callback(client.close)
        self.accelerated = Accelerated([node.endpoint for node in self.nodes], client)
        stack.callback(self.accelerated.close)
        order = preferred([node.endpoint for node in self.nodes], self.url.partition("://")[2], 0)
        self.first, self.second = sorted(self.nodes, key=lambda node: order.index(node.endpoint))

    def read(self) -> bytes:
        buffer = bytearray(len(DATA) - 5)
        self.accelerated.read_into(self.url, 5, memoryview(buffer), "the key")
        return bytes(buffer)

    def asked(self) -> tuple[int, int, int]:
        """Requests at the first node, the second one, the origin (which hears of theirs too)."""
        return len(self.first.seen), len(self.second.seen), len(self.origin.seen)


@pytest.fixture
def herd(tmp_path: Path) -> Iterator[Herd]:
    with ExitStack() as stack:
        yield Herd(tmp_path, stack)


def test_each_stripe_has_its_node_whoever_asks_in_whatever_order() -> None:
    firsts = {stripe: preferred(NODES, "host/bucket/key", stripe)[0] for stripe in range(1000)}
    assert firsts == {stripe: preferred(NODES[::-1], "host/bucket/key", stripe)[0] for stripe in range(1000)}
    assert set(Counter(firsts.values())) == set(NODES)
    assert min(Counter(firsts.values()).values()) > 140
    # Without one of them, only its own stripes move.
    for stripe, first in firsts.items():
        without = preferred([node for node in NODES if node != NODES[2]], "host/bucket/key", stripe)[0]
        assert without == (preferred(NODES, "host/bucket/key", stripe)[1] if first == NODES[2] else first)


def test_a_node_is_asked_as_the_origin_would_be(herd: Herd) -> None:
    assert herd.read() == DATA[5:]
    assert herd.asked() == (1, 0, 1)
    assert [seen.path for seen in herd.first.seen] == ["/bucket/key"]


def test_a_read_over_stripes_asks_each_ones_node(herd: Herd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accelerated, "STRIPE_BYTES", 1000)
    assert herd.read() == DATA[5:]
    first, second, _ = herd.asked()
    assert first + second == -(-len(DATA) // 1000)
    assert first and second


@pytest.mark.parametrize("fault", [Refusal(502), Refusal(503), Refusal(504), Reset("before"), Short()])
def test_the_next_node_and_then_the_origin(herd: Herd, fault: Refusal | Reset | Short) -> None:
    herd.first.plan(Rule(fault))
    assert herd.read() == DATA[5:]
    assert len(herd.second.seen) == 1
    before = len(herd.first.seen)
    # It rests.
    assert herd.read() == DATA[5:]
    assert len(herd.first.seen) == before and len(herd.second.seen) == 2
    herd.second.plan(Rule(fault))
    assert herd.read() == DATA[5:]


def test_nodes_that_are_gone(herd: Herd) -> None:
    with herd.first.down(), herd.second.down():
        assert herd.read() == DATA[5:]
        assert herd.read() == DATA[5:]
        assert herd.asked() == (0, 0, 2)


def test_a_body_that_ends_early_once_is_asked_for_anew_of_the_same_node(herd: Herd) -> None:
    herd.first.plan(Rule(Short(), count=1))
    assert herd.read() == DATA[5:]
    assert herd.asked()[:2] == (2, 0)


def test_a_busy_origin_is_not_asked_directly(herd: Herd) -> None:
    """What the accelerator passes on is the engine's to try again, through the accelerator."""
    for node in herd.nodes:
        node.plan(Rule(Refusal(503, retry_after=2, more=(("X-Hoist-Origin-Status", "503"),))))
    with pytest.raises(StorageUnavailable) as caught:
        herd.read()
    assert caught.value.retry_after == 2
    assert herd.asked() == (1, 0, 0)


def test_one_that_refuses_what_the_origin_grants(herd: Herd) -> None:
    for node in herd.nodes:
        node.plan(Rule(Refusal(403)))
    with pytest.warns(HoistWarning, match="stands before another origin"):
        assert herd.read() == DATA[5:]
    assert herd.asked() == (1, 0, 1)


def test_the_origin_has_the_last_word(herd: Herd) -> None:
    herd.url += ".none"
    with pytest.raises(FileNotFound, match="the key is not there"):
        herd.read()


def test_wrong_bytes_are_fetched_anew_and_then_from_the_origin(herd: Herd) -> None:
    for node in herd.nodes:
        node.plan(Rule(Flip(at=100)))
    assert herd.read() != DATA[5:]
    with afresh(1):
        assert herd.read() != DATA[5:]
    before = len(herd.first.seen)
    with afresh(2):
        assert herd.read() == DATA[5:]
    assert len(herd.first.seen) == before == 2


def test_only_weights_go_through_it() -> None:
    version = Version("sd15/anything", "v5")
    digest = f"sha256:{'0' * 64}"
    assert layout.is_weight(layout.file_key(version, "unet/weights.safetensors"))
    assert layout.is_weight(layout.pack_key(version, digest))
    others = (layout.manifest_key(version), layout.blob_key(version, digest), layout.packs_key(version, digest))
    assert not any(layout.is_weight(key) for key in (*others, layout.tag_key("a", "b"), layout.claim_key(version)))


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ("http://accel:8080", ("http://accel:8080",)),
        ("http://a:1/, https://b", ("http://a:1", "https://b")),
        (["http://a:1", "http://[::1]:2"], ("http://a:1", "http://[::1]:2")),
        ("", ()),
    ],
)
def test_what_may_be_configured(given: object, found: tuple[str, ...]) -> None:
    assert parse_storage("x", {"url": "s3://b", "accelerator": given}, "test").accelerator == found


@pytest.mark.parametrize("given", ["accel:8080", "ftp://a", "http://a/path", "http://u:secret@a", 5, [5], "http://a:x"])
def test_what_may_not(given: object) -> None:
    with pytest.raises(InvalidConfig, match="accelerator") as caught:
        parse_storage("x", {"url": "s3://b", "accelerator": given}, "test")
    assert "secret" not in str(caught.value)


def test_kinds(tmp_path: Path) -> None:
    with pytest.raises(InvalidConfig, match="object store"):
        open_storage(StorageConfig("nas", str(tmp_path), accelerator=("http://a:1",)), {})
    with pytest.raises(InvalidConfig, match="object store"):
        open_storage(StorageConfig("nas", str(tmp_path), kind="accl"), {})
    environ = {"AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "s"}
    for config in (
        StorageConfig("x", "s3://b", accelerator=("http://a:1",)),
        # A cloud's own accelerator is an endpoint.
        StorageConfig("x", "s3://b", "accl", endpoint="https://accelerated.example.com"),
    ):
        with open_storage(config, environ) as storage:
            assert storage.kind == "accl"
