"""The whole checkup: configuration, storages, this machine, the host cache and the mount, tools."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

from hoist.checkup.caching import check_caching
from hoist.checkup.machine import check_machine
from hoist.checkup.report import Discreet, Finding, Group, Report
from hoist.checkup.storages import begin_storages
from hoist.checkup.tools import check_tools
from hoist.config import Config, config_files, current_environ, load_config
from hoist.errors import InvalidConfig

STORAGE_SECONDS = 15.0
_GROUP = Group("configuration")


def doctor(
    *storages: str, read_only: bool = False, limit_seconds: float = STORAGE_SECONDS, config: Config | None = None
) -> Report:
    """Find out what works on this machine, with the mend for what does not.

    `storages` are addresses; without any, all that are configured. Each storage gets `limit_seconds` at most, all of them
    at once. Writes only under `.hoist/tmp` of a storage and removes that again; with `read_only` it writes nothing.
    Nothing in the report is a secret. Raises nothing for what does not work: that is a finding.
    """
    began = time.monotonic()
    findings: list[Finding] = []
    try:
        found = config or load_config()
        findings += _configuration(found, storages, given=config is not None)
    except InvalidConfig as error:
        # What the environment holds is needed all the same, were it only to keep its secrets out of the report.
        found = Config(environ=current_environ())
        findings.append(_GROUP.failed("hoist.toml", str(error), "mend it; see docs/storages.md"))
    until = time.monotonic() + limit_seconds
    checks = begin_storages(found, storages or sorted(found.storages), read_only=read_only)
    local = [*check_machine(found), *check_caching(found), *check_tools(found.environ)]
    for check in checks:
        findings += check.result(until)
    return Report(Discreet(found.environ).clean_all([*findings, *local]), time.monotonic() - began)


def _configuration(config: Config, storages: Sequence[str], *, given: bool) -> Iterator[Finding]:
    files = [] if given else config_files(config.environ)
    where = ", ".join(map(str, files)) or ("given" if given else "no file")
    if config.storages or storages:
        names = ", ".join(sorted(config.storages)) or "none configured"
        yield _GROUP.ok("hoist.toml", f"{where}; storages: {names}")
    else:
        mend = "add [storage.NAME] with its url to hoist.toml, or name one: hoist doctor /srv/models"
        yield _GROUP.missing("hoist.toml", f"{where}; no storage is configured or named", mend)
