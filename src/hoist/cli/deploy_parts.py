"""What `hoist deploy` makes of its arguments, and where what it wrote goes."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from hoist.cli.text import printable

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Mapping
    from pathlib import Path

    from hoist.config import Config
    from hoist.deploy.cluster import Cluster
    from hoist.deploy.fc_limits import Limits
    from hoist.deploy.fc_storage import Network
    from hoist.deploy.source import Model, Source
    from hoist.deploy.workload import Workload


def secrets_of(config: Config) -> tuple[str, ...]:
    """The secrets of this environment."""
    from hoist.deploy.secrets import known_secrets

    return known_secrets(config.environ)


def size_of(text: str | None) -> int | None:
    """Bytes, or None. Raises InvalidConfig."""
    from hoist.config import parse_size

    return None if text is None else parse_size(text)


def limits_of_args(args: Namespace) -> Limits:
    """What Function Compute refuses. Raises InvalidConfig."""
    from hoist.advise.verb import all_facts
    from hoist.deploy.fc_limits import limits_of

    return limits_of(all_facts(args.facts))


def found_models(args: Namespace, config: Config, kind: str | None = None) -> tuple[Source, tuple[Model, ...]]:
    """The storage and the models that the locations mean. Raises UsageError, StorageNotFound."""
    from hoist.deploy.source import check_kind, parse_models, source_of

    storage, models = parse_models(args.location)
    return source_of(config.storage(storage), check_kind(args.storage) or kind, secrets_of(config)), models


def workload_of(args: Namespace, config: Config, *, gpu: bool, kind: str | None = None) -> Workload:
    """What is deployed. Raises UsageError."""
    from hoist.deploy.source import check_name, name_of
    from hoist.deploy.workload import Workload, parse_env
    from hoist.errors import UsageError

    source, models = found_models(args, config, kind)
    image = getattr(args, "image", None)
    if not image and hasattr(args, "image"):
        raise UsageError("which image has the function and Hoist in it? Give --image, as registry.example.com/sd:v5")
    for text in source.left_out:
        say(f"warning: storage {source.config.address}: {text}")
    return Workload(
        name=check_name(args.name) if args.name else name_of(models),
        models=models,
        source=source,
        handler=args.handler,
        image=image or "none",
        gpu=gpu,
        env=parse_env(args.env),
        concurrency=getattr(args, "concurrency", 1),
        device_memory=args.device_memory,
        host_memory=args.host_memory,
    )


def network_of(args: Namespace) -> Network:
    """How a function of Function Compute reaches its storage."""
    from hoist.deploy.fc_storage import Network

    return Network(
        vpc=args.vpc,
        vswitches=tuple(args.vswitch),
        security_group=args.security_group,
        role=args.role,
        nas_server=args.nas_server,
        mount_dir=args.mount_dir,
        mount=not args.no_mount,
        accelerator_endpoint=args.accelerator_endpoint,
    )


def cluster_of(args: Namespace) -> Cluster:
    """What is asked of a cluster. Raises UsageError."""
    from hoist.deploy.cluster import Cluster
    from hoist.errors import UsageError

    pairs = [text.partition("=") for text in args.node_selector]
    if not all(name and mark for name, mark, _ in pairs):
        raise UsageError("--node-selector wants LABEL=VALUE")
    return Cluster(
        namespace=args.namespace,
        replicas=args.replicas,
        gpus=args.gpus,
        cpu=args.cpu,
        memory=args.memory,
        secret=args.secret,
        service_account=args.service_account,
        node_selector={name: value for name, _, value in pairs},
        nas_server=args.nas_server,
        model_image=args.model_image,
        cache=args.cache,
        cache_folder=args.cache_folder,
        cache_size=args.cache_size,
        fill=args.fill,
        hoist_image=args.hoist_image,
    )


def put(args: Namespace, files: Mapping[str, str], divider: str = "") -> int:
    """To standard output, to one file, or to a folder with a file each."""
    from pathlib import Path

    from hoist.deploy.output import write_files

    whole = divider.join(files.values())
    if not args.output:
        print(whole, end="")
        return 0
    target = Path(args.output)
    folder = len(files) > 1 and (args.output.endswith("/") or target.is_dir() or not target.suffix)
    wanted: dict[Path, str] = (
        {target / name: text for name, text in files.items()} if folder else {_file(target, files): whole}
    )
    written = write_files(wanted, force=args.force)
    for path in wanted:
        say(f"wrote {path}" if path in written else f"{path} is there already")
    return 0


def _file(target: Path, files: Mapping[str, str]) -> Path:
    """A file; in a folder, by its usual name."""
    return target / next(iter(files)) if target.is_dir() else target


def say(line: str) -> None:
    """A line on standard error."""
    print(f"hoist: {printable(line)}", file=sys.stderr, flush=True)
