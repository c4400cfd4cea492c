"""Plain NumPy code differentiates: `np.` functions and operators with NumPy's arrays go to the same rules."""

import numpy as np
import pytest

import bpgpu as bp
from bpgpu import errors
from gradients import numpy_of, to
from numpy_code import ARRAYS, function_of


def gradient(f, *arrays):
    return bp.grad(lambda *xs: np.sum(f(*xs)), tuple(range(len(arrays))))(*arrays)


X = ARRAYS["x"]


@pytest.mark.parametrize("dtype", ["float32", "complex64"])
def test_precision_is_kept(dtype):
    x = X.astype(dtype)
    for f in (
        *(lambda x: np.multiply(2.0, x), lambda x: np.sqrt(x * x + 1), lambda x: np.dot(x, x.T)),
        *(lambda x: np.mean(x), lambda x: np.concatenate([x, x]), lambda x: np.linalg.norm(x)),
        *(lambda x: np.einsum("ij,kj->ik", x, x), lambda x: np.pad(x, 1), lambda x: np.diag(x)),
        *(lambda x: np.var(x), lambda x: np.cumsum(x), lambda x: np.sinc(np.abs(x))),
    ):
        (g,) = gradient(lambda x, f=f: np.real(f(x)), x)
        assert g.dtype == dtype


def test_operators_with_arrays_of_numpy_on_the_left():
    a = np.asarray([1.0, 2.0, 3.0, 4.0])

    def f(x):
        return (
            (a + x) * (a - x) / (a * a) ** np.abs(x)
            + a @ x[0]
            + (a[:, None] @ x[:1]).sum()
            + a % x**2
        )

    check_same(f, X)


def check_same(f, *arrays):
    """The gradient equals central differences of the same code on plain arrays."""
    grads = gradient(f, *arrays)
    for i, (a, g) in enumerate(zip(arrays, grads, strict=True)):
        for at in np.ndindex(a.shape):
            step = np.zeros_like(a)
            step[at] = 1e-6
            ends = [[*arrays[:i], a + d, *arrays[i + 1 :]] for d in (step, -step)]
            slope = (np.sum(f(*ends[0])) - np.sum(f(*ends[1]))) / 2e-6
            assert g[at] == pytest.approx(slope, rel=1e-5, abs=1e-6)


def test_comparisons_are_constants():
    a = np.zeros((3, 4))

    def f(x):
        masks = [a < x, a <= x, a > x, a >= x, a == x, a != x, np.greater(x, 0), np.isnan(x)]
        assert all(type(m) is type(x) and m.tape is None for m in masks)
        return x * np.asarray(1.0) + np.where(np.logical_and(a < x, x < 1), x, 0.0)

    np.testing.assert_allclose(gradient(f, X)[0], 1 + ((X > 0) & (X < 1)))


def test_scalars_of_numpy_on_the_left_of_every_library(xp):
    x = to(xp, np.asarray([1.0, 2.0]))
    for f in (
        *(lambda x: np.float64(2) * x, lambda x: np.float64(2) / x, lambda x: np.float64(2) - x),
        *(
            lambda x: np.float64(2) ** x,
            lambda x: np.add(np.float64(2), x),
            lambda x: np.power(x, 2),
        ),
    ):
        g = bp.grad(lambda x, f=f: bp.array_namespace(x).sum(f(x)))(x)
        assert type(g) is type(x)
        (expected,) = gradient(f, np.asarray([1.0, 2.0]))
        np.testing.assert_allclose(numpy_of(g), expected)


