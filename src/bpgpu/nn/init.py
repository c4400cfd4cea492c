"""Initial values of weights: torch's initialisers under their names.

Each fills an array and returns it: in place where the library can, else the returned array is the
result. The numbers are drawn on the host, from the thread's stream of keys (`bp.seed`) or from
`key=`, and copied, so that the same seed gives the same weights on every device. In the
place of torch's `generator` stands a key too.

*Fan-in* and *fan-out* of a weight of shape `(out, in, *kernel)` are `in` and `out`, each times the
size of the kernel."""

from __future__ import annotations

import math
from typing import Any

from bpgpu import random
from bpgpu import tree as trees
from bpgpu.autodiff.array import raw
from bpgpu.backend import backend_of
from bpgpu.backend.libraries import namespace_of
from bpgpu.device import device as find_device
from bpgpu.device import to_numpy
from bpgpu.errors import ArgumentError, DtypeError, ShapeError
from bpgpu.nn.parameter import Parameter

_GAINS = {
    "linear": 1.0,
    "conv1d": 1.0,
    "conv2d": 1.0,
    "conv3d": 1.0,
    "conv_transpose1d": 1.0,
    "conv_transpose2d": 1.0,
    "conv_transpose3d": 1.0,
    "sigmoid": 1.0,
    "tanh": 5.0 / 3,
    "relu": math.sqrt(2.0),
    "selu": 3.0 / 4,
}


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """The factor by which weights before a nonlinearity are scaled to keep the variance of its
    output.

    1 for linear maps and the sigmoid, 5/3 for tanh, sqrt(2) for ReLU, sqrt(2 / (1 + s^2)) for leaky
    ReLU of slope `param` (0.01), 3/4 for SELU."""
    if nonlinearity == "leaky_relu":
        slope = 0.01 if param is None else float(param)
        return math.sqrt(2.0 / (1 + slope**2))
    if nonlinearity not in _GAINS:
        names = ", ".join([*_GAINS, "leaky_relu"])
        raise ArgumentError(f"calculate_gain: expected one of {names}, got {nonlinearity!r}")
    return _GAINS[nonlinearity]


def uniform_(
    tensor: Any, a: float = 0.0, b: float = 1.0, generator: Any = None, *, key: Any = None
) -> Any:
    """Fill with numbers uniform in `[a, b)`."""
    return _fill(tensor, _uniform(_shape(tensor), a, b, _key(generator, key), tensor.dtype))


def normal_(
    tensor: Any, mean: float = 0.0, std: float = 1.0, generator: Any = None, *, key: Any = None
) -> Any:
    """Fill with normal numbers of this mean and standard deviation.

    *Raises* `ArgumentError` for a negative standard deviation."""
    _check_std("normal_", std)
    return _fill(tensor, _normal(_shape(tensor), _key(generator, key), tensor.dtype) * std + mean)


def trunc_normal_(
    tensor: Any,
    mean: float = 0.0,
    std: float = 1.0,
    a: float = -2.0,
    b: float = 2.0,
    generator: Any = None,
    *,
    key: Any = None,
) -> Any:
    """Fill with normal numbers, those outside `[a, b]` drawn again until they are inside.

    *Raises* `ValueError` if the interval lies more than four standard deviations from the mean,
    where nearly all numbers would be drawn in vain."""
    _check_std("trunc_normal_", std)
    if not a < b:
        raise ArgumentError(f"trunc_normal_: expected a < b, got a={a}, b={b}")
    if std > 0 and (a > mean + 4 * std or b < mean - 4 * std):
        raise ArgumentError(
            f"trunc_normal_: the interval [{a}, {b}] lies more than 4 std from the mean {mean}"
        )
    key = _key(generator, key)
    values = _normal(_shape(tensor), key, tensor.dtype) * std + mean
    xp = namespace_of(values)
    outside = (values < a) | (values > b)
    while bool(xp.any(outside)):
        key = random.advance(key)
        again = _normal(_shape(tensor), key, tensor.dtype) * std + mean
        values = xp.where(outside, again, values)
        outside = (values < a) | (values > b)
    return _fill(tensor, values)


def constant_(tensor: Any, val: float) -> Any:
    """Fill with one value."""
    _shape(tensor)
    if isinstance(tensor, Parameter):
        tensor.data = constant_(tensor.data, val)
        return tensor
    xp = namespace_of(raw(tensor))
    return backend_of(xp).copy_into(tensor, xp.full_like(tensor, val))


def ones_(tensor: Any) -> Any:
    """Fill with ones."""
    return constant_(tensor, 1.0)


