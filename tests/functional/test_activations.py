"""Activations agree with torch: value, gradient and second order, also at kinks, at infinity and on odd shapes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as tf

import bpgpu as bp
from bpgpu import functional as bf
from bpgpu.errors import DtypeError, ShapeError
from torch_compare import compare, given, numpy_of, specials

CASES: dict[str, list[dict[str, Any]]] = {
    "celu": [{}, {"alpha": 0.4}, {"alpha": -1.5}],
    "elu": [{}, {"alpha": 0.3}, {"alpha": 0.0}, {"alpha": -2.0}],
    "gelu": [{}, {"approximate": "tanh"}],
    "hardshrink": [{}, {"lambd": 1.0}, {"lambd": 0.0}, {"lambd": -0.5}],
    "hardsigmoid": [{}],
    "hardswish": [{}],
    "hardtanh": [{}, {"min_val": -0.5, "max_val": 2.0}, {"min_val": 0.5, "max_val": 0.5}],
    "leaky_relu": [{}, {"negative_slope": 0.3}, {"negative_slope": -0.5}, {"negative_slope": 2}],
    "logsigmoid": [{}],
    "mish": [{}],
    "relu": [{}],
    "relu6": [{}],
    "rrelu": [{}, {"lower": 0.5, "upper": 0.5, "training": True}, {"lower": -1.0, "upper": 0.5}],
    "selu": [{}],
    "sigmoid": [{}],
    "silu": [{}],
    "softplus": [{}, {"beta": 3.0, "threshold": 1.5}, {"beta": -1.0}, {"threshold": 2000.0}],
    "softshrink": [{}, {"lambd": 1.0}, {"lambd": 0.0}],
    "softsign": [{}],
    "tanh": [{}],
    "tanhshrink": [{}],
    "threshold": [{"threshold": 0.5, "value": 20.0}, {"threshold": -3, "value": 0}],
}
EACH = [(name, kwargs) for name, cases in CASES.items() for kwargs in cases]
INPLACE = (
    "relu relu6 leaky_relu rrelu elu selu celu silu mish hardtanh hardsigmoid hardswish threshold"
)

KINKS = np.asarray([-6, -3, -1, -0.5, -0.0, 0, 0.5, 1, 2, 3, 6, 20.0])
EXTREMES = np.asarray([-1e4, -1e3, -100, -30, -1e-3, 1e-3, 25, 30, 100, 1e3, 1e4])


def order_of(name: str) -> int:
    return 1 if name == "hardsigmoid" else 2  # torch has no second order for it


def ids(case: Any) -> str:
    return case if isinstance(case, str) else ",".join(f"{k}={v}" for k, v in case.items())


@pytest.mark.parametrize(("name", "kwargs"), EACH, ids=ids)
def test_an_activation_agrees_with_torch(xp: Any, name: str, kwargs: dict[str, Any]) -> None:
    x = np.random.default_rng(0).normal(size=(4, 5)) * 3
    for a in (x, x[::2, 1:4].T):
        compare(xp, getattr(bf, name), getattr(tf, name), a, order=order_of(name), **kwargs)


@pytest.mark.parametrize(("name", "kwargs"), EACH, ids=ids)
def test_kinks_have_the_slopes_of_torch(xp: Any, name: str, kwargs: dict[str, Any]) -> None:
    order = 1 if name == "softplus" else order_of(name)  # a jump, small beyond the default
    compare(xp, getattr(bf, name), getattr(tf, name), KINKS, order=order, **kwargs)


@pytest.mark.parametrize(("name", "kwargs"), EACH, ids=ids)
def test_large_numbers_neither_overflow_nor_warn(
    xp: Any, name: str, kwargs: dict[str, Any]
) -> None:
    theirs = getattr(tf, name)
    if kwargs.get("threshold", 0) > 700 or kwargs.get("beta", 1) < 0 or kwargs.get("alpha", 1) < 0:
        pytest.skip("torch's overflows, or all of them")
    compare(xp, getattr(bf, name), theirs, EXTREMES, order=min(order_of(name), 1), **kwargs)


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
@pytest.mark.parametrize("name", CASES)
def test_infinity_and_nan_come_out_as_in_torch(xp: Any, name: str) -> None:
    kwargs = CASES[name][0]
    x = np.tile(np.asarray([np.inf, -np.inf, np.nan, 1.0]), 8)  # long enough for vector code
    ours, theirs = getattr(bf, name), getattr(tf, name)
    if name == "softsign":  # its derivative at infinity is 0, where torch has NaN
        compare(xp, ours, theirs, x, order=0)
        return
    specials(lambda a: ours(a, **kwargs), lambda a: theirs(a, **kwargs), xp, x)


@pytest.mark.parametrize("shape", [(), (1,), (0,), (2, 0, 3)])
@pytest.mark.parametrize("name", CASES)
def test_arrays_of_no_axis_and_of_no_element_are_taken(
    xp: Any, name: str, shape: tuple[int, ...]
) -> None:
    x = np.full(shape, 0.7)
    compare(xp, getattr(bf, name), getattr(tf, name), x, order=order_of(name), **CASES[name][0])


@pytest.mark.parametrize("name", CASES)
def test_single_precision_stays(xp: Any, name: str) -> None:
    x = np.linspace(-4, 4, 9).astype("float32")
    f, kwargs = getattr(bf, name), CASES[name][0]
    y, pull = bp.vjp(lambda a: f(a, **kwargs), given(xp, x))
    (g,) = pull(xp.ones_like(y))
    theirs = getattr(tf, name)(torch.from_numpy(x.astype(float)), **kwargs)
    assert y.dtype == g.dtype == xp.float32
    np.testing.assert_allclose(numpy_of(y), theirs.numpy(), rtol=2e-6, atol=5e-7)


@pytest.mark.parametrize("name", INPLACE.split())
def test_inplace_is_accepted_and_leaves_the_input_alone(xp: Any, name: str) -> None:
    x = given(xp, np.asarray([-2.0, 3.0]))
    f, kwargs = getattr(bf, name), CASES[name][0]
    y = f(x, **kwargs, inplace=True)
    np.testing.assert_array_equal(numpy_of(y), numpy_of(f(x, **kwargs)))
    np.testing.assert_array_equal(numpy_of(x), [-2.0, 3.0])


@pytest.mark.parametrize("name", ["relu", "relu6", "hardtanh", "threshold"])
def test_integers_pass_through_straight_pieces(xp: Any, name: str) -> None:
    x, kwargs = np.asarray([-3, 0, 1, 9]), CASES[name][0]
    y = numpy_of(getattr(bf, name)(given(xp, x), **kwargs))
    theirs = getattr(tf, name)(torch.from_numpy(x), **kwargs).numpy()
    assert y.dtype == x.dtype
    np.testing.assert_array_equal(y, theirs)


@pytest.mark.parametrize("name", [*CASES, "glu"])
def test_what_is_not_floating_is_refused(xp: Any, name: str) -> None:
    kwargs = CASES.get(name, [{}])[0]
    wrong = np.ones(2, bool if name in "relu relu6 hardtanh threshold" else int)
    with pytest.raises(DtypeError, match=f"{name}: expected (a floating array|real numbers) as"):
        getattr(bf, name)(given(xp, wrong), **kwargs)


def test_an_infinite_gradient_does_not_pass_a_closed_relu(xp: Any) -> None:
    x = np.asarray([-1.0, 4.0])

    def ours(a: Any) -> Any:
        return bp.array_namespace(a).sqrt(bf.relu(a))

    with np.errstate(divide="ignore", invalid="ignore"):
        specials(ours, lambda a: torch.sqrt(tf.relu(a)), xp, x)


# ---- those with arguments of their own


@pytest.mark.parametrize("shape", [(3, 4), (2, 4, 5), (2, 4, 3, 2), (0, 4), (2, 4, 0)])
def test_prelu_has_a_slope_for_each_channel(xp: Any, shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=shape), rng.normal(size=4)
    compare(xp, bf.prelu, tf.prelu, x, w)
    x.reshape(-1)[::3] = 0
    compare(xp, bf.prelu, tf.prelu, x, w, order=1)


@pytest.mark.parametrize("shape", [(), (5,), (2, 3), (2, 3, 4)])
def test_prelu_with_one_slope_takes_inputs_of_any_shape(xp: Any, shape: tuple[int, ...]) -> None:
    x = np.random.default_rng(0).normal(size=shape)
    compare(xp, bf.prelu, tf.prelu, x, np.asarray([0.3]))
    compare(xp, bf.prelu, tf.prelu, x, np.asarray(0.3))


def test_prelu_says_how_many_slopes_it_needs(xp: Any) -> None:
    x = given(xp, np.ones((2, 3, 4)))
    with pytest.raises(ShapeError, match=r"prelu: expected weight \(3,\), one slope for each"):
        bf.prelu(x, given(xp, np.ones(4)))
    with pytest.raises(ShapeError, match="prelu: expected weight with at most one axis"):
        bf.prelu(x, given(xp, np.ones((1, 3))))
    with pytest.raises(DtypeError, match="prelu: expected input of dtype"):
        bf.prelu(x, given(xp, np.ones(3, "float32")))


@pytest.mark.parametrize(
    ("shape", "dim"), [((6,), -1), ((3, 4), -1), ((4, 3), 0), ((2, 6, 0), 1), ((0, 2), 1)]
)
def test_glu_gates_one_half_with_the_other(xp: Any, shape: tuple[int, ...], dim: int) -> None:
    compare(xp, bf.glu, tf.glu, np.random.default_rng(0).normal(size=shape), dim)


def test_glu_needs_an_even_size(xp: Any) -> None:
    with pytest.raises(ShapeError, match="glu: expected an even size along dim -1"):
        bf.glu(given(xp, np.ones((2, 3))))
    with pytest.raises(ShapeError, match="glu: expected an input with at least one axis"):
        bf.glu(given(xp, np.asarray(1.0)))
    with pytest.raises(ShapeError, match=r"glu: expected dim in \[-2, 1\]"):
        bf.glu(given(xp, np.ones((2, 4))), 2)


@pytest.mark.parametrize(
    ("name", "kwargs", "text"),
    [
        ("celu", {"alpha": 0}, "celu: expected alpha other than 0"),
        ("gelu", {"approximate": "exact"}, "gelu: expected approximate 'none' or 'tanh'"),
        ("hardtanh", {"min_val": 1.0, "max_val": 0.0}, "hardtanh: expected min_val <= max_val"),
        ("rrelu", {"lower": 1.0, "upper": 0.0}, "rrelu: expected lower <= upper, got 1.0 and 0.0"),
        ("softshrink", {"lambd": -1.0}, "softshrink: expected lambd of at least 0, got -1.0"),
    ],
)
def test_settings_without_meaning_are_refused(
    xp: Any, name: str, kwargs: dict[str, Any], text: str
) -> None:
    with pytest.raises(ValueError, match=text):
        getattr(bf, name)(given(xp, np.ones(2)), **kwargs)


def test_random_slopes_are_within_their_bounds_and_are_those_of_the_gradient(xp: Any) -> None:
    x = given(xp, np.concatenate([np.full(200, -2.0), [0.0, 3.0]]))
    key = bp.random.key(3)
    y, pull = bp.vjp(lambda a: bf.rrelu(a, 0.2, 0.4, training=True, key=key), x)
    (g,) = pull(xp.ones_like(x))
    y, g = numpy_of(y), numpy_of(g)
    slopes = y[:200] / -2
    assert slopes.min() >= 0.2
    assert slopes.max() < 0.4
    assert len(np.unique(slopes)) > 190
    np.testing.assert_array_equal(y[-2:], [0, 3])
    np.testing.assert_allclose(g[:200], slopes)
    assert 0.2 <= g[200] < 0.4
    assert g[201] == 1


def test_random_slopes_follow_the_stream_of_the_thread(xp: Any) -> None:
    x = given(xp, -np.ones(5, "float32"))
    draws = []
    for _ in range(2):
        bp.seed(1)
        draws.append([numpy_of(bf.rrelu(x, training=True)) for _ in range(2)])
    np.testing.assert_array_equal(draws[0], draws[1])
    assert (draws[0][0] != draws[0][1]).all()
    assert draws[0][0].dtype == np.float32


@pytest.mark.parametrize("channels", [1, 2])
def test_learned_slopes_at_ties(xp: Any, channels: int) -> None:
    """To second order too: there torch says that the slope at 0 does not change with the weight."""
    x = np.asarray([[[-1.0, 0.0], [0.0, 2.0]]])
    compare(xp, bf.prelu, tf.prelu, x, np.asarray([0.25, -0.5])[:channels])


def test_softplus_at_its_threshold(xp: Any) -> None:
    compare(xp, bf.softplus, tf.softplus, np.asarray([0.5, 1.0, 2.0]), 2, 2)


# ---- inside compilers


@pytest.mark.parametrize("name", CASES)
def test_activations_run_inside_jit(name: str) -> None:
    import jax
    import jax.numpy as jnp

    x, kwargs = np.linspace(-4, 4, 9), CASES[name][0]
    f = getattr(bf, name)
    step = jax.jit(bp.grad(lambda a: bp.array_namespace(a).sum(f(a, **kwargs))))
    t = torch.from_numpy(x).requires_grad_()
    (g,) = torch.autograd.grad(getattr(tf, name)(t, **kwargs).sum(), t)
    np.testing.assert_allclose(np.asarray(step(jnp.asarray(x))), g.numpy(), atol=1e-8)
