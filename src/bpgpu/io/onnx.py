"""ONNX: a model is run once on arrays of ndonnx, which write down what is computed.

There is no exporter with a rule for each layer: every layer is written to the Array API, and ndonnx speaks it. The same
goes for a function that computes a loss, its gradient and an update.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

from bpgpu import tree as trees
from bpgpu.backend.host import to_numpy
from bpgpu.errors import (
    ArgumentError,
    BpgpuError,
    ExportError,
    LibraryError,
    MissingPackageError,
    ShapeError,
)
from bpgpu.io import atomic
from bpgpu.io.onnx_batch import any_batch
from bpgpu.io.onnx_functions import bare, each_module, module_with_constants, with_constants

__all__ = ["export"]

SIZES = (11, 13, 17)
"""The sizes of the batch at which a model is run, to tell numbers that depend on it from those that do not."""


class Input(NamedTuple):
    """An array of the example as an input of the graph."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    axis: int | None
    """The axis of the batch."""


def export(
    model: Callable[..., Any],
    example: Any,
    path: Any,
    dynamic_batch: bool | Mapping[int, int] = True,
) -> None:
    """Write a model as an ONNX file, which ONNX Runtime and others run without bpgpu.

    *Parameters*

    - `model`: a Module, written as it is in eval mode, its weights inside the file; or a function of arrays and trees,
      such as a step that returns the loss and the updated parameters. Arrays and Modules that a function closes
      over are constants of the file; a Module is used in the mode that it is in.
    - `example`: what it is called with: an array, or a tuple of arguments, each an array or a tree of arrays. Only
      shapes and dtypes matter. What is no array is a setting and becomes part of the file.
    - `path`: the file, usually `*.onnx`. One that is there is replaced, whole or not at all.
    - `dynamic_batch`: let the size of the batch be free. `True`: it is the first axis of every array; `{2: 0, 3: 0}`:
      it is axis 0 of the arguments 2 and 3, and the others keep their shapes; `False`: all shapes are those of the
      example.

    The inputs are named as the arguments of `forward` or of the function, `"x"`, those in a tree by their path,
    `"params.0.weight"`. An output is named `"output"`, those in a tree `"output.0"`, `"output.loss"`.

    *Raises* `ExportError` for what ONNX or ndonnx lacks, with the path of the layer, and for a computation that takes
    another course for another size of the batch; `ShapeError` for batches of different sizes in the example;
    `MissingPackageError` without ndonnx. No file is written then.

    *Notes* The model is run at three sizes of the batch. Numbers that are the same in all of them are constants,
    others must be `a n + b` or `1 / (a n + b)` of the size `n`; anything else is refused. Weights that have 2 GB or
    more do not fit into a file. See docs/onnx.md for the layers.
    """
    ndonnx, onnx = _packages()
    target = atomic.checked_path("export", path)
    if not callable(model):
        raise ArgumentError(
            f"export: expected a Module or a function as model, got {type(model).__name__}"
        )
    arguments = example if isinstance(example, tuple) else (example,)
    inputs = _inputs(model, arguments, _axes(dynamic_batch, arguments))
    call = _in_eval_mode(model, ndonnx) if hasattr(model, "modules") else model
    if any(one.axis is not None for one in inputs):
        graphs = [_graph(call, arguments, _at(inputs, n), ndonnx) for n in SIZES]
        axes = {one.name: one.axis for one in inputs if one.axis is not None}
        graph = any_batch(graphs, SIZES, axes)
    else:
        graph = _graph(call, arguments, inputs, ndonnx)
    try:
        onnx.checker.check_model(graph, full_check=True)
        content = graph.SerializeToString()
    except (ValueError, onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ExportError(f"export: the graph is not what ONNX allows: {error}") from error
    atomic.write(target, [content])


def _packages() -> tuple[Any, Any]:
    try:
        onnx = importlib.import_module("onnx")
        importlib.import_module("onnx.checker")
        return importlib.import_module("ndonnx"), onnx
    except ImportError as error:
        raise MissingPackageError(
            f'export needs the packages ndonnx and onnx: pip install "bpgpu[onnx]" ({error})'
        ) from error


# ---- inputs


def _axes(dynamic: Any, arguments: tuple[Any, ...]) -> dict[int, int]:
    """The axis of the batch for each argument that has one."""
    if dynamic is True or dynamic is False:
        return dict.fromkeys(range(len(arguments)), 0) if dynamic else {}
    if isinstance(dynamic, Mapping) and all(
        type(k) is int and type(v) is int and 0 <= k < len(arguments) for k, v in dynamic.items()
    ):
        return dict(dynamic)
    raise ArgumentError(
        "export: dynamic_batch is True, False or a dict {position of an argument: axis} with positions below "
        f"{len(arguments)}, got {dynamic!r}"
    )


def _inputs(model: Any, arguments: tuple[Any, ...], axes: dict[int, int]) -> list[Input]:
    """The arrays of the example, in the order of their leaves."""
    found = []
    names = _names(model, len(arguments))
    sizes: dict[str, int] = {}
    for n, (name, argument) in enumerate(zip(names, arguments, strict=True)):
        for path, leaf in trees.items(argument):
            full = f"{name}.{path}" if path else name
            shape = tuple(int(size) for size in leaf.shape)
            axis = axes.get(n)
            if axis is not None:
                if not -len(shape) <= axis < len(shape):
                    raise ShapeError(
                        f"export: input '{full}' has shape {shape} and no axis {axis} for the batch; name the "
                        "arguments that have one, dynamic_batch={0: 0}, or pass dynamic_batch=False"
                    )
                axis %= len(shape)
                sizes[full] = shape[axis]
            found.append(Input(full, shape, to_numpy(leaf).dtype.name, axis))
    if not found:
        raise ArgumentError("export: there is no array in the example")
    if len(set(sizes.values())) > 1:
        raise ShapeError(
            f"export: the example has batches of different sizes, {sizes}; name the arguments that have a batch "
            "axis, dynamic_batch={0: 0}"
        )
    return found


def _names(model: Any, count: int) -> list[str]:
    """The names of the arguments that are taken by position."""
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    try:
        parameters = inspect.signature(getattr(model, "forward", model)).parameters.values()
        names = [p.name for p in parameters if p.kind in kinds]
    except (TypeError, ValueError):
        names = []
    return [*names, *(f"input{n}" for n in range(len(names), count))][:count]


def _at(inputs: list[Input], size: int) -> list[Input]:
    """The inputs for a batch of this size."""
    return [
        one
        if one.axis is None
        else one._replace(shape=(*one.shape[: one.axis], size, *one.shape[one.axis + 1 :]))
        for one in inputs
    ]


# ---- the model on arrays of ndonnx


def _in_eval_mode(model: Any, ndonnx: Any) -> Any:
    """A copy of a Module whose arrays are constants of ndonnx, and whose errors name the layer."""
    twin = module_with_constants(model, partial(_constant, ndonnx=ndonnx)).eval()
    for module in twin.modules():
        module.__dict__["forward"] = _told(module.forward)
    return twin


def _constant(value: Any, ndonnx: Any) -> Any:
    try:
        return ndonnx.asarray(to_numpy(value))
    except (TypeError, ValueError) as error:
        raise ExportError(
            f"an array with dtype {value.dtype} cannot be exported to ONNX: {_first_line(error)}"
        ) from error


def _told(forward: Callable[..., Any]) -> Callable[..., Any]:
    """A `forward` whose errors are those of an export; on their way out they get the path of the layer."""

    def told(*args: Any, **kwargs: Any) -> Any:
        try:
            return forward(*args, **kwargs)
        except LibraryError as error:
            raise ExportError(
                f"cannot be exported to ONNX: {error}. An array that is made inside is made by xp = "
                "bpgpu.array_namespace(x) of an input, or kept as a buffer"
            ) from error
        except BpgpuError:
            raise
        except Exception as error:
            raise ExportError(f"cannot be exported to ONNX: {_first_line(error)}") from error

    return told


def _first_line(error: BaseException) -> str:
    text = str(error).strip()
    return f"{type(error).__name__}: {text.splitlines()[0]:.200}" if text else type(error).__name__


def _graph(call: Any, arguments: tuple[Any, ...], inputs: list[Input], ndonnx: Any) -> Any:
    """The graph of a call at the shapes of the inputs."""
    try:
        given = {
            one.name: ndonnx.argument(shape=one.shape, dtype=getattr(ndonnx, one.dtype))
            for one in inputs
        }
    except AttributeError as error:
        raise ExportError(f"export: ONNX has no arrays of this kind: {error}") from error
    stream = iter(given.values())
    constant = partial(_constant, ndonnx=ndonnx)
    arguments = each_module(arguments, partial(module_with_constants, constant=constant))
    filled = [trees.map(lambda _: next(stream), argument) for argument in arguments]
    filled = each_module(filled, bare)
    if not hasattr(call, "modules"):  # a function: what it writes to is copied for each run
        call = with_constants(call, constant)
    output = _told(call)(*filled)
    outputs = {f"output.{path}" if path else "output": leaf for path, leaf in trees.items(output)}
    if not outputs:
        raise ExportError(
            f"export: the model returned no array but {type(output).__name__}; return arrays or a tree of them"
        )
    for name, leaf in outputs.items():
        if not isinstance(leaf, ndonnx.Array):
            outputs[name] = _constant(leaf, ndonnx)
    try:
        return ndonnx.build(given, outputs)
    except Exception as error:
        raise ExportError(f"export: the graph could not be built: {_first_line(error)}") from error
