"""`summary`: run a model once and write down what each layer makes."""

from __future__ import annotations

import numbers
import re
from collections.abc import Callable
from typing import Any

from bpgpu import tree as trees
from bpgpu.autodiff.array import Array, device_of, raw
from bpgpu.autodiff.dtypes import is_floating
from bpgpu.autodiff.state import recording
from bpgpu.backend.libraries import namespace_of
from bpgpu.backend.rows import size_in_bytes
from bpgpu.device import device
from bpgpu.errors import ArgumentError
from bpgpu.nn.linear import Flatten, Identity, Unflatten
from bpgpu.nn.module import Module
from bpgpu.nn.twin import Twins
from bpgpu.overview.flops import WHOLE, operations, rule_of
from bpgpu.overview.table import Row, Shape, Summary

VIEWS = (Flatten, Unflatten, Identity)
"""Layers that return the memory that they were given."""

DTYPES = re.compile(r"bool|u?int(8|16|32|64)|b?float(16|32|64)|complex(64|128)")


def summary(model: Any, x: Any, *, dtype: Any = None) -> Summary:
    """A table of the layers of a model: output shapes, parameters, operations, memory.

    *Parameters* `model`: a `bpgpu.nn.Module`. `x`: what it is called with: an array, a tuple of arrays for a model of
    several inputs, or a shape such as `(32, 1, 28, 28)`, also for each of several inputs. `dtype`: for shapes, the
    dtype of the zeros that stand in (that of the weights; a model that begins with an embedding needs `"int64"`).

    *Returns* a `Summary`: `str` is the table, `rows` hold the numbers, `parameters`, `trainable`, `flops`,
    `parameter_bytes`, `activation_bytes` and so on are their sums.

    *Raises* `ArgumentError` for what is no model or no input, and whatever the model raises at this input, with the
    path of the layer.

    *Notes* The model runs once, in eval mode, on a copy that shares its weights: its state, random keys and modes, and
    the thread's keys (`bpgpu.seed`), stay as they are. A layer at two places and an array that is tied are counted
    once, at the first. Operations are counted by the rules of docs/summary.md, a multiply-add as 2; arithmetic between
    layers, in a `forward` of one's own, is not seen. Activations are what the layers return, which is about what
    training keeps.

    >>> from bpgpu import nn
    >>> print(summary(nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10)), (8, 64)))
    path     layer       output   parameters   FLOPs  activations
    -------------------------------------------------------------
    (model)  Sequential  (8, 10)
    0        Linear      (8, 32)       2,080  33.0 k      1.0 KiB
    1        ReLU        (8, 32)                 256      1.0 KiB
    2        Linear      (8, 10)         330  5.20 k        320 B
    -------------------------------------------------------------
    parameters:  2,410 (2,410 trainable, 0 frozen), 9.4 KiB; buffers 0 B
    forward:     38.5 k FLOPs (a multiply-add is 2), activations 2.3 KiB
    """
    if not isinstance(model, Module):
        hint = "; pass an object of it, not the class" if isinstance(model, type) else ""
        raise ArgumentError(
            f"summary: expected a bpgpu.nn.Module as model, got {model!r:.60}{hint}"
        )
    inputs = _inputs(model, x, dtype)
    calls = _run(model, inputs)
    return _rows(model, calls)


class _Calls:
    """What was seen of the calls of one layer."""

    def __init__(self) -> None:
        self.count = 0
        self.shapes: tuple[Shape, ...] = ()
        self.flops: int | None = 0
        self.bytes = 0


# ---- the run


def _run(model: Module, inputs: tuple[Any, ...]) -> dict[int, _Calls]:
    """Call a twin of the model; what was seen, by the identity of the layers."""
    twins = Twins({})
    twin = twins.of(model)
    calls: dict[int, _Calls] = {}
    made: list[list[Any]] = [[]]
    for module in model.modules():
        layer = twins.of(module)
        calls[id(module)] = _Calls()
        fields = layer.__dict__
        fields["training"] = False
        fields["forward"] = _watched(layer, calls[id(module)], made)
    for module in model.modules():
        del twins.of(module).__dict__["_twin"]  # nothing is carried back, so nothing is forbidden
    with recording() as journal:
        try:
            twin(*trees.map(Array, inputs))
        finally:
            journal.restore()
    return calls


