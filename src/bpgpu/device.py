"""Devices: where arrays live and where new ones are made.

A device is the CPU, whose arrays are NumPy's, or one CUDA device, whose arrays are CuPy's. CUDA is looked for when it
is first asked for, and `Device.reason` tells in one sentence why a device was chosen.
"""

from __future__ import annotations

import functools
import os
import re
import sys
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from bpgpu import tree as trees
from bpgpu.backend import cupy, host, malloc
from bpgpu.backend.cupy import NoDeviceError
from bpgpu.backend.host import Memory
from bpgpu.errors import DeviceError

__all__ = ["Device", "Memory", "device", "devices", "show_config", "to_device", "to_numpy"]


@dataclass(frozen=True, slots=True, repr=False)
class Device:
    """The CPU or one CUDA device; made by `device("cuda:0")`.

    Two devices are equal if they are the same place, however they were chosen. As a context manager it is where new
    arrays are made, in this thread and until the block ends: `device()` gives it, and so do CuPy's own functions.

    >>> cpu = device("cpu")
    >>> with cpu:
    ...     device() == cpu
    True
    """

    type: Literal["cpu", "cuda"]
    index: int | None = None
    """The number of the CUDA device, as CUDA counts them; `None` for the CPU."""
    reason: str = field(default="", compare=False)
    """Why this device was chosen, in one sentence."""

    @property
    def xp(self) -> Any:
        """The namespace of its arrays: `array_api_compat.numpy`, or `array_api_compat.cupy` with what CuPy lacks put
        right; imported on first use."""
        return self._services.namespace()

    def asarray(self, data: Any, dtype: Any = None) -> Any:
        """`data` as an array on this device: numbers, nested lists, or an array of any library and device.

        *Parameters* `dtype`: a name (`"float32"`) or a dtype object of any library; `None` keeps the dtype of an
        array, and for Python's numbers takes NumPy's (float64, int64, bool).

        *Raises* `DtypeError` for data that are no numbers; `ConversionError` for an array that is being traced, which
        would lose its gradient.

        *Notes* Nothing is copied if the data are on the device already, in that dtype. A torch tensor that requires
        a gradient gives its values.

        >>> device("cpu").asarray([1, 2, 3], dtype="float32")
        array([1., 2., 3.], dtype=float32)
        """
        return self._services.asarray(data, dtype, self.index)

    def synchronize(self) -> None:
        """Wait until the device has done all its work. CUDA works behind the program's back: call it before timing."""
        self._services.synchronize(self.index)

    def memory(self) -> Memory:
        """How much memory is used, pooled, free and there in total, in bytes."""
        return self._services.memory(self.index)

    @property
    def name(self) -> str:
        """What the device is: the processor with its cores, or the GPU with its memory."""
        return self._services.name(self.index)

    @property
    def _services(self) -> _Services:
        return _SERVICES[self.type]

    def __enter__(self) -> Device:
        inner = self._services.entered(self.index)
        inner.__enter__()
        _entered.set((*_entered.get(), (self, inner)))
        return self

    def __exit__(self, *error: Any) -> None:
        *outer, (_, inner) = _entered.get()
        _entered.set(tuple(outer))
        inner.__exit__(*error)

    def __str__(self) -> str:
        return self.type if self.index is None else f"{self.type}:{self.index}"

    def __repr__(self) -> str:
        return f"Device('{self}')"


class _Services(Protocol):
    """What the module of a kind of device offers; `index` is the number of the device."""

    def asarray(self, data: Any, dtype: Any, index: int | None) -> Any: ...
    def synchronize(self, index: int | None) -> None: ...
    def entered(self, index: int | None) -> Any: ...
    def memory(self, index: int | None) -> Memory: ...
    def name(self, index: int | None) -> str: ...
    def namespace(self) -> Any: ...


_SERVICES: dict[str, _Services] = {"cpu": host, "cuda": cupy}

_entered: ContextVar[tuple[tuple[Device, Any], ...]] = ContextVar("bpgpu_devices", default=())
"""The devices whose `with` blocks are open, outermost first: each thread and task has its own."""


# ---- choosing


