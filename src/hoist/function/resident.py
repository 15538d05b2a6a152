"""What is in memory, by content: a unit that a model needs and another has brought is not moved again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from threading import Event, Lock

import torch

from hoist.errors import Cancelled, UsageError
from hoist.function.landing import Copier, Landing, host_memory
from hoist.function.opened import OpenModel
from hoist.function.states import Moved
from hoist.function.tier import Tier
from hoist.function.units import Unit
from hoist.read.plan import Plan
from hoist.read.source import Source
from hoist.tensors.device import Destination, StagedDestination, Staging, make_destination
from hoist.tensors.place import Loading, OnPhase, Placed, no_phase

# Holds what the next load needs, from when its last holder goes until then. No model is called so.
_NEXT = "\0next"


@dataclass(slots=True)
class _Missing:
    """What one load has to bring: units to fetch by file, and those to copy from one memory to the other."""

    fetch: dict[str, list[Unit]] = field(default_factory=dict)
    upload: list[Unit] = field(default_factory=list)
    download: list[Unit] = field(default_factory=list)
    host_reused_bytes: int = 0
    device_copied_bytes: int = 0
    device_reused_bytes: int = 0


class Residents:
    """The units in host memory and on `device`. One load at a time; everything else from any thread.

    On the CPU both are one memory, and files of a local disk or of the host cache are mapped, not copied. `two_memories`
    keeps them apart on the CPU too, as they are with a GPU.
    """

    def __init__(self, device: torch.device, *, two_memories: bool | None = None) -> None:
        self.torch_device = device
        self.one_memory = device.type == "cpu" and not two_memories
        self._host = Tier()
        self._device = self._host if self.one_memory else Tier()
        self._lock = Lock()

    def load(
        self,
        model: OpenModel,
        *,
        to_host: bool,
        to_device: bool,
        stop: Event | None = None,
        on_phase: OnPhase = no_phase,
        on_bytes: Callable[[int], None] | None = None,
    ) -> Moved:
        """Have all units of a model in host memory, on the device, or in both; what it holds already it goes on to hold.

        If it fails, what it brought is gone again. Raises Cancelled once `stop` is set, DamagedBlock, LocalError, and
        what a storage may.
        """
        to_host, to_device = to_host or self.one_memory, to_device and not self.one_memory
        tiers = [tier for tier, wanted in ((self._host, to_host), (self._device, to_device)) if wanted]
        with self._lock:
            before = [set(tier.held(model.name)) for tier in tiers]
            missing = self._missing(model, to_host=to_host, to_device=to_device)
            for tier in tiers:
                tier.hold([key for key in model.units if key in tier], model.name)
            kept = [tier.let_go(tier.held(_NEXT), _NEXT) for tier in (self._host, self._device)]
        kept.clear()
        try:
            fetched = self._fetch(
                model,
                missing,
                tiers,
                Loading(
                    model.opened.engine,
                    self.torch_device,
                    on_bytes=on_bytes,
                    on_phase=on_phase,
                    make=make_destination if self.one_memory else StagedDestination,
                    stop=stop,
                ),
            )
            on_phase("transfer")
            self._copy(missing, model.name, stop)
        except BaseException:
            with self._lock:
                for tier, had in zip(tiers, before, strict=True):
                    tier.let_go(set(tier.held(model.name)) - had, model.name)
            raise
        return Moved(
            model.size, fetched, missing.host_reused_bytes, missing.device_copied_bytes, missing.device_reused_bytes
        )

    def release(self, name: str, *, host: bool, sake: OpenModel | None = None) -> list[torch.Tensor]:
        """A model lets go of its host copy, or of what is on the device: the memory that nobody needs any more.

        It is freed when the caller forgets it. What `sake`, which is loaded next, has too, stays until then.
        """
        tier = self._host if host else self._device
        if not host and self.one_memory:
            return []
        with self._lock:
            mine = tier.held(name)
            if sake is not None:
                tier.hold([key for key in mine if key in sake.units], _NEXT)
            return tier.let_go(mine, name)

    def flat(self, key: bytes) -> torch.Tensor:
        """A unit's bytes on the device. Raises UsageError if they are not there."""
        found = self._device.get(key)
        if found is None:
            raise UsageError("the model is not in memory any more: use it only until its object is unloaded")
        return found

    def empty(self) -> torch.Tensor:
        """No bytes, on the device."""
        return torch.empty(0, dtype=torch.uint8, device=self.torch_device)

    def read(self, key: bytes, begin: int, end: int) -> bytes:
        """Some bytes of a unit, from wherever it is. Raises UsageError."""
        found = self._host.get(key)
        part = (found if found is not None else self.flat(key))[begin:end]
        return bytes(memoryview(part.cpu().numpy()))  # type: ignore[arg-type]

    def sizes(self) -> tuple[int, int]:
        """Bytes in host memory, and on the device."""
        with self._lock:
            return self._host.size, self._device.size

    def leaked(self) -> tuple[int, int]:
        """Bytes that no model holds in host memory, and on the device, and that somebody has not let go of."""
        with self._lock:
            return self._host.leaked(), 0 if self.one_memory else self._device.leaked()

    def _missing(self, model: OpenModel, *, to_host: bool, to_device: bool) -> _Missing:
        missing = _Missing()
        seen: set[bytes] = set()
        for path, file in model.files.items():
            for unit in file.units:
                if unit.key not in seen:
                    seen.add(unit.key)
                    self._note(missing, path, unit, to_host=to_host, to_device=to_device)
        return missing

    def _note(self, missing: _Missing, path: str, unit: Unit, *, to_host: bool, to_device: bool) -> None:
        on_host, on_device = unit.key in self._host, unit.key in self._device
        missing.host_reused_bytes += unit.size * on_host
        missing.device_reused_bytes += unit.size * (to_device and on_device)
        missing.device_copied_bytes += unit.size * (to_device and not on_device)
        wanted = (to_host and not on_host) or (to_device and not on_device)
        if not wanted:
            return
        if on_host:
            missing.upload.append(unit)
        elif on_device:
            missing.download.append(unit)
        else:
            missing.fetch.setdefault(path, []).append(unit)

    def _fetch(self, model: OpenModel, missing: _Missing, tiers: list[Tier], loading: Loading) -> int:
        """Bring what is in no memory; the bytes that were read for it."""
        files = [model.files[path] for path in missing.fetch]
        units = {file.source.name: missing.fetch[file.path] for file in files}
        staging, copier = Staging(), Copier(self.torch_device)
        host, device = self._host in tiers, self._device in tiers and not self.one_memory

        def scatter(source: Source, ranges: list[tuple[int, int]]) -> tuple[Plan, Destination]:
            landing = Landing(units[source.name], copier, staging, host=host, device=device)
            return landing.plan(source), landing

        wanted = [(file.source, [(unit.begin, unit.end) for unit in units[file.source.name]]) for file in files]
        placed = replace(loading, scatter=scatter).fetch(wanted) if wanted else []
        with self._lock:
            for each, file in zip(placed, files, strict=True):
                self._keep(each, units[file.source.name], model.name)
        return sum(each.plan.bytes_read for each in placed)

    def _keep(self, placed: Placed, units: list[Unit], name: str) -> None:
        for unit in units:
            if isinstance(placed.destination, Landing):
                found = [(self._host, placed.destination.host), (self._device, placed.destination.device)]
                kept = [(tier, memory[unit.key]) for tier, memory in found if unit.key in memory]
            else:
                at = placed.plan.locate(unit.begin, unit.end)
                kept = [(self._host, placed.flat[at : at + unit.size])]
            for tier, memory in kept:
                self._put(tier, unit, memory, name)

    def _copy(self, missing: _Missing, name: str, stop: Event | None) -> None:
        """Copy what is in one memory and wanted in the other."""
        copier = Copier(self.torch_device)
        copied: list[tuple[Tier, Unit, torch.Tensor]] = []
        for unit in missing.upload:
            if stop and stop.is_set():
                raise Cancelled("the load was cancelled")
            memory, source = copier.memory(unit), self._host.get(unit.key)
            assert source is not None
            copier.copy(memory, source)
            copied.append((self._device, unit, memory))
        for unit in missing.download:
            memory = host_memory(unit, pinned=copier.cuda)
            copier.copy(memory, self.flat(unit.key))
            copied.append((self._host, unit, memory))
        copier.finish()
        with self._lock:
            for tier, unit, memory in copied:
                self._put(tier, unit, memory, name)

    def _put(self, tier: Tier, unit: Unit, memory: torch.Tensor, name: str) -> None:
        tier.put(unit.key, memory, unit.size)
        tier.hold([unit.key], name)