def _watched(layer: Module, seen: _Calls, made: list[list[Any]]) -> Callable[..., Any]:
    """The `forward` of a layer, which writes down what it returns.

    `made` holds, for each call that is under way, the arrays that the calls inside have returned.
    """
    forward = layer.forward

    def watched(*args: Any, **kwargs: Any) -> Any:
        made.append([])
        try:
            output = forward(*args, **kwargs)
        finally:
            inside = made.pop()
        arrays = [raw(a) for a in trees.leaves(output)]
        given = [raw(a) for a in trees.leaves((args, kwargs))]
        known = {id(a) for a in (*inside, *given)}
        made[-1].extend(arrays)
        seen.count += 1
        seen.shapes = tuple(tuple(a.shape) for a in arrays)
        if not isinstance(layer, VIEWS):
            seen.bytes += sum(size_in_bytes(a) for a in arrays if id(a) not in known)
        found = operations(layer, (*args, *kwargs.values()), output)
        seen.flops = None if found is None or seen.flops is None else seen.flops + found
        return output

    return watched


# ---- the rows


def _rows(model: Module, calls: dict[int, _Calls]) -> Summary:
    trains = {id(a) for a in model.trainable().values()}
    first: dict[int, str] = {}
    rows: list[Row] = []
    hidden: list[str] = []
    uncounted: dict[str, None] = {}
    for path, module in model.named_modules(remove_duplicate=False):
        if any(path.startswith(prefix) for prefix in hidden):
            continue
        if isinstance(module, WHOLE):
            hidden.append(f"{path}." if path else "")
        seen = calls[id(module)]
        kind = type(module).__name__
        if id(module) in first:
            note = f"the layer of '{first[id(module)]}'"
            rows.append(Row(path, kind, 0, seen.shapes, 0, 0, 0, 0, 0, 0, (note,)))
            continue
        first[id(module)] = path
        notes = []
        own = dict(module.named_parameters(recurse=isinstance(module, WHOLE)))
        count = trainable = size = 0
        for name, array in own.items():
            place = f"{path}.{name}" if path else name
            if id(array) in first:
                notes.append(f"{name} is '{first[id(array)]}'")
                continue
            first[id(array)] = place
            n = _numbers(array)
            count, size = count + n, size + size_in_bytes(array)
            trainable += n * (id(array) in trains)
        buffers = [b for b in module.buffers(recurse=False).values() if id(b) not in first]
        first.update((id(b), path) for b in buffers)
        compound = any(True for _ in module.children())
        if not seen.count:
            if not compound:
                notes.append("not called")
        elif seen.flops is None and not compound:
            uncounted[kind] = None
        rows.append(
            Row(
                path,
                kind,
                seen.count,
                seen.shapes,
                count,
                trainable,
                size,
                sum(map(size_in_bytes, buffers)),
                seen.flops if rule_of(module) is not None else None,
                seen.bytes,
                tuple(notes),
            )
        )
    return Summary(tuple(rows), tuple(uncounted))


def _numbers(array: Any) -> int:
    n = 1
    for length in array.shape:
        n *= length
    return n


# ---- the inputs


def _inputs(model: Module, x: Any, dtype: Any) -> tuple[Any, ...]:
    """What the model is called with: arrays as they are, zeros for shapes."""
    several = type(x) in (tuple, list) and not _is_shape(x)
    found = [_input(model, part, dtype) for part in (x if several else [x])]
    if not any(True for _ in trees.leaves(found)):
        raise ArgumentError(
            "summary: expected x to be an array, a tuple of arrays, or a shape such as (32, 64), got "
            f"{x!r:.60}"
        )
    return tuple(found)


def _is_shape(x: Any) -> bool:
    return (
        type(x) in (tuple, list)
        and len(x) > 0
        and all(isinstance(n, numbers.Integral) and not isinstance(n, bool) for n in x)
    )


def _input(model: Module, x: Any, dtype: Any) -> Any:
    if not _is_shape(x):
        return x
    if min(x) < 0:
        raise ArgumentError(f"summary: expected sizes of at least 0 in the shape x, got {tuple(x)}")
    weights = [p for p in model.parameters().values() if is_floating(p)]
    if weights:
        xp, place = namespace_of(weights[0]), device_of(weights[0])
        kind = weights[0].dtype if dtype is None else _dtype(xp, dtype)
        return xp.zeros(tuple(x), dtype=kind, device=place)
    here = device()
    return here.asarray(here.xp.zeros(tuple(x), dtype=here.xp.float32), dtype)


def _dtype(xp: Any, dtype: Any) -> Any:
    """A dtype by its name, which all libraries share."""
    name = str(getattr(dtype, "name", None) or dtype).rpartition(".")[2]
    name = getattr(dtype, "__name__", name) if isinstance(dtype, type) else name
    if not DTYPES.fullmatch(name) or not hasattr(xp, name):
        raise ArgumentError(f"summary: expected a dtype such as 'int64', got {dtype!r}")
    return getattr(xp, name)