def zeros_(tensor: Any) -> Any:
    """Fill with zeros."""
    return constant_(tensor, 0.0)


def eye_(tensor: Any) -> Any:
    """Make a matrix the identity, or as much of it as fits."""
    if len(_shape(tensor)) != 2:
        raise ShapeError(f"eye_: expected a matrix, got shape {_shape(tensor)}")
    xp = find_device("cpu").xp
    return _fill(tensor, xp.eye(*tensor.shape, dtype=xp.float64))


def dirac_(tensor: Any, groups: int = 1) -> Any:
    """Make a convolution's weight pass its input on: a one in the middle of kernel `i` for channel
    `i`.

    *Shape* 3, 4 or 5 axes, `(out, in, *kernel)`; with `groups` the pattern repeats in each group of
    outputs."""
    shape = _shape(tensor)
    if len(shape) not in (3, 4, 5):
        raise ShapeError(f"dirac_: expected 3, 4 or 5 axes, got shape {shape}")
    if shape[0] % groups:
        raise ShapeError(
            f"dirac_: the size of the first axis, {shape[0]}, must divide by groups={groups}"
        )
    xp = find_device("cpu").xp
    values = xp.zeros(shape, dtype=xp.float64)
    per_group = shape[0] // groups
    middle = tuple(k // 2 for k in shape[2:])
    for g in range(groups):
        for i in range(min(per_group, shape[1])):
            values[(g * per_group + i, i, *middle)] = 1.0
    return _fill(tensor, values)


def xavier_uniform_(
    tensor: Any, gain: float = 1.0, generator: Any = None, *, key: Any = None
) -> Any:
    """Fill uniformly in `(-k, k)`, `k = gain sqrt(6 / (fan_in + fan_out))`.

    *References* X. Glorot and Y. Bengio (2010), "Understanding the difficulty of training deep
    feedforward neural networks"."""
    fan_in, fan_out = fans(tensor, "xavier_uniform_")
    k = gain * math.sqrt(6.0 / (fan_in + fan_out))
    return uniform_(tensor, -k, k, key=_key(generator, key))


def xavier_normal_(
    tensor: Any, gain: float = 1.0, generator: Any = None, *, key: Any = None
) -> Any:
    """Fill with normal numbers of standard deviation `gain sqrt(2 / (fan_in + fan_out))`.

    *References* X. Glorot and Y. Bengio (2010).
    """
    fan_in, fan_out = fans(tensor, "xavier_normal_")
    return normal_(
        tensor, 0.0, gain * math.sqrt(2.0 / (fan_in + fan_out)), key=_key(generator, key)
    )


def kaiming_uniform_(
    tensor: Any,
    a: float = 0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: Any = None,
    *,
    key: Any = None,
) -> Any:
    """Fill uniformly in `(-k, k)`, `k = gain sqrt(3 / fan)`; `a` is the slope of the leaky ReLU
    that follows.

    *References* K. He et al. (2015), "Delving deep into rectifiers".
    """
    k = math.sqrt(3.0) * _kaiming_std(tensor, a, mode, nonlinearity, "kaiming_uniform_")
    return uniform_(tensor, -k, k, key=_key(generator, key))


def kaiming_normal_(
    tensor: Any,
    a: float = 0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: Any = None,
    *,
    key: Any = None,
) -> Any:
    """Fill with normal numbers of standard deviation `gain / sqrt(fan)`.

    *References* K. He et al. (2015).
    """
    return normal_(
        tensor,
        0.0,
        _kaiming_std(tensor, a, mode, nonlinearity, "kaiming_normal_"),
        key=_key(generator, key),
    )


def orthogonal_(tensor: Any, gain: float = 1, generator: Any = None, *, key: Any = None) -> Any:
    """Fill with a (semi-)orthogonal matrix times `gain`; axes after the first count as one.

    *References* A. Saxe et al. (2014), "Exact solutions to the nonlinear dynamics of learning in
    deep linear neural networks"."""
    shape = _shape(tensor)
    if len(shape) < 2:
        raise ShapeError(f"orthogonal_: expected at least 2 axes, got shape {shape}")
    rows, columns = shape[0], math.prod(shape[1:])
    if rows * columns == 0:
        return tensor
    flat = _normal((max(rows, columns), min(rows, columns)), _key(generator, key), "float64")
    xp = namespace_of(flat)
    q, r = xp.linalg.qr(flat)
    q = q * xp.sign(
        xp.linalg.diagonal(r)
    )  # makes the distribution uniform over orthogonal matrices
    q = xp.matrix_transpose(q) if rows < columns else q
    return _fill(tensor, xp.reshape(q, shape) * gain)


def sparse_(
    tensor: Any, sparsity: float, std: float = 0.01, generator: Any = None, *, key: Any = None
) -> Any:
    """Fill a matrix with normal numbers, then set the fraction `sparsity` of each column to zero.

    *References* J. Martens (2010), "Deep learning via Hessian-free optimization".
    """
    if len(_shape(tensor)) != 2:
        raise ShapeError(f"sparse_: expected a matrix, got shape {_shape(tensor)}")
    if not 0 <= sparsity <= 1:
        raise ArgumentError(f"sparse_: sparsity must be in [0, 1], got {sparsity}")
    rows, columns = tensor.shape
    key = _key(generator, key)
    values = _normal((rows, columns), key, tensor.dtype) * std
    for column in range(columns):
        key = random.advance(key)
        values[random.permutation(key, rows)[: math.ceil(sparsity * rows)], column] = 0.0
    return _fill(tensor, values)


def fans(tensor: Any, name: str = "fans") -> tuple[int, int]:
    """Fan-in and fan-out of a weight of shape `(out, in, *kernel)`."""
    shape = _shape(tensor)
    if len(shape) < 2:
        raise ShapeError(f"{name}: fan-in and fan-out need at least 2 axes, got shape {shape}")
    kernel = math.prod(shape[2:])
    return shape[1] * kernel, shape[0] * kernel


def new(shape: tuple[int, ...], device: Any = None, dtype: Any = None) -> Any:
    """A fresh float32 array of zeros for a layer's weight, or one of the given device and dtype."""
    where = find_device(device)
    return where.asarray(
        find_device("cpu").xp.zeros(shape), dtype="float32" if dtype is None else dtype
    )


def _kaiming_std(tensor: Any, a: float, mode: str, nonlinearity: str, name: str) -> float:
    if mode not in ("fan_in", "fan_out"):
        raise ArgumentError(f"{name}: mode must be 'fan_in' or 'fan_out', got {mode!r}")
    fan = fans(tensor, name)[mode == "fan_out"]
    return calculate_gain(nonlinearity, a) / math.sqrt(fan) if fan else 0.0


def _check_std(name: str, std: float) -> None:
    if not std >= 0:
        raise ArgumentError(f"{name}: expected std of at least 0, got {std}")


def _shape(tensor: Any) -> tuple[int, ...]:
    if isinstance(tensor, memoryview):
        raise ArgumentError(
            "initialisers fill arrays, got the memory of one: write layer.weight in place of "
            "layer.weight.data, as in nn.init.normal_(layer.weight)"
        )
    return tuple(tensor.shape)


def _key(generator: Any, key: Any) -> Any:
    """The key to draw with, given under either name, or the next of this thread."""
    if generator is not None and key is not None:
        raise ArgumentError("initialisers take one key, got generator= and key=")
    if generator is not None and not trees.is_array(generator):
        raise ArgumentError(
            f"initialisers draw with a key, got generator={type(generator).__name__}; make one with "
            "bpgpu.random.key(seed)"
        )
    given = key if generator is None else generator
    return random.next_key() if given is None else given


def _name(dtype: Any) -> str:
    """The dtype to draw in: float64 for float64, else float32."""
    name = str(getattr(dtype, "name", None) or dtype).rpartition(".")[2]
    if not name.startswith(("float", "bfloat")):
        raise DtypeError(f"initialisers fill real floating arrays, got dtype {dtype}")
    return "float64" if name == "float64" else "float32"


def _uniform(shape: tuple[int, ...], a: float, b: float, key: Any, dtype: Any) -> Any:
    if a == b:
        xp = find_device("cpu").xp
        return xp.full(shape, a)
    return random.uniform(key, shape, _name(dtype), a, b)


def _normal(shape: tuple[int, ...], key: Any, dtype: Any) -> Any:
    return random.normal(key, shape, _name(dtype))


def _fill(tensor: Any, values: Any) -> Any:
    """Copy values from the host over an array, on its device and in its dtype."""
    if isinstance(tensor, Parameter):
        tensor.data = _fill(tensor.data, values)
        return tensor
    xp = namespace_of(raw(tensor))
    backend = backend_of(xp)
    if namespace_of(values) is not xp:
        values = backend.to_device(xp.asarray(to_numpy(values)), backend.device_of(tensor))
    return backend.copy_into(tensor, xp.astype(values, tensor.dtype))
