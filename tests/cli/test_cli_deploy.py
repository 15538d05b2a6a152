"""hoist deploy as a user runs it: what goes where, what is refused, and that no secret comes out of it."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from zygote import Ended, User, Zygote

SOURCE = Path(__file__).parents[2] / "src"
SECRET = "wJalrXUtnFEMI-K7MDENG-bPxRfiCYEXAMPLEKEY"
SECRET_ID = "LTAI5tAbCdEfGhIjKlMnOpQr"
CONFIG = f"""\
[storage.oss]
url = "oss://models/prefix"
region = "cn-hangzhou"

[storage.leaky]
url = "s3://{SECRET_ID}:{SECRET}@models"

[storage.proxied]
url = "s3://models"
endpoint = "https://me:{SECRET}@s3.example.com"
"""
MODEL, IMAGE = "oss//sd15/anything:v5", "registry.example.com/sd:v5"
FC = ("deploy", "fc", MODEL, "--image", IMAGE, "--role", "acs:ram::1234:role/sd")
KUBERNETES = ("deploy", "kubernetes", MODEL, "--image", IMAGE, "--secret", "creds", "--accelerators", "1", "--kserve")
RAY = ("deploy", "ray", MODEL)


@pytest.fixture
def user(tmp_path: Path, zygote: Zygote) -> User:
    """Somebody with storages, and with credentials in the environment."""
    (tmp_path / "hoist.toml").write_text(CONFIG)
    return User(zygote, tmp_path, {"OSS_ACCESS_KEY_ID": SECRET_ID, "OSS_ACCESS_KEY_SECRET": SECRET})


def said(ended: Ended) -> str:
    """All that a command said."""
    return ended.out + ended.error


@pytest.mark.parametrize("platform", ["fc", "kubernetes", "ray"])
def test_each_platform_has_help_with_an_example(user: User, platform: str) -> None:
    assert f"  hoist deploy {platform} " in user.run("deploy", platform, "--help").out.partition("examples:")[2]


@pytest.mark.parametrize("words", [FC, KUBERNETES, RAY], ids=["fc", "kubernetes", "ray"])
def test_the_same_bytes_to_standard_output_and_to_a_file_once(user: User, words: tuple[str, ...]) -> None:
    shown = user.run(*words)
    assert shown.error == ""
    documents = list(yaml.safe_load_all(shown.out))
    assert all(documents)
    file = user.home / "made.yaml"
    assert user.run(*words, "-o", str(file)).error == f"hoist: wrote {file}\n"
    assert file.read_text() == shown.out
    before = file.stat().st_mtime_ns
    assert user.run(*words, "-o", str(file)).error == f"hoist: {file} is there already\n"
    assert file.stat().st_mtime_ns == before
    other = (*words, "--handler", "other:Handler", "-o", str(file))
    refused = user.refused(*other)
    assert refused.code == 4
    assert "--force" in refused.error
    assert file.read_text() == shown.out
    user.run(*other, "--force")
    assert "other:Handler" in file.read_text()


def test_a_folder_gets_a_file_for_each_object(user: User) -> None:
    user.run(*KUBERNETES, "-o", "out/")
    names = sorted(path.name for path in (user.home / "out").iterdir())
    assert names == [
        "accelerator-1-service.yaml",
        "accelerator-1.yaml",
        "deployment.yaml",
        "kserve.yaml",
        "service.yaml",
    ]
    whole = list(yaml.safe_load_all(user.run(*KUBERNETES).out))
    found = [yaml.safe_load((user.home / "out" / name).read_text()) for name in names]
    assert len(whole) == len(found)
    assert all(each in whole for each in found)


@pytest.mark.parametrize(
    "words",
    [
        ("deploy", "ray", "leaky//sd15/anything:v5"),
        ("deploy", "ray", "proxied//sd15/anything:v5"),
        ("deploy", "kubernetes", "leaky//sd15/anything:v5", "--image", IMAGE),
        ("deploy", "ray", f"s3://{SECRET_ID}:{SECRET}@models//sd15/anything:v5"),
        (
            "deploy",
            "fc",
            f"oss://{SECRET_ID}:{SECRET}@models//sd15/anything:v5",
            "--image",
            IMAGE,
            "--region",
            "cn-hangzhou",
        ),
        (*FC, "--env", f"OSS_ACCESS_KEY_SECRET={SECRET}"),
        (*FC, "--env", f"HARMLESS={SECRET}"),
        (*FC, "--env", f"HARMLESS={SECRET_ID}"),
        (*FC, "--image", f"me:{SECRET}@registry.example.com/sd:v5"),
        (*FC, "--storage", "nas", "--nas-server", f"me:{SECRET}@nas.example.com:/x", "--vpc", "auto"),
        (*FC, "--storage", "accl", "--accelerator-endpoint", f"https://me:{SECRET}@accel.example.com"),
        (*KUBERNETES, "--env", f"A_TOKEN={SECRET}"),
        (*RAY, "--env", f"HARMLESS={SECRET}"),
    ],
    ids=str,
)
def test_no_secret_is_written_or_said(user: User, words: tuple[str, ...]) -> None:
    refused = user.refused(*words, "-o", "made.yaml")
    assert refused.code == 2
    assert SECRET not in said(refused)
    assert SECRET_ID not in said(refused)
    assert [path.name for path in user.home.iterdir()] == ["hoist.toml"]


def test_a_given_s_yaml(user: User) -> None:
    file = user.home / "s.yaml"
    user.run(*FC, "-o", "s.yaml")
    made = file.read_text()
    assert said(user.run("deploy", "fc", "--correct", "s.yaml")) == "hoist: s.yaml: nothing to correct\n"
    # A user's own hand: a limit passed, a field of another version, a secret.
    mine = made.replace("memorySize: 32768", "memorySize: 65536  # more").replace("timeout: 90", "timeout: 100")
    mine = mine.replace("environmentVariables:\n", f"environmentVariables:\n        OSS_ACCESS_KEY_SECRET: {SECRET}\n")
    file.write_text(mine)
    shown = user.tries("deploy", "fc", "--correct", "s.yaml")
    assert shown.code == 1
    assert "-      memorySize: 65536  # more\n+      memorySize: 32768  # more\n" in shown.out
    assert (
        "hoist: wrong: resources.anything.props.environmentVariables.OSS_ACCESS_KEY_SECRET: holds a secret"
        in shown.error
    )
    assert SECRET not in said(shown)
    assert file.read_text() == mine
    assert user.tries("deploy", "fc", "--correct", "s.yaml", "--write").code == 1
    expected = made.replace("memorySize: 32768", "memorySize: 32768  # more").replace("timeout: 100", "timeout: 90")
    assert file.read_text().replace(f"        OSS_ACCESS_KEY_SECRET: {SECRET}\n", "") == expected


def test_a_given_s_yaml_is_led_to_another_storage(user: User) -> None:
    user.run(*FC, "-o", "s.yaml")
    nas = ("--storage", "nas", "--nas-server", "0ab.cn-hangzhou.nas.aliyuncs.com:/models", "--mount-dir", "/mnt/nas")
    network = ("--vpc", "vpc-1", "--vswitch", "vsw-1", "--security-group", "sg-1")
    words = ("deploy", "fc", MODEL, "--correct", "s.yaml", *nas, *network, "--write")
    assert "+            mountDir: /mnt/nas\n" in user.run(*words).out
    props = yaml.safe_load((user.home / "s.yaml").read_text())["resources"]["anything"]["props"]
    assert props["nasConfig"]["mountPoints"][0]["serverAddr"] == "0ab.cn-hangzhou.nas.aliyuncs.com:/models"
    assert "/mnt/nas//sd15/anything:v5" in props["customContainerConfig"]["command"]
    assert "ossMountConfig" in props
    assert said(user.run(*words)) == "hoist: s.yaml: nothing to correct\n"


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (("deploy", "fc", MODEL), 2, "--image"),
        (("deploy", "fc", MODEL, "--image", IMAGE), 2, "--role"),
        (("deploy", "fc", MODEL, "--write"), 2, "--correct"),
        (("deploy", "fc", "--correct", "none.yaml"), 9, "none.yaml"),
        (("deploy", "fc", "--image", IMAGE), 2, "which model"),
        ((*FC, "--image-size", "16GiB"), 2, "15 GB"),
        ((*FC, "--facts", "limits.toml"), 2, "diskSize"),
        ((*KUBERNETES, "--warm-nodes", "2", "--warm-every-node"), 2, "exclude"),
        ((*KUBERNETES, "--node-selector", "gpu"), 2, "LABEL=VALUE"),
        (("deploy", "ray", "nowhere//a:v1"), 3, "nowhere"),
        (("deploy", "ray", "oss//a:v1", "--storage", "tape"), 2, "tape"),
    ],
    ids=str,
)
def test_what_is_wrong_is_said_with_its_mend(user: User, words: tuple[str, ...], code: int, told: str) -> None:
    (user.home / "limits.toml").write_text(
        '[[fact]]\nid = "function-compute.disk.large"\nvalue = 20480\nunit = "MiB"\nsource = "a test"\n'
        'read = "2026-11"\ncertainty = "given"\n'
    )
    refused = user.refused(*words)
    assert (refused.code, told in refused.error) == (code, True), refused.error


def documented() -> list[str]:
    """The commands of docs/deploy.md."""
    text = (SOURCE.parent / "docs" / "deploy.md").read_text().replace("\\\n", " ")
    return [line.strip() for line in text.splitlines() if line.startswith("    hoist deploy ")]


@pytest.mark.parametrize("command", documented())
def test_the_commands_of_the_docs_work(user: User, command: str) -> None:
    (user.home / "hoist.toml").write_text(f'{CONFIG}\n[storage.nas]\nurl = "/srv/models"\n')
    words = shlex.split(command.partition(" | ")[0], comments=True)[1:]
    if "--correct" in words:
        user.run(*FC, "-o", "s.yaml")
    user.run(*words)


def test_nothing_heavy_is_imported_and_nothing_of_the_network() -> None:
    code = (
        "import sys\nfrom hoist.cli import main\n"
        f"main({['deploy', 'kubernetes', 's3://models//a:v1', '--image', IMAGE, '--kserve']!r})\n"
        "heavy = ('torch', 'numpy', 'obstore', 'botocore', 'ray', 'http.client', 'ssl', 'asyncio')\n"
        "print('HEAVY', [name for name in heavy if name in sys.modules], file=sys.stderr)\n"
    )
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(SOURCE), "HOME": "/nonexistent"}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert done.stderr == "HEAVY []\n"
