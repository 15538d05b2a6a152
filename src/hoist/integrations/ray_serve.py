"""Hoist's switcher in Ray Serve: a deployment that serves many models by `@serve.multiplexed`, and autoscales.

    serve run hoist.integrations.ray_serve:application handler=app:Painter models=anything=oss//sd15/anything:v5

Ray routes a request to a replica that has its model (header `serve_multiplexed_model_id`) and starts replicas as load asks;
within a replica the switcher decides by bytes what is in memory, who waits for whom, and who is refused. Weight bytes come
as ranges from the storage or the node's host cache; through Ray go requests and answers only.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ray import serve
from ray.serve.config import AutoscalingConfig

from hoist.config import parse_size
from hoist.errors import DeadlineExceeded, HoistError, ModelUnknown, UsageError
from hoist.function.handler import Request, Response, as_response, find_handler, handler_error
from hoist.function.service.answers import error_response, refusal_of
from hoist.function.service.settings import parse_models
from hoist.function.service.threads import HandlerLoop, Stop, Workers, call
from hoist.function.states import Budgets
from hoist.function.switch import Lease, Switcher

if TYPE_CHECKING:
    from starlette.requests import Request as WebRequest
    from starlette.responses import Response as WebResponse

# Ray shows what its own logger gets, and keeps it in the replica's file.
log = logging.getLogger("ray.serve")
DEADLINE_HEADER = "x-hoist-deadline"
# As many as Ray lets in (`max_ongoing_requests`); a thread starts when it is first needed.
_MOST_THREADS = 1000
_REPLICA = ("handler", "models", "device", "host_memory", "device_memory", "deadline")


class Replica:
    """What one replica does; `replica_class` gives what `serve.deployment` takes, and `application` all of it.

    `models` are names and locations; a request without a model means the first. `host_memory` and `device_memory` are the
    switcher's budgets (`24GiB`). Raises UsageError and what finding the handler does.
    """

    def __init__(
        self,
        handler: str,
        models: Mapping[str, str],
        *,
        device: str = "cpu",
        host_memory: str | int | None = None,
        device_memory: str | int | None = None,
        deadline: float = 300.0,
    ) -> None:
        if not models:
            raise UsageError("a replica needs models to serve: models maps names to locations")
        self._models = tuple(models)
        self._deadline = deadline
        self._handler = find_handler(handler)
        self._loop = HandlerLoop()
        self._workers = Workers(_MOST_THREADS, "hoist-handler")
        self._switcher = Switcher(
            models,
            self._handler,
            device,
            Budgets(_bytes(host_memory), _bytes(device_memory)),
            deadline_seconds=deadline,
            resolve=self._loop.resolve,
        )

    async def __call__(self, request: WebRequest) -> WebResponse:
        """A request over HTTP: the body goes to the handler, its answer comes back; errors as JSON with a status."""
        from starlette.responses import Response as Answer

        try:
            seconds = _seconds(request.headers.get(DEADLINE_HEADER), self._deadline)
            asked = Request(
                serve.get_multiplexed_model_id() or self._models[0],
                await request.body(),
                request.headers.get("content-type", ""),
                dict(request.headers),
                dict(request.query_params),
                time.monotonic() + seconds,
            )
            answer = await self.answer(asked)
        except HoistError as error:
            refusal = refusal_of(error)
            if refusal.status >= 500:
                log.warning("%s", error, exc_info=error.__cause__)
            return error_response(refusal)
        return Answer(answer.body, answer.status, dict(answer.headers), answer.content_type)

    async def invoke(self, body: bytes = b"", content_type: str = "") -> Response:
        """The same for a DeploymentHandle: `handle.options(multiplexed_model_id="anything").invoke.remote(body)`.

        Raises ModelUnknown, Busy, DeadlineExceeded, HandlerError, and what a load may.
        """
        model = serve.get_multiplexed_model_id() or self._models[0]
        return await self.answer(Request(model, body, content_type, ends_at=time.monotonic() + self._deadline))

    async def answer(self, request: Request) -> Response:
        """The handler's answer, once the model is ready. Raises what `invoke` does."""
        if request.model not in self._models:
            raise ModelUnknown(f"no model is called {request.model!r} here; there are {', '.join(self._models)}")
        stop = Stop()
        request = replace(request, stop=stop)
        future = self._switcher.acquire(request.model, request.deadline)
        try:
            # Ray is told at once, not once it is loaded: others that ask for this model come here, and wait for one load.
            await self.known(request.model)
            lease = await asyncio.wrap_future(future)
        except BaseException:
            _give_back(future)
            raise
        work = self._workers.submit(lambda: self._handle(lease, request, stop))
        try:
            # The handler keeps its lease until it comes back, also when nobody waits any more.
            return await asyncio.shield(asyncio.wrap_future(work))
        except asyncio.CancelledError:
            stop.set()
            raise

    async def known(self, model_id: str) -> KnownModel:
        """What Ray keeps for a model that it sends here."""
        return KnownModel(self._switcher, model_id)

    def models(self) -> list[dict[str, Any]]:
        """Every model's name, state and figures, as the switcher has them."""
        return [{"name": each.name, "state": str(each.state), "loads": each.loads} for each in self._switcher.states()]

    def check_health(self) -> None:
        """Ray's health check: the replica answers. A model that cannot be loaded is no reason to start another."""

    def __del__(self) -> None:
        switcher = getattr(self, "_switcher", None)
        if switcher is not None:
            switcher.close(0)

    def _handle(self, lease: Lease, request: Request, stop: Stop) -> Response:
        """In a worker's thread."""
        with lease:
            try:
                return as_response(call(lambda: self._handler.handle(lease.object, request), self._loop, stop))
            except BaseException as error:  # a handler may raise anything, SystemExit too
                raise handler_error("the handler", error) from error


