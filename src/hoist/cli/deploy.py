"""`hoist deploy`: files for Function Compute, Kubernetes and Ray Serve, written or corrected."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from hoist.cli.deploy_options import add_cluster, add_common, add_function, add_output, add_serving
from hoist.cli.parser import Parser, Root, add_command
from hoist.cli.text import printable

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Mapping
    from pathlib import Path

    from hoist.config import Config
    from hoist.deploy.cluster import Cluster
    from hoist.deploy.fc_limits import Limits
    from hoist.deploy.fc_storage import Network
    from hoist.deploy.s_yaml import Corrected, Lead
    from hoist.deploy.source import Model, Source
    from hoist.deploy.workload import Workload

GROUP = "deploy"
_ABOUT = (
    "From a location, the function's image and its handler (MODULE:NAME, as hoist serve takes it). Nothing is deployed, and "
    "nothing is asked of the network: the text goes to standard output, or with -o to a file, which is not replaced if it "
    "differs, unless --force. The same arguments make the same bytes. No secret is written: credentials are named, as a "
    "role or a secret."
)
_CORRECT = (
    " With --correct FILE an s.yaml that is there is checked against the platform's limits and, with a location, led to its "
    "storage: the difference is shown, --write makes it. Exits with 1 if something is left to mend."
)


def add_to(root: Root) -> None:
    """Add the verb and its platforms."""
    parser = root.add_verb(
        GROUP, "deploy", None, "Write the files that deploy a model: Function Compute, Kubernetes, Ray Serve"
    )
    commands = parser.add_subparsers(dest="platform", metavar="PLATFORM", required=True, parser_class=Parser)
    fc = add_command(
        commands,
        "fc",
        run_fc,
        "Write or correct an s.yaml of Function Compute 3.0 (Serverless Devs)",
        about=_ABOUT + _CORRECT,
        examples=(
            "hoist deploy fc nas//sd15/anything:v5 --image registry.example.com/sd:v5 --region cn-hangzhou -o s.yaml \\",
            "    --nas-server 0ab.cn-hangzhou.nas.aliyuncs.com:/models --vpc vpc-1 --vswitch vsw-1 --security-group sg-1",
            "hoist deploy fc oss//sd15/anything:v5 --image registry.example.com/sd:v5 --role acs:ram::1234:role/sd",
            "hoist deploy fc --correct s.yaml --write",
        ),
    )
    add_common(fc, required=False)
    add_function(fc)
    add_output(fc, "FILE")
    kubernetes = add_command(
        commands,
        "kubernetes",
        run_kubernetes,
        "Write Kubernetes manifests: Deployment, Service, warm-up, accelerators, KServe",
        about=_ABOUT,
        examples=(
            "hoist deploy kubernetes oss//sd15/anything:v5 --image registry.example.com/sd:v5 --warm-nodes 4",
            "hoist deploy kubernetes oci://registry.example.com//sd15/anything:v5 --image registry.example.com/sd:v5",
        ),
    )
    add_common(kubernetes)
    add_cluster(kubernetes)
    add_output(kubernetes, "FILE_OR_FOLDER")
    ray = add_command(
        commands,
        "ray",
        run_ray,
        "Write a Ray Serve config",
        about=_ABOUT,
        examples=("hoist deploy ray oss//sd15/anything:v5 oss//sd15/pastelmix:v1 --handler app:Painter -o serve.yaml",),
    )
    add_common(ray, image=False)
    add_serving(ray)
    add_output(ray, "FILE")


def run_fc(args: Namespace) -> int:
    """Write an s.yaml, or correct one."""
    from hoist.deploy.fc import FunctionCompute, region_of, s_yaml
    from hoist.deploy.fc_schedule import make_schedule
    from hoist.errors import UsageError

    network, limits = _network(args), _limits(args)
    image_size = _size(args.image_size)
    config = _config()
    if args.correct:
        return _correct(args, config, network, image_size)
    if args.write or args.resource:
        raise UsageError("--write and --resource go with --correct FILE")
    schedule = make_schedule(args.mode, args.min, args.schedule, args.time_zone)
    work = _workload(args, config, gpu=args.gpu != "none")
    platform = FunctionCompute(
        region=region_of(work.source, args.region),
        network=network,
        gpu=None if args.gpu == "none" else args.gpu,
        gpu_memory=args.gpu_memory,
        cpu=int(args.cpu) if args.cpu == int(args.cpu) else args.cpu,
        memory=args.memory,
        disk=args.disk,
        schedule=schedule,
        access=args.access,
        image_size=image_size,
    )
    from hoist.deploy.yaml_text import render

    return _put(args, {"s.yaml": render([s_yaml(work, platform, limits, _secrets(config))])})


def run_kubernetes(args: Namespace) -> int:
    """Write manifests, to one text or to a file each."""
    from hoist.deploy.kubernetes import manifests
    from hoist.deploy.kubernetes_accelerator import Accelerators
    from hoist.deploy.kubernetes_warm import Warming
    from hoist.deploy.yaml_text import render
    from hoist.errors import UsageError

    if args.warm_nodes is not None and args.warm_every_node:
        raise UsageError("--warm-nodes and --warm-every-node exclude each other")
    config = _config()
    work = _workload(args, config, gpu=args.gpus > 0, kind="accl" if args.accelerators and not args.storage else None)
    warming = Warming(args.warm_nodes) if args.warm_nodes is not None or args.warm_every_node else None
    accelerators = Accelerators(args.accelerators, args.accelerator_size) if args.accelerators is not None else None
    found = manifests(
        work,
        _cluster(args),
        warming=warming,
        accelerators=accelerators,
        kserve=args.kserve,
        known_secrets=_secrets(config),
    )
    return _put(args, {each.file: render([each.document]) for each in found}, divider="---\n")


def run_ray(args: Namespace) -> int:
    """Write a Serve config."""
    from hoist.deploy.ray import Serving, serve_config
    from hoist.deploy.yaml_text import render

    config = _config()
    gpus = int(args.gpus) if args.gpus == int(args.gpus) else args.gpus
    work = _workload(args, config, gpu=args.gpus > 0)
    serving = Serving(
        least=args.min,
        most=args.max,
        ongoing=args.ongoing,
        gpus=gpus,
        route=args.route,
        nas_folder=args.nas_folder,
        cache=None if args.cache == "off" else args.cache,
        models_per_replica=args.models_per_replica,
    )
    return _put(args, {"serve.yaml": render([serve_config(work, serving, _secrets(config))])})


def _config() -> Config:
    from hoist.config import load_config

    return load_config()


def _secrets(config: Config) -> tuple[str, ...]:
    from hoist.deploy.secrets import known_secrets

    return known_secrets(config.environ)


def _size(text: str | None) -> int | None:
    from hoist.config import parse_size

    return None if text is None else parse_size(text)


def _limits(args: Namespace) -> Limits:
    from hoist.advise.verb import all_facts
    from hoist.deploy.fc_limits import limits_of

    return limits_of(all_facts(args.facts))


def _found(args: Namespace, config: Config, kind: str | None = None) -> tuple[Source, tuple[Model, ...]]:
    from hoist.deploy.source import check_kind, parse_models, source_of

    storage, models = parse_models(args.location)
    return source_of(config.storage(storage), check_kind(args.storage) or kind, _secrets(config)), models


def _workload(args: Namespace, config: Config, *, gpu: bool, kind: str | None = None) -> Workload:
    from hoist.deploy.source import check_name, name_of
    from hoist.deploy.workload import Workload, parse_env
    from hoist.errors import UsageError

    source, models = _found(args, config, kind)
    image = getattr(args, "image", None)
    if not image and hasattr(args, "image"):
        raise UsageError("which image has the function and Hoist in it? Give --image, as registry.example.com/sd:v5")
    for text in source.left_out:
        _say(f"warning: storage {source.config.address}: {text}")
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


def _network(args: Namespace) -> Network:
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


def _cluster(args: Namespace) -> Cluster:
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


def _correct(args: Namespace, config: Config, network: Network, image_size: int | None) -> int:
    from pathlib import Path

    from hoist.deploy.output import read_file, replace_file
    from hoist.deploy.s_yaml import correct
    from hoist.errors import UsageError

    if args.output:
        raise UsageError("--correct changes the file itself, with --write; -o goes with a new one")
    path, limits = Path(args.correct), _limits(args)
    leading = _lead(args, config, network, limits) if args.location else None
    text = read_file(path)
    found = correct(text, str(path), limits, lead=leading, resource=args.resource, image_size=image_size)
    _show(found, config)
    if args.write and found.after != found.before:
        replace_file(path, found.after)
        _say(f"wrote {path}")
    return 0 if found.holds else 1


def _lead(args: Namespace, config: Config, network: Network, limits: Limits) -> Lead:
    from functools import partial

    from hoist.deploy.fc_lead import lead

    source, models = _found(args, config)
    return partial(
        lead,
        source=source,
        models=models,
        network=network,
        limits=limits,
        image=args.image,
        region=args.region,
        known_secrets=_secrets(config),
    )


def _show(found: Corrected, config: Config) -> None:
    print(found.difference(_secrets(config)), end="")
    sys.stdout.flush()
    for finding in found.findings:
        _say(str(finding))
    if not found.findings:
        _say(f"{found.name}: nothing to correct")


def _put(args: Namespace, files: Mapping[str, str], divider: str = "") -> int:
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
        _say(f"wrote {path}" if path in written else f"{path} is there already")
    return 0


def _file(target: Path, files: Mapping[str, str]) -> Path:
    """A file; in a folder, by its usual name."""
    return target / next(iter(files)) if target.is_dir() else target


def _say(line: str) -> None:
    print(f"hoist: {printable(line)}", file=sys.stderr, flush=True)
