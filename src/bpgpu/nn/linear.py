"""Dense layers, and layers that only change shapes."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import Any

from bpgpu import functional as F  # noqa: N812 - as everyone calls it
from bpgpu.autodiff.namespace import array_namespace
from bpgpu.errors import ArgumentError, ShapeError
from bpgpu.functional.arguments import Array, axis_of, tupled
from bpgpu.nn import init
from bpgpu.nn.module import Module
from bpgpu.nn.parameter import Parameter


class Identity(Module):
    """`y = x`: a layer that does nothing, to stand where another may.

    *Parameters* any; they are not looked at.

    >>> import numpy as np
    >>> Identity(54, unused=True)(np.ones(2))
    array([1., 1.])
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()

    def forward(self, input: Array) -> Array:
        return input


class Linear(Module):
    """The affine map `y = x W^T + b`.

    *Shape* `(*, in_features) -> (*, out_features)`, with any number of leading axes.

    *Attributes* `weight` of shape `(out_features, in_features)` and `bias` of shape
    `(out_features,)`, both drawn uniformly from `(-k, k)`, `k = 1 / sqrt(in_features)`.

    *Parameters* `bias`: whether `b` is there (True). `device`, `dtype`: of the weights (float32).

    *Raises* `ShapeError` for sizes that are no integers of at least 0.

    *References* K. He et al. (2015), "Delving deep into rectifiers", for the distribution, as torch
    scales it.

    >>> import numpy as np
    >>> Linear(20, 30)(np.ones((128, 20), dtype=np.float32)).shape
    (128, 30)
    """

    weight: Array
    bias: Array | None

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        (self.in_features,) = tupled("Linear", "in_features", in_features, 1)
        (self.out_features,) = tupled("Linear", "out_features", out_features, 1)
        shape = (self.out_features, self.in_features)
        self.weight = Parameter(init.new(shape, device, dtype))
        b = Parameter(init.new(shape[:1], device, dtype)) if bias else None
        self.register_parameter("bias", b)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the weights anew."""
        self.weight = init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        if self.bias is not None:
            k = 1 / math.sqrt(self.in_features or 1)
            self.bias = init.uniform_(self.bias, -k, k)

    def forward(self, input: Array) -> Array:
        return F.linear(input, self.weight, self.bias)

    def extra_repr(self) -> str:
        return (
            f"in_features={self.in_features}, out_features={self.out_features}, "
            f"bias={self.bias is not None}"
        )


class Bilinear(Module):
    """A map that is linear in each of two inputs: `y_k = x1^T W_k x2 + b_k`.

    *Shape* `(*, in1_features), (*, in2_features) -> (*, out_features)`; the leading axes are equal.

    *Attributes* `weight` of shape `(out_features, in1_features, in2_features)` and `bias` of shape
    `(out_features,)`, both drawn uniformly from `(-k, k)`, `k = 1 / sqrt(in1_features)`.

    *Parameters* `bias`: whether `b` is there (True). `device`, `dtype`: of the weights (float32).

    *Raises* `ShapeError` for sizes that are no integers, or below 1 for `in1_features`.

    >>> import numpy as np
    >>> x1, x2 = np.ones((2, 128, 20), dtype=np.float32)
    >>> Bilinear(20, 20, 3)(x1, x2).shape
    (128, 3)
    """

    weight: Array
    bias: Array | None

    def __init__(
        self,
        in1_features: int,
        in2_features: int,
        out_features: int,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        (self.in1_features,) = tupled("Bilinear", "in1_features", in1_features, 1, least=1)
        (self.in2_features,) = tupled("Bilinear", "in2_features", in2_features, 1)
        (self.out_features,) = tupled("Bilinear", "out_features", out_features, 1)
        shape = (self.out_features, self.in1_features, self.in2_features)
        self.weight = Parameter(init.new(shape, device, dtype))
        b = Parameter(init.new(shape[:1], device, dtype)) if bias else None
        self.register_parameter("bias", b)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the weights anew."""
        k = 1 / math.sqrt(self.in1_features)
        self.weight = init.uniform_(self.weight, -k, k)
        if self.bias is not None:
            self.bias = init.uniform_(self.bias, -k, k)

    def forward(self, input1: Array, input2: Array) -> Array:
        return F.bilinear(input1, input2, self.weight, self.bias)

    def extra_repr(self) -> str:
        return (
            f"in1_features={self.in1_features}, in2_features={self.in2_features}, "
            f"out_features={self.out_features}, bias={self.bias is not None}"
        )


