"""The options of `hoist deploy`, by platform."""

from __future__ import annotations

from hoist.cli.facts import add_facts
from hoist.cli.parser import Parser, completes


def add_common(parser: Parser, *, required: bool = True, image: bool = True) -> None:
    """What every platform wants to know of the function."""
    text = "what it serves; the first is the default, and all lie in one storage"
    parser.add_argument("location", nargs="+" if required else "*", metavar="[NAME=]LOCATION", help=text)
    add = parser.add_argument
    add("--storage", metavar="KIND", help="how models are read: image, nas, oss or accl (default: the storage's kind)")
    if image:
        add("--image", metavar="IMAGE", help="of the function: with Hoist, torch and the handler in it")
    add("--handler", default="app:Handler", metavar="MODULE:NAME", help="default: app:Handler")
    add("--name", metavar="NAME", help="of what is deployed (default: by the first model)")
    add("--env", action="append", default=[], metavar="NAME=VALUE", help="a variable of the function; may be repeated")
    add("--device-memory", metavar="SIZE", help="for models on the device (default: no limit)")
    add("--host-memory", metavar="SIZE", help="for weights in host memory (default: no limit)")
    if image:
        add(
            "--concurrency",
            type=int,
            default=1,
            metavar="N",
            help="requests that an instance answers at once (default: 1)",
        )


def add_output(parser: Parser, what: str) -> None:
    """Where it goes."""
    text = "write there (default: standard output)"
    completes(parser.add_argument("-o", "--output", metavar=what, help=text), "file")
    parser.add_argument("--force", action="store_true", help="replace a file that differs")


def add_function(parser: Parser) -> None:
    """Of Function Compute."""
    add = parser.add_argument
    completes(add("--correct", metavar="FILE", help="correct this s.yaml, and show the difference"), "file")
    add("--write", action="store_true", help="with --correct: write it")
    add("--resource", metavar="NAME", help="with --correct and a location: which function is led to its storage")
    add("--region", metavar="REGION", help="default: the storage's")
    add("--gpu", default="ada", metavar="SERIES", help="ada, ampere, tesla or none (default: ada)")
    add("--gpu-memory", type=int, metavar="MB", help="default: a whole card")
    add("--cpu", type=float, default=8.0, metavar="N", help="vCPUs (default: 8)")
    add("--memory", type=int, default=32768, metavar="MB", help="default: 32768")
    add("--disk", type=int, default=10240, metavar="MB", help="512 or 10240 (default: 10240)")
    add("--nas-server", metavar="SERVER:/FOLDER", help="the NAS folder that is the storage")
    add("--vpc", metavar="ID", help="in which it is reached; auto: s deploy makes one")
    add("--vswitch", action="append", default=[], metavar="ID", help="of the zone of the NAS; may be repeated")
    add("--security-group", metavar="ID", help="of the VPC")
    add("--role", metavar="ARN", help="with whose rights a bucket is read, as acs:ram::1234:role/NAME")
    add("--mount-dir", default="/mnt/models", metavar="FOLDER", help="where it is mounted (default: /mnt/models)")
    add("--no-mount", action="store_true", help="no mount of the bucket: Hoist reads it by itself")
    add("--accelerator-endpoint", metavar="HOST", help="of the OSS accelerator (default: the region's)")
    add("--mode", metavar="MODE", help="on-demand, idle or provisioned (default: by --min and --schedule)")
    add("--min", type=int, metavar="N", help="instances that stay")
    text = "'cron(0 0 20 * * *)=10': 10 instances from 20:00 on; may be repeated"
    add("--schedule", action="append", default=[], metavar="WHEN=N", help=text)
    add("--time-zone", default="Asia/Shanghai", metavar="ZONE", help="of --schedule (default: Asia/Shanghai)")
    add("--access", default="default", metavar="ALIAS", help="of Serverless Devs' credentials (default: default)")
    add("--image-size", metavar="SIZE", help="of the image as it is stored, to be checked; hoist image plan shows it")
    add_facts(parser)


def add_cluster(parser: Parser) -> None:
    """Of Kubernetes."""
    add = parser.add_argument
    add("--namespace", metavar="NAME", help="of all objects (default: kubectl's)")
    add("--replicas", type=int, default=1, metavar="N", help="default: 1")
    add("--gpus", type=int, default=1, metavar="N", help="of each pod; 0: on the CPU (default: 1)")
    add("--cpu", metavar="QUANTITY", help="that a pod asks for")
    add("--memory", metavar="QUANTITY", help="that a pod asks for, and may have at most")
    add("--secret", metavar="NAME", help="the secret whose keys are the variables of the credentials")
    add("--service-account", metavar="NAME", help="whose identity reads the bucket")
    add("--node-selector", action="append", default=[], metavar="LABEL=VALUE", help="may be repeated")
    add("--nas-server", metavar="SERVER:/FOLDER", help="the NFS folder that is the storage")
    add("--model-image", metavar="IMAGE", help="with --storage image: mount the models of this image as a volume")
    text = "where blocks of a bucket are kept: host (shared by its pods), pod, memory (default: host)"
    add("--cache", default="host", choices=("host", "pod", "memory"), help=text)
    add("--cache-folder", default="/var/cache/hoist", metavar="FOLDER", help="of the host (default: /var/cache/hoist)")
    add("--cache-size", default="100Gi", metavar="QUANTITY", help="of a pod's own (default: 100Gi)")
    text = "who fills it: a sidecar beside the function, or init containers before it (default: sidecar)"
    add("--fill", default="sidecar", choices=("sidecar", "init"), help=text)
    add("--hoist-image", metavar="IMAGE", help="of what is not the function: warm-up, accelerators (default: --image)")
    add("--warm-nodes", type=int, metavar="N", help="a Job that fills the cache of N nodes")
    add("--warm-every-node", action="store_true", help="a DaemonSet that fills the cache of every node")
    add("--accelerators", type=int, metavar="N", help="run N of them before the bucket")
    add("--accelerator-size", default="100Gi", metavar="QUANTITY", help="of each one's cache (default: 100Gi)")
    add("--kserve", action="store_true", help="a ClusterStorageContainer that pulls hoist:// for KServe")


def add_serving(parser: Parser) -> None:
    """Of Ray Serve."""
    add = parser.add_argument
    add("--min", type=int, default=1, metavar="N", help="replicas at least (default: 1)")
    add("--max", type=int, default=4, metavar="N", help="replicas at most (default: 4)")
    add(
        "--ongoing",
        type=float,
        default=2.0,
        metavar="N",
        help="requests of a replica at which another starts (default: 2)",
    )
    add("--gpus", type=float, default=1.0, metavar="N", help="of each replica; 0: on the CPU (default: 1)")
    add("--models-per-replica", type=int, default=3, metavar="N", help="that Ray knows it for; -1: all (default: 3)")
    add("--route", default="/", metavar="PREFIX", help="of its requests (default: /)")
    add("--nas-folder", metavar="FOLDER", help="where the nodes have the storage, if it is a folder")
    add(
        "--cache",
        default="/var/cache/hoist",
        metavar="FOLDER",
        help="host cache of the nodes, or off (default: /var/cache/hoist)",
    )
