"""The doctor as a whole: what a user sees, that nothing optional is needed, and that no secret is shown."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import hoist
from hoist.checkup.report import Discreet, Group
from hoist.config import Config
from hoist.testing.servers import RadosgwServer
from makers import SOURCE

_NO_TORCH = """
import sys
class Absent:
    def find_spec(self, name, *rest):
        if name.partition(".")[0] in ("torch", "numpy"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Absent())
from hoist.cli import main
sys.exit(main(["doctor", *sys.argv[1:]]))
"""


def doctor(folder: Path, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """`hoist doctor` on a machine with nothing on PATH, nothing configured, and no torch."""
    env = {"PATH": "", "PYTHONPATH": str(SOURCE), "HOME": str(folder), **environ}
    words = [sys.executable, "-c", _NO_TORCH, *arguments]
    return subprocess.run(words, cwd=folder, env=env, capture_output=True, text=True, timeout=120, check=False)


def document(done: subprocess.CompletedProcess[str]) -> dict[str, dict[str, Any]]:
    found: dict[str, Any] = json.loads(done.stdout)
    assert found["healthy"] == (done.returncode == 0)
    return {item["name"]: item for item in found["findings"]}


def test_a_bare_machine_is_no_failure(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    done = doctor(tmp_path, "./models", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    found = document(done)
    for name in ("nginx", "containers", "registry client"):
        assert found[name]["status"] == "missing"
        assert found[name]["mend"]
    assert found["Python"]["status"] == "ok"
    assert {"GPU", "processors", "memory", "huge pages", "open files", "page cache", "cache folder"} <= set(found)


def test_the_table_names_groups_findings_and_mends(tmp_path: Path) -> None:
    done = doctor(tmp_path, "./absent", "--read-only")
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    assert "storage ./absent" in lines
    assert any(line.startswith("  failed   folder") for line in lines)
    assert any(line.strip().startswith("mend: mount it") for line in lines)
    assert "1 failed" in lines[-1]


def test_a_broken_configuration_is_a_finding(tmp_path: Path) -> None:
    (tmp_path / "hoist.toml").write_text("[storage.nas]\nurl = 3\n")
    done = doctor(tmp_path, "--json")
    assert done.returncode == 1
    found = document(done)
    assert found["hoist.toml"]["status"] == "failed"
    assert found["Python"]["status"] == "ok"


def test_configured_storages_are_checked_and_their_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "hoist.toml").write_text('[storage.nas]\nurl = "models"\n')
    found = document(doctor(tmp_path, "--json"))
    assert str(tmp_path / "hoist.toml") in found["hoist.toml"]["detail"]
    assert found["folder"]["group"] == "storage nas"


@pytest.mark.parametrize("limit", ["0", "-1", "nan"])
def test_a_limit_that_means_nothing(tmp_path: Path, limit: str) -> None:
    assert doctor(tmp_path, f"--limit={limit}").returncode == 2


def test_proxies_are_shown_without_their_users() -> None:
    environ = {"https_proxy": "http://me:pa55word@proxy.example:3128", "HTTP_PROXY": "plain.example", "no_proxy": "a.b"}
    report = hoist.doctor(config=Config(environ=environ))
    found = next(item for item in report.findings if item.name == "proxies")
    assert found.detail == "https_proxy: proxy.example:3128, http_proxy: plain.example; not for a.b"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("s3://me:pw@bucket/p", "s3://***@bucket/p"),
        ("me:pw@host:80 is down", "***@host:80 is down"),
        ("at http://h/b/k?X-Amz-Signature=abc&x=1 it", "at http://h/b/k?*** it"),
        ("the key TOPSECRETVALUE was refused", "the key *** was refused"),
        ("Signature=abc&x", "Signature=***&x"),
        ("region us-east-1", "region us-east-1"),
    ],
)
def test_discretion(text: str, shown: str) -> None:
    hidden = Discreet({"AWS_SECRET_ACCESS_KEY": "TOPSECRETVALUE", "AWS_REGION": "us-east-1", "A_KEY": "short"})
    assert hidden.text(text) == shown
    cleaned = hidden.clean(Group(text).failed("name", text, text))
    assert (cleaned.group, cleaned.detail, cleaned.mend) == (shown, shown, shown)


def run_at(server: RadosgwServer, folder: Path, key: str, secret: str) -> str:
    user = "someuser:somepassword"
    environ: Mapping[str, str] = {
        "AWS_ACCESS_KEY_ID": key,
        "AWS_SECRET_ACCESS_KEY": secret,
        "AWS_SESSION_TOKEN": "",
        "HOIST_REGION": server.region,
        "HOIST_ENDPOINT": server.endpoint,
        "HOIST_STORAGE_ODD_URL": f"s3://{user}@bucket/x",
        "HOIST_STORAGE_PROXIED_URL": "s3://bucket",
        "HOIST_STORAGE_PROXIED_ENDPOINT": f"http://{user}@127.0.0.1:9",
        "no_proxy": os.environ.get("no_proxy", "127.0.0.1"),
    }
    shown = ""
    for arguments in (
        ("s3://discreet", "odd", "proxied", f"s3://{user}@bucket"),
        ("s3://discreet", "--json"),
        ("s3://absent",),
    ):
        done = doctor(folder, *arguments, HOIST_DEBUG="1", **environ)
        shown += done.stdout + done.stderr
    return shown


def test_no_secret_is_shown(radosgw_server: RadosgwServer, tmp_path: Path) -> None:
    radosgw_server.create_bucket("discreet")
    wrong = "WRONGSECRETwrongsecret"
    for secret in (radosgw_server.secret_key, wrong):
        shown = run_at(radosgw_server, tmp_path, radosgw_server.access_key, secret)
        assert "storage s3://discreet" in shown
        for hidden in (radosgw_server.access_key, secret, "somepassword", "someuser", "X-Amz-Signature"):
            assert hidden not in shown, hidden
