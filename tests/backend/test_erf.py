"""The error function is within 2 units in the last place, whichever library computes it."""

from __future__ import annotations

from typing import Any

import mpmath
import numpy as np
import pytest

from bpgpu.backend import erf
from bpgpu.errors import DtypeError
from torch_compare import given, numpy_of


def points() -> np.ndarray:
    rng = np.random.default_rng(0)
    seam = rng.uniform(0.85, 1.0, 800)
    return np.concatenate(
        [
            rng.normal(0, 1, 1000),
            rng.uniform(-7, 7, 1000),
            seam,
            -seam,
            10.0 ** rng.uniform(-37, 0, 300),
            [0.0, -0.0, 0.9, 1.0, 4.0, 6.0, 100.0, 1e30],
        ]
    )


def ulp(y: np.ndarray, x: np.ndarray) -> float:
    """The largest distance from the exact value, in units of its last place."""
    with mpmath.workprec(100):
        exact = [mpmath.erf(mpmath.mpf(float(v))) for v in x]
        units = np.spacing(np.abs(np.asarray([float(e) for e in exact]).astype(y.dtype)))
        return max(
            float(abs(mpmath.mpf(float(a)) - e)) / float(u)
            for a, e, u in zip(y, exact, units, strict=True)
        )


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_erf_is_within_two_units_in_the_last_place(xp: Any, dtype: str) -> None:
    x = points().astype(dtype)
    y = numpy_of(erf.erf(xp, given(xp, x)))
    assert y.dtype == x.dtype
    assert ulp(y, x) <= 2


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_erf_of_jax_is_within_two_units_in_the_last_place(dtype: str) -> None:
    import jax
    import jax.numpy as jnp

    x = points().astype(dtype)
    for f in (erf.erf, jax.jit(erf.erf, static_argnums=0)):
        assert ulp(np.asarray(f(jnp, jnp.asarray(x))), x) <= 2


def test_erf_of_infinity_is_one_and_of_nan_is_nan(xp: Any) -> None:
    y = numpy_of(erf.erf(xp, given(xp, np.asarray([np.inf, -np.inf, np.nan]))))
    np.testing.assert_array_equal(y, [1, -1, np.nan])


@pytest.mark.parametrize("shape", [(), (1,), (0,), (3, 0, 2), (2, 3), (70_000,)])
def test_erf_of_numpy_takes_arrays_of_every_shape_and_order(shape: tuple[int, ...]) -> None:
    import array_api_compat.numpy as xp

    x = np.random.default_rng(0).normal(size=shape)
    y = erf.erf(xp, x)
    assert y.shape == shape
    np.testing.assert_array_equal(erf.erf(xp, x.T), y.T)
    np.testing.assert_allclose(y, erf._standard(xp, x), rtol=4e-16)


def test_erf_in_half_precision_is_computed_in_single(xp: Any) -> None:
    import array_api_compat.numpy as npx

    x = np.linspace(-3, 3, 101).astype(np.float16)
    y = erf.erf(npx, x)
    assert y.dtype == np.float16
    np.testing.assert_allclose(y, erf.erf(npx, x.astype(np.float32)), rtol=5e-4)


def test_erf_of_integers_and_complex_numbers_is_refused(xp: Any) -> None:
    for dtype in ("int64", "complex64"):
        with pytest.raises(DtypeError, match="erf: expected real floating numbers, got dtype"):
            erf.erf(xp, given(xp, np.ones(2, dtype)))
