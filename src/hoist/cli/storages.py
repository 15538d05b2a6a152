"""`hoist list` without a storage: those that are configured."""

from __future__ import annotations

from hoist.cli.text import print_json, print_table
from hoist.config import Config, load_config
from hoist.formatting import without_login
from hoist.storage import kind_of

_HINT = """\
no storages are configured. Add one to hoist.toml, here or in ~/.config/hoist/:

    [storage.nas]
    url = "/mnt/models"

or by the environment, HOIST_STORAGE_NAS_URL=/mnt/models; or write a URL or a path in its place:

    hoist list s3://bucket/prefix"""


def show_storages(as_json: bool) -> int:
    """Print the configured storages, or how to add one."""
    config = load_config()
    if as_json:
        print_json({"storages": [_fields(config, name) for name in sorted(config.storages)]})
    elif not config.storages:
        print(_HINT)
    else:
        rows = [[value or "-" for value in _fields(config, name).values()] for name in sorted(config.storages)]
        print_table(("NAME", "KIND", "URL", "REGION"), rows)
    return 0


def _fields(config: Config, name: str) -> dict[str, str | None]:
    storage = config.storages[name]
    return {
        "name": name,
        "kind": kind_of(storage) or None,
        # What a logical storage has in place of a URL are the names of others.
        "url": ", ".join(each.address for each in storage.members) or without_login(storage.url),
        "region": storage.region,
    }
