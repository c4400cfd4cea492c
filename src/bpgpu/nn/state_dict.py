"""Saving a Module's arrays to a dict, and loading them back: all or nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from os import PathLike
from typing import TYPE_CHECKING, Any, NamedTuple

from bpgpu import tree as trees
from bpgpu.autodiff.array import raw
from bpgpu.autodiff.dtypes import kind
from bpgpu.backend import backend_of
from bpgpu.backend.libraries import namespace_of
from bpgpu.device import to_numpy
from bpgpu.errors import ModuleError

if TYPE_CHECKING:
    from bpgpu.nn.module import Module


class LoadResult(NamedTuple):
    """What `load_state_dict(strict=False)` passed over."""

    missing_keys: list[str]
    unexpected_keys: list[str]

    def __repr__(self) -> str:
        if not self.missing_keys and not self.unexpected_keys:
            return "<All keys matched successfully>"
        return (
            f"LoadResult(missing_keys={self.missing_keys}, unexpected_keys={self.unexpected_keys})"
        )


def save(module: Module) -> dict[str, Any]:
    """The arrays of a Module by path; a tied one stands under each of its paths, as torch writes
    it."""
    return {path: owner.__dict__[name] for path, owner, name in _saved(module)}


def _how_to_read(path: Any) -> str:
    """The remedy for the path of a file in place of what is in it."""
    if not isinstance(path, (str, PathLike)):
        return ""
    return "; a file is read first: bpgpu.load(path) for safetensors, bpgpu.io.torch.load(path) for torch's"


def load(module: Module, state_dict: Any, strict: bool, assign: bool = False) -> LoadResult:
    """Copy `state_dict` into the Module, after everything about it has been checked."""
    if not isinstance(state_dict, Mapping):
        raise ModuleError(
            f"load_state_dict: expected a dict {{path: array}}, got {type(state_dict).__name__}"
            + _how_to_read(state_dict)
        )
    state_dict = _renamed(module, state_dict)
    places = {path: (owner, name) for path, owner, name in _saved(module)}
    missing = [
        path
        for path, (owner, name) in places.items()
        if path not in state_dict and name not in owner.may_lack
    ]
    unexpected = [path for path in state_dict if path not in places]
    problems = [f"{path}: missing" for path in missing] if strict else []
    problems += [f"{path}: unexpected" for path in unexpected] if strict else []
    found = {path: state_dict[path] for path in places if path in state_dict}
    for path, value in found.items():
        owner, name = places[path]
        problems += _problem(path, owner.__dict__[name], value)
    if problems:
        raise ModuleError(
            f"load_state_dict: nothing was loaded into this {type(module).__name__}. "
            + "; ".join(problems)
        )
    if assign:
        for path, value in found.items():
            owner, name = places[path]
            owner.__dict__[name] = raw(value)
        return LoadResult(missing, unexpected)
    converted = {path: _converted(places[path], value) for path, value in found.items()}
    replaced: dict[int, tuple[Any, Any]] = {}  # arrays that cannot be written into
    for path, value in converted.items():
        owner, name = places[path]
        old = owner.__dict__[name]
        new = backend_of(namespace_of(old)).copy_into(old, value)
        if new is not old:
            replaced[id(old)] = (old, new)
    if replaced:
        _rebind(module, replaced)
    return LoadResult(missing, unexpected)


def _rebind(module: Module, replaced: dict[int, tuple[Any, Any]]) -> None:
    """Put new arrays wherever the old ones stand, so that what was tied stays tied."""
    for owner in module.modules():
        fields = owner.__dict__
        for name in (*fields["_parameters"], *fields["_buffers"]):
            if id(fields[name]) in replaced:
                fields[name] = replaced[id(fields[name])][1]


def _renamed(module: Module, state_dict: Mapping[str, Any]) -> dict[str, Any]:
    """The arrays of torch's older `weight_norm` and `spectral_norm` under the names of now."""
    found = dict(state_dict)
    for path, owner in module.named_modules(remove_duplicate=False):
        if type(owner).__dict__.get("older_names") is None:
            continue
        head, _, _ = path.rpartition(".")  # ...parametrizations.weight
        layer, _, name = head.rpartition(".")
        layer = layer.removesuffix("parametrizations")
        for end, now in owner.older_names.items():
            if f"{layer}{name}{end}" in found:
                found[f"{head}.{now}"] = found.pop(f"{layer}{name}{end}")
    return found


def _saved(module: Module) -> Iterator[tuple[str, Module, str]]:
    for path, owner in module.named_modules(remove_duplicate=False):
        fields = owner.__dict__
        saved = [*fields["_parameters"], *(n for n, keep in fields["_buffers"].items() if keep)]
        for name in saved:
            if fields[name] is not None:
                yield (f"{path}.{name}" if path else name), owner, name


def _problem(path: str, old: Any, value: Any) -> list[str]:
    if not trees.is_array(value):
        return [f"{path}: expected an array, got {type(value).__name__}"]
    if tuple(value.shape) != tuple(old.shape):
        return [f"{path}: expected shape {tuple(old.shape)}, got {tuple(value.shape)}"]
    if kind(raw(value).dtype) == "complex" and kind(old.dtype) != "complex":
        return [f"{path}: expected a real array, got dtype {value.dtype}"]
    return []


def _converted(place: tuple[Module, str], value: Any) -> Any:
    """The value as an array of the library, dtype and device that are there."""
    owner, name = place
    old = owner.__dict__[name]
    xp = namespace_of(old)
    value = raw(value)
    if namespace_of(value) is not xp:
        value = xp.asarray(to_numpy(value))
    if value.dtype != old.dtype:
        value = xp.astype(value, old.dtype)
    backend = backend_of(xp)
    device = backend.device_of(old)
    return value if backend.device_of(value) == device else backend.to_device(value, device)
