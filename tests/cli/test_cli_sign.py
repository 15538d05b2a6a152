"""Signatures by commands: signed, required, looked at, given out; each failure in one line with the mend."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli_commands import Shell, directory_shell, write_safetensors

from signing_making import VERSION, Pair, make_pair
from zygote import Zygote

HERE = f"here//{VERSION}"


@pytest.fixture
def shell(tmp_path: Path, zygote: Zygote) -> Shell:
    write_safetensors(tmp_path / "model.safetensors", {"a": 100_000})
    (tmp_path / "other").mkdir()
    return directory_shell(tmp_path, zygote)


@pytest.fixture
def key(tmp_path: Path) -> Pair:
    return make_pair(tmp_path, "release", password="a-word-of-mine")


def test_a_signed_version(shell: Shell, key: Pair) -> None:
    unlocked = shell.with_env(HOIST_SIGN_PASSWORD="a-word-of-mine")
    refused = shell.fails("publish", "model.safetensors", HERE, "--sign", "release.pem")
    assert (refused.code, refused.out) == (2, "")
    assert refused.error == "hoist: error: the key release.pem has a password: give it as HOIST_SIGN_PASSWORD\n"
    # Nothing was sent before the key could be used.
    assert shell.json("list", "here")["versions"] == []
    done = unlocked.json("publish", "model.safetensors", HERE, "--sign", "release.pem", "--tag", "stable")
    assert done["signed_by"] == "release.pem"

    checked = shell.json("verify", HERE, "--signed-by", "release.pub")
    assert (checked["ok"], checked["signed_by"]) == (True, "release.pub")
    assert "is whole, and signed by release.pub" in shell.run("verify", HERE, "--signed-by", "release.pub").out
    assert shell.json("verify", HERE)["signed_by"] is None
    assert [each["signed_by"] for each in shell.json("list", "here")["versions"]] == [None]
    assert shell.run("list", "here", "--signed-by", "release.pub").out.splitlines()[1].endswith("  stable  release.pub")
    (signature,) = shell.json("inspect", HERE)["signatures"]
    assert (len(signature["key"]), signature["trusted"], signature["problem"]) == (64, None, None)
    shown = shell.run("inspect", HERE, HOIST_STORAGE_HERE_REQUIRE_SIGNATURE="release.pub").out
    assert f"signed   by the key {signature['key'][:12]}, which is {shell.home}/release.pub\n" in shown

    shell.run("signature", HERE, "-o", "model.sig")
    assert (
        shell.run("signature", HERE, "--signed-by", "release.pub").out == (shell.home / "model.sig").read_text() + "\n"
    )
    assert unlocked.json("sign", HERE, "--key", "release.pem")["already"]
    copied = shell.json("copy", "here//sd15/any:stable", "./other")["copies"]
    assert [each["signatures"] for each in copied] == [1]
    assert shell.json("verify", "./other//sd15/any:stable", "--signed-by", "release.pub")["ok"]


def test_where_a_signature_is_required(shell: Shell, tmp_path: Path) -> None:
    make_pair(tmp_path, "release")
    make_pair(tmp_path / "other", "other")
    (tmp_path / "hoist.toml").write_text(
        f'[storage.strict]\nurl = "{tmp_path}/storage"\nrequire_signature = ["release.pub", "other/other.pub"]\n'
    )
    published = shell.run("publish", "model.safetensors", f"strict//{VERSION}")
    assert "strict does not open it" in published.error
    verbs = [("load",), ("verify",), ("inspect",), ("pull", "out"), ("tag", "stable"), ("copy", "./other")]
    for verb, *more in verbs:
        refused = shell.fails(verb, f"strict//{VERSION}", *more)
        assert (refused.code, refused.out) == (11, ""), verb
        assert refused.error.startswith(f"hoist: error: {VERSION} in strict has no good signature by ")
        assert refused.error.count("\n") == 1
    assert not (tmp_path / "out").exists()
    # The same folder by its path requires nothing, unless it is said.
    shell.run("load", f"{tmp_path}/storage//{VERSION}")
    assert shell.fails("load", f"{tmp_path}/storage//{VERSION}", HOIST_REQUIRE_SIGNATURE="release.pub").code == 11

    assert [each["signed_by"] for each in shell.json("list", "strict")["versions"]] == [None]
    signed = shell.run("sign", f"strict//{VERSION}", "--key", "other/other.pem")
    assert signed.out.startswith(f"strict//{VERSION} is signed by other/other.pem  ")
    shell.run("load", f"strict//{VERSION}")
    assert shell.json("verify", f"strict//{VERSION}")["signed_by"] == f"{tmp_path}/other/other.pub"
    assert shell.fails("verify", f"strict//{VERSION}", "--signed-by", "release.pub").code == 11
    assert shell.fails("signature", f"strict//{VERSION}", "--signed-by", "release.pub").code == 11
    assert [each["signed_by"] for each in shell.json("list", "strict")["versions"]] == [f"{tmp_path}/other/other.pub"]
    shell.run("remove", f"strict//{VERSION}", "--yes")

    (tmp_path / "release.pub").unlink()
    shell.run("publish", "model.safetensors", f"here//{VERSION}")
    gone = shell.fails("load", f"strict//{VERSION}")
    assert (gone.code, gone.error.count("\n")) == (2, 1)
    assert f"cannot read the key {tmp_path}/release.pub" in gone.error
