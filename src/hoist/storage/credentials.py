"""Who we are to an object store: each ecosystem's usual variables, files and roles, in its usual order.

The object store library itself reads the variables of AWS, Google and Azure, web identity tokens, and the roles of
containers and instances. Here is what it leaves out: AWS profiles (~/.aws), Alibaba Cloud's variables and files.
Secrets go straight to the library and into no message.
"""

from __future__ import annotations

import configparser
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hoist.errors import InvalidConfig, LocalError

_OSS_ID = ("OSS_ACCESS_KEY_ID", "ALIBABA_CLOUD_ACCESS_KEY_ID")
_OSS_SECRET = ("OSS_ACCESS_KEY_SECRET", "ALIBABA_CLOUD_ACCESS_KEY_SECRET")
_OSS_TOKEN = ("OSS_SESSION_TOKEN", "OSS_SECURITY_TOKEN", "ALIBABA_CLOUD_SECURITY_TOKEN")
_AWS_VARIABLES = {
    "access_key_id": "AWS_ACCESS_KEY_ID",
    "secret_access_key": "AWS_SECRET_ACCESS_KEY",
    "session_token": "AWS_SESSION_TOKEN",
}
_ROLE_FIELDS = ("role_arn", "sso_session", "sso_start_url", "credential_process", "login_session")


def aws_options(environ: Mapping[str, str], profile: str | None) -> dict[str, Any]:
    """Options for an S3 store: keys or a provider from the profile, and its region and endpoint where it has them.

    An explicit profile wins over variables; variables win over the default profile, as in every AWS tool. Raises
    InvalidConfig for a profile that is not there, LocalError where it needs boto3 and that is not installed.
    """
    wanted = profile or environ.get("AWS_PROFILE")
    values = _aws_profile(environ, wanted or "default")
    if wanted and not values:
        raise InvalidConfig(f"there is no AWS profile {wanted!r} in ~/.aws/config or ~/.aws/credentials")
    options: dict[str, Any] = {}
    region = environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION") or values.get("region")
    if region:
        options["region"] = region
    if values.get("endpoint_url"):
        options["endpoint"] = values["endpoint_url"]
    if environ.get("AWS_ACCESS_KEY_ID") and not profile:
        # Said outright, as the environment that was configured need not be this process's own.
        return options | {item: environ[name] for item, name in _AWS_VARIABLES.items() if environ.get(name)}
    if "aws_access_key_id" in values:
        options["access_key_id"] = values["aws_access_key_id"]
        options["secret_access_key"] = values.get("aws_secret_access_key", "")
        if "aws_session_token" in values:
            options["session_token"] = values["aws_session_token"]
    elif any(key in values for key in _ROLE_FIELDS):
        options["credential_provider"] = _boto3_provider(wanted)
    return options


def oss_options(environ: Mapping[str, str]) -> dict[str, Any]:
    """Keys for Alibaba Cloud OSS from its variables (also those that Function Compute sets) or ~/.ossutilconfig."""
    key = _first(environ, _OSS_ID)
    if key:
        options = {"access_key_id": key, "secret_access_key": _first(environ, _OSS_SECRET) or ""}
        token = _first(environ, _OSS_TOKEN)
        return options | ({"session_token": token} if token else {})
    values = _section(Path(environ.get("HOME", "/")) / ".ossutilconfig", "Credentials")
    if "accesskeyid" not in values:
        return {}
    options = {"access_key_id": values["accesskeyid"], "secret_access_key": values.get("accesskeysecret", "")}
    return options | ({"session_token": values["ststoken"]} if values.get("ststoken") else {})


def _aws_profile(environ: Mapping[str, str], name: str) -> dict[str, str]:
    home = Path(environ.get("HOME", "/")) / ".aws"
    config = Path(environ.get("AWS_CONFIG_FILE") or home / "config")
    credentials = Path(environ.get("AWS_SHARED_CREDENTIALS_FILE") or home / "credentials")
    section = name if name == "default" else f"profile {name}"
    return _section(config, section) | _section(credentials, name)


def _section(path: Path, section: str) -> dict[str, str]:
    parser = configparser.RawConfigParser()
    try:
        parser.read(path.expanduser())
    except (configparser.Error, UnicodeDecodeError) as error:
        raise InvalidConfig(f"{path} cannot be read: {type(error).__name__}") from None
    return dict(parser[section]) if parser.has_section(section) else {}


def _boto3_provider(profile: str | None) -> Any:
    try:
        import boto3
        from obstore.auth.boto3 import Boto3CredentialProvider
    except ImportError:
        raise LocalError(
            "this AWS profile needs boto3 (SSO, a role or a process gives its keys): pip install 'hoist[aws]'"
        ) from None
    return Boto3CredentialProvider(boto3.session.Session(profile_name=profile))


def _first(environ: Mapping[str, str], names: tuple[str, ...]) -> str | None:
    return next((environ[name] for name in names if environ.get(name)), None)