class KnownModel:
    """What Ray keeps for a model that it knows this replica for; when Ray gives it up, the model leaves memory."""

    def __init__(self, switcher: Switcher, name: str) -> None:
        self._switcher = switcher
        self._name = name
        self._given_up = False

    def __del__(self) -> None:
        # Ray calls this when it evicts, and Python once more at the end, when the model may be in use again.
        if not self._given_up:
            self._given_up = True
            # The interpreter may be ending.
            with suppress(Exception):
                self._switcher.drop(self._name)


def replica_class(models_per_replica: int = 3) -> type[Replica]:
    """The class of a deployment whose replicas are known to Ray for so many models each; -1 is no limit.

    The least recently used beyond it leaves memory; within it the switcher's budgets decide.
    """

    class HoistReplica(Replica):
        @serve.multiplexed(max_num_models_per_replica=models_per_replica)  # type: ignore[untyped-decorator]
        async def known(self, model_id: str) -> KnownModel:
            return KnownModel(self._switcher, model_id)

    return HoistReplica


def application(args: Mapping[str, Any]) -> Any:
    """A Serve application from what `serve run` or a Serve configuration file says (`args:`). Raises UsageError.

    `handler` and `models` (a table, or `NAME=LOCATION,NAME=LOCATION`), the other options of a Replica, and of the deployment
    `models_per_replica`, `num_gpus`, `max_ongoing_requests` and all of Ray's autoscaling: `min_replicas`, `max_replicas`,
    `target_ongoing_requests`, ...
    """
    given = dict(args)
    own = {key: given.pop(key) for key in _REPLICA if key in given}
    scaling = {key: given.pop(key) for key in AutoscalingConfig.model_fields if key in given}
    options: dict[str, Any] = {key: int(given.pop(key)) for key in ("max_ongoing_requests",) if key in given}
    count = int(given.pop("models_per_replica", 3))
    gpus = float(given.pop("num_gpus", 0 if own.get("device", "cpu") == "cpu" else 1))
    if given:
        known = ", ".join((*_REPLICA, "models_per_replica", "max_ongoing_requests", "num_gpus"))
        raise UsageError(f"unknown option {min(given)!r}; there are {known}, and those of Ray's autoscaling")
    if "handler" not in own or "models" not in own:
        raise UsageError("handler=MODULE:NAME and models=NAME=LOCATION are needed")
    own["models"] = _models(own["models"])
    if "deadline" in own:
        own["deadline"] = float(own["deadline"])
    options["ray_actor_options"] = {"num_gpus": gpus}
    if scaling:
        options["autoscaling_config"] = scaling
    deployment: Any = serve.deployment(replica_class(count), name="hoist", **options)
    return deployment.bind(own.pop("handler"), own.pop("models"), **own)


def _models(given: object) -> dict[str, str]:
    """Names and locations. Raises UsageError, InvalidReference."""
    if isinstance(given, Mapping):
        return parse_models([f"{name}={location}" for name, location in given.items()])
    return parse_models([text for text in str(given).split(",") if text])


def _give_back(future: Future[Lease]) -> None:
    """End a wait, or let go of what it has got meanwhile."""
    if not future.cancel():
        future.add_done_callback(lambda done: None if done.cancelled() or done.exception() else done.result().release())


def _bytes(given: str | int | None) -> int | None:
    return None if given is None else parse_size(given)


def _seconds(given: str | None, most: float) -> float:
    if given is None:
        return most
    try:
        seconds = float(given)
    except ValueError:
        raise UsageError(f"{DEADLINE_HEADER} is a number of seconds") from None
    if not seconds > 0:
        raise DeadlineExceeded(f"{DEADLINE_HEADER} leaves no time")
    return min(seconds, most)
