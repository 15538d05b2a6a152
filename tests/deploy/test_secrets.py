"""Secrets are known by their looks, by their names and by the environment; they are neither written nor shown."""

from __future__ import annotations

import pytest

from hoist.deploy.secrets import check_variable, hide, is_secret_name, known_secrets, refuse_secrets, secret_in
from hoist.errors import UsageError

ID = "AKIA" + "ABCDEFGHIJKLMNOP"
SECRET = "kE3q/9xPz+wJalrXUtnFEMIbPxRfiCYEXAMPLEKEY"


@pytest.mark.parametrize(
    "text",
    [
        ID,
        "LTAI5tAbCdEfGhIjKlMnOpQr",
        f"s3://{ID}:x@bucket/prefix",
        "https://me:pw@registry.example.com/v2",
        "https://token@host/x",
        "https://b.s3.amazonaws.com/k?X-Amz-Signature=abc",
        "hf_" + "a" * 30,
        "-----BEGIN RSA PRIVATE KEY-----",
        "Authorization: Bearer abcdefgh12345678",
    ],
)
def test_secrets_are_known_by_their_looks(text: str) -> None:
    assert secret_in(text)
    with pytest.raises(UsageError) as told:
        refuse_secrets({"a": [{"b": text}]})
    assert "a[0].b" in str(told.value)
    assert text not in str(told.value)


@pytest.mark.parametrize(
    "text",
    [
        "registry.example.com/sd@sha256:" + "5" * 64,
        "oci://registry.example.com/x//sd15/anything@sha256:" + "0" * 64,
        "acs:ram::1234:role/sd",
        "${env('OSS_ACCESS_KEY_SECRET')}",
        "https://oss-cn-hangzhou-internal.aliyuncs.com",
        "cron(0 0 20 * * *)",
    ],
)
def test_what_is_no_secret_is_none(text: str) -> None:
    assert secret_in(text) is None


def test_names() -> None:
    secret = (
        "OSS_ACCESS_KEY_SECRET",
        "AWS_ACCESS_KEY_ID",
        "HOIST_SERVE_TOKEN",
        "db_password",
        "apiKey",
        "AWS_SESSION_TOKEN",
    )
    plain = ("HOIST_STORAGE_OSS_URL", "TOKENIZERS_PARALLELISM", "PATH", "KEYBOARD", "secretName", "MAX_TOKENS")
    assert [name for name in secret if not is_secret_name(name)] == []
    assert [name for name in plain if is_secret_name(name)] == []


def test_what_the_environment_holds_is_a_secret() -> None:
    environ = {
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "A_TOKEN": "short",
        "TOKEN_FILE": "/run/secrets/token",
        "HOME": "/home/somebody",
    }
    known = known_secrets(environ)
    assert known == (SECRET,)
    with pytest.raises(UsageError, match="env would hold a secret of this environment"):
        refuse_secrets({"env": f"x={SECRET}"}, known)
    refuse_secrets({"env": "/home/somebody"}, known)


def test_variables() -> None:
    check_variable("MODE", "fast")
    check_variable("OSS_ACCESS_KEY_SECRET", "${env('OSS_ACCESS_KEY_SECRET')}")
    with pytest.raises(UsageError, match="--env OSS_ACCESS_KEY_SECRET") as told:
        check_variable("OSS_ACCESS_KEY_SECRET", SECRET)
    assert SECRET not in str(told.value)


def test_what_is_shown_has_none() -> None:
    shown = hide(
        f"-  OSS_ACCESS_KEY_SECRET: {SECRET}\n+  A: {ID}\n   B_TOKEN: ${{env('B')}}\n   url: https://u:p@host/x\n",
        ["hidden-away"],
    )
    assert SECRET not in shown
    assert ID not in shown
    assert "u:p" not in shown
    assert "B_TOKEN: ${env('B')}" in shown
    table = f"{{A: 1, A_SECRET: {SECRET}, 'B_TOKEN': \"{SECRET}\", C: ${{env('X')}}, D_TOKEN: ${{env('D')}}}}"
    flow = hide(f"-  env: {table}\n")
    assert SECRET not in flow
    assert "A: 1" in flow
    assert "C: ${env('X')}, D_TOKEN: ${env('D')}}" in flow
    key = "-----BEGIN PRIVATE KEY-----\n+    MIIabc\n+    -----END PRIVATE KEY-----\n"
    assert "MII" not in hide(f"+  key: |\n+    {key}")
    assert hide("it is hidden-away here", ["hidden-away"]) == "it is *** here"