class Flatten(Module):
    """Make one axis of the axes `start_dim` to `end_dim`, both included.

    *Shape* `(N, C, H, W) -> (N, C H W)` with the defaults: all axes but that of the examples.

    *Parameters* `start_dim` (1), `end_dim` (-1): counted from the end if negative.

    *Raises* `ShapeError` if one of these axes does not exist, or they stand in the wrong order.

    >>> import numpy as np
    >>> Flatten()(np.ones((32, 1, 5, 5))).shape
    (32, 25)
    """

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        super().__init__()
        self.start_dim = start_dim
        self.end_dim = end_dim

    def forward(self, input: Array) -> Array:
        first = axis_of("flatten", self.start_dim, input.ndim, name="start_dim")
        last = axis_of("flatten", self.end_dim, input.ndim, name="end_dim")
        if first > last:
            raise ShapeError(
                f"flatten: expected start_dim before end_dim, got {self.start_dim} and "
                f"{self.end_dim} for an input of shape {tuple(input.shape)}"
            )
        shape = tuple(input.shape) or (1,)
        joined = math.prod(shape[first : last + 1])
        return array_namespace(input).reshape(input, (*shape[:first], joined, *shape[last + 1 :]))

    def extra_repr(self) -> str:
        return f"start_dim={self.start_dim}, end_dim={self.end_dim}"


class Unflatten(Module):
    """Make several axes of one: the way back from `Flatten`.

    *Shape* `(*, n, *) -> (*, *unflattened_size, *)`, whose sizes multiply to `n`.

    *Parameters* `dim`: the axis. `unflattened_size`: the sizes that take its place; one of them may
    be -1, which is then worked out.

    *Raises* `ArgumentError` for sizes that are no integers; `ShapeError` if they do not multiply to
    the size of the axis, or the axis does not exist.

    >>> import numpy as np
    >>> Unflatten(1, (2, 5, 5))(np.ones((3, 50))).shape
    (3, 2, 5, 5)
    """

    def __init__(self, dim: int, unflattened_size: Sequence[int]) -> None:
        super().__init__()
        try:
            self.dim = operator.index(dim)
            self.unflattened_size = tuple(operator.index(n) for n in unflattened_size)
        except TypeError:
            raise ArgumentError(
                "Unflatten: expected an axis and a tuple of sizes, all integers (axes have no "
                f"names here), got {dim!r} and {unflattened_size!r}"
            ) from None

    def forward(self, input: Array) -> Array:
        axis = axis_of("unflatten", self.dim, input.ndim)
        shape = tuple(input.shape)
        sizes = self._sizes(shape[axis] if shape else 1)
        return array_namespace(input).reshape(input, (*shape[:axis], *sizes, *shape[axis + 1 :]))

    def _sizes(self, n: int) -> tuple[int, ...]:
        """The sizes, with what -1 stands for."""
        sizes = self.unflattened_size
        known = math.prod(s for s in sizes if s != -1)
        if sizes.count(-1) == 1 and known > 0:
            sizes = tuple(n // known if s == -1 else s for s in sizes)
        if not sizes or min(sizes) < 0 or math.prod(sizes) != n:
            raise ShapeError(
                f"unflatten: expected sizes that multiply to {n}, the size of axis {self.dim}, got "
                f"{self.unflattened_size}"
            )
        return sizes

    def extra_repr(self) -> str:
        return f"dim={self.dim}, unflattened_size={self.unflattened_size}"
