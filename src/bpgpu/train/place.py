"""Where a training runs: which device is taken, and why."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bpgpu import tree as trees
from bpgpu.backend import backend_of
from bpgpu.backend.libraries import library_of, namespace_of
from bpgpu.device import Device
from bpgpu.device import device as find_device
from bpgpu.errors import DeviceError, LibraryError


@dataclass(frozen=True)
class Elsewhere:
    """The device of a model whose arrays are of another library than NumPy and CuPy: nothing is moved there."""

    name: str
    reason: str

    def __str__(self) -> str:
        return self.name


Place = Device | Elsewhere


def choose(model: Any, wish: Any, data: Any = None) -> Place:
    """The device to work on.

    `"auto"`: where the model is, if its arrays are on a GPU or of another library than NumPy; else the device that
    `bpgpu.device("auto")` finds. `None`: where the model is. A name or a `Device`: that one. For a model without
    arrays, the `data` decide.
    """
    if wish is not None and wish != "auto":
        return find_device(wish)
    arrays = [*model.parameters().values(), *model.buffers().values(), *trees.leaves(data)]
    if not arrays:
        return find_device(wish)
    first = arrays[0]
    library = library_of(first)
    if library == "numpy":
        return find_device("auto" if wish == "auto" else "cpu")
    if library == "cupy":
        return Device("cuda", first.device.id, f"cuda:{first.device.id}: the model is there")
    name = f"{library} on {backend_of(namespace_of(first)).device_of(first)}"
    return Elsewhere(name, f"{name}: the model is there")


def moves(model: Any, place: Place) -> bool:
    """True if arrays of the model are not at the place yet."""
    if not isinstance(place, Device):
        return False
    home = place.xp.__name__
    return any(
        namespace_of(a).__name__ != home
        or (place.type == "cuda" and a.device.id != (place.index or 0))
        for a in [*model.parameters().values(), *model.buffers().values()]
    )


def fields_of(*modules: Any) -> list[tuple[Any, dict[str, Any]]]:
    """What the attributes of all layers are, to be put back."""
    layers = [m for module in modules if hasattr(module, "modules") for m in module.modules()]
    return [(m, dict(m.__dict__)) for m in layers]


def put_back(before: list[tuple[Any, dict[str, Any]]]) -> None:
    for module, fields in before:
        module.__dict__.clear()
        module.__dict__.update(fields)


def check_together(model: Any, data: Any, what: str, wish: Any, place: Place) -> None:
    """Raise unless `data` are where the model is, or may be moved there.

    Asked for a device by name, all is moved. With `"auto"`, arrays of NumPy and CuPy are; with `None`, nothing is.
    """
    if wish not in (None, "auto"):
        return
    home = next(iter(model.parameters().values()), None)
    if home is None:
        return
    xp = namespace_of(home)
    backend = backend_of(xp)
    for path, x in trees.items(data):
        name = {"0": "x", "1": "y"}.get(path, path) or "data"
        library = library_of(x)
        if wish == "auto" and isinstance(place, Device) and library in ("numpy", "cupy"):
            continue
        if namespace_of(x).__name__ != xp.__name__:
            raise LibraryError(
                f"{what}: {name} is an array of {library}, the model is of {library_of(home)}; convert one of them, or "
                "pass device='cpu' or 'cuda' to have both moved"
            )
        here, there = backend.device_of(home), backend.device_of(x)
        if here is not None and there is not None and here != there:
            raise DeviceError(
                f"{what}: {name} is on the device {there}, the model on {here}; move one of them to the other's "
                "device, or pass device='cpu' or 'cuda' to have both moved"
            )
