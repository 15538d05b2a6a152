"""Which plan is meant: one of hoist.toml by its name, or one of a file."""

from __future__ import annotations

from pathlib import Path

from hoist.config import Config, load_config
from hoist.errors import InvalidConfig, UsageError
from hoist.sync.plan import SyncPlan, parse_plan

_BETWEEN = "//"


def find_plan(given: str, config: Config) -> tuple[SyncPlan, Config]:
    """The plan that `given` means, and the configuration with which its storages are reached.

    `given` is a name (`production`), a file (`./production.toml`, which may hold storages too), a file and a name in it
    (`./regions.toml//production`), or empty where there is only one. Raises UsageError, InvalidConfig.
    """
    file, _, name = given.partition(_BETWEEN) if _is_file(given) else ("", "", given)
    if file:
        path = Path(file)
        if not path.is_file():
            why = "is no file" if path.exists() else "No such file"
            raise InvalidConfig(f"{file}: {why}: name a .toml file that has a plan, [sync.NAME]")
        config = load_config(config.environ, also=path)
        known = {each: table for each, table in config.plans.items() if table["_from"] == str(path)}
        where = file
    else:
        known, where = dict(config.plans), "hoist.toml"
    if not name:
        if len(known) != 1:
            raise UsageError(_which(where, sorted(known)))
        (name,) = known
    if name not in known and not file and "/" in name:
        raise UsageError(f"{name!r} is no plan: a file that has one ends in .toml, as ./production.toml")
    if name not in known:
        raise UsageError(f"{where} has no plan {name!r}" + _there(sorted(known)))
    return plan_of(name, Config(plans=known)), config


def plan_of(name: str, config: Config) -> SyncPlan:
    """The plan of that name. Raises InvalidConfig for one that says something impossible."""
    table = config.plans[name]
    return parse_plan(name, table, f"{table['_from']}: [sync.{name}]", Path(table["_base"]))


def means_plan(given: str, config: Config) -> bool:
    """Whether a word that may be a plan or a storage is a plan: one that is configured, or a .toml file."""
    return given in config.plans or _is_file(given)


def _is_file(given: str) -> bool:
    return given.partition(_BETWEEN)[0].endswith(".toml")


def _which(where: str, names: list[str]) -> str:
    if not names:
        return (
            f'{where} has no plan: add [sync.NAME] with from = "eu" and to = ["us", "ap"], '
            "or name a file that has one: hoist sync ./production.toml"
        )
    return f"say which plan: {where} has {', '.join(names)}"


def _there(names: list[str]) -> str:
    return f": it has {', '.join(names)}" if names else ': add [sync.NAME] with from = "eu" and to = ["us", "ap"]'
