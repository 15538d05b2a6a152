"""`hoist deploy`: files for Function Compute, Kubernetes and Ray Serve, written or corrected."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from hoist.cli.deploy_options import add_cluster, add_common, add_function, add_output, add_serving
from hoist.cli.deploy_parts import (
    cluster_of,
    found_models,
    limits_of_args,
    network_of,
    put,
    say,
    secrets_of,
    size_of,
    workload_of,
)
from hoist.cli.parser import Parser, Root, add_command

if TYPE_CHECKING:
    from argparse import Namespace

    from hoist.config import Config
    from hoist.deploy.fc_limits import Limits
    from hoist.deploy.fc_storage import Network
    from hoist.deploy.s_yaml import Corrected, Lead

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
    from hoist.config import load_config
    from hoist.deploy.fc import FunctionCompute, region_of, s_yaml
    from hoist.deploy.fc_schedule import make_schedule
    from hoist.errors import UsageError

    network, limits = network_of(args), limits_of_args(args)
    image_size = size_of(args.image_size)
    config = load_config()
    if args.correct:
        return _correct(args, config, network, image_size)
    if args.write or args.resource:
        raise UsageError("--write and --resource go with --correct FILE")
    schedule = make_schedule(args.mode, args.min, args.schedule, args.time_zone)
    work = workload_of(args, config, gpu=args.gpu != "none")
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

    return put(args, {"s.yaml": render([s_yaml(work, platform, limits, secrets_of(config))])})


def run_kubernetes(args: Namespace) -> int:
    """Write manifests, to one text or to a file each."""
    from hoist.config import load_config
    from hoist.deploy.kubernetes import manifests
    from hoist.deploy.kubernetes_accelerator import Accelerators
    from hoist.deploy.kubernetes_warm import Warming
    from hoist.deploy.yaml_text import render
    from hoist.errors import UsageError

    if args.warm_nodes is not None and args.warm_every_node:
        raise UsageError("--warm-nodes and --warm-every-node exclude each other")
    config = load_config()
    work = workload_of(args, config, gpu=args.gpus > 0, kind="accl" if args.accelerators and not args.storage else None)
    warming = Warming(args.warm_nodes) if args.warm_nodes is not None or args.warm_every_node else None
    accelerators = Accelerators(args.accelerators, args.accelerator_size) if args.accelerators is not None else None
    found = manifests(
        work,
        cluster_of(args),
        warming=warming,
        accelerators=accelerators,
        kserve=args.kserve,
        known_secrets=secrets_of(config),
    )
    return put(args, {each.file: render([each.document]) for each in found}, divider="---\n")


def run_ray(args: Namespace) -> int:
    """Write a Serve config."""
    from hoist.config import load_config
    from hoist.deploy.ray import Serving, serve_config
    from hoist.deploy.yaml_text import render

    config = load_config()
    gpus = int(args.gpus) if args.gpus == int(args.gpus) else args.gpus
    work = workload_of(args, config, gpu=args.gpus > 0)
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
    return put(args, {"serve.yaml": render([serve_config(work, serving, secrets_of(config))])})


def _correct(args: Namespace, config: Config, network: Network, image_size: int | None) -> int:
    from pathlib import Path

    from hoist.deploy.output import read_file, replace_file
    from hoist.deploy.s_yaml import correct
    from hoist.errors import UsageError

    if args.output:
        raise UsageError("--correct changes the file itself, with --write; -o goes with a new one")
    path, limits = Path(args.correct), limits_of_args(args)
    leading = _lead(args, config, network, limits) if args.location else None
    text = read_file(path)
    found = correct(text, str(path), limits, lead=leading, resource=args.resource, image_size=image_size)
    _show(found, config)
    if args.write and found.after != found.before:
        replace_file(path, found.after)
        say(f"wrote {path}")
    return 0 if found.holds else 1


def _lead(args: Namespace, config: Config, network: Network, limits: Limits) -> Lead:
    from functools import partial

    from hoist.deploy.fc_lead import lead

    source, models = found_models(args, config)
    return partial(
        lead,
        source=source,
        models=models,
        network=network,
        limits=limits,
        image=args.image,
        region=args.region,
        known_secrets=secrets_of(config),
    )


def _show(found: Corrected, config: Config) -> None:
    print(found.difference(secrets_of(config)), end="")
    sys.stdout.flush()
    for finding in found.findings:
        say(str(finding))
    if not found.findings:
        say(f"{found.name}: nothing to correct")
