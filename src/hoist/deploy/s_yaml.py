"""An `s.yaml` that a user has: judged, corrected, led to a storage; every other line, comment and field stays as it is."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any

from hoist.deploy.fc_limits import COMPONENT, SERVICE_COMPONENTS, Limits
from hoist.deploy.fc_rules import Props, check, table
from hoist.deploy.findings import Finding
from hoist.deploy.secrets import hide
from hoist.deploy.yaml_text import dump, load, transplant
from hoist.errors import UsageError

_MIGRATE = "s cli fc3 s2tos3 --source s.yaml --target s3.yaml makes one of FC 3.0"
_TOP = ("edition", "name", "access", "vars", "resources", "extend", "template", "actions", "flow", "env", "version")


@dataclass(frozen=True, slots=True)
class Corrected:
    """A file before and after, and what is said of it."""

    name: str
    before: str
    after: str
    findings: tuple[Finding, ...]

    @property
    def holds(self) -> bool:
        """Whether nothing is left that the user has to mend."""
        return not any(finding.level == "wrong" for finding in self.findings)

    def difference(self, known_secrets: Iterable[str] = ()) -> str:
        """The unified difference, with secrets hidden; empty for none."""
        before, after = (text.splitlines(keepends=True) for text in (self.before, self.after))
        found = difflib.unified_diff(before, after, self.name, f"{self.name} (corrected)")
        return hide("".join(line if line.endswith("\n") else f"{line}\n" for line in found), known_secrets)


Lead = Callable[[Props, str], list[Finding]]
"""Leads one function to a storage, in place."""


def correct(
    text: str,
    name: str,
    limits: Limits,
    *,
    lead: Lead | None = None,
    resource: str | None = None,
    image_size: int | None = None,
) -> Corrected:
    """Judge a file and mend what has one mend. `lead` is for the function named `resource`, or the only one.

    Raises UsageError for what is no s.yaml, or where it is not clear which function is meant.
    """
    try:
        after, findings = _corrected(text.replace("\r\n", "\n"), name, limits, lead, resource, image_size)
    except RecursionError:
        raise UsageError(f"{name}: an alias in it holds itself") from None
    if "\r\n" in text:
        after = after.replace("\n", "\r\n")
    return Corrected(name, text, after, tuple(findings))


def _corrected(
    text: str, name: str, limits: Limits, lead: Lead | None, resource: str | None, image_size: int | None
) -> tuple[str, list[Finding]]:
    document, yaml = load(text, name)
    if not isinstance(document, MutableMapping):
        raise UsageError(f"{name}: an s.yaml has fields: edition, name, access, resources")
    plain = dump(document, yaml)
    findings = list(_head(document, name))
    functions = dict(_functions(document))
    if lead and not functions:
        raise UsageError(
            f"{name}: it has no function of component {COMPONENT} that could be led to a storage; {_MIGRATE}"
        )
    meant = _meant(functions, resource, name) if lead or resource else None
    for each, props in functions.items():
        where = f"resources.{each}.props"
        if lead and each == meant:
            findings += lead(props, where)
        findings += check(props, where, limits, image_size if each == (meant or each) else None)
    changed = dump(document, yaml)
    return (text if changed == plain else _written(text, plain, changed, name)), findings


def _written(text: str, plain: str, changed: str, name: str) -> str:
    """The user's lines with the changes, if that reads as the same data; else as the library lays it out."""
    after = transplant(text if text.endswith("\n") else f"{text}\n", plain, changed)
    try:
        same = load(after, name)[0] == load(changed, name)[0]
    except UsageError:
        same = False
    return after if same else changed


def _head(document: Mapping[str, Any], name: str) -> Iterator[Finding]:
    """What is not of FC 3.0 is named, and stays."""
    edition = str(document.get("edition", ""))
    services = document.get("services")
    if services is not None or edition[:1] in ("1", "2"):
        said = f"edition {edition}" if edition else "services"
        yield Finding(
            "kept", name, f"{said} is of version 1 or 2, where storage is the service's: left as it is; {_MIGRATE}"
        )
    for field in document:
        if str(field) not in (*_TOP, "services"):
            yield Finding("kept", str(field), "unknown field, left as it is")
    for group in ("resources", "services"):
        for each, found in table(document, group).items():
            component = _component(found)
            if component != COMPONENT:
                yield Finding("kept", f"{group}.{each}", _foreign(component))


def _foreign(component: str) -> str:
    if component in SERVICE_COMPONENTS:
        return f"component {component} is of FC 2.0, where storage is the service's: left as it is; {_MIGRATE}"
    return f"component {component or '(none)'} is no function of FC 3.0: left as it is"


def _component(resource: Any) -> str:
    """`fc3` of `fc3`, `devsapp/fc3` and `fc3@0.0.20`."""
    found = resource.get("component") if isinstance(resource, Mapping) else None
    return str(found or "").rpartition("/")[2].partition("@")[0]


def _functions(document: Mapping[str, Any]) -> Iterator[tuple[str, Props]]:
    for name, resource in table(document, "resources").items():
        props = resource.get("props") if isinstance(resource, Mapping) else None
        if _component(resource) == COMPONENT and isinstance(props, MutableMapping):
            yield str(name), props


def _meant(functions: Mapping[str, Props], resource: str | None, name: str) -> str:
    if resource is None and len(functions) == 1:
        return next(iter(functions))
    there = ", ".join(functions) or "none"
    if resource is None:
        raise UsageError(f"{name}: it has several functions: give --resource, one of {there}")
    if resource not in functions:
        raise UsageError(f"{name}: there is no function {resource!r}; there are {there}")
    return resource
