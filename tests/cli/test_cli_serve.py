"""`hoist serve` as it is typed: what it refuses, in a line."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from cli_commands import Shell, directory_shell, write_safetensors

from zygote import Zygote

MODEL = "here//m/a:v1"


@pytest.fixture(scope="module")
def shell(zygote: Zygote, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    home = tmp_path_factory.mktemp("home")
    shell = directory_shell(home, zygote)
    write_safetensors(home / "w" / "w.safetensors", {"a": 100})
    shell.run("publish", "w", MODEL)
    (home / "app.py").write_text("def handle(model, request):\n    return 1\n\n\ndef short(model):\n    return 1\n")
    (home / "broken.py").write_text("raise OSError('no such device')\n")
    (home / "empty").write_text("\n")
    yield shell


@pytest.mark.parametrize(
    ("words", "code", "word"),
    [
        (["app:handle", "--models", MODEL, "--listen", "9000"], 2, "--listen wants HOST:PORT"),
        (["app:handle", "--models", "nothing"], 2, "nothing"),
        (["app:handle", "--models", MODEL, MODEL], 2, "two models"),
        (["app:handle", "--models", MODEL, "--preload", "b"], 2, "'b' is none of the models"),
        (["app:handle", "--models", MODEL, "--preload", "a", "--no-preload"], 2, "exclude each other"),
        (["app:handle", "--models", MODEL, "--token-file", "empty"], 2, "holds no token"),
        (["app:handle", "--models", MODEL, "--host-memory", "lots"], 2, "lots"),
        (["app:handle", "--models", MODEL, "--concurrency", "0"], 2, "--concurrency"),
        (["nowhere:handle", "--models", MODEL], 2, "there is no module 'nowhere'"),
        (["app:nothing", "--models", MODEL], 2, "has no handler 'nothing'"),
        (["app:short", "--models", MODEL], 2, "handle(object, request)"),
    ],
)
def test_what_cannot_be_served_is_said_in_a_line(shell: Shell, words: list[str], code: int, word: str) -> None:
    if "--listen" not in words:
        words = [*words, "--listen", "127.0.0.1:0"]
    done = shell.fails("serve", *words)
    assert done.code == code, done.error
    assert done.error.startswith("hoist: error: ")
    assert word in done.error


def test_a_module_that_cannot_be_imported_shows_where_it_broke(shell: Shell, zygote: Zygote) -> None:
    words = ("serve", "broken:handle", "--models", MODEL, "--listen", "127.0.0.1:0")
    ended = zygote.start(shell.home, shell.env, *words).end(0)
    assert ended.code == 10
    assert 'broken.py", line 1' in ended.error
    last = ended.error.splitlines()[-1]
    assert last == "hoist: error: the import of broken:handle raised OSError: no such device"


def test_a_port_that_is_taken_is_named(shell: Shell) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = shell.fails("serve", "app:handle", "--models", MODEL, "--listen", f"127.0.0.1:{port}")
        assert (done.code, f"127.0.0.1:{port}" in done.error) == (9, True)
        # Function Compute says the port by a variable.
        done = shell.fails("serve", "app:handle", "--models", MODEL, FC_SERVER_PORT=str(port))
        assert (done.code, f":{port}" in done.error) == (9, True)


def test_a_token_may_be_in_the_environment_and_is_not_shown(shell: Shell) -> None:
    done = shell.fails("serve", "app:handle", "--models", MODEL, HOIST_SERVE_TOKEN="my secret")
    assert done.code == 2
    assert "HOIST_SERVE_TOKEN" in done.error
    assert "my secret" not in done.error
