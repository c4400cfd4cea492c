"""One ONNX graph for every size of the batch, from graphs at three sizes.

The graphs have the same nodes; only constants differ: the shape of a reshape, the length of a range, the factor of a
mean. What they are for any size `n` is found from the three and computed in the graph from the shape of an input.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

from bpgpu.device import device
from bpgpu.errors import ExportError

Graph = Any
Tensor = Any
"""A NumPy array."""

DIMENSION = "batch"
_SIZE = "bpgpu_batch_size"
"""The name of the size in the graph, a scalar."""


def any_batch(models: Sequence[Any], sizes: Sequence[int], axes: dict[str, int]) -> Any:
    """The model for every size of the batch.

    *Parameters* `models`: the model at each of `sizes`. `axes`: the inputs that have the batch, and along which axis.

    *Raises* `ExportError` if a graph depends on the size in a way that cannot be told.
    """
    builder = _Builder(sizes)
    model = type(models[0])()
    model.CopyFrom(models[0])
    if any(len(m.functions) for m in models):
        raise ExportError("export: the graph has functions; pass dynamic_batch=False")
    builder.merge(model.graph, [m.graph for m in models])
    name, axis = next(iter(axes.items()))
    nodes = [*builder.size_of(name, axis), *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    del model.graph.value_info[:]
    for kind in ("input", "output"):
        for one, *others in zip(*(getattr(m.graph, kind) for m in (model, *models)), strict=True):
            _free(one, others, sizes)
    return model


def _free(info: Any, others: list[Any], sizes: Sequence[int]) -> None:
    """Name the axes of an input or output that depend on the batch."""
    shapes = [[d.dim_value for d in o.type.tensor_type.shape.dim] for o in others]
    for axis, (dim, *lengths) in enumerate(
        zip(info.type.tensor_type.shape.dim, *shapes, strict=True)
    ):
        if len(set(lengths)) > 1:
            dim.ClearField("dim_value")
            dim.dim_param = DIMENSION if tuple(lengths) == tuple(sizes) else f"{info.name}_{axis}"


class _Builder:
    """Merges graphs, and makes the nodes that compute what depends on the size."""

    def __init__(self, sizes: Sequence[int]) -> None:
        self.sizes = sizes
        self.helper = importlib.import_module("onnx.helper")
        self.numpy = importlib.import_module("onnx.numpy_helper")
        self.proto = importlib.import_module("onnx").TensorProto
        self.xp = device("cpu").xp
        self.count = 0

    def merge(self, graph: Graph, others: list[Graph]) -> None:
        """Make `graph`, one of three, the graph of any size."""
        if len({len(g.node) for g in others}) > 1:
            raise ExportError(
                "export: the number of operations depends on the size of the batch: something loops over the batch. "
                "Write it with array operations, or pass dynamic_batch=False"
            )
        nodes: list[Any] = []
        for node, *same in zip(graph.node, *(g.node for g in others), strict=True):
            first = same[0]
            if len({(s.op_type, s.domain, len(s.attribute)) for s in same}) > 1:
                raise ExportError(
                    "export: the operations depend on the size of the batch (a branch on a shape, say): "
                    f"{sorted({s.op_type for s in same})}; pass dynamic_batch=False"
                )
            if first.op_type == "Constant" and len({s.SerializeToString() for s in same}) > 1:
                values = [self._constant(s) for s in same]
                nodes += self._computed(values, node.output[0])
                continue
            for attribute, *twins in zip(node.attribute, *(s.attribute for s in same), strict=True):
                if attribute.HasField("g"):
                    inner = [t.g for t in twins]
                    self.merge(attribute.g, inner)
                    for one, *outs in zip(
                        attribute.g.output, *(g.output for g in inner), strict=True
                    ):
                        _free(one, outs, self.sizes)
                elif len({t.SerializeToString() for t in twins}) > 1:
                    raise ExportError(
                        f"export: '{attribute.name}' of the operation {node.op_type} depends on the size of the batch; "
                        "pass dynamic_batch=False"
                    )
            nodes.append(node)
        fixed = []
        for initial, *twins in zip(
            graph.initializer, *(g.initializer for g in others), strict=True
        ):
            if len({t.SerializeToString() for t in twins}) == 1:
                fixed.append(initial)
            else:
                values = [self.numpy.to_array(t) for t in twins]
                nodes = [*self._computed(values, initial.name), *nodes]
        del graph.node[:], graph.initializer[:], graph.value_info[:]
        graph.node.extend(nodes)
        graph.initializer.extend(fixed)

    def _constant(self, node: Any) -> Tensor:
        attribute = node.attribute[0]
        value = self.helper.get_attribute_value(attribute)
        if attribute.name == "value":
            return self.numpy.to_array(value)
        dtype = "int64" if attribute.name.startswith("value_int") else "float32"
        return self.xp.asarray(value, dtype=getattr(self.xp, dtype))

    # ---- what a constant is for any size

    def _computed(self, values: list[Tensor], name: str) -> list[Any]:
        """Nodes that compute a constant, under its name."""
        nodes = None
        if len({v.shape for v in values}) == 1:
            nodes = self._affine(values, name)
        elif len({v.ndim for v in values}) == 1:
            nodes = self._stretched(values, name)
        if nodes is None:
            raise ExportError(
                "export: a constant depends on the size of the batch in a way that cannot be told, with shapes "
                f"{[v.shape for v in values]} at sizes {list(self.sizes)}; an array in the model may have the size of "
                "the example's batch. Pass it as an input, or pass dynamic_batch=False"
            )
        return nodes

    def _affine(self, values: list[Tensor], name: str) -> list[Any] | None:
        """`v = a n + b`, or `v = 1 / (a n + b)`, for each number."""
        dtype = values[0].dtype
        if dtype.kind not in "iuf":
            return None
        wide = [v.astype("float64") for v in values]
        line = self._line(wide, exact=dtype.kind != "f")
        if line is not None:
            return self._evaluated(line, dtype, name, inverse=False)
        if dtype.kind == "f" and all(self.xp.all(v != 0) for v in wide):
            line = self._line([1 / v for v in wide], exact=False)
            if line is not None:
                return self._evaluated(line, dtype, name, inverse=True)
        return None

    def _line(self, values: list[Tensor], exact: bool) -> tuple[Tensor, Tensor] | None:
        """`a` and `b` of the line through three values."""
        (n1, n2, n3), (v1, v2, v3) = self.sizes, values
        slope = (v3 - v1) / (n3 - n1)
        offset = v1 - slope * n1
        if exact:
            slope, offset = self.xp.round(slope), self.xp.round(offset)
        elif not self.xp.all(self.xp.isfinite(slope)):
            return None
        bound = 0.0 if exact else 3e-6
        for n, v in ((n1, v1), (n2, v2), (n3, v3)):
            if not self.xp.all(self.xp.abs(slope * n + offset - v) <= bound * self.xp.abs(v)):
                return None
        return slope, offset

    def _evaluated(
        self, line: tuple[Tensor, Tensor], dtype: Any, name: str, inverse: bool
    ) -> list[Any]:
        wide = "float64" if dtype.kind == "f" else "int64"
        slope, offset = (part.astype(wide) for part in line)
        if dtype.kind == "f":  # the rounding of float32 in what is zero
            scale = self.xp.abs(slope) * self.sizes[0]
            offset = self.xp.where(self.xp.abs(offset) <= 1e-4 * scale, 0 * offset, offset)
        n, part, total = self._new(), self._new(), self._new()
        constants: list[Any] = []
        code = self.helper.np_dtype_to_tensor_dtype
        nodes = [
            self.helper.make_node("Cast", [_SIZE], [n], to=code(slope.dtype)),
            self.helper.make_node("Mul", [n, self._put(slope, constants)], [part]),
            self.helper.make_node("Add", [part, self._put(offset, constants)], [total]),
        ]
        if inverse:
            turned = self._new()
            nodes.append(self.helper.make_node("Reciprocal", [total], [turned]))
            total = turned
        return [*constants, *nodes, self.helper.make_node("Cast", [total], [name], to=code(dtype))]

    def _stretched(self, values: list[Tensor], name: str) -> list[Any] | None:
        """An array whose length along one axis depends on `n`: `base + i step` at the position `i` along it."""
        xp, first = self.xp, values[0]
        differing = [k for k in range(first.ndim) if len({v.shape[k] for v in values}) > 1]
        if len(differing) != 1:
            return None
        (axis,) = differing
        length = self._line([xp.asarray(float(v.shape[axis])) for v in values], exact=True)
        if length is None or min(v.shape[axis] for v in values) < 2:
            return None
        base = xp.take(first, xp.asarray([0]), axis=axis)
        step = None
        if first.dtype.kind in "iuf":
            step = xp.take(first, xp.asarray([1]), axis=axis) - base
            if not xp.any(step != 0):
                step = None
        for v in values:
            column = [1] * v.ndim
            column[axis] = v.shape[axis]
            index = xp.reshape(xp.arange(v.shape[axis]), tuple(column))
            want = base if step is None else base + index.astype(first.dtype) * step
            if not xp.all(xp.broadcast_to(want, v.shape) == v):
                return None
        extra: list[Any] = []
        count, index, shaped = self._new(), self._new(), self._new()
        nodes = self._evaluated(length, xp.asarray(0).dtype, count, inverse=False)
        shape = [1] * first.ndim
        shape[axis] = -1
        zero, one = self._put(xp.asarray(0), extra), self._put(xp.asarray(1), extra)
        nodes += [
            self.helper.make_node("Range", [zero, count, one], [index]),
            self.helper.make_node(
                "Reshape", [index, self._put(xp.asarray(shape), extra)], [shaped]
            ),
        ]
        put = self._put(base, extra)
        if step is None:
            full = self._new()
            nodes += [
                self.helper.make_node("Shape", [shaped], [full]),
                self.helper.make_node("Expand", [put, full], [name]),
            ]
        else:
            cast, part = self._new(), self._new()
            code = self.helper.np_dtype_to_tensor_dtype(first.dtype)
            nodes += [
                self.helper.make_node("Cast", [shaped], [cast], to=code),
                self.helper.make_node("Mul", [cast, self._put(step, extra)], [part]),
                self.helper.make_node("Add", [part, put], [name]),
            ]
        return [*extra, *nodes]

    # ---- nodes

    def size_of(self, name: str, axis: int) -> list[Any]:
        """Nodes that read the size of the batch from an input."""
        shape, extra = self._new(), []  # type: tuple[str, list[Any]]
        where = self._put(self.xp.asarray(axis), extra)
        return [
            *extra,
            self.helper.make_node("Shape", [name], [shape]),
            self.helper.make_node("Gather", [shape, where], [_SIZE]),
        ]

    def _put(self, value: Tensor, nodes: list[Any]) -> str:
        """The name of a new constant, whose node is added to `nodes`."""
        name = self._new()
        tensor = self.numpy.from_array(self.xp.asarray(value), name)
        nodes.append(self.helper.make_node("Constant", [], [name], value=tensor))
        return name

    def _new(self) -> str:
        self.count += 1
        return f"bpgpu_batch_{self.count}"
