"""`load`: everything is read and checked first, then all parts are written, or none."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from bpgpu.backend import storage
from bpgpu.errors import CheckpointError
from bpgpu.io import atomic
from bpgpu.io.container import File, json_object
from bpgpu.io.parts import Plan, plain, plan_for
from bpgpu.io.saving import VERSION, checked_parts
from bpgpu.io.structure import Decoder, complex_kind


def load(path: Any, /, *unnamed: Any, **parts: Any) -> dict[str, Any]:
    """Read a file of `save` into objects and trees; or, without parts, as it is.

    *Parameters*
    `path`: the file.
    `parts`: under the names that they were saved by: an object with `state_dict` and `load_state_dict`, which takes
    its state over; a tree, whose arrays are overwritten where their library can; or `None` for whatever the file has.
    Parts of the file that are not named stay where they are.

    *Returns* a dict of the parts: the objects themselves, and the trees with what was loaded. Arrays keep the library,
    the dtype and the device of those that were given, so that a checkpoint of a GPU loads on a CPU; numbers and
    strings are those of the file. Without parts it holds all of the file, with the arrays as NumPy's and the state of
    objects as a dict; a file of another program gives `{name: array}`.

    *Raises* `CheckpointError` for a file that is none of `save`, that is damaged, that lacks a part, or that does not
    fit: it lists what is missing, unexpected or of another shape, or what an object's own `load_state_dict` says.
    `MissingFileError` if there is no file, `StorageError` if it cannot be read. Nothing has been changed then.

    *Notes* Nothing in a file is ever run. bfloat16, which NumPy lacks, is read as float32 where no array says
    otherwise; each value is exact. Named tuples and dataclasses come back as such if they are given as a part, else as
    dicts.

    >>> import numpy as np, bpgpu as bp, tempfile, os
    >>> folder = tempfile.TemporaryDirectory()
    >>> path = os.path.join(folder.name, "run.safetensors")
    >>> model = bp.nn.Linear(2, 1)
    >>> bp.save(path, model=model, epoch=3)
    >>> bp.load(path, model=bp.nn.Linear(2, 1), epoch=0)["epoch"]
    3
    >>> folder.cleanup()
    """
    checked_parts("load", unnamed)
    with File(atomic.checked_path("load", path)) as file:
        structure = _structure(file)
        if structure is None:
            if parts:
                file.refuse(
                    "it was written by another program and has no parts; read it with weights = bpgpu.load(path), then "
                    "model.load_state_dict(weights)"
                )
            return {name: storage.copy(file.array(name)) for name in file.entries}
        content = _decoded(file, structure)
        if not parts:
            return {name: plain(value) for name, value in content.items()}
        missing = [name for name in parts if name not in content]
        if missing:
            file.refuse(f"it has no part {_quoted(missing)}; its parts are {_quoted(content)}")
        return _into(file, content, parts)


def _into(file: File, content: dict[str, Any], parts: dict[str, Any]) -> dict[str, Any]:
    plans: dict[str, Plan] = {}
    problems: list[str] = []
    for name, part in parts.items():
        plans[name] = plan_for(part, content[name], name, problems)
    if problems:
        shown = "; ".join(problems[:20])
        more = f"; and {len(problems) - 20} more" if len(problems) > 20 else ""
        file.refuse(f"it does not fit: {shown}{more}")
    return _carried_out(plans)


def _carried_out(plans: dict[str, Plan]) -> dict[str, Any]:
    """Load objects first, which may still refuse; then what was checked to the end. Undo all if one refuses."""
    for plan in plans.values():
        plan.prepare()
    undo: list[Callable[[], None]] = []
    try:
        for plan in plans.values():
            for part in plan.objects():
                undo.append(part.load())  # noqa: PERF401 - keeps those before if one fails
    except BaseException:
        for restore in reversed(undo):
            restore()
        raise
    return {name: plan.commit() for name, plan in plans.items()}


def _structure(file: File) -> dict[str, Any] | None:
    """The JSON of a file of `save`; `None` for a file of another program."""
    metadata = file.metadata
    if metadata.get("format") != "bpgpu" or "structure" not in metadata:
        return None
    version = metadata.get("version", "")
    if not (version.isascii() and version.isdigit() and len(version) < 10 and int(version) > 0):
        file.refuse(f"it has the impossible version {version!r:.40}")
    if int(version) > VERSION:
        file.refuse(
            f"it was written by a later bpgpu (version {int(version)} of the format, this one reads {VERSION}); "
            "upgrade bpgpu"
        )
    return json_object(file, metadata["structure"], "structure")


def _decoded(file: File, structure: dict[str, Any]) -> dict[str, Any]:
    """The content, with arrays that look at the file."""
    used: set[str] = set()
    kept: dict[tuple[str, bool], Any] = {}

    def array(name: str, is_complex: bool) -> Any:
        if name not in file.entries:
            raise CheckpointError(f"its structure names an array '{name:.80}' that is not there")
        used.add(name)
        if (name, is_complex) not in kept:
            kind = file.entries[name].kind
            found = file.array(name, complex_kind(kind) if is_complex else kind)
            kept[name, is_complex] = found
        return kept[name, is_complex]

    decode = Decoder(array)
    try:
        content = {name: decode(node) for name, node in structure.items()}
    except (CheckpointError, RecursionError) as error:
        deep = isinstance(error, RecursionError)
        file.refuse("its structure is nested too deep" if deep else str(error))
    spare = [name for name in file.entries if name not in used]
    if spare:
        file.refuse(f"its structure leaves out the arrays {_quoted(spare)}")
    return content


def _quoted(names: Iterable[str]) -> str:
    all_names = list(names)
    shown = ", ".join(f"'{name:.80}'" for name in all_names[:10])
    return shown + (f" and {len(all_names) - 10} more" if len(all_names) > 10 else "")
