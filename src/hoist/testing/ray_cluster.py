"""A real Ray cluster of several nodes on this machine, for tests and measuring."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from hoist.errors import LocalError

_OBJECT_STORE_BYTES = 80 << 20


@contextmanager
def ray_cluster(environs: Sequence[Mapping[str, str]], cpus: int) -> Iterator[Any]:
    """A `ray.cluster_utils.Cluster` with a node for each of those environments, and this process connected to it.

    Raises LocalError without Ray. The cluster ends with the `with` block.
    """
    try:
        ray: Any = import_module("ray")
        cluster_utils: Any = import_module("ray.cluster_utils")
    except ModuleNotFoundError:
        raise LocalError("a Ray cluster needs Ray: pip install 'hoist[ray]'") from None
    first, *others = [
        {
            "num_cpus": cpus,
            "object_store_memory": _OBJECT_STORE_BYTES,
            "include_dashboard": False,
            "env_vars": dict(environ),
        }
        for environ in environs
    ]
    cluster = cluster_utils.Cluster(initialize_head=True, head_node_args=first)
    try:
        for each in others:
            cluster.add_node(**each)
        cluster.wait_for_nodes()
        ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
        yield cluster
    finally:
        ray.shutdown()
        cluster.shutdown()
