"""Every command that a deployed file runs is one that `hoist` takes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from deployments import ANYTHING, LIMITS, PASTEL, function_compute, workload

from hoist.cli.parser import build_parser
from hoist.deploy.cluster import Cluster
from hoist.deploy.fc import s_yaml
from hoist.deploy.kubernetes import manifests
from hoist.deploy.kubernetes_accelerator import Accelerators
from hoist.deploy.kubernetes_warm import Warming

MORE: Mapping[str, Any] = {"device_memory": "12GiB", "host_memory": "24GiB", "concurrency": 4}


def commands() -> Iterator[tuple[str, ...]]:
    """All of them, without `hoist` itself."""
    made = workload("oss", ANYTHING, PASTEL, **MORE)
    props = s_yaml(made, function_compute("oss"), LIMITS).data["resources"]["anything"]["props"]
    container = props["customContainerConfig"]
    yield tuple([*container["entrypoint"], *container["command"]][1:])
    found = manifests(made, Cluster(fill="init"), warming=Warming(2), accelerators=Accelerators(1))
    for each in found:
        spec = each.document.data["spec"].get("template", {}).get("spec", {})
        for container in [*spec.get("initContainers", ()), *spec.get("containers", ())]:
            assert container["command"][0] == "hoist"
            yield tuple(container["command"][1:])


@pytest.mark.parametrize("words", sorted(set(commands())), ids=lambda words: words[0])
def test_hoist_takes_it(words: tuple[str, ...]) -> None:
    parser = build_parser()
    if words[0] not in parser.commands.choices:
        pytest.skip(f"this Hoist has no {words[0]}")
    parsed = parser.parse_args(words)
    if words[0] == "serve":
        assert (parsed.handler, len(parsed.models), parsed.device_memory) == ("app:Handler", 2, "12GiB")
    elif words[0] == "accelerate":
        assert (parsed.origin, parsed.listen) == ("oss", "0.0.0.0:8080")
    else:
        assert parsed.location.startswith("oss//sd15/")