@pytest.mark.parametrize(
    "expression",
    [
        *("np.tanh(x)", "np.arctan2(x, y)", "np.power(p, y)", "np.sum(x, axis=0)", "np.mean(x)"),
        *("np.add.reduce(x, axis=1)", "np.multiply.outer(v, w)", "np.dot(x, m)", "np.transpose(c)"),
        *("np.concatenate([x, y])", "np.vstack([v, v])", "np.einsum('bij,jk->bik', c, m)"),
        *("np.linalg.norm(x)", "np.pad(x, 1)", "np.rot90(x)", "np.quantile(x, 0.3, axis=0)"),
        *("np.where(x > 0, x, y)", "np.fmax(x, y)", "np.sinc(x)", "np.real(np.fft.ifft(z))"),
        *("np.trapezoid(v)", "np.gradient(v)", "np.convolve(v, w)", "np.interp(v, g, g * g)"),
        *("x.sum(axis=1)", "x.reshape(2, 6)", "x.T.dot(x).mean()", "x.ravel().std()"),
    ],
)
def test_arrays_of_every_library_take_the_same_way(xp, expression):
    f, arrays = function_of(expression)
    given = [to(xp, a) for a in arrays]

    def loss(*xs):
        y = f(np, *xs)
        return bp.array_namespace(y).sum(y * y)

    every = tuple(range(len(arrays)))
    value, grads = bp.value_and_grad(loss, every)(*given)
    expected, reference = bp.value_and_grad(loss, every)(*arrays)
    assert float(value) == pytest.approx(float(expected), rel=1e-12)
    for g, r, a in zip(grads, reference, given, strict=True):
        assert type(g) is type(a)
        np.testing.assert_allclose(numpy_of(g), r, rtol=1e-9, atol=1e-12)


# ---- what is a constant, and what is refused


def inside(f, x=X):
    """Run `f` on a traced array."""

    def loss(x):
        f(x)
        return np.sum(x)

    bp.grad(loss)(x)


def test_constants_are_computed():
    def f(x):
        assert int(np.argmax(x)) == int(np.argmax(X))
        np.testing.assert_array_equal(np.asarray(np.argsort(x, axis=None)), np.argsort(X, None))
        assert np.shape(x) == (3, 4)
        assert (np.ndim(x), np.size(x), np.size(x, 1)) == (2, 12, 4)
        assert np.allclose(x, X)
        assert np.array_equal(x, X)
        assert bool(np.all(np.isclose(x, X + 1e-12)))
        assert bool(np.any(x > 0))
        assert not np.iscomplexobj(x)
        assert np.result_type(x, np.float32) == np.float64
        assert int(np.linalg.matrix_rank(x)) == 3
        assert np.array_repr(x).startswith("array(")
        rows, _ = np.nonzero(x > 0)
        np.testing.assert_array_equal(np.asarray(rows), np.nonzero(X > 0)[0])
        assert int(np.count_nonzero(x > 0)) == (X > 0).sum()
        np.testing.assert_array_equal(np.asarray(np.digitize(x, [0.0])), np.digitize(X, [0.0]))

    inside(f)


def test_integers_go_through_any_function():
    def f(x):
        i = np.argsort(x, axis=None)
        assert int(np.bincount(i).sum()) == 12
        np.testing.assert_array_equal(np.asarray(np.unique(i)), np.arange(12))
        assert np.asarray(np.unravel_index(i, (3, 4))[0]).shape == (12,)
        assert np.asarray(np.gcd(i, 4)).shape == (12,)

    inside(f)


def test_functions_without_a_rule_take_constants():
    y = bp.grad(lambda x: np.sum(x * np.unwrap(bp.stop_gradient(x)[0])))(X)
    np.testing.assert_allclose(y, np.broadcast_to(np.unwrap(X[0]), X.shape))


@pytest.mark.parametrize(
    ("f", "text"),
    [
        (
            np.unique,
            "numpy.unique of a traced array has no derivative here: how many values come back",
        ),
        (np.histogram, "numpy.histogram .* it counts"),
        (lambda x: np.apply_along_axis(np.sum, 0, x), "numpy.apply_along_axis of a traced array"),
        (lambda x: np.linalg.lstsq(x, X), "numpy.linalg.lstsq .* use numpy.linalg.pinv"),
        (
            lambda x: np.copyto(np.zeros(4), x[0]),
            "numpy.copyto .* it writes into an array in place",
        ),
        (lambda x: np.putmask(x, X > 0, 0), "numpy.putmask .* x\\[index\\] = value"),
        (lambda x: np.full(3, x[0, 0], dtype=float), "numpy.copyto"),
        (lambda x: np.save("file.npy", x), "numpy.save .* it writes to a file"),
        (
            lambda x: np.i0(x),
            "numpy.i0 of a traced array has no derivative here. Use functions of xp",
        ),
        (lambda x: np.spacing(x), "the ufunc spacing .* steps through"),
        (lambda x: np.frexp(x), "the ufunc frexp of a traced array"),
        (lambda x: np.add.at(x, 0, 1.0), "the ufunc add.at of a traced array"),
        (lambda x: np.add.at(np.zeros(12), [0], x[0]), "the ufunc add.at of a traced array"),
        (lambda x: np.add.reduceat(x, [0, 1]), "the ufunc add.reduceat of a traced array"),
        (lambda x: np.subtract.reduce(x), "the ufunc subtract.reduce of a traced array"),
        (lambda x: np.maximum.accumulate(x), "the ufunc maximum.accumulate of a traced array"),
        (lambda x: np.add(x, x, where=X > 0), "numpy.add .* option where. .* xp.where"),
        (lambda x: np.sqrt(x, casting="no"), "option casting"),
        (lambda x: np.std(x, where=X > 0), "unexpected keyword argument 'where'"),
        (lambda x: np.quantile(x, 0.5, method="lower"), "knows the method 'linear', got 'lower'"),
        (lambda x: np.pad(x, 1, mode="mean"), "numpy.pad .* mode 'mean'"),
        (lambda x: np.gradient(x, edge_order=2), "edge_order=1"),
        (lambda x: np.einsum(x, [0, 1], [0]), "subscripts as a string"),
        (lambda x: np.correlate(x[0, :2], x[0]), "longer vector first"),
    ],
)
def test_what_has_no_derivative_is_refused_by_name(f, text):
    with pytest.raises(errors.NotDifferentiableError, match=text):
        inside(f)


