"""Logins and tokens: who may, who may not, what expires in the middle; and no secret in any message."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from functools import partial

import pytest
from registry_fixtures import BIG, OpenRegistry, chunks_of, digest_of, ignore, image, put, read, stream

from conftest import require
from hoist.errors import HoistError, PermissionDenied, StorageUnavailable
from hoist.storage.oci.auth import Authorizer, Challenge, parse_challenge
from hoist.storage.oci.docker_config import Login
from hoist.storage.oci.registry import Registry
from hoist.storage.wire import Wire
from hoist.testing.servers import DockerRegistry, FaultServer, Rule, ServerOrigin
from hoist.testing.servers.docker_registry import PASSWORD, USER
from hoist.testing.servers.fault_kinds import Garbage, Refusal
from hoist.testing.servers.registry_origins import IDENTITY, TokenGate
from hoist.testing.servers.registry_origins import PASSWORD as GATE_PASSWORD
from hoist.testing.servers.registry_origins import USER as GATE_USER

pytest_plugins = ["registry_fixtures"]
WRITER = Login(GATE_USER, GATE_PASSWORD)
WRONG = "wrong-password-of-tests"
SECRETS = (PASSWORD, GATE_PASSWORD, IDENTITY, WRONG, base64.b64encode(f"{USER}:{WRONG}".encode()).decode())


def refusal_of(action: Callable[[], object]) -> str:
    """What the PermissionDenied of an action says; it has no secret."""
    with pytest.raises(PermissionDenied) as refused:
        action()
    text = str(refused.value) + repr(refused.value.__context__)
    assert not any(secret in text for secret in SECRETS)
    return text


@pytest.fixture(scope="module")
def guarded() -> Iterator[DockerRegistry]:
    require(DockerRegistry)
    with DockerRegistry(login=True) as server:
        yield server


def test_basic_login(guarded: DockerRegistry, open_registry_at: OpenRegistry, repository: str) -> None:
    asked: list[int] = []

    def login() -> Login:
        asked.append(1)
        return Login(USER, PASSWORD)

    registry = open_registry_at(guarded.endpoint, login=login)
    assert not asked
    digest = registry.put_blob(repository, None, 9 << 20, chunks_of(BIG[: 9 << 20]), ignore)
    image(registry, repository, "v1")
    assert stream(registry, repository, digest, 9 << 20) == BIG[: 9 << 20]
    assert registry.tags(repository) == ["v1"]
    registry.untag(repository, "v1")
    assert repository in list(registry.repositories("models"))
    assert len(asked) == 1
    # The first thing that is asked for may be a range.
    assert read(open_registry_at(guarded.endpoint, login=login), repository, digest, 5, 9) == BIG[5:9]


def test_no_login_and_a_wrong_one(guarded: DockerRegistry, open_registry_at: OpenRegistry, repository: str) -> None:
    nobody = open_registry_at(guarded.endpoint)
    wrong = open_registry_at(guarded.endpoint, login=lambda: Login(USER, WRONG))
    actions: list[Callable[[Registry], object]] = [
        lambda registry: registry.tags(repository),
        lambda registry: read(registry, repository, digest_of(b""), 0, 5),
        lambda registry: put(registry, repository, b"x"),
        lambda registry: registry.put_blob(repository, None, 9 << 20, chunks_of(BIG), ignore),
        lambda registry: list(registry.repositories("")),
        lambda registry: stream(registry, repository, digest_of(b""), 5),
    ]
    for action in actions:
        assert "docker login" in refusal_of(partial(action, nobody))
        assert "refuses the login of this machine" in refusal_of(partial(action, wrong))


@pytest.mark.parametrize("login", [WRITER, Login("", identity_token=IDENTITY)])
def test_tokens_for_each_purpose(
    docker_registry: DockerRegistry, open_registry_at: OpenRegistry, repository: str, login: Login
) -> None:
    gate = TokenGate(ServerOrigin(docker_registry.endpoint))
    with FaultServer(gate) as server:
        registry = open_registry_at(server.endpoint, login=lambda: login)
        digest = registry.put_blob(repository, None, 9 << 20, chunks_of(BIG[: 9 << 20]), ignore)
        for _ in range(3):
            assert stream(registry, repository, digest, 9 << 20) == BIG[: 9 << 20]
        _, manifest = image(registry, repository, "v1")
        # One for pulling, one for pushing.
        assert gate.issued == 2
        assert registry.mount_blob(f"{repository}/x", digest, 9 << 20, repository)
        assert gate.issued == 3
        registry.delete_manifest(repository, manifest)
        assert gate.issued == 4
        assert repository in list(registry.repositories("models"))
        assert gate.issued == 5


def test_anybody_may_pull_with_a_token_that_needs_no_login(
    docker_registry: DockerRegistry, open_registry_at: OpenRegistry, repository: str
) -> None:
    digest = put(open_registry_at(docker_registry.endpoint), repository, BIG[:5000])
    with FaultServer(TokenGate(ServerOrigin(docker_registry.endpoint))) as server:
        registry = open_registry_at(server.endpoint)
        assert read(registry, repository, digest, 0, 5000) == BIG[:5000]
        said = refusal_of(lambda: put(registry, repository, b"something else"))
        assert "there is no login for 127.0.0.1" in said


def test_wrong_logins_and_closed_repositories(
    docker_registry: DockerRegistry, open_registry_at: OpenRegistry, repository: str
) -> None:
    digest = put(open_registry_at(docker_registry.endpoint), f"{repository}/closed", b"12345")
    gate = TokenGate(ServerOrigin(docker_registry.endpoint), closed=frozenset([f"{repository}/closed"]))
    with FaultServer(gate) as server:
        for login in (Login(USER, WRONG), Login("", identity_token=WRONG)):
            wrong = open_registry_at(server.endpoint, login=lambda login=login: login)
            assert "refuses the login" in refusal_of(partial(wrong.tags, repository))
        registry = open_registry_at(server.endpoint, login=lambda: WRITER)
        refusal_of(lambda: registry.tags(f"{repository}/closed"))
        assert not registry.mount_blob(repository, digest, 5, f"{repository}/closed")
        assert put(registry, repository, b"12345") == digest


@pytest.mark.parametrize("uses", [1, 2, 3])
def test_tokens_that_expire_after_some_requests(
    docker_registry: DockerRegistry, open_registry_at: OpenRegistry, repository: str, uses: int
) -> None:
    gate = TokenGate(ServerOrigin(docker_registry.endpoint), uses=uses)
    with FaultServer(gate) as server:
        registry = open_registry_at(server.endpoint, login=lambda: WRITER)
        data = BIG[: 17 << 20]
        told: list[int] = []
        digest = registry.put_blob(repository, None, len(data), chunks_of(data), told.append)
        assert sum(told) == len(data)
        # POST, five chunks, PUT.
        assert gate.issued == -(-7 // uses)
        image(registry, repository, "v1")
        for begin in range(0, 1000, 100):
            assert read(registry, repository, digest, begin, begin + 100) == data[begin : begin + 100]
        assert registry.tags(repository) == ["v1"]


def test_tokens_are_renewed_before_they_expire(
    docker_registry: DockerRegistry, open_registry_at: OpenRegistry, repository: str
) -> None:
    gate = TokenGate(ServerOrigin(docker_registry.endpoint), expires_in=-1)
    with FaultServer(gate) as server:
        registry = open_registry_at(server.endpoint, login=lambda: WRITER)
        for _ in range(3):
            registry.tags(repository)
        assert gate.issued == 3
        # The registry itself refused only what came without any.
        assert sum(seen.path.startswith("/v2/") for seen in server.seen) == 4


def test_a_token_server_that_is_sick(
    docker_registry: DockerRegistry, open_registry_at: OpenRegistry, repository: str
) -> None:
    with FaultServer(TokenGate(ServerOrigin(docker_registry.endpoint))) as server:
        server.plan(Rule(Refusal(503), path="/token", count=2), Rule(Garbage(), path="/token", count=1))
        assert open_registry_at(server.endpoint, login=lambda: WRITER).tags(repository) == []
        server.plan(Rule(Refusal(503), path="/token"))
        with pytest.raises(StorageUnavailable, match="a token for"):
            open_registry_at(server.endpoint, login=lambda: WRITER, retry_seconds=0.2).tags(repository)
        server.plan(Rule(Garbage(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]"), path="/token"))
        with pytest.raises(HoistError, match="the answer holds none"):
            open_registry_at(server.endpoint, login=lambda: WRITER).tags(repository)


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (
            'Bearer realm="https://a/t",service="s",scope="a:b:c d:e:f"',
            Challenge("bearer", "https://a/t", "s", ("a:b:c", "d:e:f")),
        ),
        ('bearer  Realm = "https://a/\\"t" , error="insufficient_scope"', Challenge("bearer", 'https://a/"t')),
        ("Bearer realm=https://a/t,service=s", Challenge("bearer", "https://a/t", "s")),
        ('Basic realm="x", Bearer realm="https://a/t"', Challenge("bearer", "https://a/t")),
        ('Basic realm="Bearer of news"', Challenge("basic")),
        ("Basic", Challenge("basic")),
        ('Bearer service="s"', None),
        ("Negotiate", None),
        ("", None),
    ],
)
def test_challenges(header: str, expected: Challenge | None) -> None:
    assert parse_challenge(header) == expected


def test_a_login_is_not_sent_to_a_token_server_without_tls() -> None:
    sent = Authorizer("https://registry.example", "registry.example", Wire(), lambda: WRITER)
    for realm in ("http://tokens.example/t", "ftp://tokens.example/t", "tokens"):
        said = refusal_of(partial(sent.refused, f'Bearer realm="{realm}"', ("a",), None, "it"))
        assert "without TLS" in said
