"""Pooling over windows, against torch in every combination of settings."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as theirs

import bpgpu as bp
from bpgpu import functional as ours
from bpgpu.errors import DtypeError, ShapeError
from torch_compare import compare, given, numpy_of

R = np.random.default_rng(0)
WINDOWS = [
    (kernel, stride, padding)
    for kernel, stride, padding in itertools.product(
        (1, 2, 3, (3, 2)), (None, 1, 2, 3, (2, 1)), (0, 1)
    )
    if not (kernel == 1 and padding)
]
SHAPES = {1: (2, 3, 8), 2: (2, 3, 7, 8), 3: (1, 2, 4, 5, 6)}


def draw(*shape: int) -> np.ndarray:
    return R.normal(size=shape)


def tied(*shape: int) -> np.ndarray:
    """Numbers of which most windows hold equal ones."""
    return R.integers(0, 3, size=shape).astype(float)


@pytest.mark.parametrize(("kernel", "stride", "padding"), WINDOWS)
@pytest.mark.parametrize("ceil_mode", [False, True])
@pytest.mark.parametrize("dilation", [1, 2, (1, 2)])
def test_max_pool2d(
    xp: Any, kernel: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: bool
) -> None:
    settings = (kernel, stride, padding, dilation, ceil_mode)
    compare(xp, ours.max_pool2d, theirs.max_pool2d, draw(2, 3, 7, 8), *settings)
    compare(xp, ours.max_pool2d, theirs.max_pool2d, tied(2, 3, 7, 8), *settings, True)


@pytest.mark.parametrize(("kernel", "stride", "padding"), WINDOWS)
@pytest.mark.parametrize("ceil_mode", [False, True])
@pytest.mark.parametrize("count_include_pad", [False, True])
def test_avg_pool2d(
    xp: Any, kernel: Any, stride: Any, padding: Any, ceil_mode: bool, count_include_pad: bool
) -> None:
    settings = (kernel, stride, padding, ceil_mode, count_include_pad)
    compare(xp, ours.avg_pool2d, theirs.avg_pool2d, draw(2, 3, 7, 8), *settings)


@pytest.mark.parametrize("divisor", [1, 7, -2])
def test_the_divisor_of_a_mean_can_be_given(xp: Any, divisor: int) -> None:
    for n in (2, 3):
        name = f"avg_pool{n}d"
        settings = (3, 2, 1, True, True, divisor)
        compare(xp, getattr(ours, name), getattr(theirs, name), draw(*SHAPES[n]), *settings)


@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("settings", [(2,), (3, 1, 1), (2, 3), (3, 2, 0, True), (3, 2, 1, True)])
def test_one_and_three_axes(xp: Any, n: int, settings: tuple[Any, ...]) -> None:
    ceil_mode = len(settings) > 3
    x = draw(*SHAPES[n])
    for name, more in (("max", {"dilation": 2, "return_indices": True}), ("avg", {})):
        mine, their = getattr(ours, f"{name}_pool{n}d"), getattr(theirs, f"{name}_pool{n}d")
        compare(xp, mine, their, x, *settings[:3], ceil_mode=ceil_mode, **more)
        compare(xp, mine, their, x[0], *settings[:3], ceil_mode=ceil_mode, **more)


@pytest.mark.parametrize("p", [1, 2, 3.0, 2.5, -1, float("inf"), -float("inf")])
@pytest.mark.parametrize("n", [1, 2, 3])
def test_lp_pool(xp: Any, n: int, p: float) -> None:
    mine, their = getattr(ours, f"lp_pool{n}d"), getattr(theirs, f"lp_pool{n}d")
    for settings in ((2,), (3, 2), (3, 2, True), (2, 3)):
        compare(xp, mine, their, np.abs(draw(*SHAPES[n])), p, *settings)


def test_a_norm_of_zero_has_gradient_zero_and_negative_sums_are_torchs(xp: Any) -> None:
    compare(xp, ours.lp_pool1d, theirs.lp_pool1d, np.zeros((1, 4)), 2, 2, order=1)
    with np.errstate(invalid="ignore"):
        compare(xp, ours.lp_pool1d, theirs.lp_pool1d, -np.ones((1, 4)), 3, 2, order=0)


def test_examples_may_be_absent_or_unbatched_and_memory_in_any_order(xp: Any) -> None:
    x = draw(8, 7, 3, 2).T
    for name in ("max_pool2d", "avg_pool2d"):
        mine, their = getattr(ours, name), getattr(theirs, name)
        for z in (x, x[0], x[:0], x[:1, :1, :2, :2]):
            compare(xp, mine, their, z, 2)
            compare(xp, mine, their, z, (2, 1), [], (1, 0))
    compare(xp, ours.avg_pool2d, theirs.avg_pool2d, x, (7, 8))
    compare(xp, ours.avg_pool2d, theirs.avg_pool2d, x, (7, 2))


def test_nan_and_infinity_go_where_torch_lets_them(xp: Any) -> None:
    x = tied(2, 3, 7, 8)
    x[R.random(x.shape) < 0.2] = np.nan
    x[R.random(x.shape) < 0.2] = -np.inf
    x[R.random(x.shape) < 0.1] = np.inf
    for settings in ((2,), (3, 1, 1), (2, 2, 1, 2), (3, 2, 1, 1, True)):
        compare(xp, ours.max_pool2d, theirs.max_pool2d, x, *settings, return_indices=True, order=0)
        same_pull(xp, "max_pool2d", x, settings)
    nothing = np.full((1, 3, 3), -np.inf)
    compare(xp, ours.max_pool2d, theirs.max_pool2d, nothing, 3, 1, 1, return_indices=True, order=0)
    with np.errstate(invalid="ignore"):
        compare(xp, ours.avg_pool2d, theirs.avg_pool2d, x, 2, order=0)


def same_pull(xp: Any, name: str, x: np.ndarray, settings: Any) -> None:
    """Compare what a gradient with infinities and NaN becomes."""
    _, pull = bp.vjp(lambda x: getattr(ours, name)(x, *settings), given(xp, x))
    t = torch.from_numpy(x).requires_grad_()
    y = getattr(theirs, name)(t, *settings)
    g = np.linspace(1, 2, y.numel()).reshape(y.shape)
    g[..., 0, 0], g[..., -1, -1] = np.inf, np.nan
    (expected,) = torch.autograd.grad(y, t, torch.from_numpy(g))
    np.testing.assert_allclose(numpy_of(pull(given(xp, g))[0]), expected, rtol=1e-12)


def test_an_infinite_gradient_stays_at_its_entries(xp: Any) -> None:
    for settings in ((2,), (3, 2, 1), (3, 1)):
        same_pull(xp, "max_pool2d", draw(1, 6, 6), settings)
        same_pull(xp, "avg_pool2d", draw(1, 6, 6), settings)


def test_integers_have_maxima(xp: Any) -> None:
    x = R.integers(-5, 5, size=(2, 6, 6))
    compare(xp, ours.max_pool2d, theirs.max_pool2d, x, 3, 2, 1, return_indices=True)


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_dtypes_stay(dtype: str) -> None:
    x = draw(2, 6, 6).astype(dtype)
    for f in (ours.max_pool2d, ours.avg_pool2d):
        y, pull = bp.vjp(lambda x, f=f: f(x, 3, 1, 1), x)
        assert y.dtype == dtype
        assert pull(y)[0].dtype == dtype


def test_means_of_half_precision_are_summed_in_single() -> None:
    x = np.full((1, 64, 64), 100.0, dtype="f2")
    assert ours.avg_pool2d(x, 64).item() == 100.0


def test_indices_inside_a_trace_are_of_the_trace(xp: Any) -> None:
    x = draw(1, 1, 4, 4)

    def f(x: Any) -> Any:
        ns = bp.array_namespace(x)
        y, index = ours.max_pool2d(x, 2, return_indices=True)
        flat = ns.reshape(x, (-1,))
        return ns.sum(y * ns.take(flat, ns.reshape(index, (-1,)), axis=0)[0])

    g = bp.grad(f)(given(xp, x))
    assert g.shape == x.shape


def draw_big(k: int) -> np.ndarray:
    return draw(1, 1, k + 2, k + 1)


def test_windows_of_more_entries_than_a_byte_counts(xp: Any) -> None:
    compare(xp, ours.max_pool2d, theirs.max_pool2d, draw_big(17), 17, 1, return_indices=True)
    compare(xp, ours.max_pool1d, theirs.max_pool1d, draw(2, 300), 290, 1, return_indices=True)


@pytest.mark.parametrize(
    ("name", "shape", "arguments", "text"),
    [
        ("max_pool2d", (4, 4), (2,), r"expected input \(N, C, H, W\) or \(C, H, W\), got \(4, 4\)"),
        ("max_pool1d", (2, 0, 4), (2,), "only the first axis, N, may have size 0"),
        ("avg_pool3d", (1, 2, 4, 0, 4), (2,), "only the first axis, N, may have size 0"),
        ("max_pool2d", (1, 4, 4), (5,), r"window reaches over \(5, 5\).*size \(4, 4\); use a smal"),
        ("max_pool2d", (1, 4, 4), (2, 2, 2), "padding of at most half of kernel_size"),
        ("max_pool2d", (1, 4, 4), (2, 2, 2, 3), "padding of at most half of kernel_size"),
        ("max_pool2d", (1, 4, 4), (2, 0), "expected stride of at least 1"),
        ("max_pool2d", (1, 4, 4), (0,), "expected kernel_size of at least 1"),
        ("max_pool2d", (1, 4, 4), ((2, 2, 2),), "kernel_size as an integer or a tuple of 2"),
        ("avg_pool2d", (1, 4, 4), (2, 2, -1), "expected padding of at least 0"),
        ("max_pool2d", (1, 4, 4), (2, 2, 0, 0), "expected dilation of at least 1"),
        ("avg_pool2d", (1, 4, 4), (2, 2, 0, False, True, 0), "divisor_override other than 0"),
        ("lp_pool2d", (1, 4, 4), (0, 2), "norm_type other than 0"),
        ("lp_pool1d", (1, 4), (2, 5), "window reaches over"),
    ],
)
def test_what_does_not_fit_is_told(
    name: str, shape: tuple[int, ...], arguments: tuple[Any, ...], text: str
) -> None:
    with pytest.raises(ValueError, match=f"{name}: .*{text}"):
        getattr(ours, name)(draw(*shape), *arguments)


def test_wrong_dtypes_are_told() -> None:
    with pytest.raises(DtypeError, match="max_pool1d: expected real numbers as input"):
        ours.max_pool1d(np.ones((1, 4), "c8"), 2)
    with pytest.raises(DtypeError, match="avg_pool1d: expected a floating array as input"):
        ours.avg_pool1d(np.ones((1, 4), "i8"), 2)
    with pytest.raises(DtypeError, match="max_pool2d: expected an array as input, got list"):
        ours.max_pool2d([[1.0]], 2)
    with pytest.raises(ShapeError, match="kernel_size"):
        ours.max_pool1d(np.ones((1, 4)), 2.5)  # type: ignore[arg-type]


def test_a_window_with_nothing_inside_gives_no_gradient(xp: Any) -> None:
    """Dilation can put all entries of a window on the padding."""
    x = given(xp, np.asarray([[[3.0], [2.0]]]))
    y, pull = bp.vjp(lambda x: ours.max_pool1d(x, 2, 1, 1, 2), x)
    np.testing.assert_array_equal(numpy_of(y), np.full((1, 2, 1), -np.inf))
    np.testing.assert_array_equal(numpy_of(pull(xp.ones_like(x))[0]), np.zeros((1, 2, 1)))


@pytest.mark.parametrize("p", [2, 3])
@pytest.mark.parametrize("kernel", [1, 2])
def test_norms_of_zero_have_a_second_derivative_of_zero(xp: Any, p: int, kernel: int) -> None:
    x = np.asarray([[[0.0, 0.0, 1.0, 2.0]]])
    compare(xp, ours.lp_pool1d, theirs.lp_pool1d, x, p, kernel)
