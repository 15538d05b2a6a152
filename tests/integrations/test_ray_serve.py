"""Many models behind a real Ray Serve on this machine: routed by model, loaded once, autoscaled, refused with a status."""

from __future__ import annotations

import json
import os
import socket
import time
import urllib.error
import urllib.request
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from integration_making import publish_files, weights
from safetensors.torch import load

from hoist.errors import UsageError
from makers import SOURCE, write_files

pytestmark = pytest.mark.slow
HERE = Path(__file__).parent
MODELS = {name: f"nas//m/{name}:v1" for name in ("one", "two", "three")}
SCALING = {
    "min_replicas": 1,
    "max_replicas": 2,
    "target_ongoing_requests": 2,
    "upscale_delay_s": 0,
    "downscale_delay_s": 600,
}
QUICK = {"metrics_interval_s": 0.2, "look_back_period_s": 0.6}


@dataclass
class Served:
    """The application's address, its handle, and what each model's weights add up to."""

    url: str
    handle: Any
    serve: Any
    totals: dict[str, float] = field(default_factory=dict)

    def ask(self, query: str = "", model: str = "", body: bytes = b"", deadline: str = "") -> tuple[int, Any]:
        """A request over HTTP: the status and the document."""
        headers = {"serve_multiplexed_model_id": model} if model else {}
        if deadline:
            headers["X-Hoist-Deadline"] = deadline
        request = urllib.request.Request(f"{self.url}/?{query}", data=body, headers=headers, method="POST")
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.loads(error.read())


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    if os.environ.get("HOIST_REQUIRE_SERVERS") != "1":
        pytest.importorskip("ray.serve")
    folder = tmp_path_factory.mktemp("serve")
    totals = {}
    for number, name in enumerate(MODELS):
        data = weights(number)
        publish_files(folder / "nas", f"m/{name}:v1", {"model.safetensors": data})
        totals[name] = sum(float(tensor.double().sum()) for tensor in load(data).values())
    write_files(folder, {"hoist.toml": f'[storage.nas]\nurl = "{folder}/nas"\n'.encode()})
    environ = {"PYTHONPATH": f"{SOURCE}:{HERE}", "HOIST_CONFIG": f"{folder}/hoist.toml", "HOME": str(folder)}
    environ |= {"RAY_prestart_worker_first_driver": "0", "RAY_USAGE_STATS_ENABLED": "0"}
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with warnings.catch_warnings(), pytest.MonkeyPatch.context() as patch:
        warnings.simplefilter("ignore")  # Ray's own
        for name, value in environ.items():
            patch.setenv(name, value)
        ray: Any = import_module("ray")
        serve: Any = import_module("ray.serve")
        ray.init(
            num_cpus=2,
            object_store_memory=80 << 20,
            include_dashboard=False,
            log_to_driver=False,
            logging_level="ERROR",
        )
        try:
            from hoist.integrations.ray_serve import application

            serve.start(http_options={"host": "127.0.0.1", "port": port}, logging_config={"log_level": "ERROR"})
            built = application(
                {"handler": "serve_handlers:Adder", "models": MODELS, "models_per_replica": 2} | SCALING | QUICK
            )
            handle = serve.run(built, name="hoist")
            yield Served(f"http://127.0.0.1:{port}", handle, serve, totals)
        finally:
            serve.shutdown()
            ray.shutdown()


def test_requests_are_answered_by_the_model_that_they_name(served: Served) -> None:
    for name in (*MODELS, "one"):
        status, found = served.ask(model=name, body=b"12345")
        assert (status, found["model"], found["size"]) == (200, name, 5), found
        assert found["total"] == pytest.approx(served.totals[name])
    assert served.ask()[1]["model"] == "one"
    answer = served.handle.options(multiplexed_model_id="two").invoke.remote(b"123").result(timeout_s=60)
    assert json.loads(answer.body)["total"] == pytest.approx(served.totals["two"])


def test_what_cannot_be_answered_has_a_status(served: Served) -> None:
    status, found = served.ask(model="four")
    assert (status, found["error"]["code"]) == (404, "unknown_model")
    assert "one, two, three" in found["error"]["message"]
    status, found = served.ask("raise=1")
    assert (status, found["error"]["message"]) == (500, "the handler raised RuntimeError; the log says more")
    assert served.ask(deadline="soon")[0] == 400
    assert served.ask(deadline="0")[0] == 503


def test_more_requests_start_another_replica_and_each_loads_a_model_once(served: Served) -> None:
    until = time.monotonic() + 60
    loaded: dict[int, set[float]] = {}
    with ThreadPoolExecutor(12) as clients:
        while len(loaded) < 2 and time.monotonic() < until:
            for status, found in clients.map(lambda _: served.ask("wait=0.3", model="three"), range(12)):
                assert status == 200, found
                loaded.setdefault(found["pid"], set()).add(found["loaded_at"])
    assert len(loaded) == 2, served.serve.status()
    assert all(len(times) == 1 for times in loaded.values()), loaded


def test_an_application_says_what_it_does_not_understand() -> None:
    pytest.importorskip("ray.serve")
    from hoist.integrations.ray_serve import application

    with pytest.raises(UsageError, match="unknown option 'replicas'"):
        application({"handler": "a:b", "models": "one=nas//m/one:v1", "replicas": 3})
    with pytest.raises(UsageError, match="are needed"):
        application({"handler": "a:b"})
    with pytest.raises(UsageError, match="not a location"):
        application({"handler": "a:b", "models": {"one": "m"}})
