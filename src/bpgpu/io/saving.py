"""`save`: any number of objects and trees into one file."""

from __future__ import annotations

import json
from typing import Any

from bpgpu.errors import ArgumentError
from bpgpu.io import atomic, container
from bpgpu.io.structure import Encoder, State

VERSION = 1
"""Of what `save` writes. Every later `load` reads the earlier ones."""


def save(path: Any, /, *unnamed: Any, **parts: Any) -> None:
    """Write objects and trees into one file, each part under its name; `load` reads them back.

    *Parameters*
    `path`: the file, usually `*.safetensors`. One that is there is replaced.
    `parts`: by name, whatever has `state_dict` and `load_state_dict` (a Module, an optimizer, a schedule, a
    `DataLoader`, an average, an object of yours), or a tree: dicts, lists and tuples of arrays, numbers, strings and
    `None`.

    *Raises* `ArgumentError` for what cannot be saved, `DtypeError` for arrays of objects and the like, `StorageError`
    if the system refuses: a full disk, a folder without the right to write.

    *Notes* The file is written whole or not at all: a process that is killed at any moment, or an error, leaves the
    file that was there. It is a safetensors file, so other programs can read the arrays, `"model.0.weight"`; complex
    ones stand there as pairs of real ones along a new last axis. Numbers come back exactly, NaN, infinities and large
    integers included; the rest of the structure is JSON in the metadata. Of a Module, non-persistent buffers (the
    keys of dropout) are saved too. Arrays on a GPU go through the host one at a time.

    >>> import numpy as np, bpgpu as bp, tempfile, os
    >>> folder = tempfile.TemporaryDirectory()
    >>> path = os.path.join(folder.name, "weights.safetensors")
    >>> bp.save(path, params={"w": np.float32([1, 2]), "b": None}, epoch=3)
    >>> bp.load(path)
    {'params': {'w': array([1., 2.], dtype=float32), 'b': None}, 'epoch': 3}
    >>> folder.cleanup()
    """
    checked_parts("save", unnamed)
    if not parts:
        raise ArgumentError("save: nothing to save; name the parts: bpgpu.save(path, model=model)")
    file = atomic.checked_path("save", path)
    encoder = Encoder(state_of)
    structure = {name: encoder.part(name, value) for name, value in parts.items()}
    text = json.dumps(structure, separators=(",", ":"), allow_nan=False)
    metadata = {"format": "bpgpu", "version": str(VERSION), "structure": text}
    atomic.write(file, container.chunks(encoder.arrays, metadata))


def checked_parts(who: str, unnamed: tuple[Any, ...]) -> None:
    if unnamed:
        raise ArgumentError(
            f"{who}: each part needs a name, got {len(unnamed)} without; write bpgpu.{who}(path, model=model)"
        )


def is_stateful(x: Any) -> bool:
    """True for an object that gives its state and takes it back."""
    cls = type(x)
    return (
        not isinstance(x, type)
        and callable(getattr(cls, "state_dict", None))
        and callable(getattr(cls, "load_state_dict", None))
    )


def state_of(x: Any) -> Any:
    """The state of an object; anything else as it is."""
    if not is_stateful(x):
        return x
    saved = x._saving() if shares_state(x) else x.state_dict()
    return State(saved, transient(x, saved))


def shares_state(x: Any) -> bool:
    """True for objects that give their state for a file without copying it, and copy what they load.

    A subclass may have a `state_dict` of its own, of which `_saving` of its base knows nothing.
    """
    cls = type(x)
    return hasattr(cls, "_saving") and _owner(cls, "_saving") is _owner(cls, "state_dict")


def _owner(cls: type, name: str) -> type:
    """The class that defines a method."""
    return next(base for base in cls.__mro__ if name in vars(base))


def transient(x: Any, saved: Any) -> dict[str, Any]:
    """What the state of a Module leaves out and a training that goes on needs: its non-persistent buffers, by path."""
    if not callable(getattr(type(x), "named_buffers", None)):
        return {}
    return {name: b for name, b in x.named_buffers() if name not in saved}
