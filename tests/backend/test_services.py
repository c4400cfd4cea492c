"""What the standard lacks: adding at positions, changed copies, and memory that is nobody else's."""

import numpy as np
import pytest

import bpgpu.backend
from bpgpu.backend import backend_of
from bpgpu.backend.generic import Backend, StridedBackend
from gradients import numpy_of, to

R = np.random.default_rng(4)


def added(shape, key, g):
    """The definition."""
    out = np.zeros(shape, dtype=g.dtype)
    np.add.at(out, key, g)
    return out


def library_key(xp, key):
    parts = key if isinstance(key, tuple) else (key,)
    parts = tuple(to(xp, k) if isinstance(k, np.ndarray) else k for k in parts)
    return parts if isinstance(key, tuple) else parts[0]


SHAPE = (6, 4, 5)
KEYS = {
    "integer": (1, ...),
    "slice": (slice(None, None, 2), slice(None), 1),
    "new axes": (None, ..., None),
    "mask": R.normal(size=SHAPE) > 0,
    "rows": np.asarray([3, 0, 3, 3]),
    "rows by two axes": (np.asarray([[3, 0], [3, -1]]), ...),
    "columns": (slice(None), np.asarray([1, 1, -1]), slice(None)),
    "last axis": (..., np.asarray([[4, 4], [0, -5]])),
    "many rows": R.integers(-6, 6, size=400),
    "many columns": (..., R.integers(-5, 5, size=(10, 7))),
    "no rows": np.zeros((0,), dtype=int),
    "points": (np.asarray([0, 0, 5]), np.asarray([1, 1, -1]), np.asarray([2, 2, 2])),
    "one row": (np.asarray(2), ..., np.asarray(1)),
    "one point": (np.asarray(2), np.asarray(1), np.asarray(-1)),
    "mixed": (np.asarray([0, 0]), slice(1, 3), np.asarray([[1], [1]])),
    "mask of rows": (np.asarray([True, False] * 3),),
}
STRICT_LACKS = {"mixed", "mask of rows", "one row"}


@pytest.mark.parametrize("dtype", ["float32", "complex128"])
@pytest.mark.parametrize("name", KEYS)
def test_scatter_add_sums_what_comes_to_one_position(xp, name, dtype):
    if "strict" in xp.__name__ and name in STRICT_LACKS:
        pytest.skip("not in the standard")
    key = KEYS[name]
    g = R.normal(size=np.zeros(SHAPE)[key].shape).astype(dtype)
    out = backend_of(xp).scatter_add(SHAPE, library_key(xp, key), to(xp, np.asarray(g)))
    assert str(out.dtype).endswith(dtype)
    np.testing.assert_allclose(numpy_of(out), added(SHAPE, key, g), rtol=2e-5, atol=1e-5)


@pytest.mark.parametrize("name", KEYS)
def test_scatter_add_of_jax(name):
    jnp = pytest.importorskip("jax.numpy")
    key = KEYS[name]
    g = R.normal(size=np.zeros(SHAPE)[key].shape)
    out = backend_of(jnp).scatter_add(SHAPE, key, jnp.asarray(g))
    np.testing.assert_allclose(np.asarray(out), added(SHAPE, key, g), atol=1e-12)


@pytest.mark.parametrize("name", [k for k in KEYS if k not in STRICT_LACKS])
def test_scatter_add_in_standard_functions_only(name):
    """Libraries that have neither `at` nor `index_add` fall back on a product with a one-hot matrix."""
    import array_api_strict as xp

    key = KEYS[name]
    g = R.normal(size=np.zeros(SHAPE)[key].shape)
    out = Backend(xp).scatter_add(SHAPE, library_key(xp, key), xp.asarray(g))
    np.testing.assert_allclose(np.asarray(out), added(SHAPE, key, g), atol=1e-12)


