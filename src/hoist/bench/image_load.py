"""A load of one file by range out of an image in the registry, beside the registry's raw ranged GETs."""

from __future__ import annotations

import shutil
from functools import partial

from hoist.bench.child import run_child
from hoist.bench.image_files import write_bf16
from hoist.bench.image_stage import ImageStage
from hoist.bench.image_tools import Work, hoist
from hoist.bench.image_turns import OWN, RAW, Record, Turns, layers_of
from hoist.bench.peers.base import Subject
from hoist.errors import LocalError
from hoist.testing.servers import DockerRegistry

_NAME = "bench/one"
_FILE = "model.safetensors"


def measure_load(turns: Turns) -> None:
    """Load one safetensors file to CPU tensors, verified, from the registry that has it in the page cache."""
    stage = turns.stage
    path = write_bf16(stage.home / "one" / _FILE, stage.load_size, 99)
    with stage.registry() as server:
        work = Work(server.host, path.parent, stage.layout, stage.target, name=_NAME)
        turns.programs([hoist("publish", str(work.source), work.location, "--quiet")])
        subject = Subject(work.location, _FILE, path.stat().st_size, str(stage.home / "scratch"))
        local = Subject("", _FILE, subject.size, subject.scratch, path=str(path))
        _compare(stage, subject, local)
        shutil.rmtree(path.parent)
        layer, size = max(layers_of(server, work), key=lambda found: found[1])
        url = f"{server.endpoint}/v2/{work.repository}/blobs/{layer}"
        turns.take(
            "load",
            subject.size,
            {
                OWN: ("hoist.load_file, every block verified", partial(_load, turns, server, subject)),
                RAW: ("ranged GETs by recv_into, no hashing", partial(_limit, turns, server, url, size)),
            },
        )


def _compare(stage: ImageStage, subject: Subject, local: Subject) -> None:
    """See that what is loaded from the image is what safetensors loads from the file. Raises LocalError."""
    tasks = [(OWN, subject), ("safetensors", local)]
    environ = stage.config.environ
    found = [run_child({"do": "check", "loader": name, "subject": each.to_json()}, environ) for name, each in tasks]
    if found[0]["fingerprint"] != found[1]["fingerprint"]:
        raise LocalError("Hoist loaded other tensors from the image than the file has: please report it")


def _load(turns: Turns, server: DockerRegistry, subject: Subject) -> Record:
    turns.stage.warm(server.data_folder)
    found = run_child({"do": "load", "loader": OWN, "subject": subject.to_json()}, turns.stage.config.environ)
    return {name: found[name] for name in ("seconds", "cpu_seconds", "peak_bytes")}


def _limit(turns: Turns, server: DockerRegistry, url: str, size: int) -> Record:
    turns.stage.warm(server.data_folder)
    found = turns.limit("get", url=url, size=size)
    return {"seconds": size / found["bytes_per_second"], "depth": found["depth"], "rates": found["rates"]}
