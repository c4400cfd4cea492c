"""Losses of regression against torch: every argument, broadcasting, kinks, and what is refused."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as tf

import bpgpu as bp
import bpgpu.functional as bf
from bpgpu.errors import DtypeError, ShapeError
from gradients import looked_at
from torch_compare import compare, given, numpy_of

REDUCTIONS = ("none", "mean", "sum")
WEIGHTED = ["mse_loss", "l1_loss", "huber_loss"]
CASES: list[tuple[str, dict[str, Any]]] = [
    ("mse_loss", {}),
    ("l1_loss", {}),
    ("smooth_l1_loss", {}),
    ("smooth_l1_loss", {"beta": 0.3}),
    ("smooth_l1_loss", {"beta": 0.0}),
    ("huber_loss", {}),
    ("huber_loss", {"delta": 0.3}),
    ("poisson_nll_loss", {}),
    ("poisson_nll_loss", {"full": True}),
    ("poisson_nll_loss", {"log_input": False}),
    ("poisson_nll_loss", {"log_input": False, "full": True, "eps": 0.1}),
    ("kl_div", {}),
    ("kl_div", {"log_target": True}),
]
EVERY = pytest.mark.parametrize(("name", "options"), CASES)
NAMES = sorted({name for name, _ in CASES})

pytestmark = pytest.mark.filterwarnings("ignore:reduction. 'mean' divides:UserWarning")  # torch's


def pair(*shape: int, target: tuple[int, ...] | None = None) -> tuple[np.ndarray, np.ndarray]:
    """An input and a target of positive numbers, good for every loss; some of their terms are straight."""
    rng = np.random.default_rng(0)
    return rng.uniform(0.2, 4, shape), rng.uniform(0.1, 4, shape if target is None else target)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("shape", [(), (1,), (7,), (4, 5), (2, 1, 3)])
@EVERY
def test_every_option_agrees_with_torch(
    xp: Any, name: str, options: dict[str, Any], shape: tuple[int, ...], reduction: str
) -> None:
    compare(xp, getattr(bf, name), getattr(tf, name), *pair(*shape), reduction=reduction, **options)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("shape", [(0,), (3, 0)])
@EVERY
def test_no_term_at_all(
    xp: Any, name: str, options: dict[str, Any], shape: tuple[int, ...], reduction: str
) -> None:
    compare(xp, getattr(bf, name), getattr(tf, name), *pair(*shape), reduction=reduction, **options)


@pytest.mark.filterwarnings("ignore:Using a target size:UserWarning", "ignore:.*they are broadcast")
@pytest.mark.parametrize("shapes", [((4, 3), (3,)), ((3,), (4, 3)), ((4, 1), (1, 3)), ((), (2,))])
@EVERY
def test_two_shapes_are_broadcast(
    xp: Any, name: str, options: dict[str, Any], shapes: tuple[tuple[int, ...], tuple[int, ...]]
) -> None:
    x, t = pair(*shapes[0], target=shapes[1])
    compare(xp, getattr(bf, name), getattr(tf, name), x, t, **options)


def test_broadcasting_warns_where_torch_does(xp: Any) -> None:
    x, t = (given(xp, a) for a in pair(4, target=(4, 1)))
    for name in ("mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss"):
        with pytest.warns(UserWarning, match=rf"{name}: the input has shape \(4,\), the target"):
            getattr(bf, name)(x, t)
    bf.kl_div(x, t)
    bf.poisson_nll_loss(x, t)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("name", WEIGHTED)
def test_weights_agree_with_torch(xp: Any, name: str, reduction: str) -> None:
    w = np.random.default_rng(1).uniform(0.5, 2, (4, 3))

    def of(f: Any) -> Any:
        return lambda x, t, w: f(x, t, reduction=reduction, weight=w)

    compare(xp, of(getattr(bf, name)), of(getattr(tf, name)), *pair(4, 3), w)


@pytest.mark.filterwarnings("ignore:Using a target size:UserWarning", "ignore:.*they are broadcast")
def test_weights_have_the_shape_of_the_input_before_it_is_broadcast(xp: Any) -> None:
    x, t = pair(3, target=(4, 3))
    compare(xp, bf.mse_loss, tf.mse_loss, x, t, weight=np.ones(3) * 2)
    with pytest.raises(ShapeError, match=r"mse_loss: expected weight \(3,\), the shape of the"):
        bf.mse_loss(given(xp, x), given(xp, t), weight=given(xp, np.ones((4, 3))))


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_absolute_errors_may_be_of_complex_numbers(xp: Any, reduction: str) -> None:
    rng = np.random.default_rng(0)
    x, t, real = (rng.normal(size=5) + 1j * rng.normal(size=5) * i for i in (1, 1, 0))
    compare(xp, bf.l1_loss, tf.l1_loss, x, t, reduction=reduction)
    compare(xp, bf.l1_loss, tf.l1_loss, x, t, reduction=reduction, weight=np.arange(1.0, 6.0))
    compare(xp, bf.l1_loss, tf.l1_loss, x, real.real.copy(), reduction=reduction)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("l1_loss", {}),
        ("smooth_l1_loss", {"beta": 1.0}),
        ("smooth_l1_loss", {"beta": 0.0}),
        ("huber_loss", {"delta": 1.0}),
    ],
)
def test_at_kinks_the_derivatives_are_those_of_torch(
    xp: Any, name: str, options: dict[str, Any]
) -> None:
    x = np.asarray([0.0, 1.0, -1.0, 2.0])
    compare(xp, getattr(bf, name), getattr(tf, name), x, np.zeros(4), **options)


@pytest.mark.parametrize("name", [n for n in NAMES if n != "kl_div"])
def test_integer_targets_are_taken(xp: Any, name: str) -> None:
    x, t = np.asarray([0.5, 1.5, 3.0]), np.asarray([1, 0, 3])

    def theirs(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        return getattr(tf, name)(x, t.double())

    compare(xp, getattr(bf, name), theirs, x, t)


@EVERY
def test_single_precision_stays(xp: Any, name: str, options: dict[str, Any]) -> None:
    x, t = (a.astype("float32") for a in pair(50))
    f = getattr(bf, name)
    y, pull = bp.vjp(lambda x, t: f(x, t, **options), given(xp, x), given(xp, t))
    gx, gt = pull(xp.ones_like(y))
    assert y.dtype == gx.dtype == gt.dtype == xp.float32
    exact = getattr(tf, name)(*(torch.from_numpy(a).double() for a in (x, t)), **options)
    np.testing.assert_allclose(numpy_of(y), exact.numpy(), rtol=2e-6)


@EVERY
def test_memory_order_does_not_matter(xp: Any, name: str, options: dict[str, Any]) -> None:
    x, t = pair(6, 8)
    compare(xp, getattr(bf, name), getattr(tf, name), x[::2, ::2], t[:3, 4:], **options)
    compare(xp, getattr(bf, name), getattr(tf, name), x.T, t.T.copy(), **options)


def test_errors_that_are_infinite_stay_infinite(xp: Any) -> None:
    x, t = given(xp, np.asarray([np.inf, 1.0])), given(xp, np.zeros(2))
    for name in ("mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss"):
        assert numpy_of(getattr(bf, name)(x, t, reduction="none"))[0] == np.inf
    g = bp.grad(lambda x: bf.huber_loss(x, t))(x)
    np.testing.assert_array_equal(numpy_of(g), [0.5, 0.5])


def test_a_mean_of_half_precision_is_summed_in_single(xp: Any) -> None:
    if "strict" in xp.__name__:
        pytest.skip("has no float16")
    x = xp.full((4000,), 30.0, dtype=xp.float16)
    loss = bf.mse_loss(x, xp.zeros_like(x))
    assert loss.dtype == xp.float16
    assert float(loss) == 900


# ---- kl_div


@pytest.mark.parametrize("shape", [(4, 3), (3,), (), (0, 3)])
@pytest.mark.parametrize("log_target", [False, True])
def test_the_mean_over_a_batch_agrees_with_torch(
    xp: Any, shape: tuple[int, ...], log_target: bool
) -> None:
    options: dict[str, Any] = {"reduction": "batchmean", "log_target": log_target}
    compare(xp, bf.kl_div, tf.kl_div, *pair(*shape), **options)


def test_a_target_of_zero_adds_nothing_and_its_gradient_is_finite(xp: Any) -> None:
    x, t = np.asarray([-0.5, -1.5]), np.asarray([0.0, 1.0])
    compare(xp, bf.kl_div, tf.kl_div, x, t, fixed=(1,), reduction="sum")
    g = bp.grad(lambda x, t: bf.kl_div(x, t, reduction="sum"), 1)(given(xp, x), given(xp, t))
    np.testing.assert_array_equal(numpy_of(g), [1.5, 2.5])  # NaN and 2.5 in torch


def test_kl_div_does_not_warn(xp: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        bf.kl_div(*(given(xp, a) for a in pair(3)))


# ---- likelihoods of counts and of normal variables


def test_the_rest_of_a_count_is_added_above_1_only(xp: Any) -> None:
    x, t = np.asarray([0.5, 0.5, 0.5, 0.5]), np.asarray([0.0, 1.0, 1.5, 20.0])
    compare(xp, bf.poisson_nll_loss, tf.poisson_nll_loss, x, t, fixed=(1,), full=True)
    g = bp.grad(lambda x, t: bf.poisson_nll_loss(x, t, full=True, reduction="sum"), 1)(
        given(xp, x), given(xp, t)
    )
    np.testing.assert_allclose(
        numpy_of(g), -x + np.where(t > 1, np.log(np.maximum(t, 1)) + 0.5 / np.maximum(t, 1), 0)
    )


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize(
    ("shape", "var"),
    [
        ((4, 3), (4, 3)),
        ((4, 3), (4, 1)),
        ((4, 3), (1, 3)),
        ((4, 3), (4,)),
        ((3,), ()),
        ((3,), (1,)),
        ((), ()),
        ((0, 3), (0, 3)),
        ((2, 3, 4), (2, 3)),
    ],
)
def test_one_variance_or_many_agree_with_torch(
    xp: Any, shape: tuple[int, ...], var: tuple[int, ...], full: bool, reduction: str
) -> None:
    v = np.random.default_rng(2).uniform(0.5, 2, var)
    options: dict[str, Any] = {"full": full, "reduction": reduction}

    def of(f: Any) -> Any:
        return lambda x, t, v: f(x, t, v, **options)

    compare(xp, of(bf.gaussian_nll_loss), of(tf.gaussian_nll_loss), *pair(*shape), v)


def test_a_small_variance_is_limited_but_gets_its_gradient(xp: Any) -> None:
    def of(f: Any) -> Any:
        return lambda x, t, v: f(x, t, v, eps=0.1)

    v = np.asarray([0.0, 0.05, 1.0])
    compare(xp, of(bf.gaussian_nll_loss), of(tf.gaussian_nll_loss), *pair(3), v)


@pytest.mark.parametrize("var", [2.0, 0.0, 1])
def test_a_variance_may_be_a_number(xp: Any, var: float) -> None:
    def theirs(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        return tf.gaussian_nll_loss(x, t, float(var))

    compare(xp, lambda x, t: bf.gaussian_nll_loss(x, t, var), theirs, *pair(3))


def test_a_negative_variance_is_refused_or_gives_nan(xp: Any) -> None:
    looked_at(xp)
    x, t = (given(xp, a) for a in pair(2))
    for var in (-1.0, given(xp, np.asarray([1.0, -1.0]))):
        with pytest.raises(
            ValueError, match=r"gaussian_nll_loss: expected var of at least 0, got -1"
        ):
            bf.gaussian_nll_loss(x, t, var)


def test_in_a_compiled_step_a_negative_variance_gives_nan() -> None:
    jax = pytest.importorskip("jax")
    x, t, v = (jax.numpy.asarray(a) for a in (*pair(2), np.asarray([1.0, -1.0])))
    rows = jax.jit(lambda x, t, v: bf.gaussian_nll_loss(x, t, v, reduction="none"))(x, t, v)
    assert [math.isnan(r) for r in rows] == [False, True]


@EVERY
def test_compiled_gradients_are_those_of_the_plain_ones(name: str, options: dict[str, Any]) -> None:
    jax = pytest.importorskip("jax")
    f = bp.grad(lambda x, t: getattr(bf, name)(x, t, **options))
    x, t = pair(4, 3)
    compiled = jax.jit(f)(jax.numpy.asarray(x), jax.numpy.asarray(t))
    np.testing.assert_allclose(np.asarray(compiled), f(x, t), rtol=1e-12)


# ---- what is refused


@pytest.mark.parametrize("name", NAMES)
def test_bad_input_is_refused(xp: Any, name: str) -> None:
    f = getattr(bf, name)
    x, t = (given(xp, a) for a in pair(4))
    with pytest.raises(
        ShapeError, match=rf"{name}: expected shapes that broadcast, got input \(4,\), target"
    ):
        f(x, t[:3, ...])
    with pytest.raises(DtypeError, match=f"{name}: expected a floating array as input"):
        f(given(xp, np.ones(4, int)), t)
    with pytest.raises(DtypeError, match=f"{name}: expected real numbers as target, got"):
        f(x, given(xp, np.ones(4, bool)))
    with pytest.raises(DtypeError, match=f"{name}: expected an array as input, got list"):
        f([1.0], t)
    with pytest.raises(ValueError, match=f"{name}: expected reduction as 'none', 'mean'"):
        f(x, t, reduction="average")
    if name != "l1_loss":
        with pytest.raises(DtypeError, match=f"{name}: expected real numbers as input"):
            f(given(xp, np.ones(4, complex)), t)
    if name != "kl_div":
        with pytest.raises(ValueError, match=f"{name}: expected reduction as 'none', 'mean'"):
            f(x, t, reduction="batchmean")
    if name in WEIGHTED:
        with pytest.raises(DtypeError, match=f"{name}: expected a floating array as weight"):
            f(x, t, weight=given(xp, np.ones(4, int)))


def test_widths_and_shapes_out_of_range_are_refused(xp: Any) -> None:
    x, t = (given(xp, a) for a in pair(4, 3))
    with pytest.raises(ValueError, match="smooth_l1_loss: expected beta of at least 0, got -1"):
        bf.smooth_l1_loss(x, t, beta=-1.0)
    for delta in (0.0, -1.0, math.nan):
        with pytest.raises(ValueError, match="huber_loss: expected delta above 0, got"):
            bf.huber_loss(x, t, delta=delta)
    for shape in ((3,), (2, 3), (1, 1), ()):
        with pytest.raises(ShapeError, match=r"gaussian_nll_loss: expected var of the shape of"):
            bf.gaussian_nll_loss(x, t, given(xp, np.ones(shape)))
