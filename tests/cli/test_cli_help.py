"""The help is quick and complete; completion is valid; a terminal gets bars and a question."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from cli_commands import SOURCE, Shell, directory_shell, write_safetensors

HEAVY = (
    "cryptography",
    "model_signing",
    "torch",
    "numpy",
    "obstore",
    "rich",
    "http.client",
    "asyncio",
    "shtab",
    "blake3",
    "pathlib",
    "dataclasses",
)
VERBS = (
    "publish",
    "pull",
    "load",
    "list",
    "inspect",
    "verify",
    "sign",
    "signature",
    "tag",
    "remove",
    "collect",
    "bench",
    "mount",
    "umount",
    "accelerate",
    "advise",
    "facts",
    "completion",
)


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return directory_shell(tmp_path, None)


def test_help_names_every_verb_and_exit_code(shell: Shell) -> None:
    shown = shell.run("--help").out
    for verb in VERBS:
        assert f"\n  {verb}" in shown
    assert "130  cancelled by Ctrl-C" in shown
    assert shell.run("--version").out.startswith("hoist ")
    nothing = shell.fails()
    assert (nothing.code, nothing.out, nothing.error) == (2, "", shown)


@pytest.mark.parametrize("verb", VERBS)
def test_each_verb_has_help_with_an_example(shell: Shell, verb: str) -> None:
    words = (verb, "fixtures") if verb == "bench" else (verb,)
    assert f"  hoist {' '.join(words)} " in shell.run(*words, "--help").out.partition("examples:")[2]


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys\nfrom hoist.cli import main\ntry:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        f"print('HEAVY', [name for name in {HEAVY!r} if name in sys.modules])"
    )
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(SOURCE)}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert done.stdout.endswith("HEAVY []\n")


@pytest.mark.parametrize("name", ["bash", "zsh", "tcsh"])
def test_completion(shell: Shell, name: str) -> None:
    script = shell.run("completion", name).out
    assert "publish" in script
    if name == "bash":
        subprocess.run(["bash", "-n"], input=script, text=True, check=True)
        ask = 'COMP_WORDS=(hoist pub); COMP_CWORD=1; _shtab_hoist; echo "${COMPREPLY[@]}"'
        done = subprocess.run(["bash", "-c", f"{script}\n{ask}"], capture_output=True, text=True, check=True)
        assert done.stdout == "publish\n"


def _at_a_terminal(shell: Shell, words: list[str], typed: bytes = b"") -> tuple[int, str]:
    """Run a command with all its streams at a terminal; its exit code and all that it showed."""
    ours, theirs = pty.openpty()
    env = {"PATH": os.environ["PATH"], "HOME": str(shell.home), "PYTHONPATH": str(SOURCE), "TERM": "xterm", **shell.env}
    command = [sys.executable, "-m", "hoist", *words]
    with subprocess.Popen(command, cwd=shell.home, env=env, stdin=theirs, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        os.write(ours, typed)
        shown = b""
        try:
            while data := os.read(ours, 1 << 16):
                shown += data
        except OSError:
            """The terminal is gone when its last process is."""
        code = process.wait(60)
    os.close(ours)
    return code, shown.decode()


def test_a_terminal_gets_bars(shell: Shell) -> None:
    write_safetensors(shell.home / "model.safetensors", {"a": 3_000_000})
    code, shown = _at_a_terminal(shell, ["publish", "model.safetensors", "here//m:v1"])
    assert code == 0
    assert "━" in shown
    assert "/ 11.4 MiB" in shown
    assert shown.endswith("11.4 MiB sent\r\n")
    quiet = _at_a_terminal(shell, ["verify", "here//m:v1", "--quiet"])[1]
    assert "━" not in quiet
    failed = _at_a_terminal(shell, ["verify", "here//m:v2"])[1]
    assert failed.startswith("hoist: error: ")


def test_remove_asks_at_a_terminal(shell: Shell) -> None:
    write_safetensors(shell.home / "model.safetensors", {"a": 10})
    shell.run("publish", "model.safetensors", "here//m:v1")
    code, shown = _at_a_terminal(shell, ["remove", "here//m:v1"], b"n\n")
    assert (code, "remove here//m:v1? [y/N]" in shown, "nothing was removed" in shown) == (1, True, True)
    code, shown = _at_a_terminal(shell, ["remove", "here//m:v1"], b"y\n")
    assert (code, "removed the version m:v1" in shown) == (0, True)
