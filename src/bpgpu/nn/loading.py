"""Loading a Module from a checkpoint, in two halves: what does not fit is told before anything is written."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from bpgpu.backend.storage import writer
from bpgpu.nn import state_dict as states

if TYPE_CHECKING:
    from bpgpu.nn.module import Module


def loading(
    module: Module, saved: Any, transient: Mapping[str, Any]
) -> tuple[list[str], Callable[[], None]]:
    """What does not fit, and a function that writes what was found to fit.

    `transient` are non-persistent buffers, such as keys; one that only the Module or only the
    checkpoint has is passed over."""
    if not isinstance(saved, Mapping):
        return [f"expected a dict {{path: array}}, got {type(saved).__name__}"], _nothing
    saved = states._renamed(module, saved)
    places = {path: (owner, name) for path, owner, name in states._saved(module)}
    problems = [f"{path}: missing in the file" for path in places if path not in saved]
    problems += [f"{path}: unexpected, the Module has none" for path in saved if path not in places]
    places.update((path, (owner, name)) for path, owner, name in _transient(module))
    given = {**transient, **saved}
    found = {path: given[path] for path in places if path in given}
    for path, value in found.items():
        owner, name = places[path]
        problems += states._problem(path, owner.__dict__[name], value)
    return problems, _nothing if problems else _writer(places, found)


def _transient(module: Module) -> Iterator[tuple[str, Module, str]]:
    for path, owner in module.named_modules(remove_duplicate=False):
        for name, persistent in owner._buffers.items():
            if not persistent and owner.__dict__[name] is not None:
                yield (f"{path}.{name}" if path else name), owner, name


def _nothing() -> None:
    pass


def _writer(places: dict[str, tuple[Module, str]], values: dict[str, Any]) -> Callable[[], None]:
    """A function that writes the values, which are converted now; tied arrays stay tied."""
    arrays: dict[int, Callable[[], Any]] = {}
    uses: list[tuple[Module, str, int]] = []
    for path, value in values.items():
        owner, name = places[path]
        old = owner.__dict__[name]
        uses.append((owner, name, id(old)))
        if id(old) not in arrays:
            arrays[id(old)] = writer(old, states._converted(places[path], value))

    def write() -> None:
        new = {old: put() for old, put in arrays.items()}
        for owner, name, old in uses:
            owner.__dict__[name] = new[old]

    return write