def device(name: str | Device | None = None) -> Device:
    """The device of this name.

    `"auto"`: the first CUDA device if CUDA works, else the CPU. It never raises; `reason` says what was found. The
    environment variable `BPGPU_DEVICE` (`cpu`, `cuda`, `cuda:1`) takes the decision instead.
    `"cpu"`, `"cuda"` (the same as `"cuda:0"`), `"cuda:1"`: that device and no other.
    `None`: the device of the innermost `with device(...):`, or `"auto"` outside of all.
    A `Device` is returned as it is.

    *Raises* `DeviceError` if a device that was named is not there or does not work, with the cause and the remedy.

    >>> device("cpu")
    Device('cpu')
    """
    if isinstance(name, Device):
        return name
    if name is None:
        open_here = _entered.get()
        return open_here[-1][0] if open_here else device("auto")
    try:
        found = _auto() if name == "auto" else _named(name, "asked for by name")
    except NoDeviceError as obstacle:
        raise DeviceError(
            f"device {name!r}: {obstacle.cause}. Remedy: {obstacle.remedy}"
        ) from obstacle.__cause__
    if found.type == "cpu":
        malloc.tune()
    return found


def devices() -> list[Device]:
    """All devices that can be used: the CPU, then each CUDA device.

    *Notes* CUDA devices are listed if the driver shows them and the CUDA libraries load. That a kernel runs is tried by
    `device("cuda:1")`, since that takes memory on the device.
    """
    count = cupy.survey().devices
    return [
        Device("cpu", None, "CPU: always there"),
        *(Device("cuda", i, f"{_title(i)}: shown by the driver") for i in range(count)),
    ]


def _named(name: str, why: str) -> Device:
    match = re.fullmatch(r"cpu|cuda(?::(\d+))?", name) if isinstance(name, str) else None  # type: ignore[redundant-expr]
    if match is None:
        raise NoDeviceError(
            "this is no device",
            "pass 'auto', 'cpu', 'cuda', a number with it as in 'cuda:1', or a bpgpu.Device",
        )
    if name == "cpu":
        return Device("cpu", None, f"CPU: {why}")
    index = int(match[1] or 0)
    count, obstacle = cupy.survey()
    if obstacle is None and index >= count:
        there = ", ".join(_title(i) for i in range(count))
        raise NoDeviceError(
            f"there is no such device, only {there}",
            "count from 0, over the devices that CUDA_VISIBLE_DEVICES lets through",
        )
    obstacle = obstacle or cupy.trial(index)
    if obstacle is not None:
        raise obstacle
    return Device("cuda", index, f"{_title(index)}: {why}")


def _auto() -> Device:
    wish = os.environ.get("BPGPU_DEVICE", "").strip().lower()
    if wish not in ("", "auto"):
        try:
            return _named(wish, f"BPGPU_DEVICE={wish}")
        except NoDeviceError as obstacle:
            reason = f"CPU: BPGPU_DEVICE={wish} cannot be followed: {obstacle.cause}"
            _log_once(reason)
            return Device("cpu", None, reason)
    obstacle_found = cupy.survey().obstacle or cupy.trial(0)
    if obstacle_found is not None:
        return Device("cpu", None, f"CPU: {obstacle_found.cause}")
    return Device("cuda", 0, f"{_title(0)}: found by CuPy, and a first kernel ran")


def _title(index: int) -> str:
    return f"cuda:{index} ({cupy.name(index)})"


@functools.cache
def _log_once(message: str) -> None:
    import logging

    logging.getLogger("bpgpu").warning("%s", message)


# ---- moving


def to_device(tree: Any, where: str | Device | None = None) -> Any:
    """The tree with all its arrays on a device; arrays of other libraries become NumPy's or CuPy's.

    *Parameters* `where`: a device or its name, as `device` takes it. What is no array stays as it is.

    *Raises* `DeviceError` for a device that is not there, `ConversionError` for arrays that are being traced.

    >>> import numpy as np
    >>> to_device({"w": np.float32([1, 2]), "name": "layer"}, "cpu")
    {'w': array([1., 2.], dtype=float32), 'name': 'layer'}
    """
    return trees.map(device(where).asarray, tree)


def to_numpy(tree: Any) -> Any:
    """The tree with all its arrays as NumPy arrays, from any library and device.

    *Raises* `ConversionError` for arrays that are being traced, `LibraryError` and `DtypeError` for arrays that NumPy
    cannot hold (torch's bfloat16 and sparse tensors).

    *Notes* Memory is shared where the library allows it: copy before writing. A torch tensor that requires a gradient
    gives its values.

    >>> import numpy as np
    >>> to_numpy([np.float32([1, 2]), "layer"])
    [array([1., 2.], dtype=float32), 'layer']
    """
    return trees.map(host.to_numpy, tree)


def show_config() -> None:
    """Print the versions, the devices, and what was skipped and why: what belongs into a bug report."""
    from bpgpu.config import report

    sys.stdout.write(report(device("auto"), devices()))