@pytest.mark.parametrize(
    "f",
    [
        lambda x: np.add(x, 1.0, out=np.zeros((3, 4))),
        lambda x: np.add(X, 1.0, out=x),
        lambda x: np.sum(x, axis=0, out=np.zeros(4)),
        lambda x: np.tanh(x, np.zeros((3, 4))),
        lambda x: np.add.reduce(x, out=np.zeros(4)),
        lambda x: np.concatenate([x, x], out=np.zeros((6, 4))),
        lambda x: np.clip(x, 0, 1, out=np.zeros((3, 4))),
    ],
)
def test_writing_to_out_is_refused(f):
    with pytest.raises(errors.ConversionError, match=r"to out=.* Use the result: y = numpy"):
        inside(f)


def test_working_a_traced_array_into_a_plain_one_is_refused():
    for work in ("a += x", "a -= x", "a *= x", "a /= x", "a **= x", "np.add(a, x, out=a)"):
        with pytest.raises(
            errors.ConversionError, match=r"in place .* Make a new array: a = a \+ x"
        ):
            inside(lambda x, work=work: exec(work, {"a": np.ones((3, 4)), "x": x, "np": np}))


def test_mixed_libraries_are_refused():
    import array_api_strict

    with pytest.raises(errors.LibraryError, match="arrays of two libraries were mixed"):
        bp.grad(lambda x: bp.array_namespace(x).sum(np.multiply(np.ones(2), x)))(
            array_api_strict.ones(2)
        )


def test_second_order_runs_through_numpy_code():
    def f(x):
        return np.sum(np.sin(np.ones(4) * x) ** 3) + np.linalg.norm(np.concatenate([x, x]))

    h = bp.hessian(f)(X[0])
    g = bp.grad(lambda x: np.sum(bp.grad(f)(x) * X[1]))(X[0])
    np.testing.assert_allclose(h @ X[1], g)


# ---- methods and attributes


def test_habits_are_answered_with_the_form_used_here():
    def f(x):
        for name, text in {
            "backward": "grads = bpgpu.grad",
            "detach": "bpgpu.stop_gradient",
            "numpy": r"bpgpu.to_numpy\(bpgpu.stop_gradient",
            "item": r"float\(bpgpu.stop_gradient",
            "view": "xp.reshape",
            "requires_grad": "argument of bpgpu.grad",
            "requires_grad_": "argument of bpgpu.grad",
            "grad": "returned, not stored",
            "zero_grad": "nothing to zero",
            "cpu": "bpgpu.to_device",
            "cuda": "bpgpu.to_device",
            "mul_": r"x \*= y",
            "float": r"xp.astype\(x, xp.float64\)",
            "softmax": "bpgpu.functional.softmax",
            "masked_fill": r"xp.where\(mask, value, x\)",
            "exp": r"functions are no methods .* xp.exp\(x\) with xp = bpgpu.array_namespace",
            "nonsense": "has no attribute 'nonsense': it has what the array object of the standard has",
        }.items():
            with pytest.raises(errors.MissingAttributeError, match=text):
                getattr(x, name)
            assert not hasattr(x, name)

    inside(f)