@pytest.mark.parametrize("name", KEYS)
def test_scatter_add_of_strided_arrays(name):
    """As CuPy does it, whose functions are NumPy's."""
    import array_api_compat.numpy as xp

    key = KEYS[name]
    g = R.normal(size=np.zeros(SHAPE)[key].shape)
    out = StridedBackend(xp).scatter_add(SHAPE, key, g)
    np.testing.assert_allclose(out, added(SHAPE, key, g), atol=1e-12)


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int32"])
def test_small_integers_do_not_overflow(xp, dtype):
    if "torch" in xp.__name__ and dtype == "uint8":
        pytest.skip("torch takes bytes for a mask")
    places = (np.arange(300) % 100).astype(dtype)
    g = R.normal(size=(300, 50))
    out = backend_of(xp).scatter_add((120, 50), to(xp, places), to(xp, g))
    np.testing.assert_allclose(numpy_of(out), added((120, 50), places, g), atol=1e-12)


def test_half_precision_is_summed_in_single():
    import array_api_compat.numpy as xp

    g = np.ones((4000, 2), dtype=np.float16)
    out = backend_of(xp).scatter_add((3, 2), np.zeros(4000, dtype=int), g)
    assert out.dtype == np.float16
    assert out[0, 0] == 4000  # in half precision the sum would stop at 2048


def test_a_large_table_is_summed_in_blocks(xp):
    places = R.integers(0, 5000, size=2000)
    g = R.normal(size=(2000, 2))
    out = backend_of(xp).scatter_add((5000, 2), to(xp, places), to(xp, g))
    np.testing.assert_allclose(numpy_of(out), added((5000, 2), places, g), atol=1e-12)


def test_assign_leaves_the_array_as_it_was(xp):
    x = to(xp, np.arange(4.0))
    y = backend_of(xp).assign(x, 1, 7.0)
    np.testing.assert_array_equal(numpy_of(x), [0, 1, 2, 3])
    np.testing.assert_array_equal(numpy_of(y), [0, 7, 2, 3])


def test_assign_of_immutable_arrays():
    jnp = pytest.importorskip("jax.numpy")
    y = backend_of(jnp).assign(jnp.arange(4.0), 1, 7.0)
    np.testing.assert_array_equal(np.asarray(y), [0, 7, 2, 3])


def test_last_written_names_the_value_that_stays():
    import array_api_compat.numpy as xp

    stays = backend_of(xp).last_written((3,), np.asarray([0, 2, 0, -1]), np.zeros(4))
    np.testing.assert_array_equal(stays, [False, False, True, True])


def test_owned_arrays_share_no_memory(xp):
    x = to(xp, np.arange(6.0))
    view = xp.reshape(x, (2, 3))
    part = x[1:3]
    other = to(xp, np.arange(3.0))
    wide = xp.broadcast_to(to(xp, np.asarray([5.0])), (4,))
    out = backend_of(xp).own([view, None, part, x, x, other, wide], [other])
    assert out[1] is None
    found = [a for a in out if a is not None]
    before = [numpy_of(a).copy() for a in found]
    for i, a in enumerate(found):
        a[...] = 100.0 + i
        a[...] += 0.5
    for i, a in enumerate(found):
        np.testing.assert_array_equal(numpy_of(a), np.full(before[i].shape, 100.5 + i))
    np.testing.assert_array_equal(numpy_of(other), [0, 1, 2])


def test_owning_copies_no_more_than_it_must():
    import array_api_compat.numpy as xp

    x, y, s = np.ones(3), np.ones(4), np.float64(2.0)
    out = backend_of(xp).own([x, y[1:], s], [])
    assert out[0] is x
    assert out[1].base is y
    assert out[2] is s


def test_immutable_arrays_are_not_copied():
    jnp = pytest.importorskip("jax.numpy")
    x = jnp.ones(3)
    assert all(a is x for a in backend_of(jnp).own([x, x], [x]))


def test_backends_are_made_once(xp):
    assert backend_of(xp) is backend_of(xp)
    assert isinstance(backend_of(xp), bpgpu.backend.Backend)
