"""NumPy's products, `numpy.linalg` and `numpy.fft`."""

from __future__ import annotations

from typing import Any

from bpgpu.autodiff.dtypes import kind
from bpgpu.autodiff.numpy_functions.table import Table, as_array

FUNCTIONS = table = Table()

# ---- products


@table(arrays=("a", "b"))
def dot(xp: Any, a: Any, b: Any, out: None = None) -> Any:
    """Over the last axis of `a` and the last but one of `b`."""
    if getattr(a, "ndim", 0) == 0 or getattr(b, "ndim", 0) == 0:
        return a * b
    if a.ndim <= 2 and b.ndim <= 2:
        return a @ b
    return xp.tensordot(a, b, axes=([a.ndim - 1], [max(b.ndim - 2, 0)]))


@table(arrays=("a", "b"))
def inner(xp: Any, a: Any, b: Any) -> Any:
    if getattr(a, "ndim", 0) == 0 or getattr(b, "ndim", 0) == 0:
        return a * b
    return xp.tensordot(a, b, axes=([a.ndim - 1], [b.ndim - 1]))


@table(arrays=("a", "b"))
def outer(xp: Any, a: Any, b: Any) -> Any:
    a, b = as_array(xp, a, b), as_array(xp, b, a)
    return xp.reshape(a, (-1, 1)) * xp.reshape(b, (1, -1))


@table(arrays=("a", "b"))
def vdot(xp: Any, a: Any, b: Any) -> Any:
    a, b = as_array(xp, a, b), as_array(xp, b, a)
    a = xp.conj(a) if kind(a.dtype) == "complex" else a
    return xp.sum(xp.reshape(a, (-1,)) * xp.reshape(b, (-1,)))


@table(arrays=("a", "b"))
def kron(xp: Any, a: Any, b: Any) -> Any:
    """Every entry of `a` times the whole of `b`."""
    a, b = as_array(xp, a, b), as_array(xp, b, a)
    n = max(a.ndim, b.ndim)
    sa = (1,) * (n - a.ndim) + tuple(a.shape)
    sb = (1,) * (n - b.ndim) + tuple(b.shape)
    a = xp.reshape(a, tuple(m for s in sa for m in (s, 1)))
    b = xp.reshape(b, tuple(m for s in sb for m in (1, s)))
    return xp.reshape(a * b, tuple(p * q for p, q in zip(sa, sb, strict=True)))


@table("tensordot", "linalg.tensordot", arrays=("a", "b"))
def tensordot(xp: Any, a: Any, b: Any, axes: Any = 2) -> Any:
    if not isinstance(axes, int):
        axes = tuple((v,) if isinstance(v, int) else tuple(v) for v in axes)
    return xp.tensordot(a, b, axes=axes)


@table("cross", "linalg.cross", arrays=("a", "b"))
def cross(
    xp: Any, a: Any, b: Any, axisa: int = -1, axisb: int = -1, axisc: int = -1, axis: Any = None
) -> Any:
    if axis is not None:
        axisa = axisb = axisc = axis
    a, b = xp.moveaxis(a, axisa, -1), xp.moveaxis(b, axisb, -1)
    a, b = xp.broadcast_arrays(a, b)
    return xp.moveaxis(xp.linalg.cross(a, b), -1, axisc)