def test_methods_of_constants_and_integers_work():
    def f(x):
        i = x.argsort(axis=1)
        assert np.asarray(i.sum()) == 18
        assert (x > 0).any()
        assert bool((x > -100).all(axis=0).all())
        assert np.asarray(x.argmax()) == X.argmax()
        assert np.asarray(x.argmin(axis=0)).shape == (4,)
        assert len(x.nonzero()) == 2
        assert np.asarray(x[0].searchsorted(0.0)).shape == ()

    inside(f)


PROBES = (
    *("toarray", "todense", "tocsr", "iloc", "dtypes", "to_numpy", "values", "nnz", "A1", "mask"),
    *(
        "get",
        "__cuda_array_interface__",
        "__array_interface__",
        "__array_struct__",
        "__dataframe__",
    ),
    *("__cupy_get_ndarray__", "__array_wrap__", "__array_finalize__", "_ipython_display_", "_mask"),
    *(
        "_repr_html_",
        "__wrapped__",
        "base",
        "flags",
        "strides",
        "ctypes",
        "data",
        "at",
        "index_add",
    ),
)


def test_libraries_that_probe_for_attributes_see_none():
    inside(lambda x: [_refused(x, probe) for probe in PROBES])


def _refused(x, probe):
    with pytest.raises(AttributeError, match=probe):
        getattr(x, probe)


def test_array_api_compat_takes_it_for_an_array_of_no_library_it_knows(xp):
    import array_api_compat as compat

    def f(x):
        assert compat.is_array_api_obj(x)
        for library in ("numpy", "cupy", "torch", "dask", "jax", "pydata_sparse", "ndonnx"):
            assert not getattr(compat, f"is_{library}_array")(x), library
        assert compat.array_namespace(x) is bp.array_namespace(x)
        assert compat.device(x) == x.device
        assert compat.size(x) == 12
        return bp.array_namespace(x).sum(x)

    bp.grad(f)(to(xp, X))


def test_scipy_takes_it_for_an_array_of_its_own_namespace():
    import scipy.special

    g = bp.grad(lambda x: scipy.special.logsumexp(x))(X)
    np.testing.assert_allclose(g, np.exp(X - scipy.special.logsumexp(X)))


def test_copies_keep_their_place_on_the_tape():
    import copy

    (g,) = gradient(lambda x: copy.copy(x) * copy.deepcopy(x) * x.copy(), X)
    np.testing.assert_allclose(g, 3 * X**2)


# ---- CuPy asks in its own way


class Kernel:
    """What CuPy passes on: its ufunc, reduction or kernel."""

    def __init__(self, name, f=None):
        self.name, self.f = name, f

    def __call__(self, *args, **options):
        return self.f(*args, **options)


def test_ufuncs_and_reductions_of_cupy():
    def f(x):
        y = x.__cupy_override_elementwise_kernel__(Kernel("cupy_tanh"), x)
        y = y.__cupy_override_elementwise_kernel__(Kernel("cupy_multiply"), y, X)
        return y.__cupy_override_reduction_kernel__(Kernel("cupy_sum"), 0, None, None, False)

    np.testing.assert_allclose(gradient(f, X)[0], X * (1 - np.tanh(X) ** 2))


def test_kernels_of_cupy_take_constants_only():
    kernel = Kernel("my_kernel", lambda x: x + 1)

    def f(x):
        y = x.__cupy_override_elementwise_kernel__(kernel, bp.stop_gradient(x))
        with pytest.raises(
            errors.NotDifferentiableError, match=r"cupy\.my_kernel of a traced array"
        ):
            x.__cupy_override_elementwise_kernel__(kernel, x)
        with pytest.raises(errors.ConversionError, match="to out="):
            x.__cupy_override_elementwise_kernel__(Kernel("cupy_exp"), x, out=X)
        return y * x

    np.testing.assert_allclose(gradient(f, X)[0], X + 1)


def test_arrays_of_python_objects_are_refused():
    objects = np.asarray([1, 2, 3, 4], dtype=object)
    for meet in (
        *(lambda x: objects * x, lambda x: x - objects, lambda x: np.maximum(x, objects)),
        lambda x: np.where(x > 0, x, objects),
    ):
        with pytest.raises(errors.DtypeError, match="an array of Python objects"):
            inside(lambda x, meet=meet: meet(x))