@table("diagonal")
def diagonal(xp: Any, a: Any, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Any:
    return xp.linalg.diagonal(xp.moveaxis(a, (axis1, axis2), (-2, -1)), offset=offset)


@table("trace")
def trace(
    xp: Any, a: Any, offset: int = 0, axis1: int = 0, axis2: int = 1, dtype: Any = None
) -> Any:
    return xp.sum(diagonal(xp, a, offset, axis1, axis2), axis=-1, dtype=dtype)


@table(arrays=("x1", "x2"))
def vecdot(xp: Any, x1: Any, x2: Any, axis: int = -1) -> Any:
    return xp.vecdot(x1, x2, axis=axis)


@table(arrays=("x1", "x2"))
def matvec(xp: Any, x1: Any, x2: Any) -> Any:
    return xp.squeeze(x1 @ xp.expand_dims(x2, axis=-1), axis=-1)


@table(arrays=("x1", "x2"))
def vecmat(xp: Any, x1: Any, x2: Any) -> Any:
    x1 = xp.conj(x1) if kind(x1.dtype) == "complex" else x1
    return xp.squeeze(xp.expand_dims(x1, axis=-2) @ x2, axis=-2)


@table("linalg.multi_dot", arrays=())
def multi_dot(xp: Any, arrays: Any) -> Any:
    parts = [xp.asarray(a) for a in arrays]
    y = parts[0]
    for part in parts[1:]:
        y = y @ part
    return y


# ---- numpy.linalg


def _passed_on(name: str, *operands: str) -> None:
    """A function that has the same arguments in the standard."""

    def f(xp: Any, *args: Any, **options: Any) -> Any:
        count = len(operands) or 1
        first = [xp.asarray(a) for a in args[:count]]
        return getattr(xp.linalg, name)(*first, *args[count:], **options)

    f.__name__ = name
    table(f"linalg.{name}", arrays=())(f)


for _name in ("det", "inv", "slogdet", "eig", "eigvals", "svdvals", "matrix_power", "matrix_norm"):
    _passed_on(_name)
for _name in ("vector_norm", "matrix_transpose", "matrix_rank", "trace", "diagonal"):
    _passed_on(_name)
for _name in ("solve", "matmul", "vecdot", "outer"):
    _passed_on(_name, "a", "b")


@table("matrix_transpose")
def matrix_transpose(xp: Any, x: Any, /) -> Any:
    return xp.matrix_transpose(x)


@table("linalg.cholesky")
def cholesky(xp: Any, a: Any, /, *, upper: bool = False) -> Any:
    return xp.linalg.cholesky(a, upper=upper)


@table("linalg.qr")
def qr(xp: Any, a: Any, mode: str = "reduced") -> Any:
    return xp.linalg.qr(a, mode="reduced")[1] if mode == "r" else xp.linalg.qr(a, mode=mode)


@table("linalg.svd")
def svd(
    xp: Any, a: Any, full_matrices: bool = True, compute_uv: bool = True, hermitian: bool = False
) -> Any:
    return xp.linalg.svd(a, full_matrices=full_matrices) if compute_uv else xp.linalg.svdvals(a)


def _lower(xp: Any, a: Any, uplo: str) -> Any:
    """The matrix whose lower half is the half that `UPLO` names."""
    if uplo.upper() == "L":
        return a
    a = xp.matrix_transpose(a)
    return xp.conj(a) if kind(a.dtype) == "complex" else a


@table("linalg.eigh")
def eigh(xp: Any, a: Any, UPLO: str = "L") -> Any:  # noqa: N803 - NumPy's name
    return xp.linalg.eigh(_lower(xp, a, UPLO))


@table("linalg.eigvalsh")
def eigvalsh(xp: Any, a: Any, UPLO: str = "L") -> Any:  # noqa: N803 - NumPy's name
    return xp.linalg.eigvalsh(_lower(xp, a, UPLO))


@table("linalg.pinv")
def pinv(xp: Any, a: Any, rcond: Any = None, hermitian: bool = False, *, rtol: Any = None) -> Any:
    return xp.linalg.pinv(a, rtol=rcond if rtol is None else rtol)


@table("linalg.norm")
def norm(xp: Any, x: Any, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Any:
    """Of a matrix or a vector, as the number of axes tells."""
    if axis is None and (ord is None or x.ndim == 1):
        size = xp.linalg.vector_norm(xp.reshape(x, (-1,)), ord=2 if ord is None else ord)
        return xp.reshape(size, (1,) * x.ndim) if keepdims else size
    axes = tuple(range(x.ndim)) if axis is None else axis
    if isinstance(axes, int) or len(axes) == 1:
        return xp.linalg.vector_norm(x, axis=axes, keepdims=keepdims, ord=2 if ord is None else ord)
    x = xp.moveaxis(x, axes, (-2, -1))
    size = xp.linalg.matrix_norm(x, keepdims=keepdims, ord="fro" if ord is None else ord)
    return xp.moveaxis(size, (-2, -1), axes) if keepdims else size


@table("linalg.cond")
def cond(xp: Any, x: Any, p: Any = None) -> Any:
    if p in (None, 2, -2):
        s = xp.linalg.svdvals(x)
        return s[..., -1] / s[..., 0] if p == -2 else s[..., 0] / s[..., -1]
    return norm(xp, x, p, (-2, -1)) * norm(xp, xp.linalg.inv(x), p, (-2, -1))


# ---- numpy.fft


def _line(name: str) -> None:
    @table(f"fft.{name}")
    def f(xp: Any, a: Any, n: Any = None, axis: int = -1, norm: Any = None, out: Any = None) -> Any:
        return getattr(xp.fft, name)(a, n=n, axis=axis, norm=norm or "backward")


def _plane(name: str, standard: str, default: Any) -> None:
    @table(f"fft.{name}")
    def f(
        xp: Any, a: Any, s: Any = None, axes: Any = default, norm: Any = None, out: Any = None
    ) -> Any:
        return getattr(xp.fft, standard)(a, s=s, axes=axes, norm=norm or "backward")


for _name in ("fft", "ifft", "rfft", "irfft", "hfft", "ihfft"):
    _line(_name)
for _name in ("fftn", "ifftn", "rfftn", "irfftn"):
    _plane(_name, _name, None)
    _plane(_name[:-1] + "2", _name, (-2, -1))


@table("fft.fftshift")
def fftshift(xp: Any, x: Any, axes: Any = None) -> Any:
    return xp.fft.fftshift(x, axes=axes)


@table("fft.ifftshift")
def ifftshift(xp: Any, x: Any, axes: Any = None) -> Any:
    return xp.fft.ifftshift(x, axes=axes)
